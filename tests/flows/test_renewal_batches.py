"""Renewals in batches: many customers in one transaction, and what befalls one stays its own."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from billing import DECLINES, Billing

from paydesk import crash
from paydesk.crash import CrashNow
from paydesk.flows import call_batches, due_batches, renewals, subscription_changes, sweeps
from paydesk.rules.money import USD

#: What a batch of renewals may send at most: their periods, and the payments that came.
STATEMENTS = 64


def due(billing: Billing, count: int = 5, **plan):
    """So many subscriptions whose second period is due."""
    billing.plan(**plan)
    subs = [billing.subscribe(billing.user()) for _ in range(count)]
    billing.clock.advance(days=31, hours=1)
    return subs


def billed_once(billing: Billing, subs) -> None:
    for sub in subs:
        assert [one[:2] for one in billing.invoices(sub)] == [(0, "paid"), (1, "paid")]
        assert billing.payments(sub) == ["succeeded"] * 2
        assert billing.events(sub).count("renewed") == 1


def failing(monkeypatch, sub, how):
    """The step of this one subscription fails, in Python or in the database."""
    monkeypatch.setattr(sweeps, "raises_faults", False)
    real = renewals._do

    def do(env, tx, now, found, what):
        if found.id == sub.id:
            if how == "python":
                raise RuntimeError("a fault of ours")
            tx.run("update subscriptions set quantity = 0 where customer_id = %(c)s",
                   {"c": sub.customer_id})  # fmt: skip
        return real(env, tx, now, found, what)

    monkeypatch.setattr(renewals, "_do", do)
    return lambda: monkeypatch.setattr(renewals, "_do", real)


# I23
@pytest.mark.parametrize("how", ["python", "database"])
def test_one_that_fails_is_set_back_and_the_others_are_renewed(billing, monkeypatch, how):
    subs = due(billing)
    mend = failing(monkeypatch, subs[2], how)
    assert billing.renew() == 4
    billed_once(billing, subs[:2] + subs[3:])
    assert len(billing.invoices(subs[2])) == 1
    assert billing.look(subs[2]).due_at == billing.env.now() + sweeps.SET_BACK
    assert billing.renew() == 0
    mend()
    assert billing.renew(minutes=11) == 1
    billed_once(billing, subs)


# I23
def test_who_is_held_elsewhere_is_waited_for_by_nobody(billing):
    subs = due(billing)
    with billing.env.db.transaction(subs[1].customer_id):
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(renewals.run_due, billing.env).result(60) == 4
        assert len(billing.invoices(subs[1])) == 1
    assert billing.renew() == 1
    billed_once(billing, subs)


# I23
def test_workers_share_what_is_due(billing, monkeypatch):
    monkeypatch.setattr(due_batches, "SIZE", 2)
    subs = due(billing, 7)
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: renewals.run_due(billing.env), range(3)))
    while made := billing.renew():
        done.append(made)
    assert sum(done) == 7, "each is done by one of them"
    billing.recover(rounds=1)
    billed_once(billing, subs)


POINTS = ("renewal_invoiced", "renewal_before_commit", "renewal_after_commit",
          "before_provider_call", "after_provider_call", "call_before_done_commit",
          "fulfil_before_goods", "fulfil_after_goods", "call_after_done",
          "invoice_before_commit")  # fmt: skip


# I23 I28
@pytest.mark.parametrize("point", POINTS)
def test_a_death_in_the_middle_of_a_batch_bills_each_once(billing, point):
    subs = due(billing, 4, credits=50)
    crash.arm(point, nth=3 if point in ("renewal_invoiced", "after_provider_call") else 1)
    with pytest.raises(CrashNow):
        renewals.run_due(billing.env)
    billing.recover(rounds=4)
    billed_once(billing, subs)
    for sub in subs:
        assert billing.balance(sub) == 50
        assert billing.books(sub, "revenue") == 4000


# I21 I22 I26 S1.58
def test_in_one_batch_each_has_what_is_its_own(billing):
    billing.plan()
    billing.plan("free", price=USD("0"), family="free")
    billing.plan("trial", trial_days=31, trial_needs_method=False, family="t")
    well, poor, bare, gone, idle, tried = (billing.user() for _ in range(6))
    none = billing.user(card=None)
    subs = [billing.subscribe(one) for one in (well, poor, bare, gone)]
    second = billing.subscribe(well, "free")
    free, trial, lapsing = (billing.subscribe(idle, "free"), billing.subscribe(tried, "trial"),
                            billing.subscribe(none, "trial"))  # fmt: skip
    billing.card(poor, DECLINES)
    from paydesk.flows import methods

    for one in methods.list_(billing.env, bare.uuid):
        methods.remove(billing.env, bare.uuid, one.id)
    subscription_changes.cancel(billing.env, gone.uuid, subs[3].id)
    billing.clock.advance(days=31, hours=1)
    while billing.renew():
        pass
    states = [billing.look(one).state for one in (*subs, second, free, trial, lapsing)]
    assert states == ["active", "past_due", "past_due", "canceled", "active", "active", "active",
                      "expired"]  # fmt: skip
    assert billing.payments(subs[0]) == ["succeeded"] * 2
    assert billing.payments(subs[1]) == ["succeeded", "failed"]
    assert billing.payments(subs[2]) == ["succeeded"]
    assert [one[:2] for one in billing.invoices(free)] == [(0, "paid"), (1, "paid")]
    assert billing.payments(trial) == ["succeeded"]
    assert billing.events(subs[1])[-1] == billing.events(subs[2])[-1] == "past_due"


# I23
@pytest.mark.parametrize("kind", ["drop_after", "500", "429"])
def test_an_answer_that_does_not_come_keeps_back_no_other(billing, sim, kind):
    subs = due(billing)
    sim.fault(kind, path="/v1/payment_intents")
    billing.renew()
    assert sorted(billing.payments(one)[-1] for one in subs) == ["pending"] + ["succeeded"] * 4
    billing.recover(rounds=3)
    billed_once(billing, subs)


# I23
def test_what_was_missed_is_caught_up_with_in_one_round(billing):
    subs = due(billing, 3)
    billing.clock.advance(days=62)
    assert billing.renew() == 9
    for sub in subs:
        assert [one[:2] for one in billing.invoices(sub)] == [(n, "paid") for n in range(4)]


# I26
def test_tries_that_are_due_again_are_made_together(billing):
    billing.plan()
    users = [billing.user() for _ in range(4)]
    subs = [billing.subscribe(who) for who in users]
    for who in users:
        billing.card(who, DECLINES)
    billing.clock.advance(days=31, hours=1)
    billing.renew()
    assert {billing.look(sub).state for sub in subs} == {"past_due"}
    assert billing.renew(days=1) == 4
    for who, sub in zip(users[:2], subs, strict=False):
        billing.card(who)
        assert billing.payments(sub) == ["succeeded"] + ["failed"] * 2
    assert billing.renew(seconds=1) == 2
    assert [billing.look(sub).state for sub in subs] == ["active"] * 2 + ["past_due"] * 2
    assert billing.look(subs[0]).due_at - billing.env.now() > timedelta(days=25)


def test_other_processes_hear_of_every_customer_of_a_batch(billing):
    """However many there are: a notification holds fewer than 8,000 bytes."""
    import json

    import psycopg

    from paydesk.flows import events

    keys = [f"subscriptions:{number:036d}" for number in range(500)]
    with psycopg.connect(billing.env.db.dsn, autocommit=True) as conn:
        conn.execute("listen paydesk_cache")
        events.forget(billing.env, *keys)
        heard: list[str] = []
        for said in conn.notifies(timeout=30):
            heard += json.loads(said.payload)
            if len(heard) >= len(keys):
                break
    assert heard == keys


# I23
@pytest.mark.parametrize("count", [3, 12])
def test_a_batch_takes_as_many_statements_however_many_are_in_it(billing, monkeypatch, count):
    subs = due(billing, count)
    monkeypatch.setattr(call_batches, "GATHER_S", 600.0)  # Answers are recorded all at once.
    sent, mine, execute = [], threading.get_ident(), psycopg.Cursor.execute

    def counted(self, query, *given, **more):
        if threading.get_ident() == mine:  # Not what the senders and others ask.
            sent.append(query)
        return execute(self, query, *given, **more)

    monkeypatch.setattr(psycopg.Cursor, "execute", counted)
    assert renewals.run_due(billing.env) == count
    monkeypatch.undo()
    billed_once(billing, subs)
    assert len(sent) <= STATEMENTS, len(sent)
