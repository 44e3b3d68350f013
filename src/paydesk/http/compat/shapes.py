"""What the compatibility families share: both spellings of names, exact decimals, bare uuids."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AliasChoices,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from paydesk.errors import InvalidRequest
from paydesk.flows import customers
from paydesk.http import owners
from paydesk.http.auth import Principal
from paydesk.http.bodies import JsonNumber
from paydesk.http.fields import MAX_CREDITS
from paydesk.rules.money import Money

_PLAIN = re.compile(r"[0-9]{1,16}(\.[0-9]{1,6})?")
_WHOLE = re.compile(r"[0-9]{1,16}(\.0{1,6})?")


def _snake_first(name: str) -> AliasChoices:
    return AliasChoices(name, to_camel(name))


def _camel_first(name: str) -> AliasChoices:
    return AliasChoices(to_camel(name), name)


class SnakeIn(BaseModel):
    """A body of the services and credits families; camelCase is understood too."""

    model_config = ConfigDict(
        extra="forbid", strict=True, hide_input_in_errors=True,
        alias_generator=AliasGenerator(validation_alias=_snake_first),
    )  # fmt: skip


class CamelIn(BaseModel):
    """A body of the learning, wallets and bookings families; snake_case is understood too."""

    model_config = ConfigDict(
        extra="forbid", strict=True, hide_input_in_errors=True,
        alias_generator=AliasGenerator(validation_alias=_camel_first),
    )  # fmt: skip


class CamelOut(BaseModel):
    """An answer in camelCase, for the OpenAPI document."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)


def _whole(value: Any) -> Any:
    if isinstance(value, JsonNumber) and _WHOLE.fullmatch(value.text):
        return int(value.text.partition(".")[0])
    if isinstance(value, JsonNumber):
        raise ValueError("Must be a whole number without an exponent.")
    return value


def _digits(value: Any) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        value = JsonNumber(str(value))
    if not isinstance(value, JsonNumber) or not _PLAIN.fullmatch(value.text):
        raise ValueError("Must be a plain decimal number, such as 49.05.")
    return Decimal(value.text)


#: Whole credits, where the document shows decimals: 50, 50.0 and 50.00 are the same.
WholeNumber = Annotated[
    int,
    BeforeValidator(_whole),
    Field(ge=1, le=MAX_CREDITS),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_CREDITS}),
]
#: An amount in major units, read from the number's own digits.
DecimalNumber = Annotated[
    Decimal, BeforeValidator(_digits), WithJsonSchema({"type": "number", "exclusiveMinimum": 0})
]


def amount_of(value: Decimal | None, currency: str) -> Money | None:
    """Money from a decimal; more digits than the currency has are refused."""
    if value is None:
        return None
    found = Money(value, currency)
    if found.minor <= 0:
        raise InvalidRequest("The amount must be above zero.", param="amount")
    return found


def bare(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def user_of(env: Any, customer_id: UUID) -> str:
    """The application's own id of a customer, which never changes: kept for an hour."""
    key = f"external:{customer_id.hex}"
    known = env.cache.peek(key)
    if known is None:
        known = customers.get(env, customer_id).external_id
        env.cache.keep(key, known, ttl_s=3600.0)
    return known


def ref_of(text: str) -> UUID | str:
    """A bare uuid is an id here; anything else is a key or a prefixed id."""
    try:
        return UUID(text) if len(text) == 36 else text
    except ValueError:
        return text


def owner(env: Any, who: Principal, asked: str | None, *, create: bool = False) -> UUID:
    """The caller's own customer unless staff names another. These addresses know no `customer`
    parameter, so a token of staff means its own subject."""
    if asked is None and not who.is_customer and who.subject:
        asked, create = who.subject, True
    if asked is None and not who.is_customer:
        raise InvalidRequest(
            "Say whose: user_id is required with an API key.", param="user_id",
            errors=[{"pointer": "/user_id", "detail": "This member is required."}],
        )  # fmt: skip
    return owners.owner(env, who, asked, create=create)
