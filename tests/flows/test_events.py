"""Events: gap-free under concurrency, published at least once, never for what did not happen."""

from __future__ import annotations

import json
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from paydesk import crash, ids
from paydesk.errors import TransactionLimit
from paydesk.flows import customers, events, heads
from paydesk.flows.listener import Listener


@pytest.fixture
def listener(env):
    made = Listener(env, recheck_s=0.5)
    yield made
    made.close()


def spent(customer_id, n=1):
    return events.NewEvent(customer_id=customer_id, type="credits.spent",
                           subject_id=ids.new_owned(customer_id), data={"amount": n})  # fmt: skip


def test_numbers_have_no_gap_under_concurrency_and_rollback(env):
    """I28: also transactions that fail leave neither event nor gap."""
    people = [customers.ensure(env, f"user_{n}").uuid for n in range(3)]

    def work(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(15):
            group = rng.sample(people, rng.randint(1, 3))
            try:
                with env.db.transaction(*group) as tx:
                    several = [spent(c) for c in group for _ in range(rng.randint(1, 4))]
                    events.emit_many(tx, several)
                    if rng.random() < 0.3:
                        raise KeyError
            except KeyError:
                pass

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, count(*) as n, max(seq) as last, count(distinct id) as ids"
            " from events group by customer_id"
        )
        heads_ = {r["customer_id"]: r["seq"] for r in tx.all("select customer_id, seq from heads")}
    assert len(rows) == 3
    for row in rows:
        assert row["n"] == row["last"] == row["ids"] == heads_[row["customer_id"]]


def test_numbers_follow_the_order_given(env):
    a, b = sorted(customers.ensure(env, f"u{n}").uuid for n in range(2))
    with env.db.transaction(a, b) as tx:
        numbers = events.emit_many(tx, [spent(b, 1), spent(a, 2), spent(b, 3)])
        assert numbers == [2, 2, 3]
        assert events.emit(tx, b, "credits.spent", b, {"amount": 4}) == 4
        assert tx.heads[b].seq == 4
    with env.db.read() as tx:
        assert [e.data["amount"] for e in events.follow(tx, b, 1)] == [1, 3, 4]


def test_sixty_four_customers_are_one_statement(env, monkeypatch):
    people = [customers.ensure(env, f"u{n}").uuid for n in range(64)]
    with env.db.transaction(*people) as tx:
        ran = []
        real = type(tx)._execute

        def counted(self, sql, params):
            ran.append(sql)
            return real(self, sql, params)

        monkeypatch.setattr(type(tx), "_execute", counted)
        assert events.emit_many(tx, [spent(c) for c in people]) == [2] * 64
        assert len(ran) == 1


def test_a_decision_never_goes_back_in_time(env, clock):
    """I25: a clock that steps back five minutes changes no order."""
    customer = customers.ensure(env, "u").uuid
    first = clock.advance(minutes=10)
    with env.db.transaction(customer) as tx:
        assert heads.decide(tx, env.now(), customer) == first
        events.emit(tx, customer, "credits.spent", customer, {})
    clock.advance(minutes=-5)
    with env.db.transaction(customer) as tx:
        assert heads.decide(tx, env.now(), customer) == first
        events.emit(tx, customer, "credits.spent", customer, {})
    with env.db.read() as tx:
        assert [e.created_at for e in events.follow(tx, customer, 1)] == [first, first]


def test_the_days_count_is_exact_and_begins_anew_each_day(env, clock):
    """S4.34"""
    customer = customers.ensure(env, "u").uuid

    def count(n=1):
        with env.db.transaction(customer) as tx:
            return heads.count_day(tx, customer, env.now(), n, 5)

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: _tried(count), range(12)))
    assert sorted(o for o in outcomes if o) == [1, 2, 3, 4, 5]
    clock.advance(days=1)
    assert count(2) == 2
    with pytest.raises(TransactionLimit):
        count(4)
    assert count(3) == 5


def _tried(call):
    try:
        return call()
    except TransactionLimit:
        return None


# Publishing ------------------------------------------------------------------------------------


def make_news(env, people, rounds=1):
    for _ in range(rounds):
        for customer in people:
            with env.db.transaction(customer) as tx:
                events.emit(tx, customer, "credits.spent", customer, {"amount": 1})


def places(env):
    with env.db.read() as tx:
        rows = tx.all("select customer_id, seq from feeds where sink = 'live'")
        return {r["customer_id"]: r["seq"] for r in rows}, tx.value("select count(*) from news")


def test_publishing_brings_every_feed_up_to_its_head_and_says_so_once(env):
    """I28"""
    people = [customers.ensure(env, f"u{n}").uuid for n in range(150)]
    make_news(env, people)
    with psycopg.connect(env.db.dsn, autocommit=True) as listener:
        listener.execute("listen paydesk_live")
        assert events.publish(env) == 300
        assert events.publish(env) == 0
        hints = [n.payload for n in listener.notifies(timeout=1, stop_after=2)]
    told = {h: seq for payload in hints for h, seq in json.loads(payload)}
    assert told == {c.hex: 2 for c in people}
    assert len(hints) == 2 and all(len(h) < 8_000 for h in hints)
    assert places(env) == (dict.fromkeys(people, 2), 0)


def test_nothing_is_told_of_what_was_rolled_back(env):
    """I28"""
    customer = customers.ensure(env, "u").uuid
    events.publish(env)
    with pytest.raises(KeyError), env.db.transaction(customer) as tx:
        events.emit(tx, customer, "credits.spent", customer, {})
        raise KeyError
    assert events.publish(env) == 0
    with env.db.read() as tx:
        assert events.last_seq(tx, customer) == 1


@pytest.mark.parametrize("point", ["publish_before_commit", "publish_after_commit"])
def test_a_publisher_killed_in_the_middle_loses_no_event(env, point, listener):
    """I28: killed before the commit, all is drained again; after it, receivers find it."""
    people = [customers.ensure(env, f"u{n}").uuid for n in range(5)]
    make_news(env, people)
    reached: dict = {}
    for customer in people:
        listener.subscribe(customer, lambda c, seq: reached.__setitem__(c, seq))
    crash.arm(point)
    with pytest.raises(crash.CrashNow):
        events.publish(env)
    crash.disarm()
    events.publish(env)
    wait_until(lambda: reached == dict.fromkeys(people, 2))
    assert places(env) == (dict.fromkeys(people, 2), 0)


def test_publishers_at_once_leave_every_feed_at_its_head(env):
    """I28: writers go on while several publishers drain."""
    people = [customers.ensure(env, f"u{n}").uuid for n in range(10)]
    stop = threading.Event()

    def drain():
        while not stop.is_set():
            events.publish(env)

    with ThreadPoolExecutor(6) as pool:
        drains = [pool.submit(drain) for _ in range(2)]
        list(pool.map(lambda _: make_news(env, people, 3), range(4)))
        stop.set()
        for one in drains:
            one.result()
    events.publish(env)
    feeds, left = places(env)
    assert left == 0 and feeds == dict.fromkeys(people, 13)


def test_a_head_that_is_locked_is_published_as_soon_as_it_is_free(env):
    customer, other = (customers.ensure(env, u).uuid for u in ("busy", "free"))
    with env.db.transaction(customer):
        assert events.publish(env) == 1
    assert places(env)[0] == {other: 1}
    assert events.publish(env) == 1


def test_many_locked_customers_keep_no_push_back_for_long(env):
    """I40: all of them together are waited for two seconds, not each."""
    held = [customers.ensure(env, f"busy-{n}").uuid for n in range(8)]
    free = customers.ensure(env, "free").uuid
    with env.db.transaction(*held):
        began = time.monotonic()
        assert events.publish(env) == 1
        assert time.monotonic() - began < 4
    assert places(env)[0] == {free: 1}
    assert events.publish(env) == len(held)


# Listening -------------------------------------------------------------------------------------


def wait_until(condition, timeout_s=8.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come to be in time"
        time.sleep(0.01)


def test_a_listener_hears_of_its_own_customers_only(env, listener):
    """S4.5"""
    mine, other = (customers.ensure(env, u).uuid for u in ("mine", "other"))
    heard: list = []
    leave = listener.subscribe(mine, lambda c, seq: heard.append((c, seq)))
    wait_until(lambda: listener.is_connected)
    make_news(env, [mine, other])
    events.publish(env)
    wait_until(lambda: (mine, 2) in heard)
    assert {c for c, _ in heard} == {mine}
    leave()
    make_news(env, [mine])
    events.publish(env)
    wait_until(lambda: listener.received >= 2)
    assert (mine, 3) not in heard


def test_a_listener_whose_connection_is_ended_catches_up(env, db, listener):
    """I28 I42"""
    customer = customers.ensure(env, "u").uuid
    heard: list = []
    listener.subscribe(customer, lambda c, seq: heard.append(seq))
    wait_until(lambda: listener.is_connected)
    with psycopg.connect(db.admin_dsn, autocommit=True) as admin:
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where application_name = 'paydesk listener' and datname = %s",
            (db.made.name,),
        )
    make_news(env, [customer])
    wait_until(lambda: 2 in heard)


def test_a_callback_that_fails_disturbs_no_other(env, listener):
    customer = customers.ensure(env, "u").uuid
    heard: list = []
    listener.subscribe(customer, lambda c, seq: 1 // 0)
    listener.subscribe(customer, lambda c, seq: heard.append(seq))
    make_news(env, [customer])
    events.publish(env)
    wait_until(lambda: 2 in heard)


# Reading ---------------------------------------------------------------------------------------


def test_lists_page_backwards_and_hide_what_is_anothers(env, clock):
    a, b = (customers.ensure(env, u) for u in ("a", "b"))
    for _ in range(5):
        make_news(env, [a.uuid, b.uuid])
        clock.advance(hours=30)
    page = events.list_events(env, a.uuid, limit=4)
    rest = events.list_events(env, a.uuid, limit=4, before=page[-1].id)
    assert [e.seq for e in page + rest] == [6, 5, 4, 3, 2, 1]
    everybody = events.list_events(env, limit=7)
    more = events.list_events(env, limit=7, before=everybody[-1].id)
    assert len({e.id for e in everybody + more}) == 12
    created = events.list_events(env, types=["customer.created"])
    assert {e.customer_id for e in created} == {a.uuid, b.uuid}
    with pytest.raises(events.NotFound):
        events.get_event(env, page[0].id, customer_id=b.uuid)
    assert events.get_event(env, page[0].id, customer_id=a.uuid) == page[0]


def test_every_type_of_event_has_a_sentence_and_an_example():
    for name, kind in events.TYPES.items():
        assert kind.description.endswith(".") and kind.subject in ids.PREFIXES, name
        json.dumps(kind.data)
