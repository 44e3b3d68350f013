"""The catalogue of plans: made by key, versions of terms that never change, shown in order."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from uuid import uuid4

import pytest

from paydesk.errors import Conflict, InvalidRequest, NotFound
from paydesk.flows import plans
from paydesk.rules.money import EUR, JPY, USD


def pro(env, **terms):
    return plans.upsert(env, "pro", **{"name": "Pro", "price": USD("19.99"), **terms})


def test_a_plan_is_made_by_its_key_with_sensible_terms(env):
    """S1.25 S1.49: monthly, of the family of plans, opening the platform."""
    made = pro(env)
    assert plans.get(env, "pro") == plans.get(env, made.id) == made
    assert (made.version, made.kind, made.family, made.active) == (1, "plan", "plan", True)
    terms = made.terms
    assert (terms.interval, terms.billing, terms.trial_days) == ("month", "anniversary", 0)
    assert terms.grants == ({"type": "platform", "id": "*"},)
    assert dict(terms.dunning) == {"days": [1, 3, 5, 7], "final": "cancel"}
    assert repr(made) == "<Plan 'pro' v1 USD 19.99 a month>"


def test_the_same_terms_again_make_no_new_version(env):
    first = pro(env, grants=["course:python"], prices=[USD(20), EUR(18)], price=None)
    again = pro(env, grants=[{"type": "course", "id": "python"}], prices=[EUR(18), USD(20)],
                price=None, description="All courses.", position=3)  # fmt: skip
    assert (again.uuid, again.version) == (first.uuid, 1)
    assert (again.description, again.position) == ("All courses.", 3)
    assert again.terms == first.terms


def test_changed_terms_become_the_next_version_and_the_old_one_stays(env):
    """S1.25: who subscribed keeps his terms until he is moved."""
    old = pro(env)
    new = pro(env, price=USD("24.99"), trial_days=14)
    assert (old.version, new.version) == (1, 2)
    assert plans.terms(env, old.uuid, 1) == old.terms
    with env.db.read() as tx:
        assert plans.terms(tx, old.uuid, 2) == new.terms
    assert [one.version for one in plans.versions(env, "pro")] == [2, 1]
    back = pro(env)
    assert back.version == 3 and back.terms == replace(old.terms, version=3)


def test_terms_are_read_once_and_then_kept(env):
    made = pro(env)
    first = plans.terms(env, made.uuid, 1)
    assert plans.terms(env, made.uuid, 1) is first


def test_versions_that_are_made_at_once_have_different_numbers(env):
    pro(env)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: pro(env, price=USD(n)), range(30, 38)))
    assert [one.version for one in plans.versions(env, "pro")] == list(range(9, 0, -1))
    assert plans.get(env, "pro").version == 9


def test_a_version_that_there_is_not_is_not_found(env):
    made = pro(env)
    for plan_id, version in ((made.uuid, 2), (uuid4(), 1)):
        with pytest.raises(NotFound):
            plans.terms(env, plan_id, version)


# S1.25!
def test_public_plans_are_listed_in_order_and_changes_are_seen_at_once(env):
    """S1.25 S1.52: cached, dropped on every change."""
    plans.upsert(env, "team", name="Team", price=USD(49), position=2, most_quantity=50)
    plans.upsert(env, "pro", name="Pro", price=USD(20), position=1)
    plans.upsert(env, "staff", name="Staff", price=USD(0), public=False)
    plans.upsert(env, "gold", name="Gold", price=USD(9), kind="membership", credits=100)
    keys = [one.key for one in plans.list_(env, public_only=True)]
    assert keys == ["gold", "pro", "team"]
    assert [one.key for one in plans.list_(env, kind="membership")] == ["gold"]
    assert not plans.archive(env, "gold").active
    assert [one.key for one in plans.list_(env)] == ["staff", "pro", "team"]
    assert len(plans.list_(env, include_inactive=True)) == 4
    with pytest.raises(NotFound):
        plans.get(env, "gold", active_only=True)


def test_a_price_is_found_by_currency_or_is_the_default_ones(env):
    made = pro(env, price=None, prices=[USD("19.99"), EUR("18.49"), JPY(2900)])
    assert plans.price(made.terms, "EUR") == EUR("18.49")
    assert plans.price_of(env, made) == USD("19.99")
    with pytest.raises(InvalidRequest, match="EUR, JPY, USD"):
        plans.price(made.terms, "gbp")
    with pytest.raises(InvalidRequest):
        plans.price(made.terms, None)
    only = plans.upsert(env, "fr", name="Fr", price=EUR(5))
    assert plans.price_of(env, only) == EUR(5)


def test_kind_and_family_stay_as_they_were_made(env):
    """I21: one live subscription of a family would mean nothing if families could be moved."""
    plans.upsert(env, "gold", name="Gold", price=USD(9), kind="membership", family="clubs")
    for told in ({"kind": "plan"}, {"kind": "membership", "family": "others"}):
        with pytest.raises(Conflict):
            plans.upsert(env, "gold", name="Changed", price=USD(1), **told)
    kept = plans.upsert(env, "gold", name="Gold+", price=USD(9), kind="membership")
    assert (kept.family, kept.name, kept.version) == ("clubs", "Gold+", 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""}, {"price": None}, {"price": USD(-1)}, {"prices": [USD(1)]},
        {"price": None, "prices": []}, {"price": None, "prices": [USD(1), USD(2)]},
        {"kind": "item"}, {"interval": "decade"}, {"interval": "year", "interval_count": 11},
        {"interval_count": 0}, {"billing": "lunar"}, {"trial_days": 731}, {"trial_days": -1},
        {"grants": "course:python"}, {"grants": [{"type": "course", "id": "x", "days": 3}]},
        {"credits": -1}, {"credits_rollover": "some"}, {"credits_rollover": "capped"},
        {"credits_cap": 5}, {"credits_rollover": "capped", "credits_cap": 0},
        {"least_quantity": 3, "most_quantity": 2}, {"upgrade": "weeks"}, {"downgrade": "x"},
        {"upgrade_when": "later"}, {"downgrade_when": "later"}, {"grace_days": 366},
        {"dunning": []}, {"dunning": {"day": [1]}}, {"dunning": {"days": [3, 1]}},
        {"dunning": {"days": [0]}}, {"dunning": {"days": "1"}}, {"dunning": {"final": "sue"}},
        {"dunning": {"final": "downgrade"}}, {"dunning": {"downgrade_to": "free"}},
    ],
)  # fmt: skip
def test_what_makes_no_plan_is_refused(env, wrong):
    with pytest.raises(InvalidRequest):
        plans.upsert(env, "x", **{"name": "X", "price": USD(5), **wrong})
    assert plans.list_(env, include_inactive=True) == []


@pytest.mark.parametrize("key", ["", "a b", "plan_x", "a\n", "x" * 101])
def test_a_plans_key_is_a_word_and_no_id_of_ours(env, key):
    with pytest.raises(InvalidRequest):
        plans.upsert(env, key, name="X", price=USD(5))


def test_the_learning_familys_table_of_plans_can_be_read(env):
    """S1.8: what is sold now, in major units; memberships are no tiers."""
    pro(env, price=None, prices=[USD("19.99"), EUR(18)], trial_days=14)
    plans.upsert(env, "jp", name="Jp", price=JPY(2900), interval="year", active=False)
    plans.upsert(env, "gold", name="Gold", price=USD(9), kind="membership")
    with env.db.read() as tx:
        rows = tx.all("select * from learning.subscription_plans order by key")
    assert [(r["key"], r["price"], r["currency"], r["interval"]) for r in rows] == [
        ("jp", Decimal(2900), "JPY", "year"),
        ("pro", Decimal("19.99"), "USD", "month"),
    ]
    assert [r["is_active"] for r in rows] == [False, True]
    assert rows[1]["features"] == [{"type": "platform", "id": "*"}]


def test_who_saved_a_plan_stands_in_the_log(env):
    pro(env)
    plans.archive(env, "pro")
    with env.db.read() as tx:
        rows = tx.all("select data from audit_log where action = 'plan.saved' order by seq")
    assert [row["data"]["active"] for row in rows] == [True, False]


def test_a_price_too_small_to_be_charged_is_refused_but_nothing_is_a_price(env):
    with pytest.raises(InvalidRequest):
        plans.upsert(env, "tiny", name="Tiny", price=USD("0.20"))
    seats = plans.upsert(env, "seats", name="Seats", price=USD("0.20"), least_quantity=5)
    assert seats.terms.least_quantity == 5
    assert plans.upsert(env, "free", name="Free", price=USD("0")).terms.prices["usd"].minor == 0
