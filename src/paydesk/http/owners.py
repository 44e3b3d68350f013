"""Whose things a request is about: a customer's own, or those of the customer whom it names."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from paydesk import ids
from paydesk.errors import InvalidRequest, NotFound
from paydesk.flows import customers
from paydesk.http.auth import Principal

if TYPE_CHECKING:
    from paydesk.env import Env


def owner(env: Env, who: Principal, asked: str | None, *, create: bool = False) -> UUID:
    """The customer's key. A customer may leave himself out; another's answers as a missing one.

    `create`: an application's id that is new here becomes a customer.
    """
    if not who.is_customer:
        if asked is None:
            raise InvalidRequest(
                "Say whose: customer is required with these credentials.", param="customer",
                errors=[{"pointer": "/customer", "detail": "This member is required."}],
            )  # fmt: skip
        return _known(env, asked) if not create else customers.resolve(env, asked, create=True)
    own = customers.resolve(env, who.subject, create=True)
    if asked is not None and asked not in (who.subject, ids.show("customer", own)):
        raise NotFound(f"No such customer: {asked[:64]!r}.")
    return own


def scope_of(env: Env, who: Principal, asked: str | None) -> UUID | None:
    """As `owner`, for lists: None, everybody's, where staff names nobody."""
    if asked is None and not who.is_customer:
        return None
    return owner(env, who, asked)


def only_own(env: Env, who: Principal) -> UUID | None:
    """What an object's owner must be for this caller to see it; None: anybody's."""
    return customers.resolve(env, who.subject, create=True) if who.is_customer else None


def _known(env: Env, asked: str) -> UUID:
    if ids.looks_like_customer(asked):
        return customers.get(env, asked).uuid
    return customers.resolve(env, asked, create=False)
