"""Clocks that are moved by hand: due order, never back, others untouched, resumed after a crash."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from paydesk import crash, ids
from paydesk.crash import CrashNow
from paydesk.db.postgres import Tx
from paydesk.errors import (
    AlreadyPurchased,
    Conflict,
    InvalidRequest,
    NotFound,
    NotPermitted,
    OutcomeUnknown,
    ProviderUnavailable,
)
from paydesk.flows import access, clocks, credits, customers, events, holds, services
from paydesk.worker import Worker

DAY = timedelta(days=1)


@pytest.fixture
def clocked(env, make):
    """`clocked(clock, "name")` makes a customer who stands on that clock."""
    numbers = iter(range(1000))

    def made(clock, name=None):
        return customers.ensure(env, name or f"clocked_{next(numbers)}", clock=clock.uuid)

    return made


def balance(env, one):
    with env.db.read() as tx:
        return credits.balance_total(tx, one.uuid, env.now())


def story(env, one):
    """(type, instant) of everything that happened to a customer."""
    with env.db.read() as tx:
        return [(e.type, e.created_at) for e in events.follow(tx, one.uuid, 0)]


def give_access(env, one, days):
    return access.grant(env, one.uuid, "course:python", by="test", days=days)


def test_a_customer_of_a_clock_lives_by_it_and_nobody_else_does(env, make, clock, clocked):
    start = clock.now()
    mine = clocks.create(env, name="mine")
    one, other = clocked(mine), make.user()
    for who in (one, other):
        make.credits(who, 100, days=30)
        give_access(env, who, 10)
    assert one.clock_id == mine.uuid and one.created_at == start
    after = clocks.advance(env, mine, by=31 * DAY)
    assert (after.state, after.now, after.customers) == ("ready", start + 31 * DAY, 1)
    assert (balance(env, one), balance(env, other)) == (0, 100)
    assert not access.can(env, one.uuid, "course:python")
    assert access.can(env, other.uuid, "course:python")
    assert access.list_(env, one.uuid)[0].status == "expired"
    told = dict(story(env, one))
    assert told["access.expired"] == start + 10 * DAY
    assert told["credits.expired"] == start + 30 * DAY
    assert [name for name, _ in story(env, other)] == [
        "customer.created", "credits.granted", "access.granted",
    ]  # fmt: skip


def test_what_is_due_is_done_in_due_order_each_at_its_own_instant(env, make, clock, clocked):
    start = clock.now()
    one, two = (clocked(mine) for mine in [clocks.create(env)] * 2)
    make.credits(one, 10, days=5)
    make.credits(two, 10, days=3)
    make.credits(one, 7, days=300)
    hold = holds.hold_now(env, two.uuid, 2, minutes=60)
    give_access(env, two, 4)
    clocks.advance(env, clocks.of_customer(env, one.uuid), by=20 * DAY)
    due = [
        (at - start, name, who)
        for who, user in (("one", one), ("two", two))
        for name, at in story(env, user)
        if at > start
    ]
    assert sorted(due) == [
        (timedelta(hours=1), "hold.expired", "two"), (3 * DAY, "credits.expired", "two"),
        (4 * DAY, "access.expired", "two"), (5 * DAY, "credits.expired", "one"),
    ]  # fmt: skip
    with env.db.read() as tx:
        assert holds.get(tx, two.uuid, hold.id).status(start) == "expired"
    assert balance(env, one) == 7


def test_a_clock_stands_while_real_time_goes_on(env, make, clock, clocked):
    start = clock.now()
    one = clocked(clocks.create(env))
    make.credits(one, 50, days=2)
    clock.advance(days=400)
    assert balance(env, one) == 50
    assert credits.spend_now(env, credits.new_spend(one.uuid, 20)).status == "done"
    again = credits.grant_now(env, one.uuid, 5, expires_at=start + DAY)
    assert again.amount == 5
    with env.db.read() as tx:
        lines = credits.history(tx, one.uuid)
    assert {line.at for line in lines} == {start}
    assert {at for _, at in story(env, one)} == {start}


def test_a_group_of_spends_is_decided_by_each_customers_own_clock(env, make, clock, clocked):
    """C2: one call for the ordinary ones, one for each clock among them."""
    start = clock.now()
    ahead, behind = clocks.create(env), clocks.create(env, at=start - 30 * DAY)
    users = [clocked(ahead), clocked(behind), make.user(), clocked(ahead), make.user()]
    for user in users:
        make.credits(user, 10, days=40 if user.clock_id != behind.uuid else 5)
    clocks.advance(env, ahead, by=60 * DAY)
    items = [credits.new_spend(user.uuid, 3) for user in users for _ in range(2)]
    found = credits.spend_many_now(env, items)
    assert [v.status for v in found] == [
        "insufficient", "insufficient", "done", "done", "done", "done", "insufficient",
        "insufficient", "done", "done",
    ]  # fmt: skip
    assert story(env, users[1])[-1] == ("credits.spent", start - 30 * DAY)
    assert story(env, users[4])[-1] == ("credits.spent", start)


def test_every_event_is_found_by_its_id_whatever_clock_gave_it(env, make, clock, clocked):
    mine = clocks.create(env)
    one = clocked(mine)
    for _ in range(3):
        now = clocks.get(env, mine).now
        for _ in range(45):
            credits.grant_now(env, one.uuid, 1, expires_at=now + DAY)
        clocks.advance(env, mine, by=2 * DAY)
        for _ in range(45):
            make.credits(one, 1, days=None)
    with env.db.read() as tx:
        told = events.follow(tx, one.uuid, 0, limit=1000)
    assert len(told) > 300
    for event in told:
        assert events.get_event(env, event.id).seq == event.seq


def test_a_clock_never_goes_back(env, clock, clocked):
    mine = clocks.create(env)
    clocks.advance(env, mine, by=3 * DAY)
    for wrong in (clock.now(), clock.now() + 2 * DAY):
        with pytest.raises(InvalidRequest, match="never goes back"):
            clocks.advance(env, mine, wrong)
    with pytest.raises(InvalidRequest, match="ten years"):
        clocks.advance(env, mine, by=5000 * DAY)
    assert clocks.get(env, mine).now == clock.now() + 3 * DAY
    assert clocks.advance(env, mine, by=timedelta(0)).state == "ready"


def test_a_customer_keeps_the_clock_he_was_made_with(env, make, clocked):
    first, second = clocks.create(env), clocks.create(env)
    one, other = clocked(first, "anna"), make.user("otto")
    assert clocked(first, "anna") == one
    for name in ("anna", "otto"):
        with pytest.raises(Conflict):
            clocked(second, name)
    assert customers.get(env, other.uuid).clock_id is None
    with pytest.raises(NotFound):
        customers.ensure(env, "nora", clock=ids.new_catalog())


def test_a_deleted_clock_stands_for_ever_with_its_customers(env, make, clock, clocked):
    mine = clocks.create(env)
    one = clocked(mine)
    make.credits(one, 5, days=1)
    assert clocks.delete(env, mine).state == "deleted"
    assert clocks.list_(env) == []
    with pytest.raises(Conflict, match="deleted"):
        clocks.advance(env, mine, by=DAY)
    with pytest.raises(NotFound):
        clocked(mine, "late")
    clock.advance(days=30)
    assert balance(env, one) == 5


def test_a_live_key_moves_no_clock(env):
    from dataclasses import replace

    live = replace(env, settings=replace(env.settings, stripe_secret_key="sk_live_x"))
    with pytest.raises(NotPermitted):
        clocks.create(live)


def test_credits_are_not_moved_between_clocks(env, make, clocked):
    from paydesk.errors import TransferNotAllowed

    one, other = clocked(clocks.create(env)), make.user()
    customers.update(env, other, owner=one)
    make.credits(one, 5)
    with pytest.raises(TransferNotAllowed, match="two clocks"):
        credits.transfer_now(env, one.uuid, other.uuid, 5)


def test_twenty_clocks_run_side_by_side(env, make, clock, clocked):
    start = clock.now()
    made = [clocks.create(env, name=f"c{n}") for n in range(20)]
    users = [clocked(mine) for mine in made]
    bystander = make.user()
    for n, user in enumerate([*users, bystander]):
        for day in range(1, 6):
            make.credits(user, 10 + n, days=day)
    with ThreadPoolExecutor(20) as pool:
        done = list(pool.map(lambda p: clocks.advance(env, p[1], by=(p[0] % 6) * DAY),
                             enumerate(made)))  # fmt: skip
    for n, (after, user) in enumerate(zip(done, users, strict=True)):
        days = n % 6
        assert after.now == start + days * DAY
        assert balance(env, user) == (5 - days) * (10 + n)
        ends = [at - start for name, at in story(env, user) if name == "credits.expired"]
        assert ends == [day * DAY for day in range(1, days + 1)]
    assert balance(env, bystander) == 5 * 30


@pytest.mark.parametrize("point", ["clock_after_move", "clock_after_step", "clock_before_finish"])
@pytest.mark.parametrize("nth", [1, 2])
def test_an_advance_that_died_goes_on_where_it_was(env, make, clock, clocked, point, nth):
    """Killed in the middle; the worker, or the same call again, takes it up."""
    start = clock.now()
    mine = clocks.create(env)
    one = clocked(mine)
    for day in (1, 2, 3):
        make.credits(one, 10, days=day)
    crash.arm(point, nth=1 if point == "clock_before_finish" else nth)
    with pytest.raises(CrashNow):
        clocks.advance(env, mine, by=10 * DAY)
    crash.disarm()
    died = clocks.get(env, mine)
    assert died.state == "advancing" and died.now < start + 10 * DAY
    with pytest.raises(Conflict, match="on its way"):
        clocks.begin(env, mine, by=20 * DAY)
    if nth == 1:
        assert Worker(env).run_once("clocks") == {"clocks": 1}
    else:
        clocks.advance(env, mine, start + 10 * DAY)
    assert (clocks.get(env, mine).state, clocks.get(env, mine).now) == (
        "ready", start + 10 * DAY)  # fmt: skip
    ends = [at - start for name, at in story(env, one) if name == "credits.expired"]
    assert ends == [DAY, 2 * DAY, 3 * DAY]


def test_a_process_that_is_killed_on_the_way_leaves_the_clock_to_the_next(
    env, make, clock, clocked, tmp_path
):
    """The end of the process, with nothing closed: its hold on the clock goes with it."""
    start = clock.now()
    mine = clocks.create(env)
    one = clocked(mine)
    for day in (1, 2, 3):
        make.credits(one, 10, days=day)
    program = (
        "import sys\n"
        "from datetime import timedelta\n"
        "from paydesk import crash\n"
        "from paydesk.assemble import build_env\n"
        "from paydesk.flows import clocks\n"
        "from paydesk.settings import Settings\n"
        "url, clock = sys.argv[1:]\n"
        "env = build_env(Settings(database_url=url, simulator_url='http://127.0.0.1:9'),"
        " start_missing=False)\n"
        "crash.arm('clock_after_move', 'exit', 2)\n"
        "clocks.advance(env, clock, by=timedelta(days=5))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, env.settings.database_url, mine.id], text=True,
        capture_output=True, timeout=120, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == crash.EXIT_STATUS, done.stderr
    assert clocks.get(env, mine).now == start + 2 * DAY
    assert clocks.advance(env, mine, start + 5 * DAY).state == "ready"
    ends = [at - start for name, at in story(env, one) if name == "credits.expired"]
    assert ends == [DAY, 2 * DAY, 3 * DAY]


def test_a_step_that_fails_stops_the_clock_there_until_it_is_advanced_again(
    env, make, clock, clocked, monkeypatch
):
    start = clock.now()
    mine = clocks.create(env)
    one = clocked(mine)
    give_access(env, one, 2)

    def fail(*_):
        raise Conflict("not today")

    source = clocks.clock_sources.DUE["access"]
    with monkeypatch.context() as patch:
        patch.setattr(clocks, "_PAUSE_S", 0.0)
        patch.setitem(clocks.clock_sources.DUE, "access",
                      type(source)(name="access", find=source.find, step=fail))  # fmt: skip
        with pytest.raises(Conflict, match="not today"):
            clocks.advance(env, mine, by=9 * DAY)
        stopped = clocks.get(env, mine)
        assert (stopped.state, stopped.now) == ("failed", start + 2 * DAY)
        assert "not today" in stopped.error
        assert clocks.run_due(env) == 0
    assert clocks.advance(env, mine, by=7 * DAY).state == "ready"
    assert dict(story(env, one))["access.expired"] == start + 2 * DAY


def test_a_payment_under_way_is_settled_when_the_advance_returns(desk, clocked):
    """The customer paid, no news came: the provider is asked."""
    mine = clocks.create(desk.env)
    one = clocked(mine)
    view = desk.open(one)
    desk.pay(view)
    clocks.advance(desk.env, mine, by=timedelta(minutes=1))
    assert desk.payment(view).state == "succeeded"
    assert desk.balance(view) == 150


def test_a_call_of_the_provider_keeps_real_time_on_any_clock(desk, clocked, clock):
    """Its lease and its repeats are the provider's business; an advance goes on with it."""
    mine = clocks.create(desk.env)
    one = clocked(mine)
    clocks.advance(desk.env, mine, by=90 * DAY)
    desk.sim.fault("drop_after", "/v1/checkout/sessions")
    with pytest.raises((OutcomeUnknown, ProviderUnavailable)):
        desk.open(one)
    (call,) = desk.all("select state, first_sent_at, try_at from provider_calls")
    assert (call["state"], call["first_sent_at"]) == ("unknown", clock.now())
    assert call["try_at"] < clock.now() + DAY
    clock.advance(hours=1)
    desk.sweep("provider_calls")
    assert desk.all("select state from provider_calls") == [{"state": "unknown"}]
    clocks.advance(desk.env, mine, by=timedelta(minutes=1))
    assert desk.all("select state from provider_calls") == [{"state": "done"}]
    assert len(desk.sim.objects("checkout.session")) == 1


def test_a_checkout_of_a_clocked_customer_ends_by_his_clock(desk, clocked):
    mine = clocks.create(desk.env)
    view = desk.open(clocked(mine))
    desk.clock.advance(days=2)
    desk.sweep("sessions")
    assert desk.payment(view).state == "pending"
    clocks.advance(desk.env, mine, by=DAY)
    assert desk.payment(view).state == "expired"
    told = dict(story(desk.env, customers.get(desk.env, view.customer_id)))
    minutes = desk.env.settings.session_expiry_minutes
    assert told["checkout.expired"] == mine.now + timedelta(minutes=minutes)


def test_a_service_runs_its_months_on_the_clock(desk, clocked, clock):
    from paydesk.flows import items
    from paydesk.rules.money import USD

    start = clock.now()
    items.upsert(desk.env, "hosting", kind="service", name="Hosting", price=USD("20.00"),
                 duration_months=1)  # fmt: skip
    mine = clocks.create(desk.env)
    one = clocked(mine)
    view = desk.open(one, service="hosting")
    desk.pay(view)
    desk.deliver(view)
    with pytest.raises(AlreadyPurchased):
        desk.open(one, service="hosting")
    clock.advance(days=90)
    assert services.list_(desk.env)[0].state == "active"
    clocks.advance(desk.env, mine, start + 40 * DAY)
    assert services.list_(desk.env, one.uuid)[0].state == "ended"
    assert "service.ended" in dict(story(desk.env, one))
    assert desk.open(one, service="hosting").payment.state == "pending"


def test_the_notice_of_credits_that_end_comes_by_the_clock(env, make, clock, clocked):
    start = clock.now()
    one = clocked(clocks.create(env))
    make.credits(one, 40, days=60)
    clocks.advance(env, clocks.of_customer(env, one.uuid), by=70 * DAY)
    told = dict(story(env, one))
    days = env.settings.credits_expiring_days
    assert told["credits.expiring"] == start + (60 - days) * DAY
    assert told["credits.expired"] == start + 60 * DAY


def test_a_reserved_code_goes_back_by_the_clock(desk, clocked):
    from paydesk.flows import promos

    desk.make.promo("P10", percent_off=10)
    mine = clocks.create(desk.env)
    promos.apply(desk.env, "P10", clocked(mine), pack="creator")
    desk.clock.advance(days=3)
    desk.sweep("promo_uses")
    assert promos.get_promo(desk.env, "P10").used == 1
    clocks.advance(desk.env, mine, by=DAY)
    assert promos.get_promo(desk.env, "P10").used == 0


def test_no_sweep_looks_for_rows_of_a_clocked_customer(env, monkeypatch):
    """Whatever a sweep selects over customers leaves out those who have a clock of their own."""
    with env.db.read() as tx:
        rows = tx.all(
            "select table_name::text as name from information_schema.columns"
            " where table_schema = 'public' and column_name = 'clock_id'"
        )
    tables = {row["name"] for row in rows} | {"fulfillments", "promo_uses", "promo_reservations"}
    heard: list[str] = []
    inner = Tx._execute

    def listen(self, query, params):
        heard.append(" ".join(query.split()))
        return inner(self, query, params)

    monkeypatch.setattr(Tx, "_execute", listen)
    worker = Worker(env)
    looked = set()
    for name, *_ in worker.sweeps:
        # A provider is asked in real time, on whichever clock the customer is.
        if name in ("clocks", "reconciliation", "figures", "statements", "provider_billing"):
            continue
        heard.clear()
        worker.run_once(name)
        for query in heard:
            named = set(re.findall(r"(?:from|join|update) ([a-z_]+)", query)) & tables
            is_timed = re.search(r"(<|<=|>) %\((now|until|old)\)", query)
            if named and is_timed and "customer_id = %(customer_id)s" not in query:
                assert re.search(r"clock_id is (not )?null", query), (name, query)
                looked.add(name)
    assert looked >= {
        "fulfillment", "provider_calls", "sessions", "setups", "credit_expiry", "holds",
        "promo_uses", "credits_expiring", "services", "access", "refunds", "disputes",
    }, looked  # fmt: skip


def test_ordinary_sweeps_change_nothing_of_a_clocked_customer(desk, clocked, clock):
    """Years later by real time, with something of every kind overdue."""
    from paydesk.flows import items, promos, setups
    from paydesk.rules.money import USD

    env, make = desk.env, desk.make
    items.upsert(env, "hosting", kind="service", name="Hosting", price=USD("20.00"),
                 duration_months=1, grants=["course:python"])  # fmt: skip
    make.promo("P10", percent_off=10)
    one = clocked(clocks.create(env))
    view = desk.open(one, service="hosting")
    desk.pay(view)
    desk.deliver(view)
    make.credits(one, 100, days=30)
    holds.hold_now(env, one.uuid, 5, minutes=60)
    give_access(env, one, 10)
    desk.open(one)
    promos.apply(env, "P10", one, credits=200, price=USD("20.00"))
    setups.start(env, setups.StartSetup(customer_id=one.uuid, success_url="https://example.com"))
    before = standing(env, one)
    clock.advance(days=1000)
    worker = Worker(env)
    for _ in range(2):
        for name, *_ in worker.sweeps:
            worker.run_once(name)
    assert standing(env, one) == before
    clocks.advance(env, clocks.of_customer(env, one.uuid), by=1000 * DAY)
    after = standing(env, one)
    assert {name for name in before if after[name] == before[name]} == set()


def standing(env, one):
    """The states of everything of a customer that ends by itself."""
    asked = {
        "customer_services": "state, ended_at", "access_grants": "ended_at",
        "batches": "open, remaining", "holds": "state", "attempts": "state, ended_at",
        "setups": "state", "promo_uses": "state",
    }  # fmt: skip
    with env.db.read() as tx:
        found = {
            table: sorted(map(str, (list(row.values()) for row in tx.all(
                f"select {columns} from {table} where customer_id = %(c)s",  # noqa: S608
                {"c": one.uuid}))))
            for table, columns in asked.items()
        }  # fmt: skip
    assert all(found.values()), found
    return found
