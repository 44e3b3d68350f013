"""Every customer's token against another's id, in every place of every operation that takes one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import whole_api
from whole_api import OPERATIONS, OWNERS, World

from paydesk.http import live

#: Parameters of paths that name what the desk sells, not what a customer has.
PUBLIC_IDS = {"pack", "item", "membership_id", "promo", "provider", "report"}
#: Parameters of queries and members of bodies that name a customer's things.
THINGS = {"payment", "starting_after", "startingAfter", "session_id", "paymentMethodId", "spend",
          "transactionId", "payment_method"}  # fmt: skip
#: Here the owner himself meets a 404, since his thing is of another kind than the address.
NOT_HIS_EITHER = {"/api/v1/customers/services/payments/{payment_id}/confirm",
                  "/api/v1/customers/services/payments/{payment_id}/refund"}  # fmt: skip

#: Some refusals say an id in its other form.
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Ask = tuple[str, str, dict[str, str], Any]


def own_operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for method, path, operation in OPERATIONS:
        access = operation["x-access"]
        if access["owner"] == "own" and "customer" in access["roles"] and path != live.STREAM_PATH:
            yield method, path, operation


def asked_for(world: World, method: str, path: str, operation: Any) -> Iterator[tuple[str, Ask]]:
    """(the other's id, a request that names it), for each place of the operation that can."""
    body = world.body(method, path) if whole_api.has_body(operation) else None
    plain = None if body is None else {k: v for k, v in body.items() if k not in OWNERS}
    named = [p["name"] for p in operation.get("parameters", []) if p["in"] == "path"]
    for name in named:
        if name not in PUBLIC_IDS:
            yield world.ids[name], (method, world.path(path, **{name: "{}"}), {}, plain)
    there = world.path(path)
    if not set(named) - PUBLIC_IDS:
        for name in (n for n in body or {} if n in OWNERS):
            for theirs in (world.owner, world.ids["customer"]):
                yield theirs, (method, there, {}, {**(body or {}), name: "{}"})
        for name, value in (plain or {}).items():
            if name in THINGS and value in world.ids.values():
                yield value, (method, there, {}, {**(plain or {}), name: "{}"})
        if "items" in (plain or {}):
            items = [{**(plain or {})["items"][0], "customer": "{}"}]
            yield world.owner, (method, there, {}, {"items": items})
    for one in operation.get("parameters", []):
        name = one["name"]
        if one["in"] != "query" or name not in {*OWNERS, *THINGS}:
            continue
        others = {k: v for k, v in whole_api.query(world, method, path).items() if k not in OWNERS}
        for theirs in things(world, path, name):
            yield theirs, (method, there, {**others, name: "{}"}, plain)


def things(world: World, path: str, name: str) -> list[str]:
    if name in OWNERS:
        return [world.owner, world.ids["customer"]]
    if name == "payment":
        return [world.ids["payment"]]
    params = whole_api.query(world, "get", path)
    listed = whole_api.asked(world.http, "get", world.path(path), params=params).json()
    rows = listed.get("data") or listed.get("transactions") or []
    return [rows[0]["id"]] if rows and isinstance(rows, list) and "id" in rows[0] else []


def filled(value: Any, name: str) -> Any:
    if isinstance(value, dict):
        return {k: filled(v, name) for k, v in value.items()}
    if isinstance(value, list):
        return [filled(v, name) for v in value]
    return value.replace("{}", name) if isinstance(value, str) else value


def answered(client: Any, ask: Ask, name: str) -> Any:
    method, path, query, body = filled(list(ask), name)
    more = {} if body is None else {"json": body}
    return whole_api.asked(client, method, path, params=query, **more)


def said(answer: Any, *names: str) -> str:
    found = answer.json()
    if answer.status_code >= 400:
        found.pop("request_id")
    text = _UUID.sub("NAME", f"{answer.status_code} {found}")
    for name in names:
        text = text.replace(name[:64], "NAME")
    return text


def missing(theirs: str) -> str:
    """An id of the same form that nobody has."""
    return theirs[:-4] + ("0000" if theirs[-4:] != "0000" else "1111")


def everything(world: World) -> list[Any]:
    """What the owner has: each change of it writes an event."""
    params = {"customer": world.owner}
    events, balance, wallets = (
        whole_api.asked(world.http, "get", path, params=params).json()
        for path in ("/v1/events", "/v1/credits/balance", "/v1/wallets")
    )
    return [events["data"][0]["id"], balance["balance"], wallets]


@pytest.mark.timeout(400)
def test_no_token_reaches_anothers_things_nor_learns_that_they_exist(sim, http, make):
    # I33 I34: another's id answers as one that nobody has, and nothing of his changes.
    world = whole_api.world(http, sim, make)
    make.user("user_2")
    owner, stranger = http.as_user("user_1"), http.as_user("user_2")
    before, wrong, tried = everything(world), [], set()
    asks = [
        (path, theirs, ask)
        for method, path, operation in own_operations()
        for theirs, ask in asked_for(world, method, path, operation)
    ]
    for path, theirs, ask in asks:
        tried.add((ask[0], path))
        found = [(name, answered(stranger, ask, name)) for name in (theirs, missing(theirs))]
        theirs_said, missing_said = (said(a, n, world.owner, world.ids["customer"])
                                     for n, a in found)
        status = found[0][1].status_code
        is_empty = status == 200 and not (found[0][1].json().get("data", True))
        if theirs_said != missing_said or not (status == 404 or is_empty):
            wrong.append((ask, theirs_said[:300], missing_said[:300]))
    assert not wrong, "\n".join(map(str, wrong))
    assert everything(world) == before
    # Each was tried in at least one place; this list knows no other's name.
    assert {(m, p) for m, p, _ in own_operations()} - tried == {("get", "/payments")}
    for path, theirs, ask in asks:  # And these are requests that work for whose things they are.
        if path not in NOT_HIS_EITHER:
            status = answered(owner, ask, theirs).status_code
            assert status != 404 or ask[0] == "delete", (ask, theirs)
