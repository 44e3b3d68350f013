"""Events of subscriptions, invoices and test clocks on request."""

from __future__ import annotations

from typing import Any

from .triggers import SECURED, Scene, recipe

#: A card that can be saved, and is declined whenever it is charged.
FAILING = "4000000000000341"
START = 1_767_225_600  # a clock of its own begins on 1 January 2026
CLOCK = "/v1/test_helpers/test_clocks"


def _price(scene: Scene) -> str:
    return scene.api(
        "/v1/prices", currency=scene.currency, unit_amount=scene.amount,
        recurring={"interval": "month"}, product_data={"name": "Sample plan"},
    )["id"]  # fmt: skip


def _customer(scene: Scene, card: str | None = "pm_card_visa") -> str:
    item = scene.found("customer") if (scene.of or "").startswith("cus_") else None
    if item is not None:
        return item["id"]
    more: dict[str, Any] = {}
    if card:
        more = {"payment_method": card, "invoice_settings": {"default_payment_method": card}}
    return scene.api("/v1/customers", name="Maya Okafor", email="maya@example.com", **more)["id"]


def _begin(scene: Scene, card: str | None = "pm_card_visa", **more: Any) -> str:
    return scene.api(
        "/v1/subscriptions", customer=_customer(scene, card), items=[{"price": _price(scene)}],
        **more,
    )["id"]  # fmt: skip


def _subscription(scene: Scene) -> str:
    item = scene.found("subscription") if (scene.of or "").startswith("sub_") else None
    return item["id"] if item else _begin(scene)


def _paused(scene: Scene) -> str:
    end = {"end_behavior": {"missing_payment_method": "pause"}}
    begun = _begin(scene, None, trial_period_days=2, trial_settings=end)
    scene.act("renew", subscription=begun)
    return begun


def _open_invoice(scene: Scene) -> str:
    item = scene.found("invoice") if (scene.of or "").startswith("in_") else None
    if item is not None and item["status"] != "draft":
        return item["id"]
    invoice = item["id"] if item else _draft(scene)
    return scene.api(f"/v1/invoices/{invoice}/finalize", auto_advance=False)["id"]


def _draft(scene: Scene) -> str:
    customer = _customer(scene)
    invoice = scene.api("/v1/invoices", customer=customer, currency=scene.currency)["id"]
    scene.api("/v1/invoiceitems", customer=customer, invoice=invoice, amount=scene.amount,
              currency=scene.currency, description="Sample")  # fmt: skip
    return invoice


@recipe("customer.subscription.created", "invoice.created", "invoice.finalized")
def _create(scene: Scene) -> None:
    _begin(scene)


@recipe("invoice.paid", "invoice.payment_succeeded", "invoice_payment.paid")
def _pay(scene: Scene) -> None:
    if (scene.of or "").startswith("in_"):
        scene.act("pay_invoice", invoice=_open_invoice(scene), card=scene.card)
    elif scene.of is not None and scene.of.startswith("sub_"):
        scene.act("renew", subscription=_subscription(scene))
    else:
        _begin(scene)


@recipe("invoice.payment_failed", "invoice.payment_action_required", "invoice.upcoming")
def _renew(scene: Scene) -> None:
    card = {"invoice.payment_failed": FAILING, "invoice.payment_action_required": SECURED}
    if (scene.of or "").startswith("in_"):
        scene.act("pay_invoice", invoice=_open_invoice(scene), card=card.get(scene.type, FAILING))
        return
    scene.act("renew", subscription=_subscription(scene), card=card.get(scene.type))


@recipe("customer.subscription.updated")
def _update(scene: Scene) -> None:
    wanted = _subscription(scene)
    item = scene.api(f"/v1/subscriptions/{wanted}", "GET")["items"]["data"][0]
    changed = {"id": item["id"], "quantity": item["quantity"] + 1}
    scene.api(f"/v1/subscriptions/{wanted}", items=[changed])


@recipe("subscription_schedule.created", "subscription_schedule.updated",
        "subscription_schedule.released", "subscription_schedule.canceled")  # fmt: skip
def _schedule(scene: Scene) -> None:
    """A change of the next period is put on a subscription; let go, or canceled with it."""
    wanted = _subscription(scene)
    made = scene.api("/v1/subscription_schedules", from_subscription=wanted)
    (now,) = made["phases"]
    (item,) = [{"price": one["price"], "quantity": one["quantity"]} for one in now["items"]]
    scene.api(f"/v1/subscription_schedules/{made['id']}", phases=[
        {"items": [item], "start_date": now["start_date"], "end_date": now["end_date"]},
        {"items": [{**item, "quantity": item["quantity"] + 1}], "proration_behavior": "none",
         "duration": {"interval": "month"}},
    ])  # fmt: skip
    last = {"released": "release", "canceled": "cancel"}.get(scene.type.rpartition(".")[2])
    if last:
        scene.api(f"/v1/subscription_schedules/{made['id']}/{last}")


@recipe("customer.subscription.deleted")
def _cancel(scene: Scene) -> None:
    scene.api(f"/v1/subscriptions/{_subscription(scene)}", "DELETE")


@recipe("customer.subscription.trial_will_end")
def _trial(scene: Scene) -> None:
    _begin(scene, trial_period_days=2)


@recipe("customer.subscription.paused")
def _pause(scene: Scene) -> None:
    _paused(scene)


@recipe("customer.subscription.resumed")
def _resume(scene: Scene) -> None:
    paused = _paused(scene)
    customer = scene.api(f"/v1/subscriptions/{paused}", "GET")["customer"]
    method = scene.api("/v1/payment_methods/pm_card_visa/attach", customer=customer)["id"]
    scene.api(f"/v1/subscriptions/{paused}", default_payment_method=method)
    scene.api(f"/v1/subscriptions/{paused}/resume")


@recipe("invoice.updated")
def _change(scene: Scene) -> None:
    item = scene.found("invoice") if (scene.of or "").startswith("in_") else None
    wanted = item["id"] if item else _draft(scene)
    scene.api(f"/v1/invoices/{wanted}", footer="Thank you.")


@recipe("invoice.voided")
def _void(scene: Scene) -> None:
    scene.api(f"/v1/invoices/{_open_invoice(scene)}/void")


@recipe("invoice.marked_uncollectible")
def _mark(scene: Scene) -> None:
    scene.api(f"/v1/invoices/{_open_invoice(scene)}/mark_uncollectible")


@recipe("invoiceitem.created")
def _item(scene: Scene) -> None:
    scene.api("/v1/invoiceitems", customer=_customer(scene), amount=scene.amount,
              currency=scene.currency, description="Sample")  # fmt: skip


def _clock(scene: Scene) -> str:
    return scene.api(CLOCK, frozen_time=START, name="Sample")["id"]


@recipe("test_helpers.test_clock.created")
def _make_clock(scene: Scene) -> None:
    _clock(scene)


@recipe("test_helpers.test_clock.advancing", "test_helpers.test_clock.ready")
def _advance_clock(scene: Scene) -> None:
    wanted = _clock(scene)
    scene.api(f"{CLOCK}/{wanted}/advance", frozen_time=START + 86_400)
    scene.go_on()


@recipe("test_helpers.test_clock.deleted")
def _delete_clock(scene: Scene) -> None:
    scene.api(f"{CLOCK}/{_clock(scene)}", "DELETE")
