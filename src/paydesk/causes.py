"""Causes: who is acting, through what, and for which request. Kept beside every event."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

#: Where nobody says who acts: the program that has this library in it.
_APPLICATION: Mapping[str, Any] = {"actor": "application", "via": "library"}
#: {actor, via, request_id}: of the work that goes on here, and of the threads it starts.
_current: ContextVar[Mapping[str, Any] | None] = ContextVar("paydesk_cause", default=_APPLICATION)
#: What else is known of the cause, by the customer whose event it is.
_each: ContextVar[Mapping[UUID, Mapping[str, Any]] | None] = ContextVar(
    "paydesk_causes", default=None
)


def enter(actor: str, via: str, request_id: str | None = None, **more: Any) -> None:
    """Name the cause of all that follows in this context, such as one request's."""
    named = {"actor": actor, "via": via, "request_id": request_id, **more}
    _current.set({name: value for name, value in named.items() if value is not None})


@contextmanager
def by(actor: str, via: str, request_id: str | None = None, **more: Any) -> Iterator[None]:
    """Name the cause of what happens inside."""
    before = _current.set(None)
    try:
        enter(actor, via, request_id, **more)
        yield
    finally:
        _current.reset(before)


@contextmanager
def also(**more: Any) -> Iterator[None]:
    """Name more of the cause of what happens inside."""
    before = _current.set({**(_current.get() or {}), **more})
    try:
        yield
    finally:
        _current.reset(before)


@contextmanager
def each(of: Mapping[UUID, Mapping[str, Any]]) -> Iterator[None]:
    """Name what else is known of the cause for each of several customers' events."""
    before = _each.set(of)
    try:
        yield
    finally:
        _each.reset(before)


def current() -> Mapping[str, Any] | None:
    """The cause of the work at hand."""
    return _current.get()


def seen() -> tuple[Any, Any]:
    """All that is named of the cause here: what is equal is told alike."""
    return _current.get(), _each.get()


def merged(
    cause: Mapping[str, Any] | None, customer_id: UUID | None = None
) -> Mapping[str, Any] | None:
    """A cause of an event's own, over its customer's, over that of the work at hand."""
    of = _each.get()
    if of and customer_id in of:
        cause = {**of[customer_id], **(cause or {})}
    around = _current.get()
    if not around:
        return cause or None
    return {**around, **cause} if cause else around


def actor(otherwise: str = "unknown") -> str:
    """Who is acting."""
    around = _current.get()
    return str(around["actor"]) if around else otherwise
