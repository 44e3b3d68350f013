"""The addresses that manage endpoints, deliveries, mails and receipts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "http"))

from http_support import OWN_KEY, Client, problem_of
from standardwebhooks import Webhook

from paydesk.flows import events, outgoing_feed, trail, webhook_deliveries
from paydesk.http.app import create_app


@pytest.fixture
def http(env: Any) -> Iterator[Client]:
    with Client(create_app(env), f"Bearer {OWN_KEY}") as client:
        yield client


def made(http: Client, url: str, **more: Any) -> dict[str, Any]:
    answer = http.post("/v1/webhook_endpoints", json={"url": url, **more})
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_an_endpoints_life_over_http(http, receiver, env, make):
    one = made(http, f"{receiver.url}/in", events=["credits.*"], description="Shop")
    secret = one.pop("secret")
    assert secret.startswith("whsec_") and one["status"] == "enabled"
    path = f"/v1/webhook_endpoints/{one['id']}"
    assert http.get(path).json() == one
    assert http.get("/v1/webhook_endpoints").json()["data"] == [one]
    changed = http.patch(path, json={"events": ["*"], "description": None}).json()
    assert (changed["events"], changed["description"]) == (["*"], None)
    tried = http.post(f"{path}/test", json={"type": "credits.spent"}).json()
    assert tried["status"] == 200 and tried["response"] == "ok"
    Webhook(secret).verify(receiver.got[0].body, receiver.got[0].headers)
    rolled = http.post(f"{path}/rotate", json={"overlap_s": 60}).json()
    assert rolled["secret"] != secret and rolled["previous_secret_until"]
    assert http.post(f"{path}/pause").json()["status"] == "paused"
    assert http.post(f"{path}/resume").json()["status"] == "enabled"
    assert http.delete(path).json()["status"] == "deleted"
    problem_of(http.get(path), 404, "not_found")
    assert [e.action for e in trail.log(env, action="webhook_endpoint.")] == [
        f"webhook_endpoint.{what}"
        for what in ("deleted", "enabled", "paused", "rotated", "updated", "created")
    ]  # I46


def test_the_history_has_request_and_answers_and_sends_again(http, receiver, env, make, clock):
    one = made(http, f"{receiver.url}/in", events=["credits.granted"])
    outgoing_feed.drain(env)
    receiver.answer = lambda got: (500, b"not now")
    make.credits(make.user(), 5)
    events.publish(env)
    outgoing_feed.drain(env)
    webhook_deliveries.send_due(env, wait_s=None)
    listed = http.get(f"/v1/webhook_endpoints/{one['id']}/deliveries?status=waiting").json()["data"]
    [delivery] = listed
    assert (delivery["http_status"], delivery["tries"]) == (500, 1)
    whole = http.get(f"/v1/webhook_deliveries/{delivery['id']}").json()
    assert whole["request"]["type"] == "credits.granted"
    assert [a["response"] for a in whole["attempts"]] == ["not now"]
    receiver.answer = lambda got: (200, b"")
    assert http.post(f"/v1/webhook_deliveries/{delivery['id']}/redeliver").status_code == 200
    webhook_deliveries.send_due(env, wait_s=None)
    assert http.get(f"/v1/webhook_deliveries/{delivery['id']}").json()["status"] == "done"
    since = clock.now().replace(year=clock.now().year - 1).isoformat()
    again = http.post(f"/v1/webhook_endpoints/{one['id']}/redeliver", json={"since": since})
    assert again.json() == {"count": 1}
    webhook_deliveries.send_due(env, wait_s=None)
    assert len({g.headers["webhook-id"] for g in receiver.got}) == 1 and len(receiver.got) == 3


def test_addresses_and_filters_that_may_not_be_are_refused(http):  # I36
    for url in ("http://hooks.example.com/", "https://10.1.2.3/", "https://[::ffff:10.0.0.1]/",
                "https://metadata.google.internal:80/", "javascript:alert(1)"):  # fmt: skip
        answer = http.post("/v1/webhook_endpoints", json={"url": url})
        problem_of(answer, 422, "address_refused")
    told = {"url": "https://hooks.example.com/", "events": ["no.such"]}
    answer = http.post("/v1/webhook_endpoints", json=told)
    problem_of(answer, 422, "invalid_request")


def test_customers_and_other_roles_manage_nothing(http, receiver):  # I33
    one = made(http, f"{receiver.url}/in")
    for client in (http.as_user("user_1"), http.as_user("user_2", role="finance")):
        for path in ("/v1/webhook_endpoints", f"/v1/webhook_endpoints/{one['id']}",
                     "/v1/notifications"):  # fmt: skip
            problem_of(client.get(path), 403, "not_permitted")
    problem_of(http.as_nobody().get("/v1/webhook_endpoints"), 401, "not_authenticated")
