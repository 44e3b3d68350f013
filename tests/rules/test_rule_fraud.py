"""Fraud rules: pure, bounded, and never less worried by more trouble."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paydesk.rules.fraud import MOST_SCORE, RULES, Entry, Features, judge, outweighing

CALM = Features(amount_minor=1000)
COUNTS = [f.name for f in fields(Features) if f.type == "int" and f.name != "account_age_h"]

features = st.builds(
    Features,
    **{name: st.integers(0, 200) for name in COUNTS},
    account_age_h=st.integers(0, 1000),
    is_disposable_email=st.booleans(),
    request_country=st.sampled_from([None, "US", "HT", "FR"]),
    card_country=st.sampled_from([None, "US", "HT", "FR"]),
    customer_country=st.sampled_from([None, "US", "HT", "FR"]),
)


def weigh(one: Features, review_from: int = 50, block_from: int = 80):
    return judge(one, review_from=review_from, block_from=block_from)


@pytest.mark.parametrize(
    ("trouble", "rule"),
    [
        ({"payments_1h": 10}, "velocity"),
        ({"failed_1h": 3}, "failed_attempts"),
        ({"amount_minor": 50_000, "largest_minor": 1000, "paid_before": 5}, "amount"),
        ({"card_country": "FR", "request_country": "US"}, "country_mismatch"),
        ({"is_disposable_email": True}, "disposable_email"),
        ({"methods_24h": 4}, "many_cards"),
        ({"customers_of_card": 3}, "many_cards"),
        ({"disputes": 1}, "disputes"),
        ({"failed_1h": 2}, "new_customer"),
    ],
)  # fmt: skip
def test_each_trouble_is_named(trouble, rule):
    # S4.35
    assert weigh(CALM).reasons == ()
    assert rule in [r.rule for r in weigh(replace(CALM, **trouble)).reasons]


def test_the_thresholds_decide_and_101_means_never():
    # S4.35
    odd = replace(CALM, failed_1h=6, is_disposable_email=True, account_age_h=99)
    score = weigh(odd).score
    assert weigh(odd, review_from=score).decision == "review"
    assert weigh(odd, review_from=score + 1).decision == "allow"
    assert weigh(odd, block_from=score).decision == "block"
    assert weigh(odd, review_from=101, block_from=101).decision == "allow"


@given(features)
def test_scores_are_bounded_and_lists_outweigh_rules(one):
    # S4.35
    verdict = weigh(one)
    assert 0 <= verdict.score <= MOST_SCORE
    assert len(verdict.reasons) <= len(RULES)
    assert weigh(replace(one, listed="allow", listed_by="customer")).decision == "allow"
    assert weigh(replace(one, listed="block", listed_by="card")).decision == "block"
    assert weigh(replace(one, listed="review", listed_by="x")).decision in ("review", "block")


@given(features, st.sampled_from(["failed_1h", "payments_1h", "methods_24h", "disputes"]))
def test_more_trouble_never_scores_less(one, name):
    # S4.35
    worse = replace(one, **{name: getattr(one, name) + 5})
    assert weigh(worse).score >= weigh(one).score


@pytest.mark.parametrize(
    ("listed", "deciding"),
    [
        ("customer=allow country=block", "customer"),
        ("customer=block email=allow", "customer"),
        ("card=block customer=allow", "card"),
        ("customer=review country=allow", "customer"),
        ("address=allow email_domain=block", "address"),
        ("country=review email_domain=block", "email_domain"),
        ("", None),
    ],
)  # fmt: skip
def test_an_entry_of_one_person_outweighs_one_of_many(listed, deciding):
    # S4.35
    pairs = [one.split("=") for one in listed.split()]
    entries = [Entry(action=action, kind=kind, value="x") for kind, action in pairs]
    for order in (entries, entries[::-1]):
        found = outweighing(order)
        assert (found.kind if found else None) == deciding
