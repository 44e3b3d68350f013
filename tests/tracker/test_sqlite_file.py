"""One SQLite file between processes, threads and versions."""

import multiprocessing
import os
import sqlite3
from concurrent.futures import ProcessPoolExecutor

import pytest

from paydesk.testing.store_contract import at_once
from paydesk.tracker import AmountTooLarge, get_payment_tracker
from paydesk.tracker.stores.sqlite import SQLitePaymentStore


def complete(path):
    """In another process: (won, the keys granted there)."""
    keys = []
    tracker = get_payment_tracker("sqlite", path=path)
    won = tracker.complete_once("cs_1", lambda p: keys.append(p.credit_transaction_id))
    return won, keys


def open_and_create(path):
    tracker = get_payment_tracker("sqlite", path=path)
    return tracker.create_pending_payment("user_123", 999, 150, "stripe").id


def processes(count):
    return ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("spawn"))


# I1
def test_processes_that_complete_at_once_grant_once(tmp_path):
    path = str(tmp_path / "payments.db")
    tracker = get_payment_tracker("sqlite", path=path)
    tracker.create_pending_payment("user_123", 999, 150, "stripe", "cs_1")
    with processes(3) as pool:
        answers = list(pool.map(complete, [path] * 6))
    granted = [key for _, keys in answers for key in keys]
    assert sorted(won for won, _ in answers) == [False] * 5 + [True]
    assert granted == [tracker.get_by_session("cs_1").credit_transaction_id]


def test_a_new_file_is_opened_by_many_at_once(tmp_path):
    path = str(tmp_path / "payments.db")
    ids = at_once([lambda: open_and_create(path)] * 8)
    assert get_payment_tracker("sqlite", path=path).statistics("user_123").total_payments == 8
    assert len(set(ids)) == 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_opens_its_own_connection(tmp_path):
    tracker = get_payment_tracker("sqlite", path=tmp_path / "payments.db")
    payment = tracker.create_pending_payment("user_123", 999, 150, "stripe")
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if tracker.mark_completed(payment.id).version == 1 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert tracker.get(payment.id).status == "completed"


def test_payments_survive_a_closed_store(tmp_path):
    store = SQLitePaymentStore(tmp_path / "payments.db")
    made = get_payment_tracker(store=store).create_pending_payment("user_123", 999, 150, "stripe")
    store.close()
    assert store.get_by_id(made.id) == made
    assert SQLitePaymentStore(tmp_path / "payments.db").get_by_id(made.id) == made


def test_an_older_file_gets_the_columns_it_lacks(tmp_path):
    path = tmp_path / "payments.db"
    with sqlite3.connect(path) as db:
        db.executescript("""
            create table payment_transactions (
                id text primary key, user_id text, amount_cents integer, status text,
                provider text, provider_session_id text);
            insert into payment_transactions values
                ('6f1f4f5e-4a6f-4f7e-8d28-5f7d0a3c9b11', 'user_123', 999, 'pending',
                 'stripe', 'cs_1');
        """)
    db.close()
    tracker = get_payment_tracker("sqlite", path=path)
    assert tracker.complete_once("cs_1", lambda p: None)
    assert tracker.get_by_session("cs_1").status == "completed"


def test_a_failed_write_leaves_the_store_usable(tmp_path):
    # I11
    store = SQLitePaymentStore(tmp_path / "payments.db")
    tracker = get_payment_tracker(store=store)
    made = tracker.create_pending_payment("user_123", 2**63 - 1, 150, "stripe")
    too_large = made.model_copy(update={"id": "x", "amount_cents": 2**63})
    with pytest.raises(AmountTooLarge):
        store.create(too_large)
    assert tracker.mark_completed(made.id).captured_cents == 2**63 - 1
