"""Lists, counts and figures of subscriptions have an index to go by, however many there are."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from test_purchase_plans import Explained

from paydesk import ids
from paydesk.flows import attention, desk_lists, figure_cohorts, figure_recurring, risk
from paydesk.http.compat import records
from paydesk.rules.figures import Range

YEAR = Range(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), "UTC")


@pytest.fixture
def told(env, db):
    """(env, what its statements' plans are); a table is read whole only where no index serves."""
    opened = Explained(db.admin_dsn, max_size=2)
    opened.plans = []
    yield replace(env, db=opened), opened.plans
    opened.close()


def used(plans):
    """The indexes that the plans go by; none reads a table from end to end, or sorts it."""
    text = "\n".join(plans)
    assert "Seq Scan" not in re.sub(r"Seq Scan on (plans|plan_versions)\b", "", text), text
    return set(re.findall(r"using (\w+) on", text))


def reading(env, ask):
    with env.db.read() as tx:
        return ask(tx)


def moved(tx):
    return figure_recurring.moved(tx, YEAR, "month", None)


def aged(tx):
    return figure_cohorts.cohorts(tx, YEAR, "month", None, YEAR.end, 7)


def tried(tx):
    return figure_recurring.trials(tx, YEAR, "month", None)


def waits(tx):
    return attention.needs(tx, YEAR.end)


def stood(tx):
    return figure_recurring.standing(tx, YEAR, "month", ["plan", "status"], {}, YEAR.end)


# S1.9 S3.5
@pytest.mark.parametrize(
    ("index", "ask"),
    [
        ("subscriptions_listed", desk_lists.subscriptions_page),
        ("wallets_listed", desk_lists.wallets_page),
        ("risk_assessments_listed", risk.list_),
        ("subscriptions_plans", desk_lists.subscribers),
        ("subscriptions_plans", lambda env: desk_lists.subscribers_of(env, ids.new_catalog())),
        ("disputes_waiting", lambda env: reading(env, desk_lists.waiting)),
        ("subscription_history_moved", lambda env: reading(env, moved)),
        ("subscription_history_moved", lambda env: reading(env, aged)),
        ("subscriptions_trials", lambda env: reading(env, tried)),
        ("subscriptions_late", lambda env: reading(env, waits)),
        ("invoices_given_up", lambda env: reading(env, waits)),
        ("invoices_open", lambda env: reading(env, waits)),
    ],
)
def test_lists_and_counts_go_by_an_index(told, index, ask):
    env, plans = told
    for _ in range(7):  # A statement that came often has a plan for whatever values.
        plans.clear()
        ask(env)
        assert index in used(plans)


def test_how_many_stand_is_told_from_what_stands_now_and_what_happened_since(told):  # S4.39
    """Each subscription is read once, and of the past the range alone."""
    env, plans = told
    reading(env, stood)
    text = "\n".join(plans)
    assert "subscription_history_figures" in text
    assert "Seq Scan on subscription_history" not in text


def test_what_was_paid_alone_is_found_from_the_invoices(told, make):
    """S1.20: a customer's transfers are very many, his invoices are not."""
    env, plans = told
    who = make.user()
    for _ in range(7):
        plans.clear()
        reading(env, lambda tx: records._paid_alone(tx, who.uuid, 21, None))
        found = used(plans)
        assert {"invoices_subscription", "transfers_money"} <= found
        assert "transfers_seq" not in found and "transfers_pkey" not in found
