"""Stripe's search language: `metadata['order']:'42' AND status:'succeeded'`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ..engine import Call
from ..errors import StripeError
from . import listing

Test = Callable[[dict[str, Any]], bool]

_CLAUSE = re.compile(
    r"""\s*(?P<minus>-)?(?P<field>[a-z_.]+)(?:\[(?P<quote>["'])(?P<key>.*?)(?P=quote)\])?
    \s*(?P<op>:|~|>=|<=|>|<)\s*
    (?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>(?:[^'\\]|\\.)*)'|(?P<bare>-?[0-9]+|null))\s*""",
    re.VERBOSE,
)
_JOIN = re.compile(r"(AND|OR|and|or)\s+")
MAX_QUERY = 2000


def page(call: Call, kind: str, url: str) -> dict[str, Any]:
    """One page of the objects of a kind that match the call's query, newest first."""
    matches = parse(call.params["query"])
    limit = listing.page_size(call)
    before = _place(call.params.get("page"))
    found: list[dict[str, Any]] = []
    for item in call.tx.scan(kind, before=before):
        if not item.get("_inline") and matches(item):
            found.append(item)
            if len(found) > limit:
                break
    more, found = len(found) > limit, found[:limit]
    last = call.tx.position(found[-1]["id"], kind) if more else None
    return {
        "object": "search_result", "data": found, "has_more": more,
        "next_page": f"p{last}" if more else None, "url": url,
    }


def _place(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not re.fullmatch(r"p[0-9]{1,15}", cursor):
        raise StripeError("Invalid page token.", param="page")
    return int(cursor[1:])


def parse(query: str) -> Test:
    """The query as a test of an object; raises Stripe's refusal where it cannot be read."""
    tests: list[Test] = []
    joins: set[str] = set()
    place = 0
    while len(query) <= MAX_QUERY and (match := _CLAUSE.match(query, place)):
        tests.append(_clause(match))
        place = match.end()
        if place == len(query):
            break
        join = _JOIN.match(query, place)
        if join is None:
            break
        joins.add(join[1].upper())
        place = join.end()
    if not tests or place != len(query) or len(joins) > 1:
        raise StripeError(
            "We were unable to parse your search query. Join clauses such as status:'succeeded' "
            "with either AND or OR, not both.",
            param="query",
        )
    combine = any if joins == {"OR"} else all
    return lambda item: combine(test(item) for test in tests)


def _clause(match: re.Match[str]) -> Test:
    quoted = match["double"] if match["double"] is not None else match["single"]
    wanted = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else match["bare"]
    field, key, sign = match["field"], match["key"], match["op"]
    negative = bool(match["minus"])

    def test(item: dict[str, Any]) -> bool:
        value: Any = item
        for name in field.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if key is not None:
            value = value.get(key) if isinstance(value, dict) else None
        return _compare(value, sign, wanted) != negative

    return test


def _compare(value: Any, sign: str, wanted: str) -> bool:
    if wanted == "null":
        return value is None
    if sign in (">", "<", ">=", "<="):
        if not isinstance(value, int) or not re.fullmatch(r"-?[0-9]+", wanted):
            return False
        number = int(wanted)
        return {
            ">": value > number, "<": value < number, ">=": value >= number, "<=": value <= number,
        }[sign]
    if value is None:
        return False
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return wanted.lower() in text.lower() if sign == "~" else text.lower() == wanted.lower()
