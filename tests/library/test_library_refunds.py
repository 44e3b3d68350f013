"""The library's front for refunds, as its documented samples use it."""

from __future__ import annotations

from decimal import Decimal

import pytest

from paydesk import USD, NotRefundable, Paydesk, RefundWindowClosed
from paydesk.errors import ApprovalRequired


@pytest.fixture
def bought(pay, sim):
    """A pack of 500 credits, paid with 49.05 after a code."""
    pay.packs.upsert("creator", name="Creator Pack", credits=500, price=USD("54.50"),
                     expires_days=365)  # fmt: skip
    pay.promos.upsert("WELCOME10", percent_off=10)
    session = pay.checkout(customer="user_123", pack="creator", promo="WELCOME10")
    sim.pay(session.payment.provider_session)
    return pay.verify(session.id).payment


def test_the_documented_sample_runs(pay, bought):
    """Preview, a part, the rest."""
    preview = pay.refunds.preview(bought.id, amount=USD("10.00"))
    seen = (preview.credits_taken_back, preview.access_revoked, str(preview.fee_lost))
    assert seen[:2] == (102, [])
    refund = pay.refund(
        bought.id, USD("10.00"), reason="requested_by_customer", by="rosa@example.com"
    )
    assert (refund.status, str(refund.payment.refundable)) == ("succeeded", "USD 39.05")
    assert refund.credits_taken_back == 102
    rest = pay.refund(bought)
    assert (rest.amount, rest.payment.status) == (USD("39.05"), "refunded")
    assert pay.credits.balance("user_123") == 0
    assert [r.id for r in pay.refunds.list(payment=bought)] == [rest.id, refund.id]
    assert pay.payments.get(bought).refund_reason == "requested_by_customer"
    with pytest.raises(NotRefundable):
        pay.refund(bought.id)


def test_the_window_closes_and_can_be_forced(pay, bought, clock):
    # S1.51
    clock.advance(days=31)
    with pytest.raises(RefundWindowClosed) as told:
        pay.refund(bought.id, by="rosa@example.com")
    assert told.value.detail.startswith("The 30-day window ended on ")
    assert pay.refund(bought.id, by="rosa@example.com", force=True).forced


def test_the_same_key_refunds_once_and_another_person_decides(env, pay, bought):
    # I6 S3.20
    first = pay.refund(bought, USD("1.00"), key="order-1")
    assert pay.refund(bought, USD("1.00"), key="order-1").id == first.id
    assert pay.refunds.get(first).amount == USD("1.00")
    with Paydesk(env.settings, refund_approval_threshold=Decimal("5"), background=False) as strict:
        asked = strict.refund(bought, USD("6.00"), by="rosa@example.com")
        assert asked.status == "requested"
        with pytest.raises(ApprovalRequired):
            strict.refunds.approve(asked, by="rosa@example.com")
        done = strict.refunds.approve(asked.id, by="omar@example.com", note="fine")
        assert (done.status, done.decided_by) == ("succeeded", "omar@example.com")
        again = strict.refund(bought, USD("6.00"), by="rosa@example.com")
        assert strict.refunds.cancel(again, by="rosa@example.com").status == "canceled"
