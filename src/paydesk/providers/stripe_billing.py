"""Stripe Billing: pages that begin a subscription, what it is asked and told of one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from paydesk.errors import ProviderRefused
from paydesk.providers import stripe_billing_shapes as shapes
from paydesk.providers.billing import (
    PageOrder,
    RemoteClock,
    RemoteInvoice,
    RemotePage,
    RemoteSubscription,
    RemoteTry,
    Told,
)
from paydesk.providers.stripe_billing_schedules import StripeSchedules
from paydesk.rules.money import to_stripe

PAGE = 100
#: Invoices of one subscription are read up to here.
MOST_PAGES = 10
#: From this version on an invoice names its payments in a list, which has to be asked for.
PAYMENTS_LISTED = "2025-03-31"


class StripeBilling(StripeSchedules):
    """The calls of `Stripe` about subscriptions that Stripe bills."""

    settings: Any
    _client: Any
    _ask: Callable[[Any], dict[str, Any]]
    _read: Callable[[Callable[[Any], Any], Any], Any]

    # Beginning ----------------------------------------------------------------------------------

    def page_request(self, order: PageOrder) -> dict[str, Any]:
        metadata = dict(order.metadata)
        data: dict[str, Any] = {"metadata": metadata}
        request: dict[str, Any] = {
            "mode": "subscription",
            "client_reference_id": order.id,
            "customer": order.provider_customer,
            "line_items": [{"price": order.price, "quantity": order.quantity}],
            "metadata": metadata,
            "subscription_data": data,
            "success_url": order.success_url,
            "cancel_url": order.cancel_url,
            "expires_at": int(order.expires_at.timestamp()),
        }
        if order.trial_days:
            data["trial_period_days"] = order.trial_days
            if not order.trial_needs_method:
                request["payment_method_collection"] = "if_required"
                data["trial_settings"] = {"end_behavior": {"missing_payment_method": "cancel"}}
        if order.coupon:
            request["discounts"] = [{"coupon": order.coupon["id"]}]
        return request

    def open_page(self, request: Mapping[str, Any], key: str) -> RemotePage:
        params = dict(request)
        return self._read(shapes.of_page, self._ask(
            lambda: self._client.v1.checkout.sessions.create(params, {"idempotency_key": key})
        ))

    def end_page(self, ref: str) -> RemotePage:
        # Refused where it is no longer open: how it ended stands in the session.
        with contextlib.suppress(ProviderRefused):
            self._ask(lambda: self._client.v1.checkout.sessions.expire(ref))
        return self.fetch_page(ref)

    def fetch_page(self, ref: str) -> RemotePage:
        return self._read(shapes.of_page, self._ask(
            lambda: self._client.v1.checkout.sessions.retrieve(ref)
        ))

    def ensure_coupon(self, coupon: Mapping[str, Any], key: str) -> None:
        params: dict[str, Any] = {"id": coupon["id"], "name": coupon["name"][:40],
                                  "duration": coupon["duration"]}  # fmt: skip
        if coupon["duration"] == "repeating":
            params["duration_in_months"] = coupon["months"]
        if coupon.get("percent"):
            params["percent_off"] = coupon["percent"]
        else:
            params |= {"amount_off": to_stripe(coupon["minor"], coupon["currency"]),
                       "currency": coupon["currency"]}  # fmt: skip
        try:
            self._ask(lambda: self._client.v1.coupons.create(params, {"idempotency_key": key}))
        except ProviderRefused as exc:
            if exc.extra.get("provider_code") != "resource_already_exists":
                raise

    # As it stands -------------------------------------------------------------------------------

    def fetch_subscription(self, ref: str) -> RemoteSubscription:
        return self._read(shapes.of_subscription, self._with_schedule(ref))

    def list_subscriptions(
        self, since: datetime, cursor: str | None
    ) -> tuple[list[RemoteSubscription], str | None]:
        params: dict[str, Any] = {
            "limit": PAGE, "status": "all", "created": {"gte": int(since.timestamp())},
        }  # fmt: skip
        if cursor:
            params["starting_after"] = cursor
        page = self._ask(lambda: self._client.v1.subscriptions.list(params))
        found = [self._read(shapes.of_subscription, raw) for raw in page["data"]]
        return found, page["data"][-1]["id"] if page.get("has_more") and page["data"] else None

    def fetch_invoice(self, ref: str) -> RemoteInvoice:
        params = {"expand": ["payments"]} if self._lists_payments else {}
        raw = self._ask(lambda: self._client.v1.invoices.retrieve(ref, params))
        return self._whole(raw)

    def list_invoices(self, subscription: str, since: datetime | None) -> list[RemoteInvoice]:
        params: dict[str, Any] = {"subscription": subscription, "limit": PAGE}
        if self._lists_payments:
            params["expand"] = ["data.payments"]
        if since is not None:
            params["created"] = {"gte": int(since.timestamp())}
        found: list[dict[str, Any]] = []
        for _ in range(MOST_PAGES):
            page = self._ask(lambda: self._client.v1.invoices.list(params))
            found += page["data"]
            if not page.get("has_more") or not page["data"]:
                break
            params["starting_after"] = page["data"][-1]["id"]
        return [self._whole(raw) for raw in reversed(found)]

    @property
    def _lists_payments(self) -> bool:
        version = self.settings.stripe_api_version
        return not version or version >= PAYMENTS_LISTED

    def _whole(self, raw: dict[str, Any]) -> RemoteInvoice:
        """The invoice with all its lines: only the first ten come with it."""
        params: dict[str, Any] = {"limit": PAGE}
        lines = list(raw["lines"]["data"])
        more = bool(raw["lines"].get("has_more"))
        while more and lines:
            params["starting_after"] = lines[-1]["id"]
            page = self._ask(lambda: self._client.v1.invoices.line_items.list(raw["id"], params))
            lines += page["data"]
            more = bool(page.get("has_more")) and bool(page["data"])
        return self._read(
            shapes.of_invoice, {**raw, "lines": {**raw["lines"], "data": lines, "has_more": False}}
        )

    def list_tries(self, payment_ref: str) -> list[RemoteTry]:
        page = self._ask(lambda: self._client.v1.charges.list(
            {"payment_intent": payment_ref, "limit": PAGE}
        ))
        found = [self._read(shapes.of_try, raw) for raw in reversed(page["data"])]
        return [one for one in found if one is not None]

    def billing_told(self, body: str) -> Told | None:
        return shapes.told(body)

    # Time that is moved by hand -----------------------------------------------------------------

    def make_clock(self, at: datetime, name: str, key: str) -> RemoteClock:
        params: dict[str, Any] = {"frozen_time": int(at.timestamp()), "name": name}
        return self._read(shapes.of_clock, self._ask(
            lambda: self._client.v1.test_helpers.test_clocks.create(
                params, {"idempotency_key": key}
            )
        ))

    def fetch_clock(self, ref: str) -> RemoteClock:
        return self._read(shapes.of_clock, self._ask(
            lambda: self._client.v1.test_helpers.test_clocks.retrieve(ref)
        ))

    def move_clock(self, ref: str, to: datetime) -> RemoteClock:
        params: dict[str, Any] = {"frozen_time": int(to.timestamp())}
        return self._read(shapes.of_clock, self._ask(
            lambda: self._client.v1.test_helpers.test_clocks.advance(ref, params)
        ))

    # Changing -----------------------------------------------------------------------------------

    def steer_subscription(
        self, ref: str, op: str, told: Mapping[str, Any], key: str
    ) -> RemoteSubscription:
        if op in ("schedule", "drop"):
            raw = (self._unplan(ref, key, keeps_end=True) if op == "drop"
                   else self._plan_ahead(ref, told, key))  # fmt: skip
            return self._read(shapes.of_subscription, raw)
        if op in ("cancel", "cancel_at_end", "reactivate"):  # A schedule would keep them out.
            self._unplan(ref, key)
        raw = self._steered(ref, op, told, key)
        if op == "change" and raw.get("schedule"):  # It comes instead of what was to come.
            raw = self._unplan(ref, key, keeps_end=True)
        if op == "method" and (told.get("again") or raw.get("schedule")):
            # A schedule has a method of its own.
            raw = self._plan_anew(ref, told, key)
        return self._read(shapes.of_subscription, raw)

    def _steered(
        self, ref: str, op: str, told: Mapping[str, Any], key: str
    ) -> dict[str, Any]:
        subscriptions, options = self._client.v1.subscriptions, {"idempotency_key": key}
        if op == "cancel":
            gone: dict[str, Any] = {"prorate": False, "invoice_now": False}
            if told.get("reason"):
                gone["cancellation_details"] = {"comment": told["reason"]}
            try:
                return self._ask(lambda: subscriptions.cancel(ref, gone, options))
            except ProviderRefused:  # Refused where it is over already: how, it says itself.
                found = self._with_schedule(ref)
                if not found.get("ended_at"):
                    raise
                return found
        if op == "release" and told.get("is_stopped"):
            return self._ask(lambda: subscriptions.resume(
                ref, {"billing_cycle_anchor": "now"}, options
            ))
        params = _params(op, told)
        if op == "cancel_at_end" and told.get("is_dated"):  # Stripe takes one of the two.
            self._ask(lambda: subscriptions.update(
                ref, {"cancel_at": ""}, {"idempotency_key": f"{key}-date"}
            ))
        return self._ask(lambda: subscriptions.update(ref, params, options))

    def preview_subscription(self, ref: str, told: Mapping[str, Any]) -> RemoteInvoice:
        change = _params("change", told)
        details = {name: change[name] for name in ("items", "proration_behavior",
                                                   "proration_date") if name in change}  # fmt: skip
        params = {"subscription": ref, "subscription_details": details}
        raw = self._ask(lambda: self._client.v1.invoices.create_preview(params))
        found = self._read(shapes.of_invoice, raw)
        return replace(found, subscription_ref=ref)


def _params(op: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an update."""
    if op == "cancel_at_end":
        params: dict[str, Any] = {"cancel_at_period_end": True}
        if told.get("reason"):
            params["cancellation_details"] = {"comment": told["reason"]}
        return params
    if op == "reactivate":
        off = {"cancel_at": ""} if told.get("is_dated") else {"cancel_at_period_end": False}
        return {**off, "cancellation_details": {"comment": ""}}
    if op == "hold":
        pause: dict[str, Any] = {"behavior": "void"}
        if told.get("resumes_at"):
            pause["resumes_at"] = told["resumes_at"]
        return {"pause_collection": pause}
    if op == "release":
        return {"pause_collection": ""}
    if op == "method":
        return {"default_payment_method": told["method"] or ""}
    assert op == "change", op
    params = {
        "items": [{"id": told["item"], "price": told["price"], "quantity": told["quantity"]}],
        "proration_behavior": told["proration"],
        "payment_behavior": "error_if_incomplete",
    }  # fmt: skip
    if told.get("at") and told["proration"] != "none":
        params["proration_date"] = told["at"]
    return params
