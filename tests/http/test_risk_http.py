"""Risk over HTTP: lists, the queue, and who may see what."""

from __future__ import annotations

from http_support import problem_of


def test_a_blocked_customer_hears_no_reason_and_staff_sees_it(http, user, sim, make):
    # S4.35
    make.pack(key="small")
    entry = {"kind": "customer", "value": "user_123", "action": "block", "reason": "Chargebacks."}
    assert http.put("/v1/risk/lists", json=entry).status_code == 200
    answer = user.post("/v1/checkouts", json={"pack": "small"})
    problem = problem_of(answer, 403, "risk_blocked")
    assert "list" not in answer.text and "Chargebacks" not in answer.text
    assert problem["title"] == "This payment cannot be accepted"
    page = http.get("/v1/risk/assessments", params={"customer": "user_123"}).json()
    assert [a["decision"] for a in page["data"]] == ["block"]
    shown = http.get(f"/v1/risk/assessments/{page['data'][0]['id']}").json()
    assert shown["reasons"][0]["rule"] == "block_list"
    refused = http.post(
        f"/v1/risk/assessments/{shown['id']}/decide", json={"verdict": "accepted"}
    )
    problem_of(refused, 409, "conflict")
    gone = http.delete("/v1/risk/lists", params={"kind": "customer", "value": "user_123"})
    assert gone.status_code == 204
    assert http.get("/v1/risk/lists").json()["data"] == []
    assert user.post("/v1/checkouts", json={"pack": "small"}).status_code == 201


def test_customers_see_nothing_of_it(user):
    # I33
    for path in ("/v1/risk/assessments", "/v1/risk/lists"):
        problem_of(user.get(path), 403, "not_permitted")
