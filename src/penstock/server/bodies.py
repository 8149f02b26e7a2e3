"""Bodies in and out: records of `model/` as JSON, strict requests, lists in pages."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar, get_args

import msgspec
from fastapi import Depends, Request, Response
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from penstock.errors import InvalidInput, MalformedRequest, fault
from penstock.model.wire import reader
from penstock.model.words import sought
from penstock.store.paging import LARGEST, Slice, Window

T = TypeVar("T")

SOUGHT = "Words that stand in the name, without regard to capitals."

_DAY = re.compile(r"\d{4}-\d{2}-\d{2}.*", re.ASCII | re.DOTALL)


def _written(value: Any) -> Any:
    """By itself pydantic takes a number, also one in a text, for seconds since 1970."""
    if not isinstance(value, datetime) and not (isinstance(value, str) and _DAY.fullmatch(value)):
        raise ValueError("a time with its zone is expected: 2026-01-31T00:00:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_written)]
"""A time, with its zone."""


class Strict(BaseModel):
    """A request body: what it does not know is refused, not dropped, and nothing is taken for something else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _as_it_is(cls, value: Any, about: ValidationInfo) -> Any:
        """By itself pydantic takes `"yes"` and 1 for true, and `"1"` and true for 1."""
        wanted = cls.model_fields[about.field_name or ""].annotation
        kinds = {*get_args(wanted), wanted}
        if bool in kinds and isinstance(value, str | int | float) and not isinstance(value, bool):
            raise ValueError("true or false is expected")
        if kinds & {int, float} and not kinds & {str, bool} and isinstance(value, str | bool):
            raise ValueError("a number is expected")
        return value


class ListQuery(BaseModel):
    """What every list takes. `cursor` continues where a page ended; `page` counts from 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(default=20, ge=1, le=LARGEST)
    cursor: str | None = Field(default=None, min_length=1, description="The `next` of an earlier page.")
    page: int = Field(default=1, ge=1, le=1_000_000)
    hydrate: bool = Field(default=False, description="Accepted for compatibility: records are always whole.")
    logical_operator: str | None = Field(
        default=None, pattern="^and$", description="Filters are always joined by `and`."
    )

    @staticmethod
    def sought(text: str | None) -> tuple[str, ...]:
        """The words that are looked for."""
        return sought(text) if text is not None else ()

    @property
    def window(self) -> Window:
        """The part of the list that is wanted."""
        return Window(size=self.size, cursor=self.cursor, page=self.page)

    def filters(self) -> dict[str, Any]:
        """The filters that were given, without what concerns the page."""
        given = self.model_dump(exclude=set(ListQuery.model_fields), exclude_none=True)
        return {name: value for name, value in given.items() if value != []}

    def reference(self, noun: str) -> str | None:
        """The filter for `noun`, which may be called `noun` (id or name) or `noun_id`; both at once are refused."""
        name: str | None = getattr(self, noun)
        identity: str | None = getattr(self, f"{noun}_id")
        if name is not None and identity is not None:
            mistake = fault(f"/query/{noun}", f"Give {noun} or {noun}_id, not both.")
            raise InvalidInput("Two filters say the same thing.", errors=[mistake])
        return name or identity


class Page(BaseModel, Generic[T]):
    """One page of a list. `next` is the cursor of the following page, null at the end; `total` is null beyond 1,000."""

    items: list[T]
    total: int | None
    page: int
    size: int
    next: str | None


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A record, or plain JSON values, as the response."""
    return Response(msgspec.json.encode(value), status_code=status, headers=headers, media_type="application/json")


def listing(found: Slice[Any], query: ListQuery) -> Response:
    """One page of a list as the response."""
    part = {"items": found.items, "total": found.total, "page": query.page, "size": query.size, "next": found.next}
    return answer(part)


def takes(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    """What a route that reads its body itself adds to its description (`openapi_extra`)."""
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


REPORT = takes("application/json", {"type": "object", "description": "A record, as workers of this release send it."})


def record(kind: type[Any]) -> Any:
    """A dependency: the body as a record of `model/`. For workers, whose reports must cost little to read.

    Unknown fields are passed over here on purpose: a newer worker may report to this server.
    """
    decode = reader(kind)

    async def read(request: Request) -> Any:
        body = await request.body()
        try:
            return decode(body)
        except msgspec.ValidationError as error:
            raise InvalidInput("The report does not fit.", errors=[fault("", str(error))]) from error
        except msgspec.DecodeError as error:
            raise MalformedRequest(f"The body is no JSON: {error}.") from error
        except RecursionError:
            raise MalformedRequest("The body is nested too deeply.") from None

    return Depends(read)
