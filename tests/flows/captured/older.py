"""What came back of charges, in the structure of 2018: a charge with its refunds, a refund, a
dispute. None of them knows of payment intents; a charge is all that they name."""

from __future__ import annotations

from typing import Any

from captured.shapes import OLDEST, nulls

CARD = {
    "id": "card_1Hq2uEnOaKe7Wz3M", "object": "card", "brand": "Visa", "country": "NL",
    "cvc_check": "pass", "exp_month": 8, "exp_year": 2031, "fingerprint": "Tz0nWq83LmVb5Rk2",
    "funding": "credit", "last4": "4242", "metadata": {},
    **nulls("address_city address_country address_line1 address_line1_check address_line2"
            " address_state address_zip address_zip_check customer dynamic_last4 name"
            " tokenization_method"),
}  # fmt: skip


def refund(id: str, charge: str, amount: int, at: int, **more: Any) -> dict[str, Any]:
    return {
        "id": id, "object": "refund", "amount": amount, "balance_transaction": f"txn_{id[3:]}",
        "charge": charge, "created": at, "currency": "usd", "metadata": {}, "reason": None,
        "receipt_number": None, "status": "succeeded", **more,
    }  # fmt: skip


def charge(
    id: str, amount: int, at: int, refunds: list[dict[str, Any]], **more: Any
) -> dict[str, Any]:
    back = sum(one["amount"] for one in refunds)
    return {
        "id": id, "object": "charge", "amount": amount, "amount_refunded": back,
        "balance_transaction": f"txn_{id[3:]}", "captured": True, "created": at, "currency": "usd",
        "fraud_details": {}, "livemode": False, "metadata": {}, "paid": True,
        "outcome": {"network_status": "approved_by_network", "reason": None,
                    "risk_level": "normal", "seller_message": "Said by the bank.",
                    "type": "authorized"},
        "refunded": back == amount,
        "refunds": {"object": "list", "data": refunds, "has_more": False,
                    "total_count": len(refunds), "url": f"/v1/charges/{id}/refunds"},
        "source": dict(CARD), "status": "succeeded",
        **nulls("application application_fee customer description destination dispute failure_code"
                " failure_message invoice on_behalf_of order receipt_email receipt_number review"
                " shipping source_transfer statement_descriptor transfer_group"), **more,
    }  # fmt: skip


def dispute(
    id: str, charge: str, amount: int, at: int, *, status: str = "needs_response", **more: Any
) -> dict[str, Any]:
    """Its sum and a fee of 15.00 were taken; what it gave back stands beside them."""
    booked = [_booked(id, charge, -amount, 1500, at)]
    if status == "won":
        booked.append(_booked(id, charge, amount, -1500, at))
    evidence = nulls(
        "access_activity_log billing_address cancellation_policy cancellation_policy_disclosure"
        " cancellation_rebuttal customer_communication customer_email_address customer_name"
        " customer_purchase_ip customer_signature duplicate_charge_documentation"
        " duplicate_charge_explanation duplicate_charge_id product_description receipt"
        " refund_policy refund_policy_disclosure refund_refusal_explanation service_date"
        " service_documentation shipping_address shipping_carrier shipping_date"
        " shipping_documentation shipping_tracking_number uncategorized_file uncategorized_text"
    )
    return {
        "id": id, "object": "dispute", "amount": amount,
        "balance_transaction": booked[0]["id"], "balance_transactions": booked, "charge": charge,
        "created": at, "currency": "usd", "evidence": evidence,
        "evidence_details": {"due_by": at + 9 * 86_400, "has_evidence": False, "past_due": False,
                             "submission_count": 0},
        "is_charge_refundable": False, "livemode": False, "metadata": {},
        "reason": "product_not_received", "status": status, **more,
    }  # fmt: skip


def _booked(id: str, charge: str, amount: int, fee: int, at: int) -> dict[str, Any]:
    return {
        "id": f"txn_{id[3:]}{'a' if amount < 0 else 'b'}", "object": "balance_transaction",
        "amount": amount, "available_on": at + 7 * 86_400, "created": at, "currency": "usd",
        "description": f"Moved for {charge}", "exchange_rate": None, "fee": fee,
        "fee_details": [{"amount": fee, "application": None, "currency": "usd",
                         "description": "Dispute fee", "type": "stripe_fee"}],
        "net": amount - fee, "source": id, "status": "pending", "type": "adjustment",
    }  # fmt: skip


def event(type: str, about: dict[str, Any], at: int, name: str = "") -> dict[str, Any]:
    return {
        "id": f"evt_{type.replace('.', '_')}{name}", "object": "event", "api_version": OLDEST,
        "created": at, "data": {"object": about}, "livemode": False, "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None}, "type": type,
    }  # fmt: skip
