"""The books: postings balance, running balances, keys, floors, append-only."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paydesk import ids
from paydesk.errors import IdempotencyKeyReused, InvalidRequest
from paydesk.flows import credit_notes, credits, doctor, invoices, ledger
from paydesk.flows.credit_notes import NewNote
from paydesk.flows.invoices import NewInvoice, NewItem
from paydesk.flows.ledger import BalanceTooLow, Entry, Event
from paydesk.rules.ledger import CODES, MAX_AMOUNT
from paydesk.rules.money import USD


@pytest.fixture
def user(make):
    return make.user().uuid


@pytest.fixture
def entry(env, user):
    """A sale: 9.99 from clearing to deposits."""
    return Entry(
        customer_id=user, debit="clearing", credit="deposits", asset="usd", amount=999,
        reason="capture", txn_id=ids.new_owned(user), effective_at=env.now(),
    )  # fmt: skip


def book(env, user, asset="usd") -> dict[str, int]:
    with env.db.read() as tx:
        return {
            name: total for name in CODES
            if (total := ledger.balances(tx, [user], name, asset)[user])
        }  # fmt: skip


def test_a_posting_moves_two_accounts_that_sum_to_zero(env, user, entry):  # I2
    sale = replace(entry, debit="deposits", credit="revenue")
    with env.db.transaction(user) as tx:
        made = ledger.post(tx, [entry, sale])
    assert book(env, user) == {"clearing": -999, "revenue": 999}
    with env.db.read() as tx:
        rows = tx.all("select * from transfers order by seq")
    assert [row["id"] for row in rows] == made
    assert [(row["seq"], row["debit_after"], row["credit_after"]) for row in rows] == [
        (1, -999, 999), (2, 0, 999),
    ]  # fmt: skip


def test_numbers_go_on_without_gaps_over_transactions(env, user, entry):
    for _ in range(3):
        with env.db.transaction(user) as tx:
            ledger.post(tx, [entry, entry])
    with pytest.raises(ZeroDivisionError), env.db.transaction(user) as tx:
        ledger.post(tx, [entry])
        raise ZeroDivisionError
    with env.db.transaction(user) as tx:
        ledger.post(tx, [entry])
        assert tx.value("select array_agg(seq order by seq) from transfers") == list(range(1, 8))


def test_a_key_posts_once(env, user, entry):  # I27
    one = replace(entry, request_key=uuid.uuid4(), request_hash=5)
    with env.db.transaction(user) as tx:
        first = ledger.post(tx, [one, one, replace(entry, amount=1)])
    with env.db.transaction(user) as tx:
        again = ledger.post(tx, [one])
        with pytest.raises(IdempotencyKeyReused):
            ledger.post(tx, [replace(one, request_hash=6)])
    assert first[0] == first[1] == again[0] != first[2]
    assert book(env, user)["deposits"] == 1_000


@pytest.mark.by_hand
@pytest.mark.parametrize("account", ["credits", "wallet", "held", "balance"])
def test_floored_accounts_never_fall_below_zero(env, user, entry, account):  # I3
    put = replace(entry, credit=account, asset="usd", amount=5)
    take = replace(entry, debit=account, credit="revenue", asset="usd", amount=6)
    with env.db.transaction(user) as tx:
        ledger.post(tx, [put])
    with pytest.raises(BalanceTooLow), env.db.transaction(user) as tx:
        ledger.post(tx, [take, replace(put, amount=100)])
    assert book(env, user)[account] == 5


def test_a_balance_that_an_older_version_opened_has_the_floor_too(env, db, user, entry):  # I3
    put = replace(entry, credit="balance", amount=5)
    with env.db.transaction(user) as tx:
        ledger.post(tx, [put])
    with psycopg.connect(db.admin_dsn, autocommit=True) as admin:
        admin.execute("update accounts set floor = -9223372036854775808 where code = 18")
    with pytest.raises(BalanceTooLow), env.db.transaction(user) as tx:
        ledger.post(tx, [replace(entry, debit="balance", amount=6)])
    assert book(env, user)["balance"] == 5


def test_the_64_bit_edge_is_refused_not_wrapped(env, user, entry):  # I11
    with env.db.transaction(user) as tx:
        ledger.post(tx, [replace(entry, amount=MAX_AMOUNT)])
    with pytest.raises(InvalidRequest), env.db.transaction(user) as tx:
        ledger.post(tx, [replace(entry, amount=1)])
    for amount in (0, -1, MAX_AMOUNT + 1):
        with pytest.raises(InvalidRequest), env.db.transaction(user) as tx:
            ledger.post(tx, [replace(entry, amount=amount)])
    assert book(env, user)["deposits"] == MAX_AMOUNT


def test_a_customer_without_a_head_cannot_be_posted_to(env, user, entry):
    stranger = replace(entry, customer_id=ids.new_customer())
    with pytest.raises(psycopg.errors.ForeignKeyViolation), env.db.transaction(user) as tx:
        ledger.post(tx, [stranger])


def noted(env, user):
    """An open invoice of 90.00, and a credit note that asks for 30.00 less."""
    line = NewItem(kind="one_off", description="Onboarding", amount_minor=9_000)
    bill = invoices.create(env, NewInvoice(
        customer_id=user, currency="usd", items=[line], request_key=uuid.uuid4()))  # fmt: skip
    return credit_notes.create(env, NewNote(
        customer_id=user, invoice_id=bill.id, by="ada", amount=USD("30.00"),
        request_key=uuid.uuid4()))  # fmt: skip


@pytest.mark.parametrize(
    "table", ["transfers", "draws", "events", "invoice_items", "credit_notes"]
)
@pytest.mark.parametrize(
    "change", ["update {} set customer_id = customer_id", "delete from {}", "truncate {}"]
)
def test_books_and_events_are_append_only_for_everybody(env, db, make, user, table, change):
    """S4.2 I4"""
    make.credits(user, 5)
    credits.spend_now(env, credits.new_spend(user, 2))
    noted(env, user)
    for dsn in (db.dsn, db.owner_dsn):
        with (
            psycopg.connect(dsn) as conn,
            pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.RaiseException)),
        ):
            conn.execute(change.format(table))
    with env.db.read() as tx:
        assert tx.value("select count(*) from transfers") == 2


def test_of_a_credit_note_only_its_number_and_its_state_are_ever_written(env, db, user):  # I4
    note = noted(env, user)
    for column in ("amount_minor", "tax_minor", "items", "invoice_id", "refund_id", "memo"):
        with (
            psycopg.connect(db.owner_dsn) as conn,
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"),
        ):
            conn.execute(f"update credit_notes set {column} = {column}".encode())  # noqa: S608
    with psycopg.connect(db.dsn) as app:
        app.execute("update credit_notes set state = 'void'")
        app.rollback()
    assert (note.number, note.amount) == ("CN-000001", USD("30.00"))


def test_events_are_numbered_without_gaps_and_the_head_remembers_the_time(env, user):
    now = env.now()
    with env.db.transaction(user) as tx:
        before = tx.heads[user].seq
        events = [Event(customer_id=user, type="test.made", subject_id=user, data={"n": n})
                  for n in range(3)]  # fmt: skip
        ledger.emit(tx, now, events)
    with env.db.read() as tx:
        rows = tx.all("select seq, data from events where type = 'test.made' order by seq")
        head = tx.one("select seq, last_at from heads where customer_id = %s", (user,))
    assert [(r["seq"] - before, r["data"]["n"]) for r in rows] == [(1, 0), (2, 1), (3, 2)]
    assert head == {"seq": before + 3, "last_at": now}


def test_an_id_made_in_the_database_names_its_customer(env, user):
    with env.db.read() as tx:
        made = [
            tx.value("select owned_id_v1(%s, %s)", (user, env.now())) for _ in range(20)
        ]  # fmt: skip
    assert {ids.customer_of(one) for one in made} == {user} and len(set(made)) == 20
    assert {one.int >> 80 for one in made} == {int(env.now().timestamp() * 1000)}
    assert {(one.version, one.variant) for one in made} == {(8, uuid.RFC_4122)}


def test_parallel_postings_of_crossing_customers_neither_deadlock_nor_lose(wide, make):  # I2 I3
    users = [make.user().uuid for _ in range(4)]

    def run(shift: int) -> None:
        for n in range(10):
            pair = (users[(n + shift) % 4], users[(n * 3 + shift + 1) % 4])
            with wide.db.transaction(*set(pair)) as tx:
                ledger.post(tx, [
                    Entry(customer_id=one, debit="clearing", credit="deposits", asset="eur",
                          amount=1, reason="capture", txn_id=ids.new_owned(one),
                          effective_at=wide.now()) for one in pair
                ])  # fmt: skip

    threads = [threading.Thread(target=run, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(book(wide, one, "eur")["deposits"] for one in users) == 120


_NAMES = st.sampled_from(["clearing", "deposits", "revenue", "wallet", "transit"])
_ENTRIES = st.lists(
    st.tuples(st.integers(0, 2), _NAMES, _NAMES, st.sampled_from(["usd", "jpy"]),
              st.integers(1, 10**12)).filter(lambda e: e[1] != e[2]),
    min_size=1, max_size=12,
)  # fmt: skip


@pytest.mark.by_hand
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(groups=st.lists(_ENTRIES, min_size=1, max_size=4))
def test_any_postings_leave_books_that_balance(env, make, groups):  # I2 I3
    users = [make.user().uuid for _ in range(3)]
    expected: dict[tuple[int, str, str], int] = {}
    for group in groups:
        wanted = dict(expected)
        low = False
        for who, debit, credit, asset, amount in group:
            for name, change in ((debit, -amount), (credit, amount)):
                key = (who, name, asset)
                wanted[key] = wanted.get(key, 0) + change
                low = low or (name == "wallet" and wanted[key] < 0)
        entries = [
            Entry(customer_id=users[who], debit=debit, credit=credit, asset=asset, amount=amount,
                  reason="test", txn_id=ids.new_owned(users[who]), effective_at=env.now())
            for who, debit, credit, asset, amount in group
        ]  # fmt: skip
        try:
            with env.db.transaction(*users) as tx:
                ledger.post(tx, entries)
        except BalanceTooLow:
            assert low
        else:
            assert not low
            expected = wanted
    with env.db.read() as tx:
        for (who, name, asset), total in expected.items():
            assert ledger.balances(tx, [users[who]], name, asset)[users[who]] == total
    wrong = {finding.check for finding in doctor.check(env.db) if not finding.ok}
    assert wrong <= {"wallets_are_there", "transit_is_even"}
