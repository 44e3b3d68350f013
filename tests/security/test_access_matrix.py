"""Who may do what: every cell of (route, role, owner) from the OpenAPI document."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.routing import APIRoute
from http_support import problem_of
from service_document import DOCUMENT
from starlette.routing import Route, WebSocketRoute

from paydesk.http import auth, live
from paydesk.http.routes import Route as OurRoute
from paydesk.pages.routing import PageRoute

OPERATIONS = [
    (path, method, operation["x-access"])
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
    if "x-access" in operation
]
#: Streams do not end by themselves; tests/http/test_live.py tries their cells.
ENDLESS = {live.STREAM_PATH}
ROLES = [*auth.ROLES, "nobody"]


def filled(path: str) -> str:
    for name in ("customer", "pack", "promo", "checkout", "payment", "event", "key"):
        path = path.replace(f"{{{name}}}", "none")
    return path.replace("{provider}", "stripe")


def test_every_operation_declares_its_cell():
    # I33: a new route without a cell fails here, and at the start of the service.
    declared = {(path, method) for path, method, _ in OPERATIONS}
    all_of_them = {(path, method) for path, item in DOCUMENT["paths"].items() for method in item}
    assert declared == all_of_them
    for path, _, access in OPERATIONS:
        assert access["owner"] in ("own", "any"), path
        assert set(access["roles"]) <= {*auth.ROLES, "public"}, path


def test_a_route_without_a_cell_cannot_be_made():
    # I33
    with pytest.raises(TypeError, match="declares no access cell"):
        OurRoute("/v1/new", lambda: None, methods=["GET"])


def test_every_route_of_the_service_stands_in_the_document(http):
    # I33
    known = {(path, method.upper()) for path, method, _ in OPERATIONS}
    hidden = {"/openapi.json", *live.WEBSOCKET_PATHS}
    for route in http.app.routes:
        if isinstance(route, WebSocketRoute):
            assert route.path in hidden
        elif isinstance(route, PageRoute):  # Who may see a page, the pages' own tests say.
            assert not route.path.startswith(("/v1", "/api", "/payment")), route.path
        elif isinstance(route, APIRoute | Route) and route.path not in hidden:
            for method in (route.methods or set()) - {"HEAD"}:
                assert (route.path, method) in known, (method, route.path)


@pytest.mark.parametrize("role", ROLES)
def test_each_role_gets_the_answer_that_its_cell_declares(sim, http, role):
    # I33 S3.25
    caller = http.as_nobody() if role == "nobody" else http.as_user("user_m", role)
    wrong = []
    for path, method, access in OPERATIONS:
        if path in ENDLESS:
            continue
        answer = caller.request(method.upper(), filled(path), json={})
        may = role in access["roles"] or "public" in access["roles"]
        if "public" in access["roles"]:
            is_right = answer.status_code not in (401, 403)
        elif role == "nobody":
            is_right = answer.status_code == 401
        elif may:
            is_right = answer.status_code not in (401, 403) and answer.status_code < 500
        else:
            is_right = answer.status_code == 403
        if not is_right:
            wrong.append((method, path, role, answer.status_code, answer.text[:200]))
    assert not wrong, wrong


def test_anothers_things_answer_like_missing_ones(sim, http, make):
    # I33: the same status, the same body but for the name that was asked for.
    make.pack()
    make.credits(make.user("user_1"), 10)
    owner, stranger = http.as_user("user_1"), http.as_user("user_2")
    made = owner.post("/v1/checkouts", json={"pack": "creator"}).json()
    event = owner.get("/v1/events").json()["data"][0]["id"]
    line = owner.get("/v1/credits/history").json()["data"][0]["id"]
    asked: list[tuple[str, str, str, Any]] = [
        ("get", "/v1/checkouts/{}", made["id"], None),
        ("post", "/v1/checkouts/{}/verify", made["id"], None),
        ("post", "/v1/checkouts/{}/expire", made["id"], None),
        ("get", "/v1/payments/{}", made["payment"]["id"], None),
        ("get", "/v1/payments/{}", made["payment"]["handle"], None),
        ("get", "/v1/payments/{}", made["payment"]["provider_session_id"], None),
        ("get", "/v1/payments?starting_after={}", made["payment"]["id"], None),
        ("get", "/v1/events/{}", event, None),
        ("get", "/v1/events?starting_after={}", event, None),
        ("get", "/v1/credits/history?starting_after={}", line, None),
        ("get", "/v1/customers/{}", "user_1", None),
        ("get", "/v1/customers/{}", made["customer"], None),
        ("get", "/v1/credits/balance?customer={}", "user_1", None),
        ("get", "/v1/credits/balance?customer={}", made["customer"], None),
        ("get", "/v1/credits/batches?customer={}", "user_1", None),
        ("get", "/v1/payments?customer={}", "user_1", None),
        ("get", "/payment/credits/balance?userId={}", "user_1", None),
        ("get", "/payment/credits/history?startingAfter={}", line, None),
        ("get", "/api/credits/payment-stats?user_id={}", "user_1", None),
        ("post", "/v1/credits/spend", "user_1", {"customer": "{}", "credits": 1}),
        ("post", "/v1/credits/transfer", "user_1",
         {"customer": "{}", "to": "user_2", "credits": 1}),
        ("post", "/v1/checkouts", "user_1", {"customer": "{}", "pack": "creator"}),
        ("post", "/api/credits/verify-payment", made["payment"]["provider_session_id"],
         {"session_id": "{}"}),
    ]  # fmt: skip
    for method, path, theirs, body in asked:
        missing = theirs[:-4] + ("0000" if theirs[-4:] != "0000" else "1111")
        answers = []
        for name in (theirs, missing):
            sent = body and {k: name if v == "{}" else v for k, v in body.items()}
            answer = stranger.request(method, path.format(name), json=sent)
            found = problem_of(answer, 404, answer.json()["code"])
            found.pop("request_id")
            answers.append(str(found).replace(name[:64], "NAME"))
        assert answers[0] == answers[1], (method, path)
    assert owner.get("/v1/credits/balance").json()["balance"] == 10
