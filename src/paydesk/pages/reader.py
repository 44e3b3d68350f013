"""The language that a page for customers is read in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import Request

from paydesk.notify import words
from paydesk.pages.portal_words import Tongue

if TYPE_CHECKING:
    from paydesk.env import Env
    from paydesk.flows.customers import Customer

_KEPT = "paydesk.locale"


def locale_of(request: Request, customer: Customer | None = None) -> str:
    """What the customer is known to speak, else what the address asks for or the browser speaks,
    else the desk's. What is found for a customer holds for the rest of the request."""
    known = customer.metadata.get("locale") if customer is not None else None
    spoken = [
        part.partition(";")[0].strip()
        for part in request.headers.get("accept-language", "").split(",")[:10]
    ]
    kept = request.scope.get(_KEPT)
    for tag in (known, kept, request.query_params.get("locale"), *spoken):
        if found := words.locale_of(tag if isinstance(tag, str) else None, ""):
            if customer is not None:
                request.scope[_KEPT] = found
            return found
    env: Env = request.app.state.env
    return env.settings.default_locale


def tongue(request: Request, customer: Customer | None = None) -> Tongue:
    """The words of that language, with the days of the business."""
    env: Env = request.app.state.env
    return Tongue(locale_of(request, customer), env.settings.time_zone)


def tongue_asked(request: Request, customer: Customer, asked: str = "") -> Tongue:
    """What is asked for, by the address where `asked` is empty, else what the customer is known to
    speak, or the browser."""
    env: Env = request.app.state.env
    asked = words.locale_of(asked or request.query_params.get("locale"), "")
    return Tongue(asked, env.settings.time_zone) if asked else tongue(request, customer)
