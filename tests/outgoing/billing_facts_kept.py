"""What mails of subscriptions and invoices keep, one of each kind."""

from __future__ import annotations

from typing import Any

URL = "https://northwind.example/billing"
_DAY = "2026-11-28T00:00:00+00:00"
SUB: dict[str, Any] = {
    "plan": "Pro", "quantity": 3, "amount": 5997, "currency": "usd", "at": _DAY,
    "renews_at": _DAY, "plan_was": None, "plan_next": None,
}  # fmt: skip
OWED: dict[str, Any] = {
    "error_code": "insufficient_funds", "retry_at": "2026-12-01T00:00:00+00:00",
    "final_at": None, "number": "INV-000017", "pay_url": URL,
    "card": {"brand": "visa", "last4": "4242"},
}  # fmt: skip
PAPER: dict[str, Any] = {
    "number": "INV-000017", "status": "paid", "currency": "usd", "memo": None,
    "seller": {"name": "Northwind Labs"}, "buyer": {"name": "Maya", "country": "HT"},
    "subtotal": 1999, "total": 2199, "balance": 0, "paid": 2199, "credited": 0, "remaining": 0,
    "finalized_at": _DAY, "due_at": _DAY, "paid_at": _DAY, "period": [_DAY, _DAY],
    "lines": [{"description": "Remaining time on Team", "quantity": 1, "unit": 1999,
               "amount": 1999, "period": None}],
    "discounts": [], "livemode": True,
    "taxes": [{"name": "TCA", "micros": 100_000, "inclusive": False, "amount": 200}],
}  # fmt: skip
NOTE: dict[str, Any] = {
    "number": "CN-000002", "invoice_number": "INV-000017", "currency": "usd", "amount": 500,
    "tax": 45, "refunded": 500, "balance": 0, "written_off": 0, "created_at": _DAY,
    "reason": "duplicate", "memo": None, "status": "issued", "seller": PAPER["seller"],
    "buyer": PAPER["buyer"], "lines": [], "livemode": True,
}  # fmt: skip
INVOICE: dict[str, Any] = {
    "amount": 2199, "currency": "usd", "number": "INV-000017", "due_at": _DAY, "at": _DAY,
    "pay_url": URL,
}  # fmt: skip

#: By kind; a business's own facts are the caller's.
KEPT: dict[str, dict[str, Any]] = {
    "trial_ending": SUB | {"ends_at": _DAY, "has_method": True},
    "trial_ended": SUB,
    "renewal_upcoming": SUB,
    "renewal_failed": SUB | OWED,
    "renewal_action": SUB | OWED | {"error_code": "authentication_required"},
    "card_expiring": SUB | {"card": OWED["card"], "expires": "11/2026"},
    "subscription_changed": SUB | {"waits": False, "plan_was": "Basic", "quantity_was": 1,
                                   "paper": PAPER | {"balance": -700}},
    "subscription_ending": SUB | {"ends_at": _DAY},
    "subscription_kept": SUB,
    "subscription_canceled": SUB,
    "subscription_gave_up": SUB | OWED | {"then": "unpaid"},
    "subscription_paused": SUB | {"resume_at": _DAY},
    "subscription_resumed": SUB,
    "invoice": INVOICE,
    "invoice_paid": INVOICE,
    "credit_note": {"amount": 500, "currency": "usd", "pay_url": URL},
    "credit_note_voided": {"amount": 500, "currency": "usd", "pay_url": URL},
}  # fmt: skip
#: The papers of those that bring one.
PAPERS: dict[str, dict[str, Any]] = {
    "invoice": {"paper": PAPER | {"status": "open", "remaining": 2199, "paid": 0}},
    "invoice_paid": {"paper": PAPER},
    "credit_note": {"note": NOTE},
    "credit_note_voided": {"note": NOTE | {"status": "void"}},
}
