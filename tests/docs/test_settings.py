from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from penstock.settings import Settings

PAGE = Path(__file__).resolve().parents[2] / "docs" / "settings.md"


def written(default: object) -> str:
    """A default as the page shows it."""
    return str(default).lower() if isinstance(default, bool) else str(default) or "empty"


def test_the_page_has_every_setting_with_its_default_and_no_other() -> None:
    rows = re.findall(r"^\| `(PENSTOCK_\w+)` \| `?([^`|]*?)`? \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    described = {name: default for name, default, meaning in rows if meaning.strip()}
    assert described == {f"PENSTOCK_{field.name.upper()}": written(field.default) for field in fields(Settings)}
