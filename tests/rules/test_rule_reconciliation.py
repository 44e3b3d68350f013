"""Reconciliation as rules: what counts as a difference, and what may be mended."""

from __future__ import annotations

import pytest

from paydesk.rules import reconciliation as rules
from paydesk.rules.reconciliation import Differs

PAID = {"status": "succeeded", "amount": 999, "currency": "usd"}
OURS = {"status": "succeeded", "posted": True, "is_ours": True, "amount": 999, "currency": "usd"}
OPEN = {**OURS, "status": "pending", "posted": False}


@pytest.mark.parametrize(
    ("ours", "theirs", "wanted"),
    [
        (OURS, PAID, None),
        (OPEN, PAID, Differs("missing_here", True)),
        (None, PAID, Differs("missing_here", False)),
        (None, {**PAID, "status": "pending"}, None),
        (OURS, {**PAID, "amount": 1099}, Differs("amount", False)),
        (OURS, {**PAID, "currency": "eur"}, Differs("currency", False)),
        (OURS, {**PAID, "status": "canceled"}, Differs("status", False)),
        (OPEN, {**PAID, "status": "canceled"}, Differs("status", True)),
        ({**OPEN, "is_ours": False}, {**PAID, "status": "canceled"}, None),
        (OPEN, {**PAID, "status": "processing"}, None),
        ({**OPEN, "status": "expired"}, {**PAID, "status": "pending"}, None),
    ],
)  # fmt: skip
def test_payments_differ_by_money_first(ours, theirs, wanted):  # S3.23
    assert rules.payment(ours, theirs) == wanted


@pytest.mark.parametrize(
    ("ours", "theirs", "wanted"),
    [
        (None, "succeeded", Differs("missing_here", True)),
        (None, "failed", None),
        ("succeeded", "succeeded", None),
        ("pending", "requires_action", None),
        ("pending", "succeeded", Differs("status", True)),
        ("succeeded", "failed", Differs("status", True)),
        ("canceled", "canceled", None),
    ],
)  # fmt: skip
def test_refunds_differ_by_state(ours, theirs, wanted):
    side = {**PAID, "status": ours} if ours else None
    assert rules.refund(side, {**PAID, "status": theirs}) == wanted
    if side:
        assert rules.refund(side, {**PAID, "amount": 1}) == Differs("amount", False)


TAKEN = {"status": "needs_response", "amount": 999, "currency": "usd", "withdrawn": 999,
         "reinstated": 0, "fee": 1500}  # fmt: skip


@pytest.mark.parametrize(
    ("theirs", "wanted"),
    [
        ({}, None),
        ({"fee": None}, None),
        ({"fee": 0}, Differs("fee", True)),
        ({"status": "lost"}, Differs("status", True)),
        ({"status": "warning"}, Differs("status", False)),
        ({"reinstated": 999, "status": "won", "fee": 0}, Differs("status", True)),
        ({"withdrawn": 500}, Differs("amount", False)),
        ({"amount": 1}, Differs("amount", False)),
        ({"currency": "eur"}, Differs("currency", False)),
    ],
)  # fmt: skip
def test_disputes_differ_by_what_moved(theirs, wanted):
    assert rules.dispute(TAKEN, {**TAKEN, **theirs}) == wanted
    assert rules.dispute(None, TAKEN) == Differs("missing_here", True)


def test_a_fee_nobody_told_of_is_no_difference():
    told = {"amount": 59, "currency": "usd"}
    assert rules.fee({**told, "amount": None}, told) is None
    assert rules.fee(told, told) is None
    assert rules.fee(told, {**told, "amount": 60}) == Differs("amount", False)
