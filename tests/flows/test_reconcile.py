"""Reconciliation: exactly what was dropped and altered is found, mended by the usual doors."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from purchase import Desk
from test_disputes import FRAUD, bought, one_of

from paydesk import crash, providers
from paydesk.errors import Conflict, InvalidRequest, NotFound, NotSupported
from paydesk.flows import disputes, reconcile, refund_facts
from paydesk.providers.base import Provider
from paydesk.worker import Worker


class Blind(Provider):
    """A provider without books."""

    name = "blind"


def run(desk: Desk, *, fix: bool = False, **more):
    now = desk.env.now()
    return reconcile.reconcile(
        desk.env, "stripe", now - timedelta(days=1), now + timedelta(minutes=5), fix=fix, by="ada",
        **more,
    )  # fmt: skip


def drift(desk: Desk, made):
    """(kind, type, state) of everything found."""
    return sorted((d.kind, d.type, d.state) for d in reconcile.drifts(desk.env, made.id))


def paid(desk: Desk, user=None):
    view = desk.open(user)
    desk.pay(view)
    desk.deliver(view)
    return view


def intent(desk: Desk, view) -> str:
    return desk.sim.get(view.payment.session_ref)["payment_intent"]


@pytest.fixture
def ahead(desk: Desk):
    """The desk's clock runs ahead of the provider's, so that all lies in the window."""
    desk.clock.advance(minutes=3)
    return desk


def test_books_that_agree_have_no_drift_and_fees_are_kept(ahead):  # S3.23
    for _ in range(3):
        paid(ahead)
    first = run(ahead)
    assert (first.state, drift(ahead, first), first.has_drift) == ("done", [], False)
    assert first.counts["payment"]["matched"] == 3
    assert first.counts["payment"]["amounts"] == {"usd": 3 * 999}
    second = run(ahead, fix=True)
    assert drift(ahead, second) == []
    assert [row["fee_minor"] for row in ahead.all("select fee_minor from payments")] == [59] * 3
    posted = ahead.all("select amount from transfers where reason = 'PROVIDER_FEE'")
    assert [row["amount"] for row in posted] == [59, 59, 59]
    run(ahead, fix=True)
    assert len(ahead.all("select 1 from transfers where reason = 'PROVIDER_FEE'")) == 3


def test_another_programs_payments_are_counted_and_left(ahead):
    paid(ahead)
    ahead.sim.act("pay", amount=500)
    made = run(ahead, fix=True)
    assert drift(ahead, made) == []
    assert made.counts["payment"]["foreign"] == 1


def test_exactly_what_was_dropped_and_altered_is_found(ahead):  # S3.23 I40
    good, lost, altered, gone = (paid(ahead) for _ in range(4))
    unheard = ahead.open()
    ahead.pay(unheard)
    ahead.sim.alter_amount(intent(ahead, altered), 1099)
    ahead.sim.drop(intent(ahead, gone))
    refund = ahead.sim.refund(intent(ahead, lost), 300, silent=True)
    dispute = ahead.sim.dispute(intent(ahead, good), silent=True)
    made = run(ahead)
    assert drift(ahead, made) == [
        ("dispute", "missing_here", "open"), ("payment", "amount", "manual"),
        ("payment", "missing_here", "open"), ("payment", "missing_there", "manual"),
        ("refund", "missing_here", "open"),
    ]  # fmt: skip
    found = {(d.kind, d.type): d for d in reconcile.drifts(ahead.env, made.id)}
    assert found["payment", "amount"].ref == intent(ahead, altered)
    assert found["payment", "amount"].ours["amount"] == 999
    assert found["payment", "amount"].theirs["amount"] == 1099
    assert found["payment", "missing_here"].ref == intent(ahead, unheard)
    assert found["payment", "missing_there"].object_id == gone.payment.id
    assert found["refund", "missing_here"].ref == refund["id"]
    assert found["dispute", "missing_here"].ref == dispute["id"]
    assert ahead.payment(unheard).state == "pending"
    assert disputes.list_(ahead.env) == []
    assert {row["review"] for row in ahead.all("select review from payments")} == {None}


def test_repair_goes_through_the_usual_doors_and_a_second_run_is_empty(ahead):  # S3.23 I9
    lost, disputed, unheard = paid(ahead), paid(ahead), ahead.open()
    ahead.pay(unheard)
    ahead.sim.refund(intent(ahead, lost), silent=True)
    ahead.sim.dispute(intent(ahead, disputed), silent=True)
    made = run(ahead, fix=True)
    assert drift(ahead, made) == [
        ("dispute", "missing_here", "fixed"), ("payment", "missing_here", "fixed"),
        ("refund", "missing_here", "fixed"),
    ]  # fmt: skip
    assert not made.has_drift
    assert ahead.payment(unheard).fulfillment.path == "reconciliation"
    assert [ahead.balance(v) for v in (lost, disputed, unheard)] == [0, 0, 150]
    told = ahead.all("select data from events where type = 'payment.reconciled'")
    assert sorted(row["data"]["kind"] for row in told) == ["dispute", "payment", "refund"]
    assert {row["data"]["by"] for row in told} == {"ada"}
    assert drift(ahead, run(ahead)) == []
    before = ahead.all("select count(*) as n from transfers")
    assert drift(ahead, run(ahead, fix=True)) == []
    assert ahead.all("select count(*) as n from transfers") == before


def test_amounts_are_never_changed_and_the_payment_is_looked_at(ahead):
    altered, gone = paid(ahead), paid(ahead)
    ahead.sim.alter_amount(intent(ahead, altered), 1099)
    ahead.sim.drop(intent(ahead, gone))
    made = run(ahead, fix=True)
    assert drift(ahead, made) == [
        ("payment", "amount", "manual"), ("payment", "missing_there", "manual"),
    ]  # fmt: skip
    for view in (altered, gone):
        one = ahead.payment(view)
        assert (one.captured.minor, one.review) == (999, "reconciliation")
    assert made.has_drift


def test_states_that_moved_on_unheard_are_caught_up(ahead):
    view = bought(ahead, FRAUD)
    ahead.deliver(view)
    ahead.sim.decide_dispute(one_of(ahead, view).ref, "won", silent=True)
    refunded = paid(ahead)
    made = ahead.sim.refund(intent(ahead, refunded), 400, silent=True)
    refund_facts.apply_remote(
        ahead.env, "stripe", "", ahead.env.providers.call("stripe", "fetch_refund", made["id"]),
        (refunded.customer_id, refunded.payment.id), "webhook",
    )  # fmt: skip
    ahead.sim.finish_refund(made["id"], "failed", silent=True)
    assert drift(ahead, run(ahead)) == [
        ("dispute", "status", "open"), ("refund", "status", "open"),
    ]  # fmt: skip
    assert drift(ahead, run(ahead, fix=True)) == [
        ("dispute", "status", "fixed"), ("refund", "status", "fixed"),
    ]  # fmt: skip
    assert one_of(ahead, view).state == "won"
    assert ahead.balance(view) == 150
    assert ahead.payment(refunded).refunded.minor == 0


def test_what_they_lost_of_refunds_and_disputes_is_found(ahead):
    view = bought(ahead, FRAUD)
    ahead.deliver(view)
    refunded = paid(ahead)
    made = ahead.sim.refund(intent(ahead, refunded), 400)
    ahead.deliver(refunded)
    assert drift(ahead, run(ahead)) == []
    ahead.sim.drop(made["id"])
    ahead.sim.drop(one_of(ahead, view).ref)
    assert drift(ahead, run(ahead)) == [
        ("dispute", "missing_there", "manual"), ("refund", "missing_there", "manual"),
    ]  # fmt: skip


@pytest.mark.parametrize("place", ["reconcile_after_drifts", "reconcile_after_repair"])
def test_a_run_that_dies_in_the_middle_is_carried_on(ahead, monkeypatch, place):  # S3.23
    monkeypatch.setattr("paydesk.providers.stripe_calls.PAGE", 2)
    views = [paid(ahead) for _ in range(3)]
    unheard = [ahead.open() for _ in range(2)]
    for view in unheard:
        ahead.pay(view)
    now = ahead.env.now()
    made = reconcile.start(ahead.env, "stripe", now - timedelta(days=1),
                           now + timedelta(minutes=5), fix=True, by="ada")  # fmt: skip
    reconcile.carry_on(ahead.env, made.id, most_pages=1)
    for nth in (1, 1, 1):
        crash.arm(place, nth=nth)
        with pytest.raises(crash.CrashNow):
            reconcile.carry_on(ahead.env, made.id)
    ended = reconcile.carry_on(ahead.env, made.id)
    assert ended.state == "done"
    assert drift(ahead, ended) == [("payment", "missing_here", "fixed")] * 2
    assert ended.counts["payment"]["theirs"] == 5
    assert [ahead.balance(view) for view in (*views, *unheard)] == [150] * 5
    told = ahead.all("select type from events where type = 'payment.reconciled'")
    assert len(told) == 2
    assert ahead.all("select ref from reconciliation_refs") == []


def test_two_processes_at_one_run_do_not_count_twice(ahead):
    paid(ahead)
    now = ahead.env.now()
    made = reconcile.start(ahead.env, "stripe", now - timedelta(days=1), by="ada")
    stale = reconcile.get(ahead.env, made.id)
    reconcile.carry_on(ahead.env, made.id, most_pages=1)
    with pytest.raises(Conflict):
        reconcile._book_page(ahead.env, stale, "charge")
    assert reconcile.stop(ahead.env, made.id).state == "stopped"
    assert reconcile.carry_on(ahead.env, made.id).state == "stopped"


def test_progress_is_told_after_each_page(ahead):
    for _ in range(2):
        paid(ahead)
    told = []
    run(ahead, progress=lambda *news: told.append(news))
    assert ("charge", 2, 2) in told
    assert [step for step, _, _ in told] == ["charge", "refund", "dispute", "fee"]


def test_wrong_windows_and_providers_are_refused(desk):
    now = desk.env.now()
    with pytest.raises(InvalidRequest):
        reconcile.start(desk.env, "stripe", now, now - timedelta(days=1))
    with pytest.raises(InvalidRequest):
        reconcile.start(desk.env, "stripe", now - timedelta(days=40_00))
    with pytest.raises(NotFound):
        reconcile.start(desk.env, "nobody", now - timedelta(days=1))
    offered = providers.load(desk.env.settings, Blind(desk.env.settings))
    with pytest.raises(NotSupported):
        reconcile.start(replace(desk.env, providers=offered), "blind", now - timedelta(days=1))
    offered.close()
    with pytest.raises(InvalidRequest):
        reconcile.drifts(desk.env, run(desk).id, kind="nothing")


def test_the_night_compares_once_a_day_and_mends(ahead):
    view = ahead.open()
    ahead.pay(view)
    worker = Worker(ahead.env)
    assert worker.run_once("reconciliation") == {"reconciliation": 1}
    assert worker.run_once("reconciliation") == {"reconciliation": 0}
    found = reconcile.list_(ahead.env)
    assert [(one.started_by, one.state) for one in found] == [("night", "done")]
    ahead.clock.advance(days=1)
    assert worker.run_once("reconciliation") == {"reconciliation": 1}
    assert len(reconcile.list_(ahead.env)) == 2
    assert ahead.payment(view).state == "succeeded"
