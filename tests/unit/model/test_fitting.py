from __future__ import annotations

import pytest

from penstock.errors import InvalidInput
from penstock.model.fitting import Installed, checked, misfits, wanted
from penstock.model.requirements import Requirements

HASH = f"sha256:{'a' * 64}"


class TestChecked:
    def test_there_is_one_form_of_it(self) -> None:
        one = checked(Requirements(python="< 4, >=3.11", packages=("b>=1", "a [x] ==2 ; python_version>'3'", "b>=1")))
        two = checked(Requirements(python=">=3.11,<4", packages=('a[x]==2; python_version > "3"', "b>=1")))
        assert one == two
        assert one.digest() == two.digest()
        assert one.digest() != Requirements().digest()

    def test_hashes_are_kept(self) -> None:
        assert wanted(f"a==1 --hash={HASH}").hashes == (HASH,)
        assert checked(Requirements(packages=(f"a==1   --hash={HASH}",))).packages == (f"a==1 --hash={HASH}",)

    @pytest.mark.parametrize(
        ("said", "means"),
        [("3.11", "==3.11.*"), ("3", "==3.*"), ("3.11.7", "==3.11.7"), (">=3.11", ">=3.11"), ("", None)],
    )
    def test_a_version_of_python_is_written_as_people_do(self, said: str, means: str | None) -> None:
        assert checked(Requirements(python=said)).python == means

    @pytest.mark.parametrize(
        ("line", "why"),
        [
            ("pandas=1", "no requirement"),
            ("a\nRUN rm -rf /", "line break"),
            ("-r /etc/passwd", "an option"),
            ("--index-url https://evil", "an option"),
            ("a --hash=sha256:1", "no requirement"),
            ("a @ https://me:secret@host/a.whl", "credentials"),
            ("", "no requirement"),
            ("../a", "no requirement"),
        ],
    )
    def test_every_mistake_is_told_with_its_place(self, line: str, why: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            checked(Requirements(python="new", packages=("fine", line), constraints=(line,)), at=("environment",))
        pointers = {one["pointer"]: one["message"] for one in caught.value.errors}
        assert pointers.keys() == {"/environment/packages/1", "/environment/constraints/0", "/environment/python"}
        assert why in pointers["/environment/packages/1"]
        assert "secret" not in why

    def test_addresses_without_secrets_will_do(self) -> None:
        for line in ("a @ file:///tmp/a.whl", "a @ git+ssh://git@github.com/x/y", "a @ https://host/a.whl#sha256=1"):
            assert wanted(line).requirement.url


def fits(packages: tuple[str, ...], constraints: tuple[str, ...] = (), python: str | None = None) -> list[str]:
    here = {
        "tiny": Installed("1.0", needs=("below>=1", 'more>=2; extra == "plus"', "odd", "!! not readable")),
        "below": Installed("1.5"),
        "more": Installed("1.0"),
        "local": Installed("3", url="file:///tmp/local.whl"),
        "early": Installed("2.0rc1"),
        "broken": Installed("one"),
    }
    return misfits(Requirements(python=python, packages=packages, constraints=constraints), "3.11.7", here.get)


class TestMisfits:
    def test_what_is_there_fits(self) -> None:
        assert fits(("tiny==1", "below<2", "local @ file:///tmp/local.whl", "early>=2.0rc1")) == []
        assert fits(("absent ; python_version < '3'",)) == []
        assert fits((), python=">=3.11,<4") == []

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            ("absent>=1", "absent is not installed"),
            ("tiny>=2", "tiny 1.0 is installed, and >=2 is required"),
            ("tiny[plus]", "more 1.0 is installed, and >=2 is required"),
            ("local @ file:///tmp/other.whl", "local was installed from file:///tmp/local.whl, and"),
            ("tiny @ file:///tmp/tiny.whl", "tiny was installed from an index, and"),
            ("broken>=1", "broken one is installed"),
        ],
    )
    def test_what_does_not_is_told(self, line: str, told: str) -> None:
        [found] = fits((line,))
        assert found.startswith(told)

    def test_python_is_looked_at(self) -> None:
        assert fits((), python=">=3.12") == ["it is Python 3.11.7, and >=3.12 is required"]

    def test_a_lock_holds_for_what_the_requirements_need_in_turn(self) -> None:
        assert fits(("tiny",)) == []
        assert fits(("tiny",), ("below==1.5", "unused==7", "more==9 ; python_version < '3'")) == []
        assert fits(("tiny",), ("below==2",)) == ["below 1.5 is installed, and ==2 is required"]
