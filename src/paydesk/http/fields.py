"""Types of request members, and the common forms of answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, TypeVar
from uuid import UUID

import msgspec
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.rules.money import Money, currency_code

T = TypeVar("T")

MAX_CREDITS = 10**12
MAX_AMOUNT = 10**15
DEFAULT_LIMIT, MAX_LIMIT = 20, 100


class Strict(BaseModel):
    """A body: every member has its exact type, none is unknown."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


def _instant(value: Any) -> Any:
    if not isinstance(value, str) or not 20 <= len(value) <= 40 or value[10] not in "Tt":
        raise ValueError("Must be an RFC 3339 instant such as 2026-01-31T12:00:00Z.")
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("Must be an RFC 3339 instant such as 2026-01-31T12:00:00Z.") from None
    if found.tzinfo is None or not 1970 <= found.year <= 9998:
        raise ValueError("Must be an instant with an offset, between 1970 and 9998.")
    return found.astimezone(UTC)


Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Credits = Annotated[int, Field(ge=1, le=MAX_CREDITS, description="Whole credits.")]
Minor = Annotated[int, Field(ge=1, le=MAX_AMOUNT, description="Minor units of the currency.")]
DecimalText = Annotated[str, Field(pattern=r"^[0-9]{1,16}(\.[0-9]{1,4})?$", examples=["49.05"])]
Currency = Annotated[str, Field(pattern=r"^[a-zA-Z]{3}$", examples=["usd"])]
Ref = Annotated[str, Field(min_length=1, max_length=255)]
Code = Annotated[str, Field(min_length=1, max_length=64)]
Name = Annotated[str, Field(min_length=1, max_length=255)]
Email = Annotated[str, Field(min_length=3, max_length=320)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+([/?#]\S*)?$", max_length=2048)]
Metadata = Annotated[
    dict[str, Any],
    Field(max_length=50),
    WithJsonSchema(
        {
            "type": "object",
            "maxProperties": 50,
            "additionalProperties": {"type": "string", "maxLength": 500},
        }
    ),
]
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]

_encode = msgspec.json.Encoder(decimal_format="number", enc_hook=str).encode


def reply(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer; Decimals become numbers of exactly their own digits."""
    return Response(_encode(value), status, headers, media_type="application/json")


def instant(value: datetime | None) -> str | None:
    """RFC 3339 in UTC with Z."""
    if value is None:
        return None
    text = value.astimezone(UTC).isoformat(timespec="milliseconds" if value.microsecond else "auto")
    return text.replace("+00:00", "Z")


def page(items: Sequence[T], limit: int, shape: Callable[[T], dict[str, Any]]) -> dict[str, Any]:
    """A cursor page; `items` holds one more than the limit where there are more."""
    data = [shape(item) for item in items[:limit]]
    has_more = len(items) > limit
    return {
        "object": "list",
        "data": data,
        "has_more": has_more,
        "next_cursor": data[-1]["id"] if has_more and data else None,
    }


def money_of(
    amount: int | None, amount_decimal: str | None, currency: str | None, default: str
) -> Money | None:
    """Money from either form; both only when they say the same. None when neither is given."""
    code = currency_code(currency or default)
    whole = None if amount is None else Money(amount, code, minor=True)
    written = None if amount_decimal is None else Money(amount_decimal, code)
    if whole is not None and written is not None and whole != written:
        raise InvalidRequest(
            "amount and amount_decimal differ; send one of them.", param="amount_decimal"
        )
    found = whole if whole is not None else written
    if found is not None and found.minor <= 0:
        raise InvalidRequest("The amount must be above zero.", param="amount")
    return found


def money(value: Money, name: str = "amount") -> dict[str, Any]:
    """`amount` in minor units and `amount_decimal` beside it."""
    return {name: value.minor, f"{name}_decimal": str(value.decimal)}


def plain_number(value: Money) -> Decimal:
    """The amount as a JSON number with at least one decimal: 50.0, 49.05."""
    digits = value.decimal.normalize()
    return digits if digits.as_tuple().exponent <= -1 else digits.quantize(Decimal("0.1"))


def shown(kind: str, value: UUID | None) -> str | None:
    return None if value is None else ids.show(kind, value)


#: No money, as a JSON number.
ZERO = Decimal("0.0")
