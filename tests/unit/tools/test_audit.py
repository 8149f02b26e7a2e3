"""The audit finds what is there to be found, and never passes by having looked at nothing."""

from __future__ import annotations

import json
import re
import zipfile
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tools import audit
from tools.audit import LEAST_FILES, allowed, concerns, licence, main, of_advisories, of_files, of_licences, of_lock
from tools.lock import LOCK, Pin, pins

HASH = "0" * 64


def advisory(name: str = "fastapi", **affected: Any) -> dict[str, Any]:
    package = {"ecosystem": "PyPI", "name": name}
    return {"id": "X-1", "summary": "Bad.", "affected": [{"package": package, **affected}]}


def ranges(*events: dict[str, str]) -> dict[str, Any]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": list(events)}]}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that makes an installed distribution of one file."""

    def make(*lines: str, content: str = "x = 1\n", digest: str | None = None) -> Distribution:
        info = tmp_path / "thing-1.0.dist-info"
        info.mkdir(exist_ok=True)
        (tmp_path / "thing.py").write_text(content)
        (info / "METADATA").write_text("\n".join(["Metadata-Version: 2.4", "Name: thing", "Version: 1.0", *lines]))
        digest = digest or "BvlbYpHDLKmBR1A5TVgH8fvi4xqsLpkTcu2LV-xjo1k"
        (info / "RECORD").write_text(f"thing.py,sha256={digest},6\n")
        return Distribution.at(info)

    return make


class TestLock:
    def test_ours_is_read_whole(self) -> None:
        found = pins(LOCK.read_text())
        assert len(found) > audit.LEAST_PINS
        assert len(found) == len(re.findall(r"^[a-z0-9][\w.-]*==", LOCK.read_text(), re.MULTILINE))
        assert all(one.hashes for one in found)

    def test_a_line_that_is_no_pin_is_not_passed_over(self) -> None:
        for line in ("thing>=1", "thing", "git+https://example.com/x", "-r other.txt"):
            with pytest.raises(ValueError, match="no pin"):
                pins(line)

    def test_what_is_not_locked_or_has_no_hash_is_found(self, installed: Any) -> None:
        thing = installed()
        assert of_lock([Pin("thing", "1.0", (HASH,), "")], [thing])[1] == []
        assert "not in the lock" in of_lock([], [thing])[1][0]
        assert "the lock has 2.0" in of_lock([Pin("thing", "2.0", (HASH,), "")], [thing])[1][0]
        assert "no hash" in of_lock([Pin("thing", "1.0", (), "")], [thing])[1][0]


class TestFiles:
    def test_a_changed_or_missing_file_is_found(self, installed: Any, tmp_path: Path) -> None:
        from base64 import urlsafe_b64encode
        from hashlib import sha256

        right = urlsafe_b64encode(sha256(b"x = 1\n").digest()).rstrip(b"=").decode()
        assert of_files([installed(digest=right)]) == (1, [])
        assert of_files([installed(digest=right, content="x = 2\n")])[1] == ["thing: thing.py was changed"]
        (tmp_path / "thing.py").unlink()
        assert of_files([Distribution.at(tmp_path / "thing-1.0.dist-info")])[1] == ["thing: thing.py is missing"]


class TestLicences:
    @pytest.mark.parametrize(
        ("line", "fits"),
        [
            ("License-Expression: MIT", True),
            ("License-Expression: GPL-3.0-only OR MIT", True),
            ("License-Expression: GPL-3.0-only AND MIT", False),
            ("License-Expression: AGPL-3.0-only", False),
            ("License: Apache 2.0", True),
            ("License: Proprietary", False),
            ("Classifier: License :: OSI Approved :: MIT License", True),
            ("Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)", False),
            ("Classifier: Programming Language :: Python", False),
        ],
    )
    def test_only_those_on_the_list_are_allowed(self, installed: Any, line: str, fits: bool) -> None:
        assert (of_licences([installed(line)])[1] == []) is fits

    def test_all_that_is_installed_here_is_allowed(self) -> None:
        ours = [one for one in distributions() if one.name.lower() not in {"penstock", *audit.BOOTSTRAP}]
        count, findings = of_licences(ours)
        assert count >= audit.LEAST_INSTALLED
        assert findings == []
        assert allowed("MIT")
        assert all(licence(one) for one in ours)


class TestAdvisories:
    LOCKED: ClassVar = [Pin("fastapi", "1.5", (HASH,), "")]

    @pytest.mark.parametrize(
        ("affected", "hit"),
        [
            ({"versions": ["1.5"]}, True),
            ({"versions": ["1.4"]}, False),
            (ranges({"introduced": "0"}), True),
            (ranges({"introduced": "0"}, {"fixed": "1.5"}), False),
            (ranges({"introduced": "0"}, {"fixed": "1.5.1"}), True),
            (ranges({"introduced": "1.6"}), False),
            (ranges({"introduced": "0"}, {"last_affected": "1.5"}), True),
            (ranges({"introduced": "0"}, {"last_affected": "1.4.9"}), False),
            (ranges({"introduced": "0"}, {"fixed": "1.0"}, {"introduced": "1.4"}, {"fixed": "2"}), True),
            (ranges({"introduced": "nonsense"}), True),
        ],
    )
    def test_versions_and_ranges(self, affected: dict[str, Any], hit: bool) -> None:
        assert concerns("1.5", affected) is hit
        assert bool(of_advisories(self.LOCKED, [advisory(**affected)])[1]) is hit

    def test_other_names_and_withdrawn_ones_do_not_count(self) -> None:
        everything = ranges({"introduced": "0"})
        assert of_advisories(self.LOCKED, [advisory("FastAPI", **everything)])[1] == ["fastapi 1.5: X-1 Bad."]
        assert of_advisories(self.LOCKED, [advisory("other", **everything)]) == (1, [])
        assert of_advisories(self.LOCKED, [{**advisory(**everything), "withdrawn": "2026"}]) == (1, [])


class TestMain:
    @pytest.fixture(autouse=True)
    def _few(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(audit, "of_files", lambda installed: (LEAST_FILES, []))

    def test_without_advisories_it_fails_unless_that_is_said(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([]) == 1
        assert "advisories: NOT looked at" in capsys.readouterr().out

    def test_an_export_of_nothing_proves_nothing(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
            archive.writestr("X-1.json", json.dumps(advisory("other", versions=["1"])))
        assert main(["--advisories", str(tmp_path / "all.zip")]) == 1
        assert "this proves nothing" in capsys.readouterr().out

    def test_with_nothing_installed_it_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(audit, "distributions", list)
        assert main(["--offline"]) == 1
