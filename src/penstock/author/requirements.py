"""What a pipeline requires: said over it, taken from a file that it names, or from the block in its own script (PEP 723)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from penstock.errors import AuthoringError, InvalidInput, fault
from penstock.model.fitting import checked
from penstock.model.requirements import Requirements

FILES = (".txt", ".in", ".lock", ".toml", ".py")
"""How the name of a file ends from which requirements are taken; any other text is a requirement itself."""

LOCKS = ("uv.lock", "pylock.toml")
"""Taken as constraints where they lie beside a `pyproject.toml`."""

_SCRIPT = re.compile(r"(?m)^# /// script[ \t]*$\s(?P<lines>(^#(| .*)$\s)+)^# ///[ \t]*$")
_OPTION = re.compile(r"(--?[a-z-]+)[= ]*(.*)")
_EXTRAS = re.compile(r"(.*\.toml)\[([\w.,\s-]+)\]")
_DEEPEST = 20


def required(given: str | Path | Iterable[str] | None, python: str | None, file: Path | None) -> Requirements | None:
    """What a pipeline in `file` requires, of what its author said; None if nobody said anything.

    Without a word of the author, the block in the script itself holds. A `python` that was said goes before that of a file.
    Raises `AuthoringError` with every mistake and its place.
    """
    try:
        found = _found(given, python, file)
        return None if found is None else checked(found)
    except InvalidInput as error:
        mistakes = [{**one, "pointer": one["pointer"].replace("/packages", "/requirements")} for one in error.errors]
        raise AuthoringError(error.detail, errors=mistakes) from None


def _found(given: str | Path | Iterable[str] | None, python: str | None, file: Path | None) -> Requirements | None:
    if given is None:
        block = _block(file) if file is not None else None
        if block is None and python is None:
            return None
        taken = _of_script(block or {}, str(file))
    elif isinstance(given, Path) or (isinstance(given, str) and _is_file(given)):
        taken = _of_file(str(given), file)
    else:
        taken = Requirements(packages=_texts([given] if isinstance(given, str) else given))
    return Requirements(
        python=taken.python if python is None else python, packages=taken.packages, constraints=taken.constraints
    )


def _texts(given: Any) -> tuple[str, ...]:
    listed = tuple(given) if isinstance(given, Iterable) else (given,)
    wrong = [index for index, one in enumerate(listed) if not isinstance(one, str)]
    if wrong:
        mistakes = [fault(f"/requirements/{index}", f"{listed[index]!r} is no text.") for index in wrong]
        raise AuthoringError("Requirements are texts, or the name of a file that has them.", errors=mistakes)
    return listed


def _is_file(text: str) -> bool:
    bare = _EXTRAS.fullmatch(text)
    return (bare[1] if bare else text).endswith(FILES) and "@" not in text


def _of_file(name: str, file: Path | None) -> Requirements:
    """What the file called `name` says; it is looked for beside the pipeline's own, and then in the folders above that."""
    extras: tuple[str, ...] = ()
    with_extras = _EXTRAS.fullmatch(name)
    if with_extras:
        name, extras = with_extras[1], tuple(one.strip() for one in with_extras[2].split(","))
    path = _located(name, file)
    if path.suffix == ".py":
        block = _block(path)
        if block is None:
            raise AuthoringError(f"{path} has no block of requirements (`# /// script`, PEP 723).")
        return _of_script(block, str(path))
    if path.name in LOCKS:
        raise AuthoringError(f"{path} locks a project: name its pyproject.toml, and the lock beside it is taken too.")
    if path.suffix == ".toml":
        return _of_project(path, extras)
    packages: list[str] = []
    constraints: list[str] = []
    _read_lines(path, packages, constraints, ())
    return Requirements(packages=tuple(packages), constraints=tuple(constraints))


def _located(name: str, file: Path | None) -> Path:
    path = Path(name).expanduser()
    start = Path.cwd() if file is None else file.resolve().parent
    for folder in [start] if path.is_absolute() else [start, *start.parents]:
        if (folder / path).is_file():
            return folder / path
        if (folder / ".git").exists():
            break
    where = "" if path.is_absolute() else f" in {start}, nor in a folder above it"
    raise AuthoringError(f"There is no file '{name}'{where}.")


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise AuthoringError(f"{path} cannot be read: {error}.") from error


def _toml(text: str, what: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AuthoringError(f"{what} is no TOML: {error}.") from None


# requirements.txt


def _read_lines(path: Path, packages: list[str], constraints: list[str], inside: tuple[Path, ...]) -> None:
    """Take in the lines of a file for pip, and of those that it names."""
    if path in inside or len(inside) > _DEEPEST:
        raise AuthoringError(f"{path} names itself, by way of {', '.join(map(str, inside))}.")
    for number, line in _lines(_text(path)):
        if not line.startswith("-"):
            packages.append(line)
            continue
        option = _OPTION.fullmatch(line)
        name, value = (option[1], option[2].strip()) if option else (line, "")
        if name in ("-r", "--requirement", "-c", "--constraint") and value:
            into = packages if name in ("-r", "--requirement") else constraints
            _read_lines((path.parent / value).resolve(), into, constraints, (*inside, path))
        else:
            raise AuthoringError(f"{path}, line {number}: '{line}' cannot be frozen. {_ADVICE.get(name, _ELSE)}")


_EDITABLE = "The code of the pipeline is frozen with it; name packages by name, or as `name @ URL`."
_ADVICE = {"-e": _EDITABLE, "--editable": _EDITABLE}
_ELSE = "Where packages come from is for the runner to know: set UV_INDEX_URL, UV_FIND_LINKS and the like there."


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Each line that says something, with its number: without comments, with those that go on after a backslash."""
    whole = ""
    for number, line in enumerate(text.splitlines(), start=1):
        whole += re.sub(r"(^|\s)#.*$", "", line)
        if whole.endswith("\\"):
            whole = whole[:-1].rstrip() + " "
        elif whole.strip():
            yield number, whole.strip()
            whole = ""
        else:
            whole = ""
    if whole.strip():
        yield number, whole.strip()


# Scripts and projects


def _block(file: Path) -> dict[str, Any] | None:
    """The block of a script that says what it requires (PEP 723)."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    found = list(_SCRIPT.finditer(text)) if "# /// script" in text else []
    if len(found) > 1:
        raise AuthoringError(f"{file} has {len(found)} blocks of requirements (`# /// script`); there must be one.")
    if not found:
        return None
    lines = found[0]["lines"].splitlines()
    return _toml("\n".join(line[2:] if line.startswith("# ") else line[1:] for line in lines), f"The block of {file}")


def _of_script(block: dict[str, Any], what: str) -> Requirements:
    packages = _texts(block.get("dependencies", ()))
    _check_sources(block, packages, what)
    return Requirements(python=block.get("requires-python"), packages=packages)


def _of_project(path: Path, extras: tuple[str, ...]) -> Requirements:
    """What a `pyproject.toml` says of the project, and the lock beside it of everything below."""
    whole = _toml(_text(path), str(path))
    project = whole.get("project")
    if not isinstance(project, dict):
        raise AuthoringError(f"{path} has no table [project]: write its dependencies there (PEP 621).")
    unsaid = {"dependencies", "optional-dependencies", "requires-python"}.intersection(project.get("dynamic", ()))
    if unsaid:
        raise AuthoringError(f"{path} leaves {', '.join(sorted(unsaid))} to its build (`dynamic`): write it out.")
    packages = tuple(_with_extras(path, project, extras))
    _check_sources(whole, packages, str(path))
    lock = next((path.with_name(name) for name in LOCKS if path.with_name(name).is_file()), None)
    constraints = () if lock is None else tuple(_locked(lock))
    return Requirements(python=project.get("requires-python"), packages=packages, constraints=constraints)


def _with_extras(path: Path, project: dict[str, Any], extras: tuple[str, ...]) -> Iterator[str]:
    """The dependencies of the project and of these extras; an extra may name others of the project itself."""
    own = canonicalize_name(str(project.get("name", "")))
    optional: dict[str, Any] = {
        canonicalize_name(name): lines for name, lines in project.get("optional-dependencies", {}).items()
    }
    waiting: list[str] = [canonicalize_name(one) for one in extras]
    seen: set[str] = set()
    yield from _texts(project.get("dependencies", ()))
    while waiting:
        extra = waiting.pop()
        if extra not in optional:
            mistake = fault("/requirements", f"{path} has no extra '{extra}'.", allowed=optional, given=extra)
            raise AuthoringError(f"'{extra}' is no extra of the project.", errors=[mistake])
        for line in _texts(optional[extra]) if extra not in seen else ():
            others = _extras_of(own, line)
            waiting += others
            if not others:
                yield line
        seen.add(extra)


def _extras_of(own: str, line: str) -> list[str]:
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return []  # the check of all lines says what is wrong with it
    return [canonicalize_name(one) for one in requirement.extras] if canonicalize_name(requirement.name) == own else []


def _check_sources(whole: dict[str, Any], packages: tuple[str, ...], what: str) -> None:
    """Raise if a tool's own table says that a package comes from somewhere else."""
    sources = {canonicalize_name(one) for one in whole.get("tool", {}).get("uv", {}).get("sources", {})}
    for line in packages:
        name = re.match(r"[\w.-]*", line)
        if name and canonicalize_name(name[0]) in sources:
            raise AuthoringError(
                f"{what}: [tool.uv.sources] says where '{name[0]}' comes from, which cannot be frozen. "
                f"Write it as `{name[0]} @ URL`."
            )


def _locked(lock: Path) -> Iterator[str]:
    """Each package of the lock with its version, and where a version holds for some machines only, with its marker."""
    whole = _toml(_text(lock), str(lock))
    for one in whole.get("package" if lock.name == "uv.lock" else "packages", ()):
        name, version, source = one.get("name"), one.get("version"), one.get("source", {"registry": ""})
        if any(key in source for key in ("editable", "virtual")) or "directory" in one:
            continue  # the project itself
        if version is None or "registry" not in source or "vcs" in one or "archive" in one:
            raise AuthoringError(
                f"{lock} has '{name}' from {source or 'a place of its own'}, which is no index: such a lock cannot be frozen. "
                f"Name what is required in a file of its own, '{name}' as `{name} @ URL`."
            )
        markers = one.get("resolution-markers") or [marker for marker in [one.get("marker")] if marker]
        yield f"{name}=={version}" + (f" ; {' or '.join(f'({one})' for one in markers)}" if markers else "")
