"""Provider calls too old to be repeated: each comes to an end, and none stops the others."""

from __future__ import annotations

import pytest

from paydesk import crash
from paydesk.errors import OutcomeUnknown, ProviderRefused
from paydesk.flows import checkout, payments, provider_calls
from paydesk.providers.base import AnswerUnclear
from paydesk.providers.circuit import FAILURES_TO_OPEN


def lost(desk, point, **more):
    """A checkout whose caller died at this point; answers its customer."""
    user = desk.make.user()
    crash.arm(point)
    with pytest.raises(crash.CrashNow):
        desk.open(user, **{"pack": "creator", **more})
    return user


def calls(desk):
    return desk.all("select state, tries::int, error from provider_calls order by created_at, id")


def states(desk):
    return [row["state"] for row in calls(desk)]


@pytest.mark.parametrize("point", ["old_call_before_settle", "apply_before_commit",
                                   "apply_after_commit"])  # fmt: skip
@pytest.mark.parametrize("paid", [False, True])
def test_a_death_while_an_old_call_is_resolved_loses_neither_payment_nor_code(desk, point, paid):
    """I1 I6 I18: what was found is recorded before the call counts as settled."""
    desk.make.promo("P10", percent_off=10)
    user = lost(desk, "after_provider_call", promo="P10")
    (session,) = desk.sim.objects("checkout.session")
    if paid:
        desk.sim.pay(session["id"])
    desk.clock.advance(hours=24)
    crash.arm(point)
    with pytest.raises(crash.CrashNow):
        provider_calls.resolve_due(desk.env)
    desk.recover()
    (payment,) = payments.list_(desk.env, user.uuid)
    assert payment.state == ("succeeded" if paid else "expired")
    assert payment.session_ref == session["id"]
    assert states(desk) == ["done"]
    assert desk.all("select used::int from promo_counts") == [{"used": int(paid)}]


def test_an_old_call_whose_facts_cannot_be_laid_down_stays_open(desk, monkeypatch):
    """I6: a charge that is another's settles nothing; the right one does, later."""
    lost(desk, "after_provider_call")
    desk.clock.advance(hours=24)
    with monkeypatch.context() as patch:
        patch.setattr("paydesk.flows.charges._belongs", lambda *_: False)
        provider_calls.resolve_due(desk.env)
    assert (states(desk), desk.all("select state from payments")) == (
        ["unknown"], [{"state": "pending"}]
    )  # fmt: skip
    desk.recover()
    assert (states(desk), desk.all("select state from payments")) == (
        ["done"], [{"state": "expired"}]
    )  # fmt: skip


def test_a_search_reads_only_the_minutes_in_which_the_session_can_have_been_made(
    desk, monkeypatch
):
    """I6 I40: a shop may open thousands of sessions a day."""
    lost(desk, "after_provider_call")
    stripe = desk.env.providers["stripe"]
    asked = []
    sessions = stripe._client.v1.checkout.sessions
    listed = type(sessions).list

    def list_(self, params, *more):
        asked.append(params["created"])
        return listed(self, params, *more)

    monkeypatch.setattr(type(sessions), "list", list_)
    (session,) = desk.sim.objects("checkout.session")
    desk.clock.advance(hours=24)
    desk.sweep("provider_calls")
    assert states(desk) == ["done"]
    assert asked[0]["gte"] <= session["created"] <= asked[0]["lte"]
    assert asked[0]["lte"] - asked[0]["gte"] <= 20 * 60


def test_sessions_too_many_to_search_open_no_circuit_and_end_in_a_review(desk, monkeypatch):
    """I6 I40: Stripe answers well; after a week a person is told."""
    user = lost(desk, "after_provider_call")
    stripe = type(desk.env.providers["stripe"])

    def busy(self, payment_id, request):
        raise AnswerUnclear("Too many sessions.")

    monkeypatch.setattr(stripe, "search", busy)
    desk.clock.advance(hours=24)
    for _ in range(FAILURES_TO_OPEN + 2):
        desk.sweep("provider_calls")
        desk.clock.advance(hours=1)
    assert (states(desk), desk.env.providers.circuit("stripe").state) == (["unknown"], "closed")
    desk.clock.advance(days=7)
    desk.sweep("provider_calls")
    (payment,) = payments.list_(desk.env, user.uuid)
    assert (payment.state, payment.review) == ("expired", "outcome_unknown")
    assert states(desk) == ["refused"]


def test_a_refused_search_is_written_down_and_tried_ever_more_rarely(desk, monkeypatch):
    """I29 I40: no refusal repeats each minute."""
    user = lost(desk, "after_provider_call")
    stripe = type(desk.env.providers["stripe"])

    def refuse(self, payment_id, request):
        raise ProviderRefused("No such parameter.")

    desk.clock.advance(hours=24)
    with monkeypatch.context() as patch:
        patch.setattr(stripe, "search", refuse)
        for _ in range(60):
            desk.sweep("provider_calls")
            desk.clock.advance(minutes=1)
        (call,) = calls(desk)
        assert (call["state"], call["error"]) == ("unknown", "No such parameter.")
        assert call["tries"] <= 12
        (payment,) = payments.list_(desk.env, user.uuid)
        with pytest.raises(OutcomeUnknown):
            checkout.verify(desk.env, payment.id)
    desk.recover(minutes=70)
    assert states(desk) == ["done"]


def test_a_call_tried_very_often_stops_no_other(desk):
    """I29: the count of tries has an end, the tries have none."""
    lost(desk, "before_provider_call")
    with desk.env.db.transaction() as tx:
        tx.run("update provider_calls set tries = 32767")
    lost(desk, "before_provider_call")
    desk.clock.advance(hours=1)
    assert provider_calls.resolve_due(desk.env) == 2
    assert states(desk) == ["done", "done"]


def test_a_fault_of_the_adapter_delays_its_own_call_alone(desk, monkeypatch):
    """I29 I40: an error that nobody foresaw is written on the call, and the next one is sent."""
    odd = lost(desk, "before_provider_call")
    lost(desk, "before_provider_call")
    stripe = type(desk.env.providers["stripe"])
    create = stripe.create_checkout

    def fail(self, order):
        if order.customer == odd.id:
            raise KeyError("url")
        return create(self, order)

    desk.clock.advance(minutes=2)
    with monkeypatch.context() as patch:
        patch.setattr(stripe, "create_checkout", fail)
        assert provider_calls.resolve_due(desk.env) == 1
    assert sorted(states(desk)) == ["done", "unknown"]
    desk.clock.advance(minutes=2)
    assert provider_calls.resolve_due(desk.env) == 1
