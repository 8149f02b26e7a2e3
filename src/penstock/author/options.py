"""What is said of a step or a pipeline where it is declared: a configuration, and the functions that it names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import cached_property
from typing import Any, Generic

from penstock.author.source import source_of
from penstock.errors import AuthoringError, InvalidInput
from penstock.model.configuration import C, CachePolicy, Settings, laid_over
from penstock.model.reading import read

HOOKS = ("on_start", "on_success", "on_failure", "on_end", "on_init", "on_cleanup")


class Options(Generic[C]):
    """Immutable. `named` is what a snapshot holds: functions by their names. `function` leads back from a name."""

    def __init__(self, said: C, hooks: Mapping[str, Callable[..., Any] | str]) -> None:
        self._said: C = said
        self._hooks = dict(hooks)

    @cached_property
    def named(self) -> C:
        """The configuration, every function in it by its name (`module:attribute`)."""
        hooks: dict[str, Any] = {
            name: hook if isinstance(hook, str) else source_of(hook) for name, hook in self._hooks.items()
        }
        policy = self._said.cache_policy
        settings = named_functions(self._said.settings)
        policy = None if policy is None else _named_policy(policy)
        named: C = replace(self._said, **hooks, settings=settings, cache_policy=policy)
        return named

    def function(self, name: str) -> Callable[..., Any] | None:
        """The function that was given here and is called `name`; None for one that must be imported."""
        return self._functions.get(name)

    def over(self, below: Options[C]) -> Options[C]:
        """What `below` says, with what is said here in its place."""
        return Options(laid_over(below._said, self._said), {**below._hooks, **self._hooks})

    @cached_property
    def _functions(self) -> dict[str, Callable[..., Any]]:
        given = [*self._hooks.values(), *_functions_of(self._said.cache_policy), *functions_in(self._said.settings)]
        return {source_of(one): one for one in given if callable(one)}


def options(kind: type[C], what: str, given: Mapping[str, Any]) -> Options[C]:
    """The options `given` to a decorator. Raises `AuthoringError` with every unknown name and wrong value."""
    hooks = {name: given[name] for name in HOOKS if given.get(name) is not None}
    wrong = [name for name, hook in hooks.items() if not (isinstance(hook, str) or hasattr(hook, "__qualname__"))]
    if wrong:
        raise AuthoringError(f"{what}: {wrong[0]}={hooks[wrong[0]]!r} is no function, and no name of one.")
    fit = {one.name for one in fields(kind)}.intersection(hooks)
    try:
        plain = {name: value for name, value in given.items() if name not in fit and value is not None}
        return Options(read(kind, _with_records(plain), what=f"What is said of {what}"), hooks)
    except InvalidInput as error:
        raise AuthoringError(error.detail, errors=error.errors) from None


def _with_records(given: Mapping[str, Any]) -> dict[str, Any]:
    """Single texts where lists are meant (`tags="x"`) as lists, as people write them in Python."""
    return {
        name: [value] if name in ("tags", "secrets") and isinstance(value, str) else value
        for name, value in given.items()
    }


def _named_policy(policy: CachePolicy) -> CachePolicy:
    return replace(
        policy,
        cache_func=None if policy.cache_func is None else _name(policy.cache_func),
        source_dependencies=tuple(map(_name, policy.source_dependencies)),
    )


def _name(thing: Any) -> str:
    if isinstance(thing, str):
        return thing
    return str(thing.__name__) if _is_module(thing) else source_of(thing)


def named_functions(settings: Settings) -> Settings:
    """The same settings, with functions and classes of the deployment by their names."""
    said = settings.deployment
    if said is None:
        return settings
    members: dict[str, Any] = {name: _name_in_settings(getattr(said, name)) for name in _CALLED}
    for name, member in _BROUGHT.items():
        members[name] = tuple(
            replace(one, **{member: _name_in_settings(getattr(one, member))}) for one in getattr(said, name)
        )
    return replace(settings, deployment=replace(said, **members))


def functions_in(settings: Settings) -> list[Any]:
    """The functions and classes that stand in the settings of the deployment."""
    said = settings.deployment
    if said is None:
        return []
    brought = [getattr(one, member) for name, member in _BROUGHT.items() for one in getattr(said, name)]
    return [*(getattr(said, name) for name in _CALLED), *brought]


_CALLED = ("startup_hook", "shutdown_hook")
_BROUGHT = {"custom_endpoints": "handler", "custom_middlewares": "middleware", "app_extensions": "extension"}


def _name_in_settings(thing: Any) -> str | None:
    return thing if thing is None or isinstance(thing, str) else source_of(thing)


def _is_module(thing: Any) -> bool:
    return type(thing).__name__ == "module"


def _functions_of(policy: CachePolicy | None) -> list[Any]:
    if policy is None:
        return []
    return [policy.cache_func, *(one for one in policy.source_dependencies if not _is_module(one))]


def file_options(path: Any) -> Options[Any]:
    """The run configuration in a file as options. Raises `InvalidInput` with the place of every mistake."""
    # Files of configuration belong to the client, and few pipelines read one while they are declared.
    from penstock.client import configuration

    return Options(configuration.checked(configuration.read(path)), {})
