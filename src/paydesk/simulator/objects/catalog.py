"""Products and their prices."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from .. import ids, money, shapes
from ..engine import Call, operation
from ..errors import StripeError, empty_param, missing_param, not_simulated
from . import listing, search

PRODUCT_FIELDS = (
    "description", "images", "package_dimensions", "shippable", "statement_descriptor",
    "tax_code", "unit_label", "url",
)
#: The greatest number of intervals in a period of three years.
LONGEST_INTERVAL = {"day": 1095, "week": 156, "month": 36, "year": 3}
PRICE_UNSIMULATED = {
    "tiers": "tiered prices", "tiers_mode": "tiered prices",
    "custom_unit_amount": "prices the customer chooses", "currency_options": "currency options",
    "transform_quantity": "transformed quantities",
}


def make_product(call: Call, given: dict[str, Any]) -> dict[str, Any]:
    """A new product, saved and announced; `given` is as `product_data` has it."""
    product: dict[str, Any] = {
        **shapes.blank("product"),
        "id": given.get("id") or ids.new("product"),
        "object": "product",
        "active": given.get("active", True),
        "created": call.now,
        "images": [],
        "livemode": False,
        "marketing_features": given.get("marketing_features", []),
        "metadata": listing.merged_metadata({}, given.get("metadata")),
        "name": given["name"],
        "updated": call.now,
    }
    listing.assign(product, given, PRODUCT_FIELDS)
    product["images"] = product["images"] or []
    if call.tx.get(product["id"]) is not None:
        raise StripeError(
            "Product already exists.", code="resource_already_exists", param="id"
        )
    return call.save(product)


def make_price(call: Call, given: dict[str, Any], product: str, param: str = "") -> dict[str, Any]:
    """A new price of a product; `given` is as `price_data` has it, `param` names it in errors."""
    def named(name: str) -> str:
        return f"{param}[{name}]" if param else name

    currency = money.check_currency(given["currency"], named("currency"))
    amount, exact = _unit_amount(given, named("unit_amount"))
    price = {
        **shapes.blank("price"),
        "id": ids.new("price"),
        "object": "price",
        "active": given.get("active", True),
        "billing_scheme": "per_unit",
        "created": call.now,
        "currency": currency,
        "livemode": False,
        "lookup_key": given.get("lookup_key"),
        "metadata": listing.merged_metadata({}, given.get("metadata")),
        "nickname": given.get("nickname"),
        "product": product,
        "recurring": _recurring(given.get("recurring"), named("recurring")),
        "tax_behavior": given.get("tax_behavior", "unspecified"),
        "type": "recurring" if given.get("recurring") else "one_time",
        "unit_amount": amount,
        "unit_amount_decimal": exact,
    }
    return call.save(price)


def _recurring(given: dict[str, Any] | None, param: str) -> dict[str, Any] | None:
    """How often a recurring price is charged: at most every three years, as at Stripe."""
    if not given:
        return None
    if given.get("usage_type", "licensed") != "licensed" or given.get("meter"):
        raise not_simulated("metered prices", f"{param}[usage_type]")
    if given.get("trial_period_days"):
        raise not_simulated("trials of prices", f"{param}[trial_period_days]")
    count = given.get("interval_count", 1)
    if not 1 <= count <= LONGEST_INTERVAL[given["interval"]]:
        raise StripeError(
            "Recurring prices must have an interval of at most three years.",
            code="parameter_invalid_integer", param=f"{param}[interval_count]",
        )
    return {
        "interval": given["interval"], "interval_count": count, "meter": None,
        "usage_type": "licensed",
    }


def _unit_amount(given: dict[str, Any], param: str) -> tuple[int, str]:
    listing.exclusive(given, "unit_amount", "unit_amount_decimal")
    amount = given.get("unit_amount")
    if amount is None:
        if not given.get("unit_amount_decimal"):
            raise missing_param(param)
        try:
            exact = Decimal(given["unit_amount_decimal"])
            amount = int(exact)
        except (InvalidOperation, ValueError, OverflowError):
            raise StripeError("Invalid decimal", param=f"{param}_decimal")
        if exact != amount:
            raise not_simulated("prices with parts of a minor unit", f"{param}_decimal")
    if not 0 <= amount <= money.MAXIMUM_MINOR:
        raise StripeError(
            f"Invalid non-negative integer, or more than {money.MAXIMUM_MINOR}.",
            code="parameter_invalid_integer",
            param=param,
        )
    return amount, str(amount)


@operation("POST /v1/products")
def create_product(call: Call) -> dict[str, Any]:
    params = call.params
    product = make_product(call, params)
    call.emit("product.created", product)
    if params.get("default_price_data"):
        price = make_price(call, params["default_price_data"], product["id"], "default_price_data")
        call.emit("price.created", price)
        product["default_price"] = price["id"]
        call.save(product)
        call.emit("product.updated", product, {"default_price": None})
    return product


@operation("GET /v1/products/{id}")
def retrieve_product(call: Call) -> dict[str, Any]:
    return call.find("product", call.path["id"], "id")


@operation("POST /v1/products/{id}")
def update_product(call: Call) -> dict[str, Any]:
    product = call.find("product", call.path["id"], "id")
    before, params = dict(product), call.params
    if params.get("name") == "":
        raise empty_param("name")
    listing.assign(product, params, (*PRODUCT_FIELDS, "active", "name", "marketing_features"))
    for name in ("images", "marketing_features"):
        product[name] = product[name] or []
    if "default_price" in params:
        product["default_price"] = _default_price(call, product, params["default_price"])
    product["metadata"] = listing.merged_metadata(product["metadata"], params.get("metadata"))
    previous = listing.changed(before, product)
    if previous:
        product["updated"] = call.now
        call.save(product)
        call.emit("product.updated", product, previous)
    return product


def _default_price(call: Call, product: dict[str, Any], wanted: str) -> str | None:
    """The price to become the default: an active one of this product; "" is none."""
    if wanted == "":
        return None
    price = call.find("price", wanted, "default_price", 400)
    if price["product"] != product["id"]:
        raise StripeError(
            f"The price {wanted} does not belong to the product {product['id']}.",
            param="default_price",
        )
    if not price["active"]:
        raise StripeError(f"The price specified is inactive: {wanted}.", param="default_price")
    return wanted


@operation("DELETE /v1/products/{id}")
def delete_product(call: Call) -> dict[str, Any]:
    product = call.find("product", call.path["id"], "id")
    if any(price["product"] == product["id"] for price in call.tx.scan("price")):
        raise StripeError(
            "This product cannot be deleted because it has one or more user-created prices."
        )
    call.tx.remove(product["id"])
    call.emit("product.deleted", product)
    return {"id": product["id"], "object": "product", "deleted": True}


@operation("GET /v1/products")
def list_products(call: Call) -> dict[str, Any]:
    params = call.params

    def keep(product: dict[str, Any]) -> bool:
        return (
            not product.get("_inline")
            and params.get("active", product["active"]) == product["active"]
            and ("ids" not in params or product["id"] in params["ids"])
            and params.get("shippable", product["shippable"]) == product["shippable"]
            and params.get("url", product["url"]) == product["url"]
        )

    return listing.page(call, "product", "/v1/products", keep=keep)


@operation("GET /v1/products/search")
def search_products(call: Call) -> dict[str, Any]:
    return search.page(call, "product", "/v1/products/search")


@operation("POST /v1/prices")
def create_price(call: Call) -> dict[str, Any]:
    params = call.params
    listing.refuse_unsimulated(params, PRICE_UNSIMULATED)
    listing.exclusive(params, "product", "product_data")
    if params.get("product"):
        product = call.find("product", params["product"], "product", 400)
    elif params.get("product_data"):
        product = make_product(call, params["product_data"])
        call.emit("product.created", product)
    else:
        raise missing_param("product")
    _claim_lookup_key(call, params)
    price = make_price(call, params, product["id"])
    call.emit("price.created", price)
    return price


def _claim_lookup_key(call: Call, params: dict[str, Any]) -> None:
    """A lookup key names one price; it moves only when the caller asks for that."""
    key = params.get("lookup_key")
    if not key:
        return
    for price in list(call.tx.scan("price")):
        if price["lookup_key"] != key:
            continue
        if not params.get("transfer_lookup_key"):
            raise StripeError(
                f"A price (`{price['id']}`) already uses that lookup key.",
                code="resource_already_exists",
                param="lookup_key",
            )
        price["lookup_key"] = None
        call.save(price)
        call.emit("price.updated", price, {"lookup_key": key})


@operation("GET /v1/prices/{price}")
def retrieve_price(call: Call) -> dict[str, Any]:
    return call.find("price", call.path["price"], "price")


@operation("POST /v1/prices/{price}")
def update_price(call: Call) -> dict[str, Any]:
    price = call.find("price", call.path["price"], "price")
    before, params = dict(price), call.params
    listing.refuse_unsimulated(params, PRICE_UNSIMULATED)
    if params.get("active") is False and price["active"]:
        product = call.tx.get(price["product"], "product")
        if product is not None and product["default_price"] == price["id"]:
            raise StripeError(
                "This price cannot be archived because it is the default price of its product.",
                param="active",
            )
    if params.get("lookup_key") != price["lookup_key"]:
        _claim_lookup_key(call, params)
    listing.assign(price, params, ("active", "lookup_key", "nickname", "tax_behavior"))
    price["metadata"] = listing.merged_metadata(price["metadata"], params.get("metadata"))
    previous = listing.changed(before, price)
    if previous:
        call.save(price)
        call.emit("price.updated", price, previous)
    return price


@operation("GET /v1/prices")
def list_prices(call: Call) -> dict[str, Any]:
    params = call.params
    rhythm = (params.get("recurring") or {}).items()

    def keep(price: dict[str, Any]) -> bool:
        return (
            not price.get("_inline")
            and all((price["recurring"] or {}).get(name) == value for name, value in rhythm)
            and ("lookup_keys" not in params or price["lookup_key"] in params["lookup_keys"])
            and all(
                params.get(name, price[name]) == price[name]
                for name in ("active", "currency", "product", "type")
            )
        )

    return listing.page(call, "price", "/v1/prices", keep=keep)


@operation("GET /v1/prices/search")
def search_prices(call: Call) -> dict[str, Any]:
    return search.page(call, "price", "/v1/prices/search")
