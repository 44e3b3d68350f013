"""Naughty strings, numbers and bytes in every field, parameter and path of every operation."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import whole_api
from test_naughty_strings import NAUGHTY, OUR_OWN
from test_planted import texts_that_look_like_cards
from whole_api import OPERATIONS, World

from paydesk.http import bodies, live

TEXTS = [*NAUGHTY, *OUR_OWN]
#: So many texts stand in each field; over all fields the whole list is used more than once.
EACH = 3
#: What a field of these names holds comes back as it was sent.
KEPT = {"name", "description", "reference", "reason", "note", "metadata", "destination", "source",
        "uncategorized_text", "customer_name"}
#: What answers with the thing as it already stood, or with another word of the same name.
AS_IT_WAS = {"/v1/access/{access}/revoke"}
NUMBERS = [-1, 2**63, 10**60, True, "7", 1.5]
#: In a query and in a path, where every value is a text.
PARAMETERS = ["-1", "1e5", "9" * 20, "\u0663", "NaN", "true", "\x00", "%00", "a" * 3000]
CARD = "my card 4242-4242 4242 4242, thanks"
JSON = {"Content-Type": "application/json"}


def is_signed(path: str) -> bool:
    """Whether it takes what other senders sign, which is no JSON of ours."""
    return "webhook" in path and "webhook_" not in path


def bodied() -> Iterator[tuple[str, str]]:
    for method, path, operation in OPERATIONS:
        if whole_api.has_body(operation) and (method, path) in whole_api.BODIES:
            yield method, path


def send(http: Any, method: str, path: str, body: Any) -> Any:
    # Lone surrogates and numbers beyond all bounds travel as escapes and digits.
    return whole_api.asked(http, method, path, content=json.dumps(body), headers=JSON)


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


def faults(answer: Any, text: Any, place: Any) -> list[Any]:
    """What is wrong with an answer to something naughty."""
    if answer.status_code >= 500:
        return [(place, text, answer.status_code, answer.text[:300])]
    if answer.status_code >= 400 and not answer.json().get("code"):
        return [(place, text, "no code", answer.text[:300])]
    return []


def test_every_operation_with_a_body_has_one_that_is_tried():
    told = {(method, path) for method, path, one in OPERATIONS if whole_api.has_body(one)}
    assert {one for one in told if not is_signed(one[1])} == set(whole_api.BODIES)


@pytest.mark.timeout(600)
def test_naughty_strings_in_every_member_of_every_body(sim, http, make):
    # I38: 2xx and kept as they are, or refused; never a fault of ours.
    world, wrong, texts, fields = whole_api.world(http, sim, make), [], itertools.cycle(TEXTS), 0
    for method, path in bodied():
        body = world.body(method, path)
        for place in whole_api.strings_of(body):
            fields += 1
            for text in itertools.islice(texts, EACH):
                sent = whole_api.replaced(body, place, text)
                if path == "/v1/customers" and place != ("external_id",):
                    sent["external_id"] = f"user-{fields}-{len(text)}-{hash(text)}"
                answer = send(http, method, world.path(path), sent)
                wrong += faults(answer, text, (method, path, place))
                is_kept = place[0] in KEPT and path not in AS_IT_WAS
                if answer.is_success and answer.content and is_kept:
                    shown = answer.json()
                    if place[0] in shown and at(shown, place) != text:
                        wrong.append((method, path, place, text, at(shown, place)))
    assert not wrong, "\n".join(map(repr, wrong))
    assert fields * EACH > len(TEXTS)


@pytest.mark.timeout(600)
def test_a_card_number_in_any_member_is_refused_and_kept_nowhere(sim, http, make, database):
    # I37 S4.33: ids may be any digits, so these are the application's own affair.
    world, wrong = whole_api.world(http, sim, make), []
    for method, path in bodied():
        body = world.body(method, path)
        for place in whole_api.strings_of(body):
            name = next(one for one in reversed(place) if isinstance(one, str))
            if "metadata" not in place and bodies._ID_FIELD.search(name):
                continue
            answer = send(http, method, world.path(path), whole_api.replaced(body, place, CARD))
            if answer.status_code not in (400, 401, 404, 409, 422) or "4242" in answer.text:
                wrong.append((method, path, place, answer.status_code, answer.text[:200]))
    assert not wrong, "\n".join(map(repr, wrong))
    assert texts_that_look_like_cards(database) == []


@pytest.mark.timeout(600)
def test_numbers_of_every_kind_in_every_number_of_every_body(sim, http, make):
    # I11 I38
    world, wrong = whole_api.world(http, sim, make), []
    for method, path in bodied():
        body = world.body(method, path)
        for name in [n for n, v in body.items() if isinstance(v, int) and v is not True]:
            for number in NUMBERS:
                answer = send(http, method, world.path(path), {**body, name: number})
                wrong += faults(answer, number, (method, path, name))
    assert not wrong, "\n".join(map(repr, wrong))


@pytest.mark.timeout(600)
def test_naughty_strings_in_every_parameter_and_path(sim, http, make):
    # I38
    world, wrong = whole_api.world(http, sim, make), []
    texts = itertools.cycle([t.encode("utf-8", "replace").decode() for t in TEXTS])
    for method, path, operation in OPERATIONS:
        if path == live.STREAM_PATH or is_signed(path):
            continue
        places = operation.get("parameters", [])
        body = world.body(method, path) if (method, path) in whole_api.BODIES else None
        more = {} if body is None else {"json": body}
        for one in places:
            for text in [*itertools.islice(texts, 2), next(PARAMETER)]:
                wrong += _tried_in(world, method, path, one, text, more)
    assert not wrong, "\n".join(map(repr, wrong))


PARAMETER = itertools.cycle(PARAMETERS)


def _tried_in(
    world: World, method: str, path: str, one: dict[str, Any], text: str, more: dict[str, Any]
) -> list[Any]:
    query = whole_api.query(world, method, path)
    if one["in"] == "path":
        name = quote(text, safe="") if text not in (".", "..") else "%2e"
        there = world.path(path, **{one["name"]: name}) if name else ""
    elif one["in"] == "query":
        there, query = world.path(path), {**query, one["name"]: text}
    else:
        return []
    if not there:
        return []
    answer = whole_api.asked(world.http, method, there, params=query or None, **more)
    return faults(answer, text, (method, path, one["in"], one["name"]))
