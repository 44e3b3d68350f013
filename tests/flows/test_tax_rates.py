"""Tax rates: by country and product, from an instant on, never changed."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from paydesk.errors import Conflict, InvalidRequest, NotFound
from paydesk.flows import tax_rates
from paydesk.rules import taxes


def held(env, country, product="", at=None):
    with env.db.read() as tx:
        found = tax_rates.find(tx, country, product, at or env.now())
    return [(one.name, one.percent) for one in found]


def test_the_rate_of_the_product_in_the_country_comes_before_wider_ones(env):
    tax_rates.add(env, "VAT", "19", country="de", inclusive=True)
    tax_rates.add(env, "VAT", "7", country="DE", product="books", inclusive=True)
    tax_rates.add(env, "Media levy", "1.5", product="books")
    tax_rates.add(env, "Export", 0)
    assert held(env, "DE", "books") == [("VAT", "7")]
    assert held(env, "de", "software") == held(env, "DE") == [("VAT", "19")]
    assert held(env, "HT", "books") == [("Media levy", "1.5")]
    assert held(env, "HT") == held(env, "") == [("Export", "0")]


def test_taxes_of_one_country_hold_together(env):
    tax_rates.add(env, "QST", "9.975", country="CA")
    tax_rates.add(env, "GST", "5", country="CA")
    assert held(env, "CA") == [("GST", "5"), ("QST", "9.975")]
    assert held(env, "US") == []


def test_a_rate_holds_until_the_next_of_its_name_begins(env, clock):
    start = env.now()
    first = tax_rates.add(env, "VAT", "19", country="DE")
    tax_rates.add(env, "VAT", "16", country="DE", valid_from=start + timedelta(days=10))
    assert held(env, "DE") == [("VAT", "19")]
    assert held(env, "DE", at=start + timedelta(days=10)) == [("VAT", "16")]
    assert held(env, "DE", at=start - timedelta(seconds=1)) == []
    clock.advance(days=20)
    tax_rates.add(env, "VAT", "19", country="DE")
    assert held(env, "DE") == [("VAT", "19")]
    assert tax_rates.get(env, first) == first and len(tax_rates.list_(env)) == 3


def test_the_same_again_answers_the_stored_rate(env, clock):
    first = tax_rates.add(env, "VAT", "19.0", country="DE")
    clock.advance(days=1)
    assert tax_rates.add(env, "VAT", Decimal(19), country="DE") == first
    assert len(tax_rates.list_(env)) == 1


def test_another_rate_from_the_very_instant_is_refused(env):
    tax_rates.add(env, "VAT", "19", country="DE")
    for wrong in ({"percent": "20"}, {"percent": "19", "inclusive": True}):
        with pytest.raises(Conflict):
            tax_rates.add(env, "VAT", country="DE", valid_from=env.now(), **wrong)


def test_a_rate_that_was_taken_back_counts_no_more(env, clock):
    tax_rates.add(env, "VAT", "19", country="DE")
    clock.advance(days=1)
    wrong = tax_rates.add(env, "VAT", "91", country="DE")
    assert tax_rates.deactivate(env, wrong).active is False
    with pytest.raises(Conflict):
        tax_rates.add(env, "VAT", "91", country="DE")
    assert held(env, "DE") == [("VAT", "19")]
    assert len(tax_rates.list_(env)) == 1
    assert len(tax_rates.list_(env, country="DE", include_inactive=True)) == 2
    with env.db.read() as tx:
        assert tx.value("select count(*) from audit_log where action = 'tax_rate.saved'") == 3


def test_a_rate_that_there_is_not_is_not_found(env):
    for ref in ("txr_nothing", "0" * 32):
        with pytest.raises(NotFound):
            tax_rates.get(env, ref)


@pytest.mark.parametrize(
    "wrong",
    [
        {"percent": "100.0001"}, {"percent": "-1"}, {"percent": "1.23456"}, {"percent": "NaN"},
        {"percent": 8.875}, {"percent": True}, {"percent": ""}, {"percent": "1e999999"},
        {"country": "DEU"}, {"country": "1a"}, {"country": None}, {"name": ""},
        {"product": "\0"}, {"valid_from": "2026-01-01"},
    ],
)  # fmt: skip
def test_what_makes_no_rate_is_refused(env, wrong):
    with pytest.raises(InvalidRequest):
        tax_rates.add(env, **{"name": "VAT", "percent": "19", **wrong})


@pytest.mark.parametrize(
    ("text", "micros"),
    [("8.875", 88_750), ("0", 0), ("100", 10**6), ("0.0001", 1), ("20", 200_000)],
)
def test_percentages_are_exact_millionths(text, micros):
    assert taxes.parse(text) == micros and taxes.show(micros) == text
