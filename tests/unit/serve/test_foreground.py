from __future__ import annotations

from pathlib import Path

import pytest

from penstock.serve import foreground


def test_files_that_come_and_go_while_they_are_looked_at_are_no_end_of_looking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("kept.py", "gone.py", "notes.txt"):
        (tmp_path / name).touch()
    (tmp_path / "dangling.py").symlink_to(tmp_path / "nowhere")
    stat = Path.stat

    def going(path: Path, **how: bool) -> object:
        found = stat(path, **how)
        if path.name == "gone.py":
            path.unlink()
        return found

    monkeypatch.setattr(Path, "stat", going)
    foreground._times(tmp_path)
    monkeypatch.undo()
    assert list(foreground._times(tmp_path)) == [tmp_path / "kept.py"]
