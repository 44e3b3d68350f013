"""Customers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import errors, ids, shapes
from ..engine import Call, operation
from . import listing, payment_methods, search, test_clocks

FIELDS = (
    "address", "business_name", "description", "individual_name", "name", "phone",
    "preferred_locales", "shipping", "tax_exempt",
)
SETTINGS = ("custom_fields", "default_payment_method", "footer", "rendering_options")
UNSIMULATED = {
    "cash_balance": "cash balances", "source": "sources", "tax_id_data": "tax ids of customers",
}
#: What has to end before a customer is deleted.
BEFORE_DELETION: list[Callable[[Call, dict[str, Any]], None]] = []


def make(call: Call, **given: Any) -> dict[str, Any]:
    """A new customer, saved and announced."""
    customer = {
        **shapes.blank("customer"),
        "id": ids.new("customer"),
        "object": "customer",
        "balance": 0,
        "created": call.now,
        "delinquent": False,
        "invoice_prefix": ids.token(8).upper(),
        "invoice_settings": shapes.blank("invoice_setting_customer_setting"),
        "livemode": False,
        "metadata": {},
        "next_invoice_sequence": 1,
        "preferred_locales": [],
        "tax_exempt": "none",
        **given,
    }
    del customer["cash_balance"]
    call.save(customer)
    call.emit("customer.created", customer)
    return customer


@operation("POST /v1/customers")
def create(call: Call) -> dict[str, Any]:
    params = call.params
    listing.refuse_unsimulated(params, UNSIMULATED)
    given: dict[str, Any] = {"metadata": listing.merged_metadata({}, params.get("metadata"))}
    given["email"] = listing.check_email(params.get("email"), "email")
    _assign(given, params)
    if params.get("test_clock"):
        return test_clocks.of_new_customer(call, lambda: _create(call, given))
    return _create(call, given)


def _create(call: Call, given: dict[str, Any]) -> dict[str, Any]:
    params = call.params
    customer = make(call, test_clock=params.get("test_clock"), **given)
    if params.get("payment_method"):
        method = payment_methods.attach(call, params["payment_method"], customer["id"])
        if _default_in(params) == params["payment_method"]:  # a name such as pm_card_visa
            params["invoice_settings"]["default_payment_method"] = method["id"]
    _set_default(call, customer, params)
    return call.save(customer)


def _assign(target: dict[str, Any], params: dict[str, Any]) -> None:
    listing.assign(target, params, FIELDS)
    for name in ("business_name", "individual_name"):
        if name in target and target[name] is None:
            del target[name]
    for name in ("balance", "invoice_prefix", "next_invoice_sequence"):
        if name in params:
            target[name] = params[name]
    for name in ("address", "shipping"):
        if target.get(name):
            target[name] = _addressed(name, target[name])


def _addressed(name: str, given: dict[str, Any]) -> dict[str, Any]:
    if name == "address":
        return {**shapes.blank("address"), **given}
    address = {**shapes.blank("address"), **given["address"]}
    return {**shapes.blank("shipping"), **given, "address": address}


def _set_default(call: Call, customer: dict[str, Any], params: dict[str, Any]) -> None:
    """Take over `invoice_settings`; the default has to be a method of this customer, "" unsets."""
    given = params.get("invoice_settings") or {}
    param = "invoice_settings[default_payment_method]"
    wanted = _default_in(params)
    if wanted:
        method = call.find("payment_method", wanted, param, 400)
        if method["customer"] != customer["id"]:
            raise errors.StripeError(
                "The customer does not have a payment method with the ID "
                f"{wanted}. The payment method must be attached to the customer.",
                code="resource_missing", param=param,
            )
    if not given:
        return
    settings = dict(customer["invoice_settings"])
    listing.assign(settings, given, SETTINGS)
    customer["invoice_settings"] = settings


def _default_in(params: dict[str, Any]) -> str | None:
    return (params.get("invoice_settings") or {}).get("default_payment_method")


@operation("GET /v1/customers/{customer}")
def retrieve(call: Call) -> dict[str, Any]:
    return call.find("customer", call.path["customer"], "id")


@operation("POST /v1/customers/{customer}")
def update(call: Call) -> dict[str, Any]:
    customer = living(call, call.path["customer"], "id", 404)
    before, params = dict(customer), call.params
    listing.refuse_unsimulated(params, UNSIMULATED)
    if "email" in params:
        customer["email"] = listing.check_email(params["email"], "email")
    _assign(customer, params)
    _set_default(call, customer, params)
    customer["metadata"] = listing.merged_metadata(customer["metadata"], params.get("metadata"))
    call.save(customer)
    previous = listing.changed(before, customer)
    if previous:
        call.emit("customer.updated", customer, previous)
    return customer


@operation("DELETE /v1/customers/{customer}")
def delete(call: Call) -> dict[str, Any]:
    return remove(call, living(call, call.path["customer"], "id", 404))


def remove(call: Call, customer: dict[str, Any]) -> dict[str, Any]:
    """Delete a customer: what runs for it ends, what is saved for it is let go."""
    for end in BEFORE_DELETION:
        end(call, customer)
    call.emit("customer.deleted", customer)
    for method in list(call.tx.scan("payment_method", link=("customer", customer["id"]))):
        call.save({**method, "customer": None})
    gone = {"id": customer["id"], "object": "customer", "deleted": True}
    call.tx.put(gone, hidden=True)
    return gone


@operation("GET /v1/customers")
def list_all(call: Call) -> dict[str, Any]:
    email, clock = call.params.get("email"), call.params.get("test_clock")
    return listing.page(
        call, "customer", "/v1/customers",
        keep=lambda c: (not email or c["email"] == email) and c["test_clock"] == clock,
    )


@operation("GET /v1/customers/search")
def find_matching(call: Call) -> dict[str, Any]:
    return search.page(call, "customer", "/v1/customers/search")


@operation("GET /v1/customers/{customer}/payment_methods")
def list_payment_methods(call: Call) -> dict[str, Any]:
    customer = living(call, call.path["customer"], "customer", 404)
    wanted = call.params.get("type")
    return listing.page(
        call, "payment_method", f"/v1/customers/{customer['id']}/payment_methods",
        link=("customer", customer["id"]), keep=lambda m: not wanted or m["type"] == wanted,
    )


@operation("GET /v1/customers/{customer}/payment_methods/{payment_method}")
def retrieve_payment_method(call: Call) -> dict[str, Any]:
    return payment_methods.of_customer(call, call.path["payment_method"], call.path["customer"])


def living(
    call: Call, customer_id: str, param: str = "customer", status: int = 400
) -> dict[str, Any]:
    """The customer, unless there is none or it was deleted."""
    customer = call.find("customer", customer_id, param, status)
    if customer.get("deleted"):
        raise errors.missing_object("customer", customer_id, param, status)
    return customer


test_clocks.REMOVE_CUSTOMER.append(remove)
