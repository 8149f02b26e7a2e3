"""What the laws in pyproject.toml cannot say: that they cover every room, and that what is declared is what is used."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "penstock"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.lock").read_text()

# uvicorn looks for these two by itself.
LOADED_BY_OTHERS = {"httptools", "uvloop"}
# fsspec and SQLAlchemy look for these; uv is a program.
PLACES = {"s3", "gcs", "azure", "postgres", "environments"}


def normal(name: str) -> str:
    """The name of a distribution in the one form that the index uses."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    """The distributions that these requirement lines name, without Penstock's own extras."""
    names = {normal(match[0]) for line in requirements if (match := re.match(r"[\w.-]+", line))}
    return names - {"penstock"}


RUNTIME = declared(PROJECT["project"]["dependencies"])
EXTRAS = {name: declared(lines) for name, lines in PROJECT["project"]["optional-dependencies"].items()}


def imported() -> Iterator[tuple[str, str]]:
    """Every top-level package that the product imports, with the file that does."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                yield name.partition(".")[0], path.relative_to(PACKAGE).as_posix()


DISTRIBUTIONS = packages_distributions()
THIRD_PARTY = {
    (normal(distribution), file)
    for package, file in imported()
    if package not in sys.stdlib_module_names and package != "penstock"
    for distribution in DISTRIBUTIONS.get(package, [package])
}


def test_what_the_product_imports_is_declared() -> None:
    known = RUNTIME.union(*(names for extra, names in EXTRAS.items() if extra not in ("dev", "examples")))
    # Parts of a declared distribution's public face: FastAPI's requests and responses, pydantic's core schemas.
    # Its packages share one name with that of another distribution, which they bring.
    known |= {"pydantic-core", "starlette", "opentelemetry-semantic-conventions"}
    assert sorted((name, file) for name, file in THIRD_PARTY if name not in known) == []


def test_what_is_declared_is_imported() -> None:
    values = set().union(*(names for extra, names in EXTRAS.items() if extra not in {"dev", "examples", *PLACES}))
    used = {name for name, _ in THIRD_PARTY}
    assert sorted((RUNTIME | values) - used - LOADED_BY_OTHERS) == []


def pins() -> dict[str, str]:
    """Each pinned distribution of the lock with its lines."""
    blocks = re.split(r"\n(?=[a-z0-9])", LOCK.partition("\n\n")[2] or LOCK)
    found = {}
    for block in blocks:
        match = re.match(r"([a-z0-9][\w.-]*)==", block)
        if match:
            found[normal(match[1])] = found.get(normal(match[1]), "") + block
    return found


class TestLock:
    def test_every_pin_has_hashes(self) -> None:
        assert len(pins()) > 50
        assert [name for name, block in pins().items() if "--hash=sha256:" not in block] == []

    def test_everything_that_is_declared_is_pinned(self) -> None:
        wanted = RUNTIME | EXTRAS["dev"] | EXTRAS["examples"] | EXTRAS["pandas"] | EXTRAS["sklearn"] | EXTRAS["s3"]
        assert sorted(wanted - set(pins())) == []

    def test_it_names_no_host_and_no_place_of_a_machine(self) -> None:
        assert re.findall(r".*(?:://|--(?:extra-)?index|--find-links|file:|\s/\w).*", LOCK) == []

    def test_the_build_backend_is_pinned_too(self) -> None:
        assert declared(PROJECT["build-system"]["requires"]) <= set(pins())


class TestRooms:
    ROOMS = sorted(path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.glob("*.py")))

    def contract(self, word: str) -> dict[str, list[str]]:
        [found] = [one for one in PROJECT["tool"]["importlinter"]["contracts"] if word in one["name"]]
        return found

    @pytest.mark.parametrize("room", ROOMS)
    def test_a_room_has_a_caption(self, room: str) -> None:
        assert ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text()))

    def test_every_room_of_the_data_tower_is_kept_from_the_database(self) -> None:
        tower = {
            f"penstock.{room}" for room in ("runtime", "serve", "author", "client", "fastapi") if room in self.ROOMS
        }
        assert set(self.contract("data tower")["source_modules"]) == tower

    def test_every_room_but_the_store_is_kept_from_sql(self) -> None:
        others = {f"penstock.{room}" for room in self.ROOMS if room != "store"}
        assert set(self.contract("SQL only")["source_modules"]) == others

    def test_a_flavor_is_kept_from_every_room_but_its_own_and_the_nouns(self) -> None:
        ground = {"errors", "ids", "locks", "version"}
        files = {path.stem for path in PACKAGE.glob("[a-z]*.py")}
        others = {f"penstock.{name}" for name in (*self.ROOMS, *files) if name not in {"model", "stack", *ground}}
        assert set(self.contract("flavor")["forbidden_modules"]) == others


def stands_for(test: Path, folder: Path) -> bool:
    """Whether `test_x.py`, or `test_x_part.py` of a test that was cut in parts, has its `x.py` in `folder`."""
    words = test.stem.removeprefix("test_").split("_")
    return any((folder / f"{'_'.join(words[:count])}.py").exists() for count in range(1, len(words) + 1))


def test_unit_tests_stand_where_their_source_stands() -> None:
    tests = ROOT / "tests" / "unit"
    strays = [
        path.relative_to(ROOT).as_posix()
        for room in TestRooms.ROOMS
        for path in (tests / room).rglob("test_*.py")
        if not stands_for(path, PACKAGE / path.parent.relative_to(tests))
    ]
    assert strays == []


def test_the_typed_marker_is_shipped() -> None:
    assert (PACKAGE / "py.typed").exists()
