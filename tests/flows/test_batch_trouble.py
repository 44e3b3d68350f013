"""Batches in trouble: slow providers, leases that run out, a worker that is stopped, faults that
only a batch has."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace

import psycopg
import pytest
from billing import DECLINES, Billing
from psycopg.errors import (
    AdminShutdown,
    DeadlockDetected,
    LockNotAvailable,
    SerializationFailure,
)

from paydesk import crash, telemetry
from paydesk.crash import CrashNow
from paydesk.db.errors import DatabaseUnavailable
from paydesk.db.postgres import Tx
from paydesk.errors import OutcomeUnknown, ProviderUnavailable
from paydesk.flows import (
    attempts,
    call_batches,
    due_batches,
    dunning,
    fulfillment,
    heads,
    invoice_books,
    methods,
    plans,
    promos,
    provider_calls,
    renewals,
    subscription_bills,
    subscription_changes,
    subscription_steps,
    sweeps,
)
from paydesk.rules.money import USD
from paydesk.tracker.stores.joined import JoinedStore
from paydesk.worker import Worker


def due(billing: Billing, count: int = 5, card: bool = True, **plan):
    """So many subscriptions whose second period is due; `card`: their card is still there."""
    billing.plan(**plan)
    subs = [billing.subscribe(billing.user()) for _ in range(count)]
    for sub in subs if not card else []:
        for one in methods.list_(billing.env, sub.customer_id):
            methods.remove(billing.env, sub.customer_id, one.id)
    billing.clock.advance(days=31, hours=1)
    return subs


def cycles(billing: Billing, subs) -> list[int]:
    """How many periods of each were billed."""
    return [len(billing.invoices(one)) for one in subs]


def asked(billing: Billing, monkeypatch, before=lambda name: None) -> list[str]:
    """The operations that providers are asked for from now on; `before` runs ahead of each."""
    told, lock = [], threading.Lock()
    real = type(billing.env.providers).call

    def call(self, name, operation, *given, **more):
        with lock:
            told.append(operation)
        before(operation)
        return real(self, name, operation, *given, **more)

    monkeypatch.setattr(type(billing.env.providers), "call", call)
    return told


# Leases ------------------------------------------------------------------------------------------


# I23 I28
def test_the_tail_of_a_slow_batch_is_sent_although_the_first_lease_is_over(billing, monkeypatch):
    """Each answer takes 20 seconds, and a call is for its sender alone for 60."""
    monkeypatch.setattr(call_batches, "SENDERS", 1)
    subs = due(billing, 6)

    def slow(operation):
        if operation == "charge":
            billing.clock.advance(seconds=20)

    told = asked(billing, monkeypatch, slow)
    assert billing.renew() == 6
    assert told.count("charge") == 6
    assert {tuple(billing.payments(one)) for one in subs} == {("succeeded", "succeeded")}


# I23 I28
def test_what_another_worker_took_meanwhile_is_sent_by_it_alone(billing, monkeypatch):
    """While the first answer takes its time, the sweep of calls finds the leases of the others
    over, and goes on with them."""
    monkeypatch.setattr(call_batches, "SENDERS", 1)
    subs, first = due(billing, 4), threading.Event()

    def slow(operation):
        if operation == "charge" and not first.is_set():
            first.set()
            billing.clock.advance(seconds=provider_calls.LEASE_S - 5)
            billing.clock.advance(seconds=6)
            # The one under way is taken as well: its sender is late. Its key is the same.
            provider_calls.resolve_due(billing.env)

    told = asked(billing, monkeypatch, slow)
    billing.renew()
    assert told.count("charge") == 5, "but for the one under way, each was sent once"
    assert {tuple(billing.payments(one)) for one in subs} == {("succeeded", "succeeded")}


# I28
def test_a_lease_is_renewed_only_by_whom_it_belongs_to(billing, monkeypatch):
    subs = due(billing, 1)
    monkeypatch.setattr(call_batches, "run", lambda _env, _calls: None)
    billing.renew()
    row = billing.all("select customer_id, id from provider_calls where state = 'intended'")[0]
    with billing.env.db.read() as tx:
        call = provider_calls.read(tx, row["customer_id"], row["id"])
    assert provider_calls.keep(billing.env, call) == call, "enough of it is left"
    billing.clock.advance(seconds=provider_calls.LEASE_S - 1)
    kept = provider_calls.keep(billing.env, call)
    assert kept is not None
    assert kept.try_at == billing.env.now() + timedelta(seconds=provider_calls.LEASE_S)
    billing.clock.advance(seconds=provider_calls.LEASE_S - 1)
    assert provider_calls.keep(billing.env, call) is None, "it is another's by now"
    billing.clock.advance(seconds=provider_calls.LEASE_S)
    assert provider_calls.keep(billing.env, kept) is not None, "over, and nobody has taken it"
    monkeypatch.undo()
    billing.recover(rounds=1)
    assert billing.payments(subs[0]) == ["succeeded"] * 2


# A worker that is stopped ------------------------------------------------------------------------


# I23
def test_a_worker_that_is_stopped_sends_no_more_and_the_rest_stays_due(billing, monkeypatch):
    monkeypatch.setattr(call_batches, "SENDERS", 1)
    subs = due(billing, 4)
    worker = Worker(billing.env, [("renewals", renewals.run_due, 60.0)])
    told = asked(billing, monkeypatch, lambda operation: worker._stop.set())
    worker.start()
    for thread in worker._threads:
        thread.join(60)
    assert worker.stop()
    assert told.count("charge") == 1, "what was under way"
    assert sorted(billing.payments(one)[-1] for one in subs) == ["pending"] * 3 + ["succeeded"]
    billing.recover(rounds=2)
    assert {tuple(billing.payments(one)) for one in subs} == {("succeeded", "succeeded")}
    assert cycles(billing, subs) == [2] * 4


# I23
def test_a_worker_that_is_stopped_begins_no_other_batch(billing, monkeypatch):
    monkeypatch.setattr(due_batches, "SIZE", 1)
    subs, stop = due(billing, 4), threading.Event()
    asked(billing, monkeypatch, lambda _operation: stop.set())
    with sweeps.ending_when(stop.is_set):
        renewals.run_due(billing.env)
    assert sorted(cycles(billing, subs)) == [1, 1, 1, 2]
    assert billing.renew() == 3


# Who has no method -------------------------------------------------------------------------------


# I23
def test_providers_are_asked_for_many_customers_methods_at_a_time(billing, monkeypatch):
    """Nobody is answered before eight are asked: one after the other they would wait for ever."""
    subs = due(billing, call_batches.SENDERS, card=False)
    together = threading.Barrier(call_batches.SENDERS)

    def meet(operation):
        if operation == "list_methods":
            together.wait(60)

    asked(billing, monkeypatch, meet)
    assert billing.renew() == len(subs)
    assert {billing.look(one).state for one in subs} == {"past_due"}
    assert not together.broken


# I23
def test_who_has_no_method_holds_back_neither_others_nor_the_round(billing, monkeypatch):
    monkeypatch.setattr(due_batches, "MOST_ALONE", 2)
    bare = due(billing, 5, card=False)
    billing.clock.advance(days=-31, hours=-1)
    payer = billing.subscribe(billing.user())
    billing.clock.advance(days=31, hours=2)
    paid_before = []

    def look(operation):
        if operation == "list_methods":
            paid_before.append(billing.payments(payer)[-1:] == ["succeeded"]
                               and len(billing.invoices(payer)) == 2)  # fmt: skip

    told = asked(billing, monkeypatch, look)
    assert billing.renew() == 3
    assert told.count("list_methods") == 2
    assert paid_before == [True, True], "who can be charged comes first"
    assert Counter(billing.look(one).state for one in bare) == {"past_due": 2, "active": 3}
    waits = {billing.look(one).due_at for one in bare if billing.look(one).state == "active"}
    assert waits == {billing.env.now() + due_batches.LATER}
    assert billing.renew() == 0
    assert billing.renew(seconds=31) == 2
    assert billing.renew(seconds=31) == 1
    assert {billing.look(one).state for one in bare} == {"past_due"}


# I26
def test_owing_customers_without_a_method_are_asked_for_in_turns_too(billing, monkeypatch):
    bare = due(billing, 5, card=False)
    billing.renew()
    with billing.env.db.transaction() as tx:
        tx.run("update invoices set try_at = %(now)s where state = 'open'",
               {"now": billing.env.now()})  # fmt: skip
    monkeypatch.setattr(due_batches, "MOST_ALONE", 2)
    told = asked(billing, monkeypatch)
    billing.renew()
    assert told.count("list_methods") == 2
    rows = billing.all("select try_at from invoices where state = 'open' order by try_at")
    assert [row["try_at"] for row in rows[:3]] == [billing.env.now() + due_batches.LATER] * 3
    assert len({one.customer_id for one in bare}) == 5


# I23
def test_two_rows_of_one_customer_without_a_method_are_done_in_their_order(billing, monkeypatch):
    billing.plan()
    billing.plan("other", family="other")
    who = billing.user()
    subs = [billing.subscribe(who), billing.subscribe(who, "other")]
    for one in methods.list_(billing.env, who.uuid):
        methods.remove(billing.env, who.uuid, one.id)
    billing.clock.advance(days=31, hours=1)
    under_way, most = [], []

    def look(operation):
        under_way.append(operation)
        most.append(len(under_way))
        under_way.pop()

    asked(billing, monkeypatch, look)
    assert billing.renew() == 2
    assert {billing.look(one).state for one in subs} == {"past_due"}
    assert set(most) == {1}


# Faults that only a batch has --------------------------------------------------------------------


def faults(monkeypatch) -> list[tuple]:
    told: list[tuple] = []
    monkeypatch.setattr(telemetry, "count", lambda name, by, **more: told.append((name, more)))
    return told


# I23
@pytest.mark.parametrize("where", ["due", "answers", "goods"])
def test_a_fault_that_only_a_batch_has_is_counted_and_raised_in_tests(billing, monkeypatch, where):
    subs = due(billing, 3)

    def fails(*given):
        if where != "goods":
            raise AssertionError("only together")
        assert len(given[2]) == 1, "only together"
        return fulfillment._settle_invoices(*given)

    if where == "due":
        monkeypatch.setattr(due_batches, "_together", fails)
    elif where == "answers":
        monkeypatch.setattr(call_batches, "_record_together", fails)
    else:
        monkeypatch.setitem(fulfillment.FULFILL, "invoice", fails)
    told = faults(monkeypatch)
    with pytest.raises(AssertionError):
        billing.renew()
    monkeypatch.setattr(sweeps, "raises_faults", False)
    billing.clock.advance(minutes=2)
    with contextlib.suppress(AssertionError):
        billing.renew()
    billing.recover(rounds=4)
    assert {name for name, _ in told if name.endswith("faults")} == {"paydesk.batch.faults"}
    assert {more["error_type"] for _, more in told if "error_type" in more} >= {"AssertionError"}
    if where != "due":
        assert {tuple(billing.payments(one)) for one in subs} == {("succeeded", "succeeded")}


def test_what_belongs_to_work_beside_others_is_no_fault(billing, monkeypatch):
    from paydesk.errors import Busy

    told = faults(monkeypatch)
    seen = SimpleNamespace(levels=[])
    monkeypatch.setattr(sweeps, "log", SimpleNamespace(
        info=lambda *_words, **_more: seen.levels.append("info"),
        error=lambda *_words, **_more: seen.levels.append("error"),
    ))  # fmt: skip
    sweeps.fell_apart("due", Busy("held"), 3)
    assert (told, seen.levels) == ([], ["info"])


# What other transactions do to a group's goods ----------------------------------------------------


# I23 I29
@pytest.mark.parametrize("wrong", [
    DeadlockDetected("two"), LockNotAvailable("held"), SerializationFailure("late"),
    psycopg.OperationalError("server closed the connection"), AdminShutdown("bye"),
], ids=lambda wrong: type(wrong).__name__)  # fmt: skip
@pytest.mark.parametrize("count", [1, 3])
def test_goods_that_met_another_transaction_are_handed_over_again_with_their_money(
    billing, monkeypatch, wrong, count
):
    subs, real, met = due(billing, count), fulfillment.FULFILL["invoice"], []

    def meets(tx, now, terms, settings):
        met.append(len(terms))
        if len(met) == 1:
            raise wrong
        return real(tx, now, terms, settings)

    monkeypatch.setitem(fulfillment.FULFILL, "invoice", meets)
    with contextlib.suppress(DatabaseUnavailable):  # A lost connection ends the round.
        billing.renew()
    rows = billing.all("select distinct state, tries from fulfillments")
    assert [tuple(row.values()) for row in rows] == [("done", 1)], "none was put off by itself"
    billing.recover(rounds=2)
    assert {tuple(billing.payments(one)) for one in subs} == {("succeeded", "succeeded")}
    assert cycles(billing, subs) == [2] * count


# I23 S4.40
def test_two_groups_that_count_two_codes_in_opposite_orders_do_not_lock_each_other(
    billing, monkeypatch
):
    """Uses that had been given back are counted again when their money comes after all."""
    billing.plan()
    calls = {}
    for code in ("AAA", "BBB"):
        promos.upsert_promo(billing.env, code, percent_off=10)
        for group in (1, 2):
            who = billing.user(DECLINES)
            sub = billing.look(billing.subscribe(who, promo=code))
            billing.card(who)
            with billing.env.db.transaction(who.uuid) as tx:
                tx.run("update promo_uses set state = 'released' where payment_id = %(id)s",
                       {"id": sub.id})  # fmt: skip
                tx.run("update promo_counts set used = 0")
                now = heads.decide(tx, billing.env.now(), who.uuid)
                row = invoice_books.get(tx, who.uuid, sub.latest_invoice_id)
                calls[code, group] = subscription_bills.charge(
                    billing.env, tx, now, subscription_steps.read(tx, who.uuid, sub.id), row)
    groups = [[(call, provider_calls.send(billing.env, call)[1]) for call in chosen] for chosen in (
        (calls["AAA", 1], calls["BBB", 1]), (calls["BBB", 2], calls["AAA", 2]))]  # fmt: skip
    meet, run, met = threading.Barrier(2), Tx.run, []

    def slowly(self, query, params=None):
        try:
            done = run(self, query, params)
        except DeadlockDetected as exc:
            met.append(exc)
            raise
        if "update promo_counts" in query:
            with contextlib.suppress(threading.BrokenBarrierError):
                meet.wait(2)  # Where the other does not wait for us, it is here soon.
        return done

    monkeypatch.setattr(Tx, "run", slowly)
    with ThreadPoolExecutor(2) as pool:
        left = pool.map(lambda answers: call_batches._record_together(billing.env, answers), groups)
        assert (list(left), met) == ([[], []], [])
    rows = billing.all("select state, count(*) from fulfillments group by state")
    assert [tuple(row.values()) for row in rows] == [("done", 4)]
    assert [promos.get_promo(billing.env, code).used for code in ("AAA", "BBB")] == [2, 2]


# What follows a call, where its process dies before ----------------------------------------------


# I23 I28 I26
@pytest.mark.parametrize("dies", [True, False])
def test_an_answer_that_came_too_late_is_asked_for_anew_whoever_dies(billing, monkeypatch, dies):
    """The payments changed while their charges were under way, and were declined: what the
    provider says by now counts. The sweep of sessions asks where whoever was to ask has died."""
    subs = due(billing, 3)
    for sub in subs:
        billing.card(SimpleNamespace(uuid=sub.customer_id), DECLINES)
    touched, lock = [], threading.Lock()

    def touch(operation):
        with lock:
            if operation != "charge" or touched:
                return
            for row in billing.all("select customer_id, id from payments where state = 'pending'"):
                touched.append((row["customer_id"], row["id"]))
                with billing.env.db.transaction(row["customer_id"]) as tx:
                    payment = JoinedStore(tx.conn).get_many([touched[-1]])[0]
                    attempts.advance(tx, billing.env.now(), [(payment, payment.state, {})])

    asked(billing, monkeypatch, touch)
    if dies:
        crash.arm("call_after_done")
        with pytest.raises(CrashNow):
            billing.renew()
        assert billing.all("select id from provider_calls where result ? 'stale'")
    else:
        billing.renew()
    assert len(touched) == 3
    monkeypatch.undo()
    if dies:
        assert {billing.look(one).state for one in subs} == {"active"}
        billing.recover(rounds=12)
    assert {billing.look(one).state for one in subs} == {"past_due"}
    assert {tuple(billing.payments(one)) for one in subs} == {("succeeded", "failed")}


# Providers that are away, clocks that jump, kills ------------------------------------------------


def unknown_here(billing: Billing, subs) -> None:
    """Their cards are known to the provider alone, as after a page whose news were lost."""
    with billing.env.db.transaction() as tx:
        tx.run("delete from payment_methods where customer_id = any(%(c)s)",
               {"c": [one.customer_id for one in subs]})  # fmt: skip


# S1.16 I26
@pytest.mark.parametrize("trial", [0, 31])
def test_a_provider_that_is_away_does_not_make_a_customer_one_without_a_method(
    billing, monkeypatch, trial
):
    """Who paid on a page may have a card that only the provider knows. Nobody's trial ends, and
    nobody is written to, before it was asked."""
    subs, away = due(billing, 3, trial_days=trial), threading.Event()
    billing.clock.set(subs[0].period_end + timedelta(minutes=1))
    unknown_here(billing, subs)
    away.set()

    def answer(operation):
        if operation == "list_methods" and away.is_set():
            raise ProviderUnavailable("away")

    asked(billing, monkeypatch, answer)
    billing.renew()
    assert {billing.look(one).state for one in subs} == {"trialing" if trial else "active"}
    again = billing.env.now() + dunning.ASK_AGAIN
    assert {billing.look(one).due_at for one in subs} == {again}
    away.clear()
    assert billing.renew(minutes=16) == 3
    assert {billing.look(one).state for one in subs} == {"active"}
    assert {billing.payments(one)[-1] for one in subs} == {"succeeded"}


# S1.16 I26
def test_a_provider_that_stays_away_is_waited_for_a_day(billing, monkeypatch):
    subs = due(billing, 1)
    billing.clock.set(subs[0].period_end)
    unknown_here(billing, subs)

    def answer(operation):
        if operation == "list_methods":
            raise OutcomeUnknown("late")

    asked(billing, monkeypatch, answer)
    billing.until(subs[0].period_end + timedelta(hours=23), timedelta(hours=1))
    assert billing.look(subs[0]).state == "active"
    billing.until(subs[0].period_end + timedelta(hours=25), timedelta(hours=1))
    assert billing.look(subs[0]).state == "past_due"


# S1.16 I26
def test_a_try_waits_for_a_provider_that_is_away_and_is_given_up_at_last(billing, monkeypatch):
    subs, away = due(billing, 2, card=False), threading.Event()
    billing.renew()
    assert {billing.look(one).state for one in subs} == {"past_due"}

    def answer(operation):
        if operation == "list_methods" and away.is_set():
            raise ProviderUnavailable("away")

    asked(billing, monkeypatch, answer)
    away.set()
    # The last day of the schedule: it would be given up, were it certain that there is none.
    failed_at = billing.env.now()
    billing.until(failed_at + timedelta(days=7, hours=12), timedelta(hours=6))
    assert {billing.look(one).state for one in subs} == {"past_due"}
    billing.until(failed_at + timedelta(days=8, hours=12), timedelta(hours=6))
    assert {billing.look(one).state for one in subs} == {"canceled"}


# I23 I27
def test_a_clock_that_jumps_ahead_in_a_batch_sends_nothing_that_is_too_old(billing, monkeypatch):
    """By then the provider has forgotten the keys: what was sent is asked, what was not is not."""
    monkeypatch.setattr(call_batches, "SENDERS", 1)
    subs, jumped = due(billing, 4), []

    def jump(operation):
        if operation == "charge" and not jumped:
            jumped.append(operation)
            billing.clock.advance(hours=30)

    told = asked(billing, monkeypatch, jump)
    billing.renew()
    assert told.count("charge") == 1
    billing.recover(rounds=4)
    for _ in range(3):
        billing.renew(days=1)
    assert {billing.look(one).state for one in subs} == {"active"}
    assert {billing.payments(one).count("succeeded") for one in subs} == {2}
    assert cycles(billing, subs) == [2] * 4
    assert len(billing.sim.objects("charge")) == 8


# I23
def test_a_clock_that_goes_back_in_a_batch_bills_nobody_twice(billing, monkeypatch):
    monkeypatch.setattr(call_batches, "SENDERS", 1)
    subs, jumped = due(billing, 4), []

    def jump(operation):
        if operation == "charge" and not jumped:
            jumped.append(operation)
            billing.clock.advance(hours=-26)

    told = asked(billing, monkeypatch, jump)
    assert billing.renew() == 4
    assert billing.renew() == 0
    billing.clock.advance(hours=27)
    billing.recover(rounds=2)
    assert told.count("charge") == 4
    assert {tuple(billing.payments(one)) for one in subs} == {("succeeded", "succeeded")}
    assert cycles(billing, subs) == [2] * 4


# I23 I28 I26
@pytest.mark.parametrize("kind", ["500", "429", "drop_before", "drop_after"])
def test_a_provider_that_fails_for_a_part_of_a_batch_is_asked_again_for_that_part(
    billing, sim, kind
):
    subs = due(billing, 7)
    sim.fault(kind, path="/v1/payment_intents", times=3)
    billing.renew()
    states = Counter(billing.payments(one)[-1] for one in subs)
    assert states["succeeded"] >= 4
    assert set(states) <= {"succeeded", "pending"}
    billing.recover(rounds=4)
    assert {tuple(billing.payments(one)) for one in subs} == {("succeeded", "succeeded")}
    assert cycles(billing, subs) == [2] * 7
    assert len(billing.sim.objects("charge")) == 14


# I23
@pytest.mark.parametrize("point", ["renewal_invoiced", "renewal_before_commit",
                                   "renewal_after_commit", "after_provider_call",
                                   "call_before_done_commit", "call_after_done"])  # fmt: skip
def test_two_subscriptions_of_one_customer_are_renewed_once_each_whoever_dies(billing, point):
    billing.plan()
    billing.plan("other", family="other", price=USD("7.00"))
    users = [billing.user() for _ in range(3)]
    subs = [billing.subscribe(who, plan) for who in users for plan in ("pro", "other")]
    billing.clock.advance(days=31, hours=1)
    crash.arm(point, nth=2)
    with contextlib.suppress(CrashNow):
        billing.renew()
    crash.disarm()
    billing.recover(rounds=4)
    assert cycles(billing, subs) == [2] * 6
    assert {billing.look(one).state for one in subs} == {"active"}
    assert len(billing.sim.objects("charge")) == 12
    for who in users:
        assert billing.books(who, "revenue") == 2 * (2000 + 700)


# I23 S1.25
def test_a_plan_that_is_archived_while_its_renewals_are_due_is_renewed_all_the_same(billing):
    """Nor is a change lost that waited for the period's end, to a plan that is sold no more."""
    subs = due(billing, 3)
    billing.clock.advance(days=-2)
    billing.plan("less", price=USD("5.00"))
    subscription_changes.change(billing.env, subs[0].customer_id, subs[0].id, plan="less")
    plans.archive(billing.env, "pro")
    plans.archive(billing.env, "less")
    assert billing.renew(days=2) == 3
    assert [billing.invoices(one)[-1][2] for one in subs] == [500, 2000, 2000]
    assert {billing.look(one).state for one in subs} == {"active"}
