"""The price of a line: one that exists, or one described on the spot."""

from __future__ import annotations

from typing import Any

from .. import errors
from ..engine import Call
from ..errors import StripeError
from . import catalog, listing


def chosen(
    call: Call, given: dict[str, Any], param: str, *, recurring: bool, active: bool = True
) -> dict[str, Any]:
    """The price that `price` or `price_data` names, recurring or not as it has to be here."""
    listing.exclusive(given, "price", "price_data")
    if given.get("price"):
        price = call.find("price", given["price"], f"{param}[price]", 400)
        if active and not price["active"]:
            raise StripeError(
                "The price specified is inactive. This field only accepts active prices.",
                param=f"{param}[price]",
            )
    elif given.get("price_data"):
        data = given["price_data"]
        product = call.find("product", data["product"], f"{param}[price_data][product]", 400)
        price = catalog.make_price(
            call, {**data, "active": False}, product["id"], f"{param}[price_data]"
        )
        price["_inline"] = True
        call.save(price)
    else:
        raise errors.missing_param(f"{param}[price]")
    if recurring and price["recurring"] is None:
        raise StripeError(
            "The price specified is set to `type=one_time` but this field only accepts prices "
            "with `type=recurring`.",
            param=f"{param}[price]",
        )
    if not recurring and price["recurring"] is not None:
        raise StripeError(
            "The price specified is set to `type=recurring` but this field only accepts prices "
            "with `type=one_time`.",
            param=f"{param}[price]",
        )
    return price
