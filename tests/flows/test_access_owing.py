"""Access that ended because its subscription owes: it says so, and where to go."""

from __future__ import annotations

from datetime import timedelta

from billing import DECLINES
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient

from paydesk import Paydesk
from paydesk.fastapi import requires
from paydesk.flows import access, plans


def owing(billing, **plan):
    """Whose card paid the first month and none after it; access ends with what was paid."""
    billing.plan(grace_days=0, **plan)
    who = billing.user()
    sub = billing.subscribe(who)
    billing.card(who, DECLINES)
    billing.until(sub.period_end + timedelta(hours=1))
    return who, sub


def test_who_owes_for_a_plan_is_told_so_and_nobody_else_is(billing):
    # S1.49 S1.58 I26
    who, sub = owing(billing, dunning={"days": [1, 3], "final": "unpaid"})
    env = billing.env
    assert billing.look(sub).state == "past_due"
    told = access.can(env, who.uuid, "tier:pro")
    assert (bool(told), told.reason, told.expires_at) == (False, "past_due", sub.period_end)
    assert told.source.startswith("sub_") and "/portal/offer?plan=pro&for=" in told.offer_url
    other = billing.user(card=None)
    assert access.can(env, other.uuid, "tier:pro").reason == "not_purchased"
    assert access.can(env, who.uuid, "tier:gold").reason == "not_purchased"
    before = access.can(env, who.uuid, "tier:pro", sub.period_end - timedelta(seconds=1))
    assert before.reason == "granted", "an earlier instant keeps its answer"
    billing.until(sub.period_end + timedelta(days=4))
    assert billing.look(sub).state == "unpaid"
    assert access.can(env, who.uuid, "tier:pro").reason == "unpaid"


def test_a_plan_that_was_given_up_has_expired_and_owes_nothing(billing):
    # S1.49 S4.50
    who, sub = owing(billing, dunning={"days": [1], "final": "cancel"})
    billing.until(sub.period_end + timedelta(days=2))
    assert billing.look(sub).state == "canceled"
    told = access.can(billing.env, who.uuid, "tier:pro")
    assert told.reason in ("expired", "revoked")
    plans.archive(billing.env, "pro")
    assert access.can(billing.env, who.uuid, "tier:pro").offer_url is None


def test_a_gated_route_answers_402_with_the_reason_and_the_link(billing):
    # S1.49: at the edge, as an application has it
    who, _ = owing(billing, dunning={"days": [3], "final": "unpaid"})
    app = FastAPI()
    with Paydesk(env=billing.env, background=False) as pay:
        gate = requires("tier:pro", pay=pay, customer=lambda: who.external_id)

        @app.get("/export", dependencies=[Depends(gate)])
        def export():
            return {"ok": True}

        with TestClient(app) as client:
            refused = client.get("/export")
    assert refused.status_code == 402, refused.text
    assert refused.headers["content-type"] == "application/problem+json"
    body = refused.json()
    assert (body["code"], body["reason"]) == ("access_required", "past_due")
    assert "/portal/offer?plan=pro&for=" in body["offer_url"]
