"""Lists with cursors, and the words that several families of objects share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from .. import errors
from ..engine import Call
from ..errors import StripeError

MAX_PAGE = 100
MAX_METADATA_KEYS = 50
_EMAIL = re.compile(r"[^@\s<>]{1,64}@[^@\s<>.][^@\s<>]*\.[^@\s<>.]+\Z")


def page(
    call: Call,
    kind: str,
    url: str,
    *,
    keep: Callable[[dict[str, Any]], bool] = lambda item: True,
    link: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """One page of a kind, newest first, as the call's limit and cursors ask for."""
    limit = page_size(call)
    start, end = call.params.get("starting_after"), call.params.get("ending_before")
    if start and end:
        raise StripeError("You can only use one of starting_after and ending_before.")
    created = _bounds(call.params.get("created"))
    if end:
        after = _cursor(call, kind, end, "ending_before")
        found = call.tx.scan(kind, link=link, after=after, created=created)
    else:
        before = _cursor(call, kind, start, "starting_after") if start else None
        found = call.tx.scan(kind, link=link, before=before, created=created)
    taken: list[dict[str, Any]] = []
    for item in found:
        if keep(item):
            taken.append(item)
            if len(taken) > limit:
                break
    more, taken = len(taken) > limit, taken[:limit]
    return {
        "object": "list", "data": taken[::-1] if end else taken, "has_more": more, "url": url,
    }


def page_size(call: Call) -> int:
    limit = call.params.get("limit", 10)
    if not 1 <= limit <= MAX_PAGE:
        raise StripeError(
            f"Invalid integer: limit must be between 1 and {MAX_PAGE}.",
            code="parameter_invalid_integer",
            param="limit",
        )
    return limit


def list_of(call: Call, items: list[dict[str, Any]], url: str) -> dict[str, Any]:
    """A page of a list at hand, in the order given."""
    limit = page_size(call)
    for name, skip in (("starting_after", 1), ("ending_before", 0)):
        cursor = call.params.get(name)
        if cursor:
            places = [i for i, item in enumerate(items) if item["id"] == cursor]
            if not places:
                raise errors.missing_object("item", cursor, name, 400)
            start = max(0, places[0] - limit)
            items = items[places[0] + skip :] if skip else items[start : places[0]]
    return {"object": "list", "data": items[:limit], "has_more": len(items) > limit, "url": url}


def _cursor(call: Call, kind: str, object_id: str, param: str) -> int:
    position = call.tx.position(object_id, kind)
    if position is None:
        raise errors.missing_object(kind, object_id, param, 400)
    return position


def _bounds(wanted: Any) -> tuple[int, int] | None:
    """The first and the last second that `created` asks for: an exact one or gt, gte, lt, lte."""
    if wanted is None:
        return None
    if isinstance(wanted, int):
        return wanted, wanted
    first = max(wanted.get("gt", -1) + 1, wanted.get("gte", 0))
    return first, min(wanted.get("lt", 2**62) - 1, wanted.get("lte", 2**62))


def in_range(instant: int, wanted: Any) -> bool:
    """Whether a time lies where a parameter like `created` asks."""
    first, last = _bounds(wanted) or (instant, instant)
    return first <= instant <= last


def merged_metadata(old: dict[str, str], asked: Any, param: str = "metadata") -> dict[str, str]:
    """Stripe's rule: keys are added or replaced, an empty value unsets one, "" unsets all."""
    if asked is None:
        return old
    if asked == "":
        return {}
    merged = {**old, **asked}
    for key, value in asked.items():
        if len(key) > 40 or "[" in key or "]" in key:
            raise StripeError(
                "Metadata keys can be at most 40 characters long, without brackets.", param=param
            )
        if len(value) > 500:
            raise StripeError(
                f"Metadata values can be at most 500 characters long; '{key}' has {len(value)}.",
                param=f"{param}[{key}]",
            )
    merged = {key: value for key, value in merged.items() if value != ""}
    if len(merged) > MAX_METADATA_KEYS:
        raise StripeError(
            f"You can have at most {MAX_METADATA_KEYS} keys of metadata.", param=param
        )
    return merged


def changed(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """`previous_attributes` of an update: what differs, as it was."""
    return {
        name: before.get(name)
        for name in after
        if name[0] != "_" and before.get(name) != after[name]
    }


def assign(item: dict[str, Any], params: dict[str, Any], names: tuple[str, ...]) -> None:
    """Copy the named parameters; an empty text unsets."""
    for name in names:
        if name in params:
            item[name] = None if params[name] == "" else params[name]


def check_email(email: str | None, param: str) -> str | None:
    if email and not _EMAIL.match(email):
        raise StripeError(f"Invalid email address: {email[:80]}", code="email_invalid", param=param)
    return email or None


def check_url(url: str, param: str) -> str:
    try:
        parts = urlsplit(url.replace("{CHECKOUT_SESSION_ID}", "id"))
        valid = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        valid = False
    if not valid or not url.isprintable() or " " in url:
        raise StripeError("Not a valid URL", code="url_invalid", param=param)
    return url


def exclusive(params: dict[str, Any], *names: str) -> None:
    given = [name for name in names if params.get(name)]
    if len(given) > 1:
        raise StripeError(
            f"You may only specify one of these parameters: {', '.join(given)}.",
            code="parameters_exclusive",
            param=given[0],
        )


def refuse_unsimulated(params: dict[str, Any], names: dict[str, str]) -> None:
    """Refuse parameters that would change what is paid and that the simulator does not act on."""
    for name, what in names.items():
        if params.get(name):
            raise errors.not_simulated(what, name)
