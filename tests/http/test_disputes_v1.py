"""v1 disputes and reconciliations: who may see them, evidence and files over HTTP."""

from __future__ import annotations

from datetime import timedelta

import pytest
from http_support import OWN_KEY, Client, problem_of

from paydesk.flows import inbox
from paydesk.http.app import create_app
from paydesk.worker import Worker

PDF = b"%PDF-1.7\n" + b"receipt " * 60_000


@pytest.fixture
def api(env, sim, make):
    make.pack()
    with Client(create_app(env)) as client:
        client.sim, client.make = sim, make
        yield client.as_key(OWN_KEY)


@pytest.fixture
def case(api, env, sim, make):
    """(client of staff, the disputed payment's dispute)."""
    from paydesk.flows import checkout
    from paydesk.flows.checkout import StartCheckout

    user = make.user("user_123", name="Ada Buyer")
    view = checkout.start(env, StartCheckout(customer_id=user.uuid, pack="creator"))
    sim.pay(view.payment.session_ref, card="4000000000000259")
    for one in sim.deliveries(about=view.payment.session_ref):
        inbox.receive(env, "stripe", one.body, one.headers)
    staff = api.as_user("ada", role="support")
    return staff, staff.get("/v1/disputes").json()["data"][0]


def test_staff_sees_disputes_and_customers_do_not(api, case):  # S3.23 I34
    staff, one = case
    assert one["object"] == "dispute"
    assert (one["status"], one["amount"], one["withdrawn"], one["fee"]) == (
        "needs_response", 999, 999, 1500,
    )  # fmt: skip
    for role in ("admin", "finance", "support"):
        client = api.as_user("ada", role=role)
        assert client.get(f"/v1/disputes/{one['id']}").json()["id"] == one["id"]
    assert staff.get(f"/v1/disputes/{one['provider_dispute_id']}").json()["id"] == one["id"]
    mine = api.as_user("user_123")
    for path in ("/v1/disputes", f"/v1/disputes/{one['id']}"):
        problem_of(mine.get(path), 403, "not_permitted")
        problem_of(api.as_nobody().get(path), 401, "not_authenticated")
    problem_of(staff.get("/v1/disputes/dp_00000000000000000000000000"), 404, "not_found")


def test_lists_filter_and_turn_pages(case):
    staff, one = case
    for query in ("status=needs_response", f"payment={one['payment']}", "customer=user_123",
                  "takes_evidence=true", "due_at[lt]=2099-01-01T00:00:00Z"):  # fmt: skip
        assert [d["id"] for d in staff.get(f"/v1/disputes?{query}").json()["data"]] == [one["id"]]
    for query in ("status=won", "takes_evidence=false", "due_at[lt]=2020-01-01T00:00:00Z",
                  f"starting_after={one['id']}"):  # fmt: skip
        assert staff.get(f"/v1/disputes?{query}").json()["data"] == []
    problem_of(staff.get("/v1/disputes?status=nothing"), 422, "invalid_request")


def test_evidence_is_drafted_suggested_and_submitted_once(api, case):  # S3.23
    staff, one = case
    path = f"/v1/disputes/{one['id']}"
    found = staff.get(f"{path}/suggestions").json()["evidence"]
    assert found["customer_name"] == "Ada Buyer"
    changed = staff.patch(f"{path}/evidence", json={**found, "service_date": "2026-01-14"})
    assert changed.json()["evidence"]["service_date"] == "2026-01-14"
    changed = staff.patch(f"{path}/evidence", json={"service_date": None})
    assert "service_date" not in changed.json()["evidence"]
    problem_of(staff.patch(f"{path}/evidence", json={"excuse": "none"}), 422, "invalid_request")
    done = staff.post(f"{path}/submit", headers={"Idempotency-Key": "evidence-1"})
    assert (done.status_code, done.json()["status"]) == (200, "under_review")
    again = staff.post(f"{path}/submit", headers={"Idempotency-Key": "evidence-1"})
    assert again.json() == done.json()
    problem_of(staff.patch(f"{path}/evidence", json={"service_date": "x"}), 409, "dispute_closed")
    problem_of(
        api.as_user("fin", role="finance").post(f"{path}/accept"), 409, "dispute_closed"
    )


def test_a_file_larger_than_other_bodies_comes_as_a_form_or_as_it_is(case, env):  # S3.23
    staff, one = case
    path = f"/v1/disputes/{one['id']}/files"
    assert len(PDF) > env.settings.max_body_bytes
    sent = staff.post(path, data={"field": "receipt"},
                      files={"file": ("receipt.pdf", PDF, "application/pdf")})  # fmt: skip
    assert sent.status_code == 200, sent.text
    assert [(f["field"], f["name"], f["size"], f["reached"]) for f in sent.json()["files"]] == [
        ("receipt", "receipt.pdf", len(PDF), True)
    ]
    png = b"\x89PNG\r\n\x1a\n picture"
    sent = staff.post(f"{path}?field=uncategorized_file&name=screen.png", content=png,
                      headers={"Content-Type": "image/png"})  # fmt: skip
    assert len(sent.json()["files"]) == 2
    gone = staff.delete(f"{path}/{sent.json()['files'][0]['id']}")
    assert [f["name"] for f in gone.json()["files"]] == ["screen.png"]


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        ({"files": {"file": ("a.exe", b"MZ", "application/pdf")}, "data": {"field": "receipt"}},
         422, "invalid_request"),
        ({"files": {"file": ("a.pdf", b"%PDF-", "application/pdf")}, "data": {"field": "nothing"}},
         422, "invalid_request"),
        ({"files": {"file": ("a.pdf", b"%PDF-", "application/pdf")}}, 422, "invalid_request"),
        ({"data": {"field": "receipt"}}, 422, "invalid_request"),
        ({"content": b"--", "headers": {"Content-Type": "multipart/form-data"}}, 400, None),
        ({"content": b"%PDF-" + b"x" * 5_000_000, "headers": {"Content-Type": "application/pdf"}},
         413, "body_too_large"),
    ],
)  # fmt: skip
def test_wrong_files_are_refused(case, sent, status, code):
    staff, one = case
    answer = staff.post(f"/v1/disputes/{one['id']}/files", **sent)
    assert answer.status_code == status, answer.text
    assert code is None or answer.json()["code"] == code
    assert staff.get(f"/v1/disputes/{one['id']}").json()["files"] == []


def test_finance_gives_a_dispute_up_and_support_does_not(api, case):  # I34
    staff, one = case
    path = f"/v1/disputes/{one['id']}"
    problem_of(staff.post(f"{path}/accept"), 403, "not_permitted")
    assert staff.get(path).json()["status"] == "needs_response"
    assert api.as_user("fin", role="finance").post(f"{path}/accept").json()["status"] == "lost"


def test_books_are_compared_by_a_worker(api, case, env, sim, clock):  # S3.23
    clock.advance(minutes=3)
    finance = api.as_user("fin", role="finance")
    since = (env.now() - timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    sim.act("pay", amount=700, metadata={"payment_id": case[1]["payment"]})
    made = finance.post("/v1/reconciliations", json={"since": since})
    assert made.status_code == 201
    assert (made.json()["status"], made.json()["fix"]) == ("running", False)
    problem_of(case[0].get("/v1/reconciliations"), 403, "not_permitted")
    Worker(env).run_once("reconciliation")
    found = finance.get(made.headers["location"]).json()
    assert (found["status"], found["has_drift"]) == ("done", True)
    assert found["drifts"] == [
        {"kind": "payment", "type": "missing_here", "status": "open", "count": 1}
    ]
    drift = finance.get(f"{made.headers['location']}/drifts").json()["data"][0]
    assert (drift["kind"], drift["type"], drift["subject"]) == (
        "payment", "missing_here", case[1]["payment"],
    )  # fmt: skip
    after = finance.get(f"{made.headers['location']}/drifts?starting_after={drift['id']}").json()
    assert after["data"] == []
    listed = finance.get("/v1/reconciliations?status=done").json()["data"]
    assert found["id"] in [one["id"] for one in listed]
    assert finance.post(f"{made.headers['location']}/stop").json()["status"] == "done"
    wrong = {"since": since, "provider": "nobody"}
    problem_of(finance.post("/v1/reconciliations", json=wrong), 404, "not_found")
