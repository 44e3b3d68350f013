"""The doctor finds every kind of damage, says nothing where all is well, and changes nothing."""

from __future__ import annotations

import time
from datetime import timedelta

import psycopg
import pytest

from paydesk.flows import credits, doctor, invoice_proof, subscription_history
from paydesk.flows.credits import new_spend
from paydesk.testing import databases


@pytest.fixture
def desk(database, make_env):
    """A desk of its own with some history, and a way to damage it."""
    return make_env(database)


@pytest.fixture
def make_env(tmp_path, clock):
    """Environments on databases that nobody examines afterwards: they are damaged on purpose."""
    from paydesk.assemble import build_env
    from paydesk.flows import customers
    from paydesk.settings import Settings

    made = []

    def build(database: databases.TestDatabase):
        env = build_env(
            Settings(database_url=database.dsn, data_dir=str(tmp_path), jwt_secret="x" * 32,
                     stripe_webhook_secret="whsec_x", simulator_url="http://127.0.0.1:9",
                     secret_key="sk_test_x"),
            start_missing=False, clock=clock,
        )  # fmt: skip
        made.append(env)
        user = customers.ensure(env, "user_1").uuid
        end = env.now() + timedelta(days=9)
        credits.grant_now(env, user, 100, expires_at=end)
        credits.grant_now(env, user, 50, kind="purchased")
        verdict = credits.spend_now(env, new_spend(user, 120))
        credits.refund_spend_now(env, user, verdict.transfer_id, 30)
        return env

    yield build
    for env in made:
        env.close()


def broken(where) -> set[str]:
    return {finding.check for finding in doctor.check(where) if not finding.ok}


def damage(database, *statements: str) -> None:
    """Change what no role may change: the guards are put aside for it."""
    with psycopg.connect(database.admin_dsn, autocommit=True) as admin:
        admin.execute("set session_replication_role = replica")
        for statement in statements:
            admin.execute(statement)


FIGURES = tuple(name for name, _, _ in doctor.FIGURES)


def test_a_sound_database_passes_every_check(desk):
    found = doctor.check(desk.db)
    more = invoice_proof.CHECKS + subscription_history.CHECKS
    named = [*(c.name for c in doctor.CHECKS), *(name for name, *_ in more)]
    assert [f.check for f in found] == [*named, *FIGURES]
    assert all(f.ok for f in found)
    with desk.db.transaction() as tx:
        assert all(f.ok for f in doctor.check(tx))


_DISPUTE = (
    "with p as (insert into payments (customer_id, id, state, provider, currency, asked_minor,"
    " captured_minor, price_minor, handle, request_key, request_hash) select customer_id,"
    " customer_id, 'succeeded', 'stripe', 'usd', 10, 10, 10, 'h', customer_id, '' from customers)"
    " insert into disputes (customer_id, id, payment_id, provider, ref, state, amount_minor,"
    " opened_at, currency, withdrawn_minor) select customer_id, customer_id, customer_id,"
    " 'stripe', 'du_1', 'lost', 11, now(), "
)
DAMAGE = {
    "seals_hold": "insert into seals (customer_id, seq, entry_seq, hash)"
                  " select customer_id, seq, entry_seq, sha256('') from heads",
    "books_balance": "update accounts set balance = balance + 1 where code = 7",
    "balances_equal_entries": "update accounts set balance = balance + 1 where code = 7",
    "floors": "update accounts set floor = -5 where code = 1",
    "running_balances": "update transfers set debit_after = debit_after + 1 where seq = 3",
    "entries_gap_free": "update heads set entry_seq = entry_seq + 1",
    "events_gap_free": "delete from events where seq = 2",
    "batches_hold_the_balance": "update batches set remaining = remaining - 1 where open",
    "batches_match_draws": "update batches set remaining = remaining - 1 where open",
    "draws_match_transfers": "delete from draws where amount < 0",
    "batches_were_granted": "update transfers set subject_id = null where seq = 1",
    "debts_match": "update batches set owed = 3 where open",
    "next_expiry": "update accounts set next_expiry = 'infinity'",
    "refunds_within_captures": (
        "insert into payments (customer_id, id, state, provider, currency, asked_minor,"
        " captured_minor, refunded_minor, price_minor, handle, request_key, request_hash)"
        " select customer_id, customer_id, 'partially_refunded', 'stripe', 'usd', 10, 10, 11, 10,"
        " 'h', customer_id, '' from customers"
    ),
    "refunded_sums": (
        "insert into payments (customer_id, id, state, provider, currency, asked_minor,"
        " captured_minor, refunded_minor, price_minor, handle, request_key, request_hash)"
        " select customer_id, customer_id, 'partially_refunded', 'stripe', 'usd', 10, 10, 5, 10,"
        " 'h', customer_id, '' from customers"
    ),
    "refunds_on_their_way": (
        "insert into refunds (customer_id, id, payment_id, amount_minor, currency, state,"
        " provider, request_key, request_hash) select customer_id, customer_id, customer_id, 5,"
        " 'usd', 'pending', 'stripe', customer_id, '' from customers"
    ),
    "clawbacks_are_posted": (
        "insert into clawbacks (customer_id, id, payment_id, cause, cause_id, goods, asked, taken)"
        " select customer_id, customer_id, customer_id, 'refund', customer_id, 'credits', 5, 5"
        " from customers"
    ),
    "captures_are_posted": (
        "insert into payments (customer_id, id, state, provider, currency, asked_minor,"
        " captured_minor, price_minor, handle, request_key, request_hash)"
        " select customer_id, customer_id, 'succeeded', 'stripe', 'usd', 10, 10, 10, 'h',"
        " customer_id, '' from customers"
    ),
    "paid_is_fulfilled": (
        "insert into payments (customer_id, id, state, provider, currency, asked_minor,"
        " price_minor, handle, request_key, request_hash)"
        " select customer_id, customer_id, 'succeeded', 'stripe', 'usd', 10, 10, 'h',"
        " customer_id, '' from customers"
    ),
    "fulfillments_are_posted": (
        "insert into fulfillments (customer_id, payment_id, purpose, state, path, txn_id)"
        " select customer_id, customer_id, 'credits', 'done', 'webhook', customer_id"
        " from customers"
    ),
    "credits_granted_once": (
        "with p as (insert into payments (customer_id, id, state, provider, currency,"
        " asked_minor, price_minor, handle, request_key, request_hash) select customer_id,"
        " customer_id, 'pending', 'stripe', 'usd', 10, 10, 'h', customer_id, '' from customers)"
        " update batches set kind = 'purchased', payment_id = customer_id"
    ),
    "access_is_owned": (
        "insert into access_grants (customer_id, id, resource_type, resource_id, source,"
        " source_id, starts_at) select customer_id, customer_id, 'course', 'python', 'purchase',"
        " customer_id, now() from customers"
    ),
    "bought_days_follow": (
        "insert into access_grants (customer_id, id, resource_type, resource_id, source,"
        " source_id, starts_at, expires_at) select customer_id, gen_random_uuid(), 'lab', '1',"
        " 'purchase', customer_id, now(), now() + interval '1 day'"
        " from customers, generate_series(1, 2)"
    ),
    "owned_is_paid": (
        "with p as (insert into payments (customer_id, id, state, provider, currency,"
        " asked_minor, price_minor, handle, request_key, request_hash) select customer_id,"
        " customer_id, 'expired', 'stripe', 'usd', 10, 10, 'h', customer_id, '' from customers)"
        " insert into purchases (customer_id, id, item_id, item_key, name, repeatable, payment_id,"
        " state, price_minor, currency) select customer_id, customer_id, customer_id, 'x', 'X',"
        " false, customer_id, 'completed', 10, 'usd' from customers"
    ),
    "promo_counts": (
        "insert into promo_uses (promo_id, payment_id, customer_id, state)"
        " select customer_id, customer_id, customer_id, 'used' from customers"
    ),
    "held_is_set_aside": (
        "insert into holds (customer_id, id, asset, transfer_id, amount, state, expires_at,"
        " request_key, request_hash) select customer_id, customer_id, 'CREDIT', customer_id, 10,"
        " 'open', 'infinity', customer_id, '' from customers"
    ),
    "holds_end_once": (
        "insert into holds (customer_id, id, asset, transfer_id, amount, captured, state,"
        " ended_by, expires_at, request_key, request_hash) select customer_id, customer_id,"
        " 'CREDIT', customer_id, 10, 10, 'closed', 'capture', 'infinity', customer_id, ''"
        " from customers"
    ),
    "wallets_are_there": (
        "insert into accounts (customer_id, code, asset, balance)"
        " select customer_id, 2, 'htg', 5 from customers"
    ),
    "debts_are_repaid_first": (
        "with w as (insert into wallets (customer_id, id, currency)"
        " select customer_id, customer_id, 'htg' from customers)"
        " insert into accounts (customer_id, code, asset, balance)"
        " select customer_id, 4, 'htg', 5 from customers"
    ),
    "exchange_is_conversions": (
        "insert into conversions (customer_id, id, rate_id, from_currency, from_minor,"
        " to_currency, to_minor, txn_id, request_key, request_hash) select customer_id,"
        " customer_id, customer_id, 'usd', 5, 'htg', 5, customer_id, customer_id, ''"
        " from customers"
    ),
    "transit_is_even": (
        "insert into accounts (customer_id, code, asset, balance)"
        " select customer_id, 9, 'htg', 5 from customers"
    ),
    "disputes_are_posted": _DISPUTE + "'usd', 10 from customers",
    "disputes_hold_nothing": (
        "insert into accounts (customer_id, code, asset, balance)"
        " select customer_id, 14, 'usd', 5 from customers"
    ),
    "disputes_within_captures": _DISPUTE + "'usd', 11 from customers",
    "refills_have_payments": (
        "insert into refills (customer_id, id, what, asset, threshold, credits, day_count,"
        " month_count, pause_after, number, due_at) select customer_id, customer_id, 'credits',"
        " 'CREDIT', 5, 10, 1, 1, 1, 1, now() from customers"
    ),
    "figures_equal_rows": (
        "with s as (insert into figure_state (time_zone, covered_from, covered_until)"
        " values ('UTC', '1990-01-31', '1990-02-02')) insert into figure_goods"
        " values ('1990-02-01', 'pack', 'creator', '', 'usd', 1, 999, 0, 0, 999, 0, 120, 0)"
    ),
    "figures_add_up": (
        "with s as (insert into figure_summed values ('month', '1990-02-01'))"
        " insert into figure_attempts_sums values ('month', true, '1990-02-01', 'failed', '', '',"
        " '', 'usd', '', '', 3)"
    ),
}


def test_every_check_has_its_damage():
    assert set(DAMAGE) == {*(c.name for c in doctor.CHECKS), *FIGURES}


@pytest.mark.parametrize("name", sorted(DAMAGE))
def test_damage_is_found(desk, database, name):  # I2 I3 I7 I15
    damage(database, DAMAGE[name])
    found = {f.check: f for f in doctor.check(desk.db)}
    assert not found[name].ok and "but: " in found[name].detail


def test_the_doctor_changes_nothing(desk):
    with desk.db.snapshot() as tx:
        assert broken(tx) == set()
        assert tx.value("select pg_current_xact_id_if_assigned()::text") is None


def test_an_empty_database_is_examined_at_once(db):
    doctor.check(db)
    best = min(_seconds(db) for _ in range(5))
    assert best < 0.1  # A few milliseconds; the bound is for busy machines.


def _seconds(db) -> float:
    began = time.perf_counter()
    doctor.check(db)
    return time.perf_counter() - began
