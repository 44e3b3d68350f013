"""What the families' old rows mean here: pure, exact, and refusing what it cannot understand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from paydesk.errors import InvalidRequest
from paydesk.rules.money import currency_code, parse_minor

#: family -> (table, columns that tell it from others of the same name).
TABLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "services.customer_services": (("customer_services",), ("service_type", "customer_id")),
    "services.payments": (("payments",), ("payment_intent_id", "payment_type")),
    "credits.payment_transactions": (("payment_transactions",), ("amount_cents", "user_id")),
    "wallets.payments": (("Payment", "payments", "payment"), ("method", "reference", "user_id")),
    "learning.payments": (("payments",), ("user_id", "stripe_payment_intent_id")),
    "learning.payment_methods": (("payment_methods",), ("user_id", "stripe_payment_method_id")),
    "learning.user_stripe_mapping": (("user_stripe_mapping",), ("user_id", "stripe_customer_id")),
    "learning.user_access": (("user_access",), ("user_id", "resource_type", "resource_id")),
}
#: The order in which they are read: what others stand on comes first.
ORDER = tuple(TABLES)

STATES = {
    "pending": "expired", "processing": "expired", "requires_action": "expired",
    "succeeded": "succeeded", "completed": "succeeded", "paid": "succeeded",
    "failed": "failed", "canceled": "canceled", "cancelled": "canceled", "expired": "expired",
    "refunded": "refunded", "partially_refunded": "partially_refunded",
}  # fmt: skip
PROVIDERS = {
    "stripe": "stripe", "credit_card": "stripe", "debit_card": "stripe", "card": "stripe",
    "paypal": "paypal", "crypto": "btcpay", "bank_transfer": "manual", "cash": "manual",
    "moncash": "moncash", "natcash": "natcash", "wallet": "manual", "other": "manual",
}  # fmt: skip
PAID = frozenset({"succeeded", "refunded", "partially_refunded"})


@dataclass(frozen=True, slots=True, kw_only=True)
class OldPayment:
    """A payment of an old table, in our words. `customer` is the application's id of the payer."""

    old_id: str
    customer: str
    amount_minor: int
    currency: str
    state: str
    provider: str
    method: str | None
    created_at: datetime
    updated_at: datetime
    refunded_minor: int = 0
    handle: str | None = None
    payment_ref: str | None = None
    session_ref: str | None = None
    payment_type: str | None = None
    service: str | None = None
    description: str | None = None
    reference: str | None = None
    completed_at: datetime | None = None
    failed_at: datetime | None = None
    canceled_at: datetime | None = None
    refunded_at: datetime | None = None
    refund_reason: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    credits: int = 0
    credits_added_at: datetime | None = None
    package_id: str | None = None
    package_name: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


def family_of(table: str, columns: list[str]) -> str | None:
    """Which family's table this is, by its name and columns; None for what is none of them."""
    have = {c.lower() for c in columns}
    for family, (names, needed) in TABLES.items():
        if table in names and have.issuperset(needed):
            return family
    return None


def payment_of(family: str, row: Mapping[str, Any]) -> OldPayment | None:
    """A row as a payment; None for one that stands for a refund, which its payment tells of.

    Raises InvalidRequest where the row says what cannot be.
    """
    return _READ[family](row)


def _services(row: Mapping[str, Any]) -> OldPayment | None:
    if row.get("payment_type") == "refund":
        return None
    currency = _currency(row, "USD")
    method = _word(row.get("payment_method")) or "other"
    amount = _money(row["amount"], currency)
    state = _state(row["status"])
    refunded = _money(row.get("refunded_amount") or 0, currency) if state in PAID else 0
    state, refunded = _settled(state, amount, refunded)
    created = _at(row.get("created_at"))
    return OldPayment(
        old_id=_id(row["id"]), customer=_id(row["customer_id"]), amount_minor=amount,
        currency=currency, state=state, provider=PROVIDERS.get(method, "manual"),
        method=None if method == "stripe" else method, created_at=created,
        updated_at=_at(row.get("updated_at"), created), refunded_minor=refunded,
        handle=_text(row.get("payment_intent_id")),
        payment_ref=_text(row.get("external_payment_id")),
        payment_type=_text(row.get("payment_type")), service=_text(row.get("service_id")),
        description=_text(row.get("description"), 500), completed_at=_maybe(row.get("paid_at")),
        failed_at=_maybe(row.get("failed_at")), canceled_at=_maybe(row.get("canceled_at")),
        refunded_at=_maybe(row.get("refunded_at")), refund_reason=_text(row.get("refund_reason")),
        error_message=_text(row.get("failure_reason"), 2000),
        metadata=_object(row.get("payment_metadata")),
    )  # fmt: skip


def _credits(row: Mapping[str, Any]) -> OldPayment:
    amount, state = _whole(row["amount_cents"]), _state(row["status"])
    state, refunded = _settled(state, amount, 0)
    created = _at(row.get("created_at"))
    was_added = _truth(row.get("credits_added"))
    return OldPayment(
        old_id=_id(row["id"]), customer=_id(row["user_id"]), amount_minor=amount, currency="usd",
        state=state, provider=_word(row.get("provider")) or "stripe", method=None,
        created_at=created, updated_at=_at(row.get("updated_at"), created),
        refunded_minor=refunded, session_ref=_text(row.get("provider_session_id")),
        payment_ref=_text(row.get("provider_payment_id")),
        completed_at=_maybe(row.get("completed_at")),
        credits=_whole(row.get("credits_to_add") or 0),
        credits_added_at=_at(row.get("credits_added_at"), created) if was_added else None,
        package_id=_text(row.get("package_id")), package_name=_text(row.get("package_name")),
        error_code=_text(row.get("error_code")),
        error_message=_text(row.get("error_message"), 2000), metadata=_object(row.get("metadata")),
    )  # fmt: skip


def _wallets(row: Mapping[str, Any]) -> OldPayment:
    currency = _currency(row, "HTG")
    method = _word(row.get("method")) or "other"
    amount, state = _money(row["amount"], currency), _state(row["status"])
    state, refunded = _settled(state, amount, 0)
    created = _at(row.get("created_at"))
    return OldPayment(
        old_id=_id(row["id"]), customer=_id(row["user_id"]), amount_minor=amount,
        currency=currency, state=state, provider=PROVIDERS.get(method, "manual"),
        method=None if method == "stripe" else method, created_at=created,
        updated_at=_at(row.get("updated_at"), created), refunded_minor=refunded,
        payment_ref=_text(row.get("stripe_payment_intent_id")),
        description=_text(row.get("description"), 500), reference=_text(row.get("reference")),
        completed_at=_maybe(row.get("completed_at")), metadata=_object(row.get("metadata")),
    )  # fmt: skip


def _learning(row: Mapping[str, Any]) -> OldPayment:
    currency = _currency(row, "USD")
    amount, state = _money(row["amount"], currency), _state(row["status"])
    state, refunded = _settled(state, amount, 0)
    created = _at(row.get("created_at"))
    return OldPayment(
        old_id=_id(row["id"]), customer=_id(row["user_id"]), amount_minor=amount,
        currency=currency, state=state, provider="stripe", method=None, created_at=created,
        updated_at=_at(row.get("updated_at"), created), refunded_minor=refunded,
        payment_ref=_text(row.get("stripe_payment_intent_id")),
        description=_text(row.get("description"), 500), completed_at=_maybe(row.get("paid_at")),
        metadata=_object(row.get("metadata")),
    )  # fmt: skip


_READ = {
    "services.payments": _services, "credits.payment_transactions": _credits,
    "wallets.payments": _wallets, "learning.payments": _learning,
}  # fmt: skip


def _settled(state: str, amount: int, refunded: int) -> tuple[str, int]:
    """Status and refunded sum that fit each other; the sum is right where they do not."""
    if state == "refunded" or (state in PAID and refunded >= amount):
        return "refunded", amount
    if refunded:
        return "partially_refunded", refunded
    if state == "partially_refunded":
        raise InvalidRequest("It was refunded in part, and nothing says how much.")
    return state, 0


def _state(value: Any) -> str:
    found = STATES.get(_word(value) or "")
    if found is None:
        raise InvalidRequest(f"{str(value)[:40]!r} is no status of a payment.")
    return found


def _currency(row: Mapping[str, Any], otherwise: str) -> str:
    return currency_code(str(row.get("currency") or otherwise).lower())


def _money(value: Any, currency: str) -> int:
    """Minor units; zeros beyond the currency's digits are what a DECIMAL column adds."""
    text = str(value)
    whole, point, digits = text.partition(".")
    minor = parse_minor(f"{whole}{point}{digits.rstrip('0') or '0'}" if point else text, currency)
    if minor < 0:
        raise InvalidRequest("An amount is below zero.")
    return minor


def _whole(value: Any) -> int:
    try:
        number = Decimal(str(value))
    except ArithmeticError:
        raise InvalidRequest(f"{str(value)[:40]!r} is no whole number.") from None
    if number != number.to_integral_value() or number < 0:
        raise InvalidRequest(f"{str(value)[:40]!r} is no whole number.")
    return int(number)


def _id(value: Any) -> str:
    text = str(value if value is not None else "")
    if not 1 <= len(text) <= 255:
        raise InvalidRequest("A row has no id, or names nobody.")
    return text


def _text(value: Any, most: int = 255) -> str | None:
    if value is None or value == "":
        return None
    return str(value).replace("\x00", "")[:most]


def _word(value: Any) -> str | None:
    return str(value).strip().lower() if value not in (None, "") else None


def _truth(value: Any) -> bool:
    return str(value).lower() in ("t", "true", "1", "yes")


def _at(value: Any, otherwise: datetime | None = None) -> datetime:
    found = _maybe(value)
    if found is None and otherwise is None:
        raise InvalidRequest("A row says no time of its making.")
    return found or otherwise  # type: ignore[return-value]


def _maybe(value: Any) -> datetime | None:
    if value in (None, "", "0000-00-00 00:00:00"):
        return None
    if isinstance(value, datetime):
        found = value
    elif str(value).isdecimal() and len(str(value)) in (10, 13):
        # SQLite has no type for instants: seconds, or milliseconds, since 1970.
        number = int(value)
        whole, rest = divmod(number, 1000) if len(str(value)) == 13 else (number, 0)
        return datetime.fromtimestamp(whole, UTC).replace(microsecond=rest * 1000)
    else:
        text = str(value).strip().replace(" ", "T", 1)
        if len(text) > 3 and text[-3] in "+-" and text[-2:].isdigit():
            text += ":00"
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise InvalidRequest(f"{str(value)[:40]!r} is no time.") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, str) and value:
        try:
            value = json.loads(value)
        except ValueError:
            return {"imported": value[:2000]}
    return value if isinstance(value, dict) else {}


at, maybe_at, text_of, id_of, money_of, word_of, truth_of, whole_of, currency_of = (
    _at, _maybe, _text, _id, _money, _word, _truth, _whole, _currency,
)  # fmt: skip
