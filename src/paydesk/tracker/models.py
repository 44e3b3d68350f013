"""The payment record, its states and the one table of legal changes between them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from .exceptions import IllegalTransition

State = Literal[
    "pending",
    "processing",
    "requires_action",
    "authorized",
    "succeeded",
    "failed",
    "expired",
    "canceled",
    "refunded",
    "partially_refunded",
]
Status = Literal[
    "pending",
    "processing",
    "completed",
    "failed",
    "expired",
    "cancelled",
    "refunded",
    "partially_refunded",
]

#: Which state may follow which. Money that comes late still completes a dead payment; a refund
#: that fails later gives its share back; nothing else leaves a final state.
TRANSITIONS: dict[str, frozenset[str]] = {
    "pending": frozenset(
        {
            "processing",
            "requires_action",
            "authorized",
            "succeeded",
            "failed",
            "expired",
            "canceled",
        }
    ),
    "processing": frozenset(
        {"pending", "requires_action", "authorized", "succeeded", "failed", "expired", "canceled"}
    ),
    "requires_action": frozenset(
        {"pending", "processing", "authorized", "succeeded", "failed", "expired", "canceled"}
    ),
    "authorized": frozenset({"succeeded", "failed", "expired", "canceled"}),
    "failed": frozenset({"succeeded"}),
    "expired": frozenset({"succeeded"}),
    "canceled": frozenset({"succeeded"}),
    "succeeded": frozenset({"partially_refunded", "refunded"}),
    "partially_refunded": frozenset({"refunded", "succeeded"}),
    "refunded": frozenset({"partially_refunded", "succeeded"}),
}

#: How far a payment has come. News of an earlier phase never undoes a later one.
PHASE: dict[str, int] = {
    "pending": 0,
    "processing": 0,
    "requires_action": 0,
    "authorized": 1,
    "failed": 2,
    "expired": 2,
    "canceled": 2,
    "succeeded": 3,
    "partially_refunded": 3,
    "refunded": 3,
}

#: States in which the money has come (and may have gone back).
PAID_STATES = frozenset(state for state, phase in PHASE.items() if phase == 3)

#: The word shown for each state.
STATUS_OF: dict[str, Status] = {
    "pending": "pending",
    "processing": "processing",
    "requires_action": "pending",
    "authorized": "processing",
    "succeeded": "completed",
    "failed": "failed",
    "expired": "expired",
    "canceled": "cancelled",
    "refunded": "refunded",
    "partially_refunded": "partially_refunded",
}

#: The state meant by a word when nothing finer is known.
STATE_OF: dict[str, str] = {
    **{state: state for state in STATUS_OF},
    "completed": "succeeded",
    "complete": "succeeded",
    "paid": "succeeded",
    "cancelled": "canceled",
}

#: The largest amount, so that it fits a signed 64-bit column.
MAX_AMOUNT = 2**63 - 1
#: How many status changes a record remembers; the oldest go first.
MAX_HISTORY = 100


def check_transition(payment: PaymentRecord, to_state: str) -> None:
    """Raise IllegalTransition unless the payment may go there; staying is always legal."""
    if to_state != payment.state and to_state not in TRANSITIONS[payment.state]:
        raise IllegalTransition(payment.id, payment.state, to_state)


def absorbs(state: str, to_state: str) -> bool:
    """Is `to_state` old news for a payment in `state`, to be ignored rather than refused?"""
    return to_state not in TRANSITIONS[state] and PHASE[to_state] <= PHASE[state]


def status_words(word: str) -> frozenset[str]:
    """The document's words that a filter means; aliases and upper case are understood.

    Raises ValueError for a word that is no status.
    """
    state = STATE_OF.get(word.lower())
    if state is None:
        raise ValueError(f"{word!r} is no payment status; known are {', '.join(STATE_OF)}")
    return frozenset({STATUS_OF[state]})


def _whole_number(value: object) -> object:
    if type(value) is not int:
        kind = type(value).__name__
        raise TypeError(f"amounts are whole numbers of the currency's minor unit, not {kind}")
    return value


def _clean_text(value: str) -> str:
    if "\x00" in value:
        raise ValueError("text cannot contain NUL")
    value.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError
    return value


def _json_object(value: dict[str, Any]) -> dict[str, Any]:
    if value:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
        if "\\u0000" in text:
            raise ValueError("metadata cannot contain NUL")
    return value


def _uuid_text(value: object) -> str:
    return str(value if isinstance(value, UUID) else UUID(str(value)))


def _in_utc(value: datetime) -> datetime:
    return value if value.tzinfo is UTC else value.astimezone(UTC)


Text = Annotated[str, AfterValidator(_clean_text)]
UserId = Annotated[
    Text, BeforeValidator(lambda v: str(v) if isinstance(v, UUID) else v), Field(min_length=1)
]
UuidText = Annotated[str, BeforeValidator(_uuid_text)]
Instant = Annotated[AwareDatetime, AfterValidator(_in_utc)]
Metadata = Annotated[dict[str, Any], AfterValidator(_json_object)]
Cents = Annotated[int, BeforeValidator(_whole_number), Field(gt=0, le=MAX_AMOUNT)]
CentsOrZero = Annotated[int, BeforeValidator(_whole_number), Field(ge=0, le=MAX_AMOUNT)]
Currency = Annotated[str, BeforeValidator(lambda v: v.lower() if isinstance(v, str) else v)]


class StatusChange(BaseModel):
    """One step of a payment's life: the internal words, and when."""

    model_config = ConfigDict(frozen=True)

    from_state: State
    to_state: State
    at: Instant
    version: int


class PaymentRecord(BaseModel):
    """One attempt to pay, as it is kept. Immutable: a change is a new record of the next version.

    `amount_cents` is in the currency's minor unit. `state` is the internal word that is stored,
    `status` the word that is shown. `credit_transaction_id` is made before credits are granted
    and is the key of the grant; `claim_expires_at` says until when one caller may be granting.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: UuidText
    user_id: UserId
    amount_cents: Cents
    amount_usd: Decimal | None = None
    currency: Annotated[Currency, Field(pattern="^[a-z]{3}$")] = "usd"
    credits_to_add: CentsOrZero = 0
    state: State = "pending"
    provider: Annotated[Text, Field(min_length=1)]
    session_id: Text | None = None
    provider_payment_id: Text | None = None
    package_id: Text | None = None
    package_name: Text | None = None
    credits_added: bool = False
    credits_added_at: Instant | None = None
    credit_transaction_id: UuidText | None = None
    claim_expires_at: Instant | None = None
    created_at: Instant | None = None
    updated_at: Instant | None = None
    completed_at: Instant | None = None
    expires_at: Instant | None = None
    error_message: Text | None = None
    error_code: Text | None = None
    metadata: Metadata = Field(default_factory=dict)
    version: Annotated[int, Field(ge=0)] = 0
    captured_cents: CentsOrZero = 0
    refunded_cents: CentsOrZero = 0
    status_history: tuple[StatusChange, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _derive_amount_usd(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        cents = values.get("amount_cents")
        if str(values.get("currency", "usd")).lower() == "usd" and type(cents) is int:
            return {**values, "amount_usd": Decimal(cents).scaleb(-2)}
        if isinstance(values.get("amount_usd"), float):
            raise TypeError("amount_usd is a Decimal or a string of digits, not a float")
        return values

    @property
    def status(self) -> Status:
        """The document's word for the state."""
        return STATUS_OF[self.state]

    def to_row(self) -> dict[str, Any]:
        """JSON-compatible values under the column names of `payment_transactions`."""
        row = self.model_dump(mode="json", include=_ROW_FIELDS)
        row["provider_session_id"] = row.pop("session_id")
        row["status"] = self.status
        return row

    def to_dict(self) -> dict[str, Any]:
        """`to_row()` and `session_id`, for stores that keep whole documents."""
        return {**self.to_row(), "session_id": self.session_id}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """A record from `to_dict()`, from a database row, or from a row of an older application.

        Unknown keys are ignored, missing ones take their default, times without a zone are UTC.
        Where `status` was changed by somebody who does not know `state`, `status` holds.
        """
        values = {key: data[key] for key in cls.model_fields if data.get(key) is not None}
        if data.get("provider_session_id") is not None:
            values["session_id"] = data["provider_session_id"]
        values["state"] = _stored_state(data.get("state"), data.get("status"))
        for key in _JSON_FIELDS & values.keys():
            if isinstance(values[key], str):
                values[key] = json.loads(values[key])
        for key in _TIME_FIELDS & values.keys():
            values[key] = _stored_time(values[key])
        if isinstance(values.get("amount_usd"), float):
            # A JSON number with two decimals: its shortest digits are the stored ones.
            values["amount_usd"] = Decimal(repr(values["amount_usd"]))
        if "credits_added" in values:
            values["credits_added"] = bool(values["credits_added"])
        return cls.model_validate(values)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(id={self.id!r}, status={self.status!r}, "
            f"amount_cents={self.amount_cents}, currency={self.currency!r}, "
            f"credits_added={self.credits_added})"
        )


_ROW_FIELDS = set(PaymentRecord.model_fields)
_TIME_FIELDS = {name for name in PaymentRecord.model_fields if name.endswith("_at")}
_JSON_FIELDS = {"metadata", "status_history"}

#: The columns of `payment_transactions`, in the order of the document, then ours.
COLUMNS: tuple[str, ...] = (
    "id",
    "user_id",
    "amount_cents",
    "amount_usd",
    "credits_to_add",
    "status",
    "provider",
    "provider_session_id",
    "provider_payment_id",
    "package_id",
    "package_name",
    "credits_added",
    "credits_added_at",
    "credit_transaction_id",
    "created_at",
    "updated_at",
    "completed_at",
    "expires_at",
    "error_message",
    "error_code",
    "metadata",
    "state",
    "version",
    "currency",
    "captured_cents",
    "refunded_cents",
    "claim_expires_at",
    "status_history",
)


def _stored_state(state: str | None, status: str | None) -> str:
    if state is None:
        return STATE_OF[status] if status else "pending"
    if status is not None and STATUS_OF.get(state) != status:
        return STATE_OF[status]
    return state


def _stored_time(value: datetime | str) -> datetime:
    instant = datetime.fromisoformat(value) if isinstance(value, str) else value
    return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)


class CheckoutSession(BaseModel):
    """What a provider answers when a checkout is started."""

    model_config = ConfigDict(frozen=True)

    session_id: str
    url: str
    expires_at: Instant | None = None


class ProviderReport(BaseModel):
    """What a provider says about one session: the state, and the money it stands for.

    `amount_cents` and `currency` are what was paid, needed when the state is `succeeded`.
    """

    model_config = ConfigDict(frozen=True)

    session_id: str
    state: State
    amount_cents: CentsOrZero | None = None
    currency: Currency | None = None
    provider_payment_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class Verification(BaseModel):
    """The outcome of asking the provider; the three words are those of `/verify-payment`.

    `credits_added` says whether the payment's credits stand booked now, whoever booked them.
    """

    model_config = ConfigDict(frozen=True)

    success: bool
    payment_verified: bool
    credits_added: bool
    payment: PaymentRecord


class PaymentPage(BaseModel):
    """One page of a user's payments, newest first."""

    model_config = ConfigDict(frozen=True)

    payments: list[PaymentRecord]
    total_count: int
    page: int
    page_size: int
    has_more: bool


class PaymentStatistics(BaseModel):
    """A user's payments in sums. Spent means captured and not given back, in minor units.

    `total_spent_usd` counts payments in US dollars; other currencies stand in `spent_cents`.
    """

    model_config = ConfigDict(frozen=True)

    total_payments: int = 0
    completed_payments: int = 0
    pending_payments: int = 0
    failed_payments: int = 0
    refunded_payments: int = 0
    total_credits_purchased: int = 0
    total_spent_usd: Decimal = Decimal("0.00")
    spent_cents: dict[str, int] = Field(default_factory=dict)
    last_payment_at: Instant | None = None
