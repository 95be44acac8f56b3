"""From the native half's JSON to frozen classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def time_of_ns(ns: int) -> datetime:
    """Nanoseconds since 1970, UTC. Python has microseconds: the rest is cut off."""
    return EPOCH + timedelta(microseconds=ns // 1000)


def time(text: str) -> datetime:
    """RFC 3339 in UTC with nanoseconds, as the core writes it."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{fraction[:6]:0<6}+00:00")


def span(value: Mapping[str, int]) -> timedelta:
    """Seconds and nanoseconds, as the core writes them."""
    return timedelta(seconds=value["secs"], microseconds=value["nanos"] // 1000)


def strings(value: list[str]) -> tuple[str, ...]:
    return tuple(value)


def made(by: Callable[..., Any], *, repr: bool = True, **more: Any) -> Any:
    """A field whose JSON is made something of."""
    return dataclasses.field(metadata={"by": by}, repr=repr, **more)


def optional(by: Callable[..., Any], *, repr: bool = True) -> Any:
    """The same, of one that may be missing."""
    return made(by, repr=repr, default=None)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


#: Of each class: a field's name, its name in JSON, and what its value is made by (None: nothing).
_Plan = tuple[tuple[str, str, "Callable[..., Any] | None"], ...]
_plans: dict[type[Any], _Plan] = {}


def _plan(cls: type[Any]) -> _Plan:
    if cls not in _plans:
        fields = [(field.name, field.metadata) for field in dataclasses.fields(cls)]
        _plans[cls] = tuple((name, how.get("json", _camel(name)), how.get("by")) for name, how in fields)
    return _plans[cls]


def decode(cls: type[T], data: Mapping[str, Any], /, **given: Any) -> T:
    """An object of that class. What is null or missing is left to the class's default."""
    values = dict(given)
    for name, key, by in _plan(cls):
        value = data.get(key)
        if value is not None and name not in values:
            values[name] = value if by is None else by(value)
    return cls(**values)


def decoder(cls: type[T]) -> Callable[[Mapping[str, Any]], T]:
    return lambda data: decode(cls, data)


def many(cls: type[T]) -> Callable[[list[Mapping[str, Any]]], tuple[T, ...]]:
    return lambda items: tuple(decode(cls, item) for item in items)
