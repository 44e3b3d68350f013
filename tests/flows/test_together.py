"""Steps of many customers side by side: what they ask and write is what they would alone."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest
from psycopg.types.json import Jsonb

from paydesk import causes
from paydesk.db import together
from paydesk.db.postgres import Tx
from paydesk.db.together import each, in_sets
from paydesk.errors import Conflict
from paydesk.flows import events
from paydesk.flows.events import NewEvent

READ = "select name, metadata from customers where customer_id = %(customer_id)s"
RENAME = "update customers set name = %(name)s where customer_id = %(customer_id)s"


@pytest.fixture
def users(make):
    return [make.user(name=f"user {number}").uuid for number in range(5)]


@pytest.fixture
def sent(monkeypatch):
    """How many statements went to the server."""
    found: list[str] = []
    alone, many = Tx._execute, together._Group._execute

    def one(self, query, params):
        found.append(str(query))
        return alone(self, query, params)

    def all_(self, made, asked):
        found.append(made.sql)
        return many(self, made, asked)

    monkeypatch.setattr(Tx, "_execute", one)
    monkeypatch.setattr(together._Group, "_execute", all_)
    return found


def do(db, users, work):
    with db.transaction(*users) as tx:
        return each(tx, [partial(work, who) for who in users], users)


def test_what_is_read_is_each_ones_own(db, users, sent):
    def work(who, tx):
        assert tx.one(READ + " and false", {"customer_id": who}) is None
        row = tx.one(READ, {"customer_id": who})
        many = tx.all(
            "select n from generate_series(1, %(n)s) n where %(of)s::text <> '' order by n desc",
            {"n": 1 + users.index(who), "of": str(who)},
        )
        same = tx.value("select %(a)s::int + 1", {"a": 1})
        return row["name"], [one["n"] for one in many], same, tx.heads[who].customer_id

    assert do(db, users, work) == [
        (f"user {n}", list(range(n + 1, 0, -1)), 2, who) for n, who in enumerate(users)
    ]
    assert len(sent) == 5, "the heads, and one for each question"


def test_an_inserted_row_is_answered_to_whose_it_is(db, users, sent):
    told = "insert into customer_refs (customer_id, external_id) values (%(customer_id)s, %(ref)s)"

    def work(who, tx):
        row = tx.one(told + " returning external_id, customer_id",
                     {"customer_id": who, "ref": f"other {users.index(who)}"})  # fmt: skip
        return row

    assert do(db, users, work) == [
        {"external_id": f"other {n}", "customer_id": who} for n, who in enumerate(users)
    ]
    assert len(sent) == 2, "the heads, and one for all rows"


def test_what_is_written_is_each_ones_own(db, users, sent):
    def work(who, tx):
        told = {"customer_id": who, "name": None if who == users[0] else f"it's {{{who}}}"}
        assert tx.run(RENAME, told) == 1
        assert tx.run(RENAME + " and name = 'nobody'", told) == 0
        after = tx.one(
            "update customers set metadata = %(told)s, email = %(email)s"
            " where customer_id = %(customer_id)s returning name, metadata, email",
            {"customer_id": who, "told": Jsonb({"of": str(who)}), "email": "a@b.example"},
        )
        made = tx.run(
            "insert into trials (customer_id, family, subscription_id, days, created_at)"
            " values (%(customer_id)s, %(family)s, %(id)s, %(days)s, now())",
            {"customer_id": who, "family": "f", "id": who, "days": users.index(who)},
        )
        return after, made, tx.value(
            "select days from trials where customer_id = %(customer_id)s", {"customer_id": who}
        )

    said = do(db, users, work)
    assert len(sent) == 6
    for number, (who, (after, made, days)) in enumerate(zip(users, said, strict=True)):
        assert after["name"] == (None if number == 0 else f"it's {{{who}}}")
        assert (after["metadata"], after["email"]) == ({"of": str(who)}, "a@b.example")
        assert (made, days) == (1, number)


def test_steps_that_part_ways_each_go_on(db, users):
    def work(who, tx):
        number = users.index(who)
        for _ in range(number):
            assert tx.value("select count(*) from customers where customer_id = %(c)s",
                            {"c": who}) == 1  # fmt: skip
        if number % 2:
            tx.run(RENAME, {"customer_id": who, "name": "odd"})
        return tx.value("select name from customers where customer_id = %(c)s", {"c": who})

    assert do(db, users, work) == ["user 0", "odd", "user 2", "odd", "user 4"]


def test_statements_of_another_shape_are_done_for_each(db, users, sent):
    def work(who, tx):
        tx.all("with one as (select 1 as n) select n from one where %(c)s::uuid is not null",
               {"c": who})  # fmt: skip
        rows = tx.all("select customer_id from customers where customer_id = any(%(all)s)",
                      {"all": [who]})  # fmt: skip
        mixed = tx.value("select %(v)s::text", {"v": 1 if who == users[0] else "one"})
        return [row["customer_id"] for row in rows], mixed

    assert do(db, users, work) == [
        ([who], "1" if number == 0 else "one") for number, who in enumerate(users)
    ]
    assert len(sent) == 1 + 3 * len(users)


def test_one_that_fails_takes_back_what_all_wrote(db, users):
    def work(who, tx):
        tx.run(RENAME, {"customer_id": who, "name": "changed"})
        if who == users[3]:
            raise Conflict("not this one")
        tx.run(RENAME, {"customer_id": who, "name": "changed twice"})

    with pytest.raises(Conflict):
        do(db, users, work)
    with db.read() as tx:
        rows = tx.all("select name from customers where customer_id = any(%(u)s)", {"u": users})
    assert sorted(row["name"] for row in rows) == [f"user {n}" for n in range(5)]


def test_in_a_savepoint_a_step_is_alone(db, users):
    def work(who, tx):
        try:
            with tx.savepoint():
                tx.run(RENAME, {"customer_id": who, "name": "undone"})
                if who != users[1]:
                    raise Conflict("back")
        except Conflict:
            pass
        return tx.value("select name from customers where customer_id = %(c)s", {"c": who})

    assert do(db, users, work) == ["user 0", "undone", "user 2", "user 3", "user 4"]


def test_work_for_one_customer_is_done_in_its_order(db, users):
    owners = [users[0], users[1], users[0], users[0]]

    def work(text, who, tx):
        before = tx.value("select name from customers where customer_id = %(c)s", {"c": who})
        tx.run(RENAME, {"customer_id": who, "name": before + text})
        return before + text

    with db.transaction(*users) as tx:
        said = each(tx, [partial(work, t, w) for t, w in zip("abcd", owners, strict=True)],
                    owners)  # fmt: skip
    assert said == ["user 0a", "user 1b", "user 0ac", "user 0acd"]


def test_events_are_each_customers_own_without_gaps(db, users, env, clock):
    """Those of one cause are written together; a step with a cause of its own is by itself."""

    def tell(who, tx):
        what = [NewEvent(customer_id=who, type="customer.updated", subject_id=who, data={"n": n},
                         at=clock.now()) for n in range(2)]  # fmt: skip
        numbers = events.emit_many(tx, what)
        with causes.by("someone", "test") if who == users[2] else causes.also():
            return numbers + events.emit_many(tx, what[:1])

    with causes.by("worker", "sweep test"), db.transaction(*users) as tx:
        before = {who: tx.heads[who].seq for who in users}
        said = each(tx, [partial(tell, who) for who in users], users)
        seqs = {who: tx.heads[who].seq for who in users}
    for who, numbers in zip(users, said, strict=True):
        assert numbers == [before[who] + n for n in (1, 2, 3)]
        assert seqs[who] == before[who] + 3
    last = events.list_events(env, users[2], limit=1)[0]
    assert (last.cause or {})["actor"] == "someone"
    assert (events.list_events(env, users[3], limit=1)[0].cause or {})["actor"] == "worker"


def test_a_function_of_sets_is_called_once_with_all(db, users):
    calls = []

    @in_sets(2)
    def doubled(tx, by, items):
        calls.append((by, list(items)))
        return [one * by for one in items]

    @in_sets()
    def named(tx, items):
        return {one: str(one) for one in items}

    def work(who, tx):
        number = users.index(who)
        own = doubled(tx, 2, [number, number + 10])
        return own, doubled(tx, 3 + number % 2, [number]), named(tx, [who])[who]

    said = do(db, users, work)
    assert said == [([n * 2, n * 2 + 20], [n * (3 + n % 2)], str(who))
                    for n, who in enumerate(users)]  # fmt: skip
    assert [by for by, _ in calls] == [2, 3, 4]


# S1.12 I23
def test_renewals_of_a_batch_write_what_one_alone_writes(billing, sent):
    """The same customer twelve times: the rows are alike, and the statements hardly more."""
    billing.plan(credits=50, grants=["tier:pro", "course:python"])
    subs = [billing.subscribe(billing.user()) for _ in range(12)]
    billing.clock.advance(days=31, hours=2)
    sent.clear()
    from paydesk.flows import renewals

    assert renewals.step(billing.env, subs[0].customer_id, subs[0].id)
    alone = len(sent)
    sent.clear()
    assert billing.renew() == 11
    assert len(sent) < 3 * alone, "eleven in a batch take hardly more statements than one"
    lives = [_life(billing, sub) for sub in subs]
    assert all(life == lives[0] for life in lives[1:])


def _life(billing, sub):
    """All that is kept of a customer, without what names it and the instants to the second."""
    tables = {
        "invoices": "cycle, state, reason, total_minor, due_minor, paid_minor, attempts, try_at,"
        " error_code, period_start - {s} as f, period_end - {s} as t, buyer - 'external_id'"
        " - 'email' - 'name' as b",
        "invoice_items": "kind, description, amount_minor, quantity, unit_minor, plan_version",
        "payments": "state, asked_minor, captured_minor, payment_type, purpose, provider, method,"
        " review, version, fee_minor, usd_minor",
        "attempts": "state, provider, method, (ended_at is null) as open",
        "provider_calls": "action, state, tries, amount_minor, error",
        "transfers": "seq, debit, credit, asset, amount, debit_after, credit_after, reason",
        "access_grants": "resource_type, resource_id, source, expires_at - {s} as e",
        "batches": "kind, granted, remaining, open, expires_at - {s} as e",
        "fulfillments": "purpose, state, path, tries, error_code",
        "events": "seq, type, cause - 'request_id' as c",
        "subscriptions": "state, period, credits_month, version, due_at - {s} as d",
    }
    found = {}
    for table, columns in tables.items():
        sql = f"select {columns} from {table} where customer_id = %(c)s order by 1, 2, 3"  # noqa: S608
        rows = billing.all(sql.replace("{s}", "%(s)s::timestamptz"), c=sub.customer_id,
                           s=sub.period_start)  # fmt: skip
        found[table] = [
            tuple(one if not isinstance(one, timedelta) else round(one.total_seconds())
                  for one in row.values())
            for row in rows
        ]  # fmt: skip
    return found
