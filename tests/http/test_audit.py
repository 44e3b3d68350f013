"""Over HTTP every change names its caller and its request."""

from __future__ import annotations

from http_support import problem_of

from paydesk.flows import events, trail


def test_the_log_names_who_made_a_key_and_in_which_request(http, user):
    # I46
    made = http.post("/v1/keys", json={"name": "Reports", "role": "finance"})
    page = http.get("/v1/audit", params={"action": "key."}).json()
    entry = page["data"][0]
    assert entry["action"] == "key.created"
    assert entry["subject"] == made.json()["id"]
    assert entry["request_id"] == made.headers["request-id"]
    assert entry["actor"]
    assert made.json()["secret"] not in http.get("/v1/audit").text
    assert http.get("/v1/audit", params={"starting_after": "1"}).json()["data"] == []
    for wrong in ("x", "-1", "9" * 20):
        answer = http.get("/v1/audit", params={"starting_after": wrong})
        problem_of(answer, 422, "invalid_request")
    problem_of(user.get("/v1/audit"), 403, "not_permitted")


def test_a_spend_over_http_is_recorded_with_its_caller(http, user, env, make):
    # I46
    who = make.user("user_123")
    make.credits(who, 10)
    made = user.post("/v1/credits/spend", json={"credits": 3, "reason": "render"})
    assert made.status_code in (200, 201), made.text
    with env.db.read() as tx:
        spent = next(e for e in events.follow(tx, who.uuid, 0) if e.type == "credits.spent")
    assert spent.cause["request_id"] == made.headers["request-id"]
    assert "user_123" in spent.cause["actor"]
    events.publish(env)
    while trail.seal_due(env):
        pass
    verdict = http.get("/v1/audit/verify", params={"customer": "user_123"}).json()
    assert (verdict["ok"], verdict["broken"], verdict["unsealed"]) == (True, [], 0)
