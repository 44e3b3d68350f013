"""Lanes: order, busy customers, poison items, lost connections, full queues, closing, forks."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, wait

import psycopg
import pytest

from paydesk import crash, ids
from paydesk.db import group_commit
from paydesk.db.group_commit import BUSY, KINDS, Lanes
from paydesk.errors import Busy, Unavailable
from paydesk.flows import credits
from paydesk.flows.credits import new_spend


def balance(env, customer_id) -> int:
    with env.db.read() as tx:
        return credits.balance_total(tx, customer_id, env.now())


def settled(futures: list[Future]) -> list:
    wait(futures, timeout=30)
    return [future.exception(0) or future.result(0) for future in futures]


@pytest.fixture
def user(make):
    one = make.user().uuid
    make.credits(one, 1_000)
    return one


@pytest.fixture
def kind() -> Iterator[str]:
    """A kind of work of this test alone."""
    name = f"test_{uuid.uuid4().hex}"
    yield name
    KINDS.pop(name, None)


class Gate:
    """A step that stands until it is let go, and remembers its groups."""

    def __init__(self) -> None:
        self.groups: list[list] = []
        self.entered = threading.Event()
        self.go = threading.Event()

    def __call__(self, tx, items, how):
        self.groups.append(list(items))
        self.entered.set()
        assert self.go.wait(30)
        return list(items)


# Order and grouping -----------------------------------------------------------------------------


def test_what_arrives_while_a_group_is_in_flight_is_the_next_group(wide, kind):
    gate = Gate()
    group_commit.register(kind, gate)
    key = ids.new_customer()
    futures = [wide.lanes.submit(kind, key, 0)]
    assert gate.entered.wait(60)
    futures += [wide.lanes.submit(kind, key, n) for n in range(1, 6)]
    gate.go.set()
    assert settled(futures) == [0, 1, 2, 3, 4, 5]
    assert gate.groups == [[0], [1, 2, 3, 4, 5]]


def test_a_group_is_no_larger_than_its_kind_allows(wide, kind):
    gate = Gate()
    group_commit.register(kind, gate, max_group=4)
    key = ids.new_customer()
    futures = [wide.lanes.submit(kind, key, 0)]
    assert gate.entered.wait(60)
    futures += [wide.lanes.submit(kind, key, n) for n in range(1, 11)]
    gate.go.set()
    settled(futures)
    assert [len(group) for group in gate.groups] == [1, 4, 4, 2]


def test_spends_of_a_customer_are_done_in_the_order_of_their_coming(wide, user):  # I15
    futures = [credits.spend_soon(wide, new_spend(user, 1)) for _ in range(300)]
    assert [v.balance for v in settled(futures)] == list(range(999, 699, -1))


def test_sixty_four_threads_on_one_customer_never_overspend(wide, make):  # I3 I15
    one = make.user().uuid
    make.credits(one, 100)
    found: list = []

    def run() -> None:
        for _ in range(4):
            found.append(credits.spend_now(wide, new_spend(one, 1)).status)

    threads = [threading.Thread(target=run) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found.count("done") == 100 and found.count("insufficient") == 156
    assert balance(wide, one) == 0


def test_lanes_and_direct_steps_on_one_customer_never_overspend(wide, make):  # I3
    one = make.user().uuid
    make.credits(one, 60)
    direct: list[str] = []

    def run() -> None:
        for _ in range(10):
            with wide.db.transaction(one) as tx:
                direct.append(credits.spend(tx, [new_spend(one, 1)], wide.now())[0].status)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    futures = [credits.spend_soon(wide, new_spend(one, 1)) for _ in range(60)]
    statuses = [v.status for v in settled(futures)]
    for thread in threads:
        thread.join(60)
    assert (statuses + direct).count("done") == 60
    assert set(statuses + direct) == {"done", "insufficient"}


def test_two_hundred_parallel_requests_with_one_key_have_one_effect(wide, user):  # I27
    key = uuid.uuid4()
    futures = [credits.spend_soon(wide, new_spend(user, 7, request_key=key)) for _ in range(200)]
    found = settled(futures)
    assert sorted(v.status for v in found) == ["done"] + ["same"] * 199
    assert len({v.transfer_id for v in found}) == 1 and balance(wide, user) == 993


def test_spends_racing_expiry_have_one_winner(wide, make, clock):  # I16
    users = [make.user().uuid for _ in range(6)]
    for one in users:
        make.credits(one, 5, days=1)
    clock.advance(days=1, seconds=-1)
    futures = [credits.spend_soon(wide, new_spend(one, 1)) for one in users for _ in range(4)]
    clock.advance(seconds=1)
    credits.expire_due(wide)
    spent = [v.status for v in settled(futures)].count("done")
    with wide.db.read() as tx:
        lapsed = tx.value(
            "select coalesce(sum(amount), 0)::int from transfers where reason = 'CREDIT_EXPIRY'"
        )
    assert spent + lapsed == 30


# Busy customers ---------------------------------------------------------------------------------


def test_a_locked_customer_does_not_hold_up_the_others(wide, make, user):
    other = make.user().uuid
    make.credits(other, 10)
    with psycopg.connect(wide.db.dsn) as conn:
        conn.execute("select from heads where customer_id = %s for update", (user,))
        stuck = [credits.spend_soon(wide, new_spend(user, 1)) for _ in range(2)]
        assert credits.spend_now(wide, new_spend(other, 1)).status == "done"
        assert not any(future.done() for future in stuck)
        conn.rollback()
    assert [v.balance for v in settled(stuck)] == [999, 998]


def test_a_customer_that_stays_locked_is_told_that_nothing_happened(wide, user):
    with psycopg.connect(wide.db.dsn) as conn:
        conn.execute("select from heads where customer_id = %s for update", (user,))
        with pytest.raises(Busy):
            credits.spend_now(wide, new_spend(user, 1))
    assert credits.spend_now(wide, new_spend(user, 1)).balance == 999


def test_busy_items_keep_their_order(wide, kind):
    seen: list[int] = []

    def step(tx, items, how):
        if not how.wait:
            return [BUSY for _ in items]
        seen.extend(items)
        return list(items)

    group_commit.register(kind, step)
    key = ids.new_customer()
    futures = [wide.lanes.submit(kind, key, n) for n in range(50)]
    assert settled(futures) == list(range(50)) and seen == list(range(50))


# Faults -----------------------------------------------------------------------------------------


def test_a_poisonous_item_fails_alone(wide, kind, make, user):
    users = sorted(make.user().uuid for _ in range(8))

    def step(tx, items, how):
        for owner, word in items:
            tx.run("insert into news values (%s) on conflict do nothing", (owner,))
            if word == "poison":
                tx.run("select 1 / 0")
        return [owner for owner, _ in items]

    with wide.db.transaction() as tx:
        tx.run("delete from news")
    gate = Gate()
    group_commit.register(kind, step)
    group_commit.register(kind + "_gate", gate)
    futures = [wide.lanes.submit(kind + "_gate", user, 0)]
    assert gate.entered.wait(60)
    group = [wide.lanes.submit(kind, user, (one, "poison" if one == users[3] else ""))
             for one in users]  # fmt: skip
    gate.go.set()
    found = settled(group)
    KINDS.pop(kind + "_gate")
    assert isinstance(found[3], psycopg.errors.DivisionByZero)
    assert found[:3] + found[4:] == users[:3] + users[4:]
    with wide.db.read() as tx:
        there = {row["customer_id"] for row in tx.all("select customer_id from news")}
    assert there == set(users) - {users[3]}
    assert settled(futures) == [0]


@pytest.fixture
def killer(wide, db):
    """Ends every session of the test's database."""

    def kill() -> None:
        with psycopg.connect(db.admin_dsn, autocommit=True) as admin:
            admin.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )

    return kill


def test_a_lost_connection_loses_and_doubles_nothing(wide, user, killer):  # I42 I3
    futures: list[Future] = []
    for round_ in range(6):
        futures += [credits.spend_soon(wide, new_spend(user, 1)) for _ in range(40)]
        if round_ % 2:
            killer()
    found = settled(futures)
    assert {v.status for v in found} <= {"done", "same"}
    assert len({v.transfer_id for v in found}) == 240
    assert balance(wide, user) == 760


@pytest.mark.parametrize("point", ["spend_before_commit", "spend_after_commit"])
def test_a_group_whose_commit_is_unknown_goes_again_with_its_ids(wide, user, killer, kind, point):
    spend_step = KINDS["spend"].step  # I42 I27
    seen: list[bool] = []

    def step(tx, items, how):
        seen.append(how.again)
        verdicts = spend_step(tx, items, how)
        if len(seen) == 1:
            if point == "spend_after_commit":
                tx.conn.execute("commit")
            killer()
        return verdicts

    group_commit.register(kind, step)
    verdict = wide.lanes.submit(kind, user, new_spend(user, 4)).result(30)
    assert seen == [False, True]
    assert verdict.status == ("same" if point == "spend_after_commit" else "done")
    assert verdict.balance == 996 and len(verdict.draws) == 1 and balance(wide, user) == 996


@pytest.mark.parametrize("point", ["spend_before_step", "spend_before_commit",
                                   "spend_after_commit"])  # fmt: skip
def test_a_spend_survives_a_crash_at_every_point(wide, user, point):  # I27
    item = new_spend(user, 4, request_key=uuid.uuid4())
    crash.arm(point)
    try:
        with pytest.raises(crash.CrashNow):
            credits.spend_now(wide, item)
    finally:
        crash.disarm()
    again = credits.spend_now(wide, new_spend(user, 4, request_key=item.request_key))
    assert again.status == ("same" if point == "spend_after_commit" else "done")
    assert balance(wide, user) == 996


def test_a_database_that_stays_away_is_reported_not_awaited_for_ever(env, user):
    from dataclasses import replace

    from paydesk.db.postgres import Database

    nowhere = Database("host=127.0.0.1 port=9 dbname=none user=none", wait_timeout_s=0.2)
    lanes = Lanes(nowhere, env.settings, env.clock, outage_s=0.3)
    away = replace(env, db=nowhere, lanes=lanes)
    with pytest.raises(Unavailable):
        credits.spend_now(away, new_spend(user, 1))
    lanes.close()


# Bounds and ends --------------------------------------------------------------------------------


def test_a_full_queue_refuses_with_a_time_to_come_back(wide, kind):
    gate = Gate()
    group_commit.register(kind, gate)
    lanes = Lanes(wide.db, wide.settings, wide.clock, capacity=8)
    keys = [ids.new_customer() for _ in range(64)]
    futures, refused = [], 0
    for key in keys:
        try:
            futures.append(lanes.submit(kind, key, 1))
        except Unavailable as exc:
            refused += 1
            assert exc.retry_after_s == 1
    gate.go.set()
    assert refused and set(settled(futures)) == {1}
    lanes.close()


def test_one_customer_takes_at_most_a_quarter_of_the_queue(wide, kind):
    gate = Gate()
    group_commit.register(kind, gate)
    lanes = Lanes(wide.db, wide.settings, wide.clock, capacity=40)
    key = ids.new_customer()
    futures = [lanes.submit(kind, key, 0)]
    assert gate.entered.wait(60)
    futures += [lanes.submit(kind, key, n) for n in range(10)]
    with pytest.raises(Unavailable):
        lanes.submit(kind, key, 11)
    gate.go.set()
    assert len(settled(futures)) == 11
    lanes.close()


def test_closing_works_off_what_is_queued_and_takes_nothing_more(wide, user):
    lanes = Lanes(wide.db, wide.settings, wide.clock)
    futures = [lanes.submit("spend", user, new_spend(user, 1)) for _ in range(400)]
    lanes.close()
    assert all(future.done() for future in futures)
    assert {future.result().status for future in futures} == {"done"}
    with pytest.raises(Unavailable):
        lanes.submit("spend", user, new_spend(user, 1))


def test_submitting_inside_a_transaction_is_a_mistake_that_is_named(wide, user):
    with pytest.raises(RuntimeError, match="directly"), wide.db.transaction(user):
        credits.spend_now(wide, new_spend(user, 1))


def test_a_cancelled_future_is_not_worked_off(wide, kind, user):
    gate = Gate()
    group_commit.register(kind, gate)
    first = wide.lanes.submit(kind, user, 0)
    assert gate.entered.wait(60)
    second, third = (wide.lanes.submit(kind, user, n) for n in (1, 2))
    assert second.cancel()
    gate.go.set()
    assert settled([first, third]) == [0, 2]
    assert gate.groups == [[0], [2]]


def test_a_coroutine_awaits_its_verdict(wide, user):
    async def run():
        waiting = [
            wide.lanes.submit_to_loop("spend", user, new_spend(user, 1)) for _ in range(20)
        ]
        return await asyncio.gather(*waiting)

    assert [v.balance for v in asyncio.run(run())] == list(range(999, 979, -1))


def test_many_items_are_taken_together_and_answered_in_order(wide, make, user):
    other = make.user().uuid
    make.credits(other, 5)
    items = [(one, new_spend(one, 1)) for _ in range(10) for one in (user, other)]
    found = wide.lanes.submit_many("spend", items).result(30)
    assert [v.status for v in found[::2]] == ["done"] * 10
    assert [v.status for v in found[1::2]] == ["done"] * 5 + ["insufficient"] * 5
    assert wide.lanes.submit_many("spend", []).result(1) == []


def test_a_forked_child_gets_lanes_of_its_own(wide, user):
    assert credits.spend_now(wide, new_spend(user, 1)).balance == 999
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            verdict = credits.spend_now(wide, new_spend(user, 1))
            wide.lanes.close()
            os.write(write, f"{verdict.status} {verdict.balance}".encode())
        finally:
            os._exit(0)
    os.close(write)
    until = time.monotonic() + 30
    answer = os.read(read, 100).decode()
    os.close(read)
    os.waitpid(pid, 0)
    assert time.monotonic() < until and answer == "done 998"
    assert credits.spend_now(wide, new_spend(user, 1)).balance == 997
