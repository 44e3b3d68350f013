"""The service's payments: the same tracker on a store inside the caller's transaction."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest
from psycopg.rows import dict_row

from paydesk import ids
from paydesk.tracker import (
    DuplicatePayment,
    IllegalTransition,
    PaymentTracker,
    VersionConflict,
)
from paydesk.tracker.stores.joined import COLUMNS, JoinedStore, ServicePayment

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def conn(desk):
    with psycopg.connect(desk.dsn) as connection:
        yield connection
        connection.rollback()


@pytest.fixture
def customer(conn):
    return ids.new_customer()


@pytest.fixture
def tracker(conn, customer):
    return PaymentTracker(JoinedStore(conn, customer))


def made(customer_id, **changes):
    payment_id = ids.new_owned(customer_id)
    values = {
        "customer_id": customer_id,
        "user_id": str(customer_id),
        "id": payment_id,
        "amount_cents": 899,
        "price_minor": 999,
        "discount_minor": 100,
        "credits_to_add": 150,
        "provider": "stripe",
        "package_id": "creator",
        "package_name": "Creator Pack",
        "handle": f"payment_1_{payment_id.hex[-6:]}",
        "request_key": uuid4(),
        "request_hash": b"\x01\x02",
        "created_at": NOW,
        "updated_at": NOW,
        "expires_at": NOW + timedelta(minutes=30),
    }
    return ServicePayment(**{**values, **changes})


def full(customer_id):
    return made(
        customer_id,
        provider_account="acct_1",
        session_id="cs_full",
        provider_payment_id="pi_1",
        purpose="credits",
        payable="pack:creator",
        method="stripe",
        description="Creator Pack",
        reference="order-1042",
        review="amount",
        promo_id=uuid4(),
        livemode=True,
        metadata={"order": "1042", "list": [1, "é"]},
        error_code="card_declined",
        error_message="declined once",
    )


def as_kept(payment):
    """Without updated_at, which the database sets itself."""
    return payment.model_dump(exclude={"updated_at"})


def statements(monkeypatch):
    """The texts of the statements that run from now on."""
    seen = []
    execute = psycopg.Cursor.execute

    def noted(cursor, query, *args, **kwargs):
        text = query.decode() if isinstance(query, bytes) else str(query)
        seen.append(" ".join(text.split()))
        return execute(cursor, query, *args, **kwargs)

    monkeypatch.setattr(psycopg.Cursor, "execute", noted)
    return seen


def test_the_store_knows_every_column_of_the_table(conn):
    query = (
        "select column_name from information_schema.columns"
        " where table_schema = 'public' and table_name = 'payments'"
    )
    assert {row[0] for row in conn.execute(query)} == COLUMNS.keys()


def test_every_field_survives(conn, customer, tracker):
    payment = full(customer)
    tracker.store.create(payment)
    assert as_kept(tracker.store.get_by_id(payment.id)) == as_kept(payment)
    assert as_kept(tracker.store.get_by_session_id("cs_full")) == as_kept(payment)
    paid = tracker.advance(
        payment,
        "succeeded",
        now=NOW,
        captured_cents=899,
        credits_added=True,
        credits_added_at=NOW,
        credit_transaction_id=str(uuid4()),
        review=None,
    )
    stored = tracker.store.get_by_id(payment.id)
    assert as_kept(stored) == as_kept(paid)
    assert (stored.status, stored.completed_at, stored.version) == ("completed", NOW, 1)
    assert str(stored.amount_usd) == "8.99"


def test_nothing_is_committed_and_nothing_opened(desk, conn, customer, tracker):
    payment = tracker.store.create(made(customer))
    tracker.mark_completed(payment.id)
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
    with psycopg.connect(desk.dsn) as other:
        assert JoinedStore(other, customer).get_by_id(payment.id) is None


def test_another_customers_payment_is_a_missing_one(conn, customer, tracker):
    # I33
    payment = tracker.store.create(full(customer))
    stranger = JoinedStore(conn, ids.new_customer())
    assert stranger.get_by_id(payment.id) is None
    assert stranger.get_by_session_id("cs_full") is None
    assert stranger.list() == []


def test_many_are_read_in_the_order_asked(conn):
    store = JoinedStore(conn)
    first, second = (made(ids.new_customer()) for _ in range(2))
    store.create_many([first, second])
    missing = (first.customer_id, second.key[1])
    found = store.get_many([second.key, missing, first.key, second.key])
    assert [p and p.id for p in found] == [second.id, None, first.id, second.id]
    assert store.get_many([]) == []


def test_many_advance_in_one_statement_that_writes_what_changed(conn, monkeypatch):
    # data: compare-and-set on version, changed columns only, the customer in every statement
    store = JoinedStore(conn)
    payments = [made(ids.new_customer()) for _ in range(64)]
    store.create_many(payments)
    lost = payments[7]
    PaymentTracker(store).advance(lost, "processing", now=NOW)
    seen = statements(monkeypatch)
    done = PaymentTracker(store).advance_many(
        [(p, "succeeded", {"captured_cents": p.amount_cents}) for p in payments], now=NOW
    )
    assert [p is None for p in done] == [p is lost for p in payments]
    assert len(seen) == 1
    assert '"captured_minor" = n."captured_minor"' in seen[0]
    assert "metadata" not in seen[0]
    assert "p.customer_id = n.customer_id" in seen[0]
    states = {p.id: p.state for p in store.get_many([p.key for p in payments])}
    assert states.pop(lost.id) == "processing"
    assert set(states.values()) == {"succeeded"}


def test_a_lost_race_is_a_conflict(conn, customer, tracker):
    payment = tracker.store.create(made(customer))
    tracker.advance(payment, "processing", now=NOW)
    with pytest.raises(VersionConflict):
        tracker.advance(payment, "failed", now=NOW)


def test_an_illegal_change_writes_nothing(conn, customer, tracker):
    good, bad = made(customer), made(customer, state="failed")
    tracker.store.create_many([good, bad])
    with pytest.raises(IllegalTransition):
        tracker.advance_many([(good, "succeeded", {}), (bad, "processing", {})], now=NOW)
    assert tracker.store.get_by_id(good.id).version == 0


def test_a_payment_changes_once_in_an_update(conn, customer, tracker):
    payment = tracker.store.create(made(customer))
    with pytest.raises(ValueError, match="once"):
        tracker.advance_many([(payment, "failed", {}), (payment, "expired", {})], now=NOW)


def test_times_of_failing_and_canceling_are_kept(conn, customer, tracker):
    failed, canceled = made(customer), made(customer)
    tracker.store.create_many([failed, canceled])
    tracker.advance_many([(failed, "failed", {}), (canceled, "canceled", {})], now=NOW)
    assert tracker.store.get_by_id(failed.id).failed_at == NOW
    assert tracker.store.get_by_id(canceled.id).canceled_at == NOW


def test_one_payment_of_a_payable_thing_is_in_flight(conn, customer, tracker):
    # I21
    first = tracker.store.create(made(customer, payable="pack:creator"))
    with pytest.raises(DuplicatePayment) as refused, conn.transaction():
        tracker.store.create(made(customer, payable="pack:creator"))
    assert refused.value.constraint == "payments_in_flight"
    tracker.advance(first, "expired", now=NOW)
    tracker.store.create(made(customer, payable="pack:creator"))


def test_lists_are_newest_first_with_cursors_both_ways_and_filters(conn, customer, tracker):
    payments = [made(customer, method="stripe" if n % 2 else "cash") for n in range(6)]
    payments.sort(key=lambda p: p.key[1])
    tracker.store.create_many(payments)
    tracker.advance(payments[2], "requires_action", now=NOW)
    tracker.advance(payments[3], "succeeded", now=NOW, captured_cents=899)
    newest = [p.id for p in reversed(payments)]
    store = tracker.store

    def shown(**filters):
        return [p.id for p in store.list(**filters)]

    assert shown() == newest
    assert shown(limit=2) == newest[:2]
    assert shown(limit=2, after=newest[1]) == newest[2:4]
    assert shown(limit=2, before=newest[4]) == newest[2:4]
    assert shown(states={"succeeded"}) == [payments[3].id]
    assert shown(statuses={"completed"}) == [payments[3].id]
    assert payments[2].id in shown(statuses={"pending"})
    assert len(shown(method="cash")) == 3
    assert shown(created_from=NOW + timedelta(seconds=1)) == []
    assert store.count() == 6
    assert store.count(states={"succeeded"}) == 1
    assert tracker.history(str(customer), status="completed").total_count == 1
    assert str(tracker.statistics(str(customer)).total_spent_usd) == "8.99"
    with pytest.raises(TypeError, match="colour"):
        store.list(colour="red")


def test_it_works_on_a_connection_of_dict_rows(desk, customer):
    with psycopg.connect(desk.dsn, row_factory=dict_row) as connection:
        tracker = PaymentTracker(JoinedStore(connection, customer))
        payment = tracker.store.create(made(customer))
        assert tracker.mark_completed(payment.id).status == "completed"
        assert tracker.store.count() == 1
        connection.rollback()


def test_a_store_without_customer_refuses_to_search(conn):
    with pytest.raises(TypeError, match="customer_id"):
        JoinedStore(conn).get_by_id(str(uuid4()))


def test_no_plan_from_an_empty_table_scans_the_grown_one(desk):
    # performance 4
    with psycopg.connect(desk.owner_dsn, autocommit=True) as connection:
        connection.execute("vacuum analyze payments")
        customer_id = ids.new_customer()
        store = JoinedStore(connection, customer_id)
        with connection.transaction(force_rollback=True):
            for _ in range(12):
                payment = store.create(made(customer_id))
                assert store.compare_and_set(payment.model_copy(update={"version": 1}), 0)
            store.create_many([made(ids.new_customer()) for _ in range(2000)])
            before = sequential_scans(connection)
            assert store.get_by_id(payment.id).version == 1
            assert store.compare_and_set(payment.model_copy(update={"version": 2}), 1)
            PaymentTracker(store).mark_completed(payment.id)
            assert sequential_scans(connection) == before


def sequential_scans(connection):
    query = "select seq_scan from pg_stat_xact_user_tables where relname = 'payments'"
    return connection.execute(query).fetchone()[0]
