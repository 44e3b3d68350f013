"""Stripe's schedules: another price or other seats from the end of the running period on.

A schedule is put on the subscription first, and its phases are set then. Whoever dies between the
two finds it there: a schedule of the running phase alone changes nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from paydesk.errors import ProviderRefused
from paydesk.providers.stripe_billing_shapes import STANDING
from paydesk.providers.stripe_shapes import _ref

#: Before this version a phase has `plans`, which are not read.
PHASES_HAVE_ITEMS = "2020-08-27"
EXPANDED = ("schedule.phases.items.price",)
#: What of a running phase is said again word for word; names of objects as their ids.
_KEPT = (
    "application_fee_percent", "billing_thresholds", "collection_method", "description",
    "invoice_settings", "metadata", "transfer_data",
)  # fmt: skip
_REFS = ("default_payment_method", "on_behalf_of")


class StripeSchedules:
    """The calls of `Stripe` about what a subscription is to be of."""

    settings: Any
    _client: Any
    _ask: Callable[[Any], dict[str, Any]]
    _read: Callable[[Callable[[Any], Any], Any], Any]

    @property
    def _expanded(self) -> dict[str, Any]:
        """What is asked for with a subscription: what its schedule has after the running phase."""
        version = self.settings.stripe_api_version
        knows = not version or version >= PHASES_HAVE_ITEMS
        return {"expand": list(EXPANDED)} if knows else {}

    def _with_schedule(self, ref: str) -> dict[str, Any]:
        return self._ask(lambda: self._client.v1.subscriptions.retrieve(ref, self._expanded))

    def _plan_ahead(self, ref: str, told: Mapping[str, Any], key: str) -> dict[str, Any]:
        """From `at` on the item is to be of a price and so many. A schedule that stands there is
        taken over. Raises ProviderRefused where that period is over, or ends it."""
        if not self._expanded:
            raise ProviderRefused("Stripe plans nothing ahead in the API version that is pinned.")
        calls, raw = self._client.v1.subscription_schedules, self._with_schedule(ref)
        schedule = _standing(raw)
        if _is_ahead(raw, schedule, told):
            return raw
        _check(raw, told)
        is_new = schedule is None
        if schedule is None:
            try:
                schedule = self._ask(lambda: calls.create(
                    {"from_subscription": ref}, {"idempotency_key": f"{key}-schedule"}
                ))
            except ProviderRefused:  # Refused where another made one in this moment.
                schedule, is_new = _standing(self._with_schedule(ref)), False
                if schedule is None:
                    raise
        params = {
            "end_behavior": "release", "proration_behavior": "none",
            "phases": _phases(raw, schedule, told),
        }  # fmt: skip
        try:
            self._ask(lambda: calls.update(
                schedule["id"], params, {"idempotency_key": f"{key}-phases"}
            ))
        except ProviderRefused:
            if is_new:
                with contextlib.suppress(ProviderRefused):
                    self._let_go(schedule["id"], key)
            raise
        return self._with_schedule(ref)

    def _plan_anew(self, ref: str, told: Mapping[str, Any], key: str) -> dict[str, Any]:
        """What was to come, in a schedule that has the subscription's method of now: that of
        before would bring its own along. One that ends the subscription, or of which nothing is
        known to wait, stays as somebody made it."""
        raw = self._with_schedule(ref)
        schedule, again = _standing(raw), told.get("again")
        if schedule is None:
            return self._plan_ahead(ref, again, f"{key}-again") if again else raw
        defaults = schedule.get("default_settings") or {}
        is_other = _ref(defaults.get("default_payment_method")) != (told["method"] or None)
        if again is None or _ends(schedule):
            if is_other and told["method"]:
                params = {"default_settings": {"default_payment_method": told["method"]}}
                self._ask(lambda: self._client.v1.subscription_schedules.update(
                    schedule["id"], params, {"idempotency_key": f"{key}-method"}
                ))
            return self._with_schedule(ref)
        if is_other:
            self._let_go(schedule["id"], key)
        return self._plan_ahead(ref, again, f"{key}-again")

    def _unplan(self, ref: str, key: str, *, keeps_end: bool = False) -> dict[str, Any]:
        """The subscription, without what was to come; where nothing was it stays as it is.
        `keeps_end`: it ends on the day that the schedule had for it."""
        raw = self._with_schedule(ref)
        schedule = _standing(raw)
        if schedule is not None:
            self._let_go(schedule["id"], key, keeps_end=keeps_end and _ends(schedule))
        elif isinstance(raw.get("schedule"), str):  # An older version names it alone.
            self._let_go(raw["schedule"], key, keeps_end=keeps_end)
        else:
            return raw
        return self._with_schedule(ref)

    def _let_go(self, schedule: str, key: str, *, keeps_end: bool = False) -> None:
        calls = self._client.v1.subscription_schedules
        params = {"preserve_cancel_date": True} if keeps_end else {}
        try:
            self._ask(lambda: calls.release(
                schedule, params, {"idempotency_key": f"{key}-release-{schedule}"}
            ))
        except ProviderRefused:  # Refused where somebody did so before: it says so itself.
            if self._ask(lambda: calls.retrieve(schedule))["status"] in STANDING:
                raise


def _standing(raw: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The schedule that the subscription has."""
    found = raw.get("schedule")
    return found if isinstance(found, dict) and found.get("status") in STANDING else None


def _ends(schedule: Mapping[str, Any]) -> bool:
    """Whether the subscription ends with it."""
    return schedule.get("end_behavior") == "cancel"


def _is_ahead(
    raw: Mapping[str, Any], schedule: Mapping[str, Any] | None, told: Mapping[str, Any]
) -> bool:
    """Whether it is planned so, or came to be so, already."""
    wanted = (told["price"], told["quantity"])
    for phase in schedule["phases"] if schedule else ():
        if phase["start_date"] == told["at"]:
            return phase["end_date"] == told["until"] and wanted in [
                (_ref(one["price"]), one.get("quantity")) for one in phase["items"]]  # fmt: skip
    running = [(_ref(one.get("price")), one.get("quantity")) for one in raw["items"]["data"]]
    return wanted in running and _period_end(raw, told) > told["at"]


def _period_end(raw: Mapping[str, Any], told: Mapping[str, Any]) -> int:
    listed = raw["items"]["data"]
    item = next((one for one in listed if one["id"] == told["item"]), listed[0])
    return item.get("current_period_end") or raw["current_period_end"]


def _check(raw: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    if raw.get("cancel_at") or raw.get("cancel_at_period_end") or raw.get("ended_at"):
        raise ProviderRefused("The subscription is to end: it changes no more.")
    if _period_end(raw, told) != told["at"]:
        raise ProviderRefused("The period for whose end the change was meant is over.")


def _phases(
    raw: Mapping[str, Any], schedule: Mapping[str, Any], told: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The running phase as it is, until the period's end; and the one after it."""
    start = (schedule.get("current_phase") or {}).get("start_date")
    running = next(
        (one for one in schedule["phases"] if one["start_date"] == start), schedule["phases"][0]
    )
    old = next((_ref(one.get("price")) for one in raw["items"]["data"]
                if one["id"] == told["item"]), None)  # fmt: skip
    now = _said_again(running)
    items = [dict(one) for one in now["items"]]
    place = next((at for at, one in enumerate(items) if one["price"] == old), 0)
    items[place] = {"price": told["price"], "quantity": told["quantity"]}
    later = {name: value for name, value in now.items()
             if name not in ("trial_end", "add_invoice_items")}  # fmt: skip
    if running.get("trial_end"):
        now["trial_end"] = running["trial_end"]
    return [
        {**now, "start_date": running["start_date"], "end_date": told["at"]},
        {**later, "items": items, "start_date": told["at"], "end_date": told["until"],
         "proration_behavior": "none"},
    ]  # fmt: skip


def _said_again(phase: Mapping[str, Any]) -> dict[str, Any]:
    """A phase as a request has it. What it billed once is not billed again."""
    found: dict[str, Any] = {name: _plain(phase[name]) for name in _KEPT if phase.get(name)}
    found |= {name: _ref(phase[name]) for name in _REFS if phase.get(name)}
    if tax := phase.get("automatic_tax"):
        found["automatic_tax"] = _plain({"enabled": tax.get("enabled"),
                                         "liability": tax.get("liability")})  # fmt: skip
    if phase.get("default_tax_rates"):
        found["default_tax_rates"] = [_ref(one) for one in phase["default_tax_rates"]]
    if phase.get("discounts"):
        found["discounts"] = [_discount(one) for one in phase["discounts"]]
    if phase.get("proration_behavior"):
        found["proration_behavior"] = phase["proration_behavior"]
    found["items"] = [_item(one) for one in phase["items"]]
    return found


def _item(raw: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"price": _ref(raw["price"])}
    if raw.get("quantity") is not None:  # What is metered has none.
        found["quantity"] = raw["quantity"]
    for name in ("metadata", "billing_thresholds"):
        if raw.get(name):
            found[name] = _plain(raw[name])
    if raw.get("tax_rates"):
        found["tax_rates"] = [_ref(one) for one in raw["tax_rates"]]
    if raw.get("discounts"):
        found["discounts"] = [_discount(one) for one in raw["discounts"]]
    return found


def _discount(raw: Any) -> dict[str, Any]:
    if isinstance(raw, str):
        return {"discount": raw}
    for name in ("discount", "promotion_code", "coupon"):
        if raw.get(name):
            return {name: _ref(raw[name])}
    return {}


def _plain(value: Any) -> Any:
    """Without what is not set: a request cannot say null."""
    if not isinstance(value, dict):
        return value
    return {name: _plain(one) for name, one in value.items() if one is not None}
