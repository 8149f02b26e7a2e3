"""A signature as JSON Schema, and JSON values as what the signature wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields, is_dataclass
from functools import cached_property
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin, is_typeddict
from weakref import WeakKeyDictionary

from penstock.author.annotations import hints, resolved, type_text
from penstock.author.signature import Signature, plain
from penstock.errors import AuthoringError, InvalidInput, fault, pointer
from penstock.model.artifact import REFERENCE_SCHEMA as ARTIFACT
from penstock.model.secret import SCHEMA as SECRET

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

    from penstock.author.step import Step

_SCALARS: dict[type, dict[str, Any]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
}
"""What pydantic says of these, known without it: importing pydantic takes longer than a small pipeline runs."""


def parameter_schema(function: Callable[..., Any]) -> dict[str, Any]:
    """JSON Schema 2020-12 (type `object`) of the arguments of a pipeline function: the contract that callers see.

    A value of a class that JSON cannot give, such as a data frame, is given as a reference to an artifact. Raises
    `AuthoringError` for an argument that is neither, and for a default that is no JSON or does not fit.
    """
    arguments = _arguments(function)
    artifacts = artifact_parameters(function)
    for name in arguments.names:
        if not arguments.describable(name) and name not in artifacts:
            raise AuthoringError(
                f"Parameter '{name}' of {_where(function)} has type {type_text(arguments.wanted[name])}, which cannot be given "
                "as JSON. Take a name or an address of the data instead, and load the data in a step. "
                f"(pydantic: {arguments.reasons[name]})"
            )
    return arguments.schema(arguments.names, artifacts=artifacts)


def artifact_parameters(function: Callable[..., Any]) -> Mapping[str, str]:
    """The arguments of a pipeline function that are artifacts, with the class that each of them is to be."""
    return _arguments(function).artifacts


def step_schema(step: Step, without: Collection[str] = ()) -> dict[str, Any]:
    """JSON Schema 2020-12 (type `object`) of those arguments of `step` that JSON can give; `without` are left out.

    A default that is no JSON is left out too: the step has it, and nobody needs to give it.
    """
    arguments = _arguments(step.function)
    return arguments.schema([name for name in arguments.names if name not in without], lenient=True)


def coerce(
    function: Callable[..., Any], values: Mapping[str, Any], *, at: tuple[str, ...] = ("parameters",)
) -> dict[str, Any]:
    """`values` as the annotated types of the arguments of `function`: `"5"` as 5, a mapping as a dataclass.

    Only what is given is looked at. Arguments without an annotation, and of types that JSON cannot give, pass unchanged.
    Raises `InvalidInput` with all mistakes; their pointers begin with `at`.
    """
    arguments = _arguments(function)
    faults: list[dict[str, Any]] = []
    result = {}
    for name, value in values.items():
        if name in arguments.wanted:
            result[name] = arguments.convert(name, value, (*at, name), faults)
        elif arguments.open:
            result[name] = value
        else:
            problem = fault(pointer(*at, name), "There is no such parameter.", allowed=arguments.names, given=name)
            faults.append(problem)
    if faults:
        raise InvalidInput(f"The values do not fit {_where(function)}.", errors=faults)
    return result


class _Arguments:
    """The arguments of one function. Adapters are made when they are first needed, by one thread at a time."""

    def __init__(self, function: Callable[..., Any]) -> None:
        inner = plain(function)
        assert inner is not None, function
        signature, found = Signature(_where(function), inner), hints(function)
        self.where = _where(function)
        self.names = signature.names
        self.open = signature.open
        self.defaults = signature.defaults
        self.wanted = {name: self._wanted(name, found.get(name, Any)) for name in self.names}
        self.exact = {name: _exact(wanted) for name, wanted in self.wanted.items()}
        self.reasons: dict[str, str] = {}
        """Why JSON cannot give some of them."""

        self._adapters: dict[str, TypeAdapter[Any] | None] = {}
        self._lock = threading.RLock()

    def _wanted(self, name: str, annotation: Any) -> Any:
        if not resolved(annotation):
            return Any
        if name in self.defaults and self.defaults[name] is None:
            return _optional(annotation)  # `x: int = None` is common, and means it
        return annotation

    @cached_property
    def artifacts(self) -> Mapping[str, str]:
        """Those that JSON cannot give, with the class that each of them is to be."""
        kinds = {name: _only_class(self.wanted[name]) for name in self.names}
        return {
            name: type_text(kind) for name, kind in kinds.items() if kind is not None and not self.describable(name)
        }

    def describable(self, name: str) -> bool:
        """Whether some JSON value can become this argument."""
        return _plain_schema(self.wanted[name]) is not None or self.adapter(name) is not None

    def adapter(self, name: str) -> TypeAdapter[Any] | None:
        """What validates this argument; None if JSON cannot give it."""
        with self._lock:
            if name not in self._adapters:
                try:
                    self._adapters[name] = _adapter(self.wanted[name])
                except Exception as error:  # noqa: BLE001 - hooks of foreign types may raise anything here
                    self._adapters[name] = None
                    self.reasons[name] = (str(error).splitlines() or [type(error).__name__])[0]
            return self._adapters[name]

    def convert(self, name: str, value: Any, at: tuple[str, ...], faults: list[dict[str, Any]]) -> Any:
        """`value` as this argument's type; mistakes are added to `faults`."""
        exact = self.exact[name]
        if exact is None or type(value) in exact:
            return value
        adapter = self.adapter(name)
        if adapter is None:
            return value
        from pydantic import ValidationError  # see _SCALARS

        try:
            return adapter.validate_python(value)
        except ValidationError as error:
            faults += [_fault(detail, value, at) for detail in error.errors(include_url=False)]
            return None

    def schema(
        self, names: Collection[str], *, lenient: bool = False, artifacts: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """The JSON Schema of those of `names` that JSON can give, and of those in `artifacts`."""
        referred = {name: self._reference(name, kind) for name, kind in (artifacts or {}).items()}
        plain = [name for name in names if name not in referred and self.describable(name)]
        properties, definitions = self._properties(plain)
        properties |= referred
        described = [name for name in names if name in properties]
        for name in described:
            properties[name].pop("default", None)  # of a `Field(default=...)`: the function itself does not know it
            if name not in self.defaults:
                continue
            try:
                properties[name]["default"] = None if name in referred else self._default(name)
            except AuthoringError:
                if not lenient:
                    raise
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: properties[name] for name in described},
            "required": [name for name in described if name not in self.defaults],
            "additionalProperties": False,
        }
        return schema | ({"$defs": definitions} if definitions else {})

    def _reference(self, name: str, kind: str) -> dict[str, Any]:
        """The schema of an argument that is an artifact. Raises `AuthoringError` for a default other than None."""
        schema = {**ARTIFACT, "x-penstock-type": kind}
        if name not in self.defaults:
            return schema
        if self.defaults[name] is not None:
            raise AuthoringError(
                f"The default of parameter '{name}' of {self.where} is a {kind}, which JSON cannot give. {_ADVICE}"
            )
        return {"anyOf": [schema, {"type": "null"}]}

    def _properties(self, names: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        described = {name: dict(schema) for name in names if (schema := _plain_schema(self.wanted[name])) is not None}
        definitions: dict[str, Any] = {}
        adapters = {name: self.adapter(name) for name in names if name not in described}
        if adapters:
            from pydantic import TypeAdapter  # see _SCALARS

            # In one go: models of the same name must get different names in the shared definitions.
            schemas, shared = TypeAdapter.json_schemas(
                [(name, "validation", adapter) for name, adapter in adapters.items() if adapter is not None]
            )
            described |= {name: _by_reference(schema) for (name, _), schema in schemas.items()}
            definitions = _by_reference(shared.get("$defs", {}))
        return {name: described[name] for name in names}, definitions

    def _default(self, name: str) -> Any:
        """The default of this argument as JSON. Raises `AuthoringError` if it is none, or does not fit the annotation."""
        value, wanted = self.defaults[name], self.wanted[name]
        where = f"The default of parameter '{name}' of {self.where}"
        if type(value).__module__ in ("pydantic.fields", "pydantic.types"):
            raise AuthoringError(
                f"{where} is a {type(value).__name__} of pydantic. Python would pass that object on: write "
                f"`{name}: Annotated[TYPE, Field(...)] = VALUE`. A secret has no default at all."
            )
        if _holds_secret(value):
            raise AuthoringError(
                f"{where} holds a secret, and would be frozen with the code. A secret has no default at all."
            )
        exact = _exact(wanted)
        if type(value) not in (_SCALARS.keys() | {NoneType} if exact is None else exact):
            value = self._dumped(name, value, where)
        try:
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except (TypeError, ValueError) as error:
            raise AuthoringError(f"{where} is not JSON ({error}): {self.defaults[name]!r}. {_ADVICE}") from None
        return value

    def _dumped(self, name: str, value: Any, where: str) -> Any:
        from pydantic import ValidationError  # see _SCALARS
        from pydantic_core import PydanticSerializationError

        adapter = self.adapter(name)
        assert adapter is not None, name
        try:
            dumped = adapter.dump_python(adapter.validate_python(value), mode="json")
        except ValidationError as error:
            mistakes = "; ".join(detail["msg"] for detail in error.errors())
            raise AuthoringError(f"{where} does not fit its annotation: {mistakes}. It is {value!r}.") from None
        except PydanticSerializationError:
            raise AuthoringError(f"{where} is not JSON: {value!r}. {_ADVICE}") from None
        # The order of a set differs between processes, and equal content must have an equal digest.
        return sorted(dumped, key=repr) if isinstance(value, set | frozenset) else dumped


_ADVICE = "Use None as the default and make the value inside a step."

_cache: WeakKeyDictionary[Callable[..., Any], _Arguments] = WeakKeyDictionary()
_cache_lock = threading.Lock()


def _arguments(function: Callable[..., Any]) -> _Arguments:
    with _cache_lock:
        known = _cache.get(function)
        if known is None:
            known = _cache[function] = _Arguments(function)
        return known


def _only_class(annotation: Any) -> type | None:
    """The class that an annotation asks for, alone or besides None."""
    while get_origin(annotation) is Annotated:
        annotation = annotation.__origin__
    if get_origin(annotation) in (Union, UnionType):
        others = [one for one in get_args(annotation) if one is not NoneType]
        return _only_class(others[0]) if len(others) == 1 else None
    plain_class = isinstance(annotation, type) and get_origin(annotation) is None and not is_typeddict(annotation)
    return annotation if plain_class else None


def _where(function: Callable[..., Any]) -> str:
    return f"'{function.__qualname__}'"


def _optional(annotation: Any) -> Any:
    """`annotation`, None allowed."""
    if get_origin(annotation) is Annotated:
        inner = _optional(annotation.__origin__)
        return Annotated[(inner, *annotation.__metadata__)]
    taken = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return annotation if Any in taken or NoneType in taken else annotation | None


def _plain_schema(annotation: Any) -> dict[str, Any] | None:
    """The schema of a scalar, an optional scalar or `Any`; None for what pydantic has to be asked about."""
    if annotation is Any:
        return {}
    if is_secret(annotation):
        return dict(SECRET)
    if isinstance(annotation, type):
        return _SCALARS.get(annotation)
    if any(is_secret(one) for one in get_args(annotation)) and get_origin(annotation) in (Union, UnionType):
        return {"anyOf": [dict(SECRET), {"type": "null"}]}
    scalar = _optional_scalar(annotation)
    return {"anyOf": [dict(_SCALARS[scalar]), {"type": "null"}]} if scalar is not None else None


def is_secret(annotation: Any) -> bool:
    """Whether it is pydantic's `SecretStr`."""
    return getattr(annotation, "__name__", "") == "SecretStr" and annotation.__module__.startswith("pydantic")


def _holds_secret(value: Any) -> bool:
    """Whether pydantic's `SecretStr` or its kin stand somewhere inside."""
    if hasattr(value, "get_secret_value"):
        return True
    if isinstance(value, Mapping):
        return any(map(_holds_secret, value.values()))
    if isinstance(value, list | tuple | set | frozenset):
        return any(map(_holds_secret, value))
    if isinstance(value, type) or not (is_dataclass(value) or hasattr(type(value), "model_fields")):
        return False
    names = [one.name for one in fields(value)] if is_dataclass(value) else type(value).model_fields
    return any(_holds_secret(getattr(value, name, None)) for name in names)


def _by_reference(schema: Any) -> Any:
    """`schema`, with each secret inside a model given as a reference too."""
    if isinstance(schema, dict):
        if schema.get("format") == "password" and schema.get("writeOnly"):
            return {**SECRET, **{key: schema[key] for key in ("title", "description") if key in schema}}
        return {key: _by_reference(value) for key, value in schema.items()}
    return [_by_reference(item) for item in schema] if isinstance(schema, list) else schema


def _optional_scalar(annotation: Any) -> type | None:
    """`T` of `T | None`, if it is a scalar."""
    taken = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else ()
    scalars = [one for one in taken if isinstance(one, type) and one in _SCALARS]
    return scalars[0] if len(taken) == 2 and len(scalars) == 1 and NoneType in taken else None


def _exact(annotation: Any) -> frozenset[type] | None:
    """The types of plain values that need no conversion; None: whatever comes needs none."""
    if annotation is Any:
        return None
    scalar = _optional_scalar(annotation)
    if scalar is not None:
        return frozenset({scalar, NoneType})
    return frozenset({annotation} if isinstance(annotation, type) and annotation in _SCALARS else ())


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # see _SCALARS

    adapter = TypeAdapter(annotation)
    adapter.json_schema()  # some types can be checked, but not described
    return adapter


def _fault(detail: ErrorDetails, value: Any, at: tuple[str, ...]) -> dict[str, Any]:
    """An error of pydantic as ours. Its location also names members of unions; a pointer has only real places."""
    path: list[str | int] = list(at)
    here: Any = value
    for part in detail["loc"]:
        is_key = isinstance(here, Mapping) and part in here
        is_index = isinstance(here, list | tuple) and isinstance(part, int) and part < len(here)
        if is_key or is_index:
            here = here[part]
            path.append(part)
    if detail["type"] == "missing":
        path.append(detail["loc"][-1])
    return fault(pointer(*path), f"{detail['msg']}.")
