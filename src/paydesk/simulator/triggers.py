"""Events on request: what tells of them is made to happen, or an object of their kind is shown.

A recipe brings an event about through the same calls and actions as everything else, so that it
comes with those before and after it. A type without a recipe is told of an object that exists, of
one that is handed in, or of a made-up one in Stripe's shape.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import background, backstage, ids, requests, shapes
from .engine import Call, Simulator
from .errors import StripeError
from .objects import confirmation
from .store import Transaction

#: What a recipe makes where nothing else is said.
AMOUNT, CURRENCY, CARD = 2000, "usd", "4242424242424242"
DECLINED, SECURED = "4000000000000002", "4000002760003184"
RETURN_URL = "http://localhost:8000/return"
TYPE = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")
#: Where an event's kind of object is not the beginning of its type.
KINDS = {
    "charge.dispute": "dispute", "charge.refund": "refund", "customer.subscription": "subscription",
    "customer.source": "card", "customer.tax_id": "tax_id", "customer.discount": "discount",
    "invoice.payment": "invoice_payment",
}  # fmt: skip

Recipe = Callable[["Scene"], None]
RECIPES: dict[str, Recipe] = {}


def recipe(*event_types: str) -> Callable[[Recipe], Recipe]:
    def register(do: Recipe) -> Recipe:
        RECIPES.update(dict.fromkeys(event_types, do))
        return do

    return register


@dataclass
class Scene:
    """What a recipe works with. `of` is the object that it shall happen to, None for a new one."""

    sim: Simulator
    base_url: str
    type: str
    of: str | None = None
    amount: int = AMOUNT
    currency: str = CURRENCY
    card: str = CARD

    def api(self, path: str, method: str = "POST", **params: Any) -> dict[str, Any]:
        return requests.ask(self.sim, method, path, params, base_url=self.base_url)

    def act(self, name: str, **given: Any) -> dict[str, Any]:
        return self.sim.store.call(
            self.sim.work(lambda call: backstage.run(call, name, given), base_url=self.base_url)
        )

    def go_on(self) -> None:
        """Let happen what is due now, a test clock's way to its time included."""
        while self.sim.store.call(self.sim.work(background.run_due)):
            pass

    def found(self, *kinds: str) -> dict[str, Any] | None:
        """The object that was named, where it is of one of these kinds; None where none was."""
        if self.of is None:
            return None
        item = self.sim.store.call(lambda tx: tx.get(self.of or ""))
        if item is None or item.get("object") not in kinds:
            raise ValueError(f"{self.type} happens to a {' or '.join(kinds)}")
        return item

    def paid(self) -> str:
        """The id of a payment intent that was paid: the named one's, or a new one's."""
        item = self.found("payment_intent", "charge", "checkout.session", "refund", "dispute")
        if item is None:
            return self.act("pay", amount=self.amount, currency=self.currency,
                            card=self.card)["id"]  # fmt: skip
        if item["object"] == "checkout.session":
            if item["status"] == "open":
                self.pay_session(item["id"])
            return self.api(f"/v1/checkout/sessions/{item['id']}", "GET")["payment_intent"]
        return item["id"] if item["object"] == "payment_intent" else item["payment_intent"]

    def intent(self, **more: Any) -> dict[str, Any]:
        """A payment intent of a card that is told; a decline is no fault."""
        return self.tried("/v1/payment_intents", amount=self.amount, currency=self.currency,
                          payment_method_types=["card"], **more)  # fmt: skip

    def tried(self, path: str, **params: Any) -> dict[str, Any]:
        try:
            return self.api(path, **params)
        except StripeError as error:
            if error.fields["type"] != "card_error":
                raise
            return {}

    def session(self) -> str:
        item = self.found("checkout.session")
        if item is not None:
            return item["id"]
        line = {"quantity": 1, "price_data": {
            "currency": self.currency, "unit_amount": self.amount,
            "product_data": {"name": "Sample"}}}  # fmt: skip
        return self.api("/v1/checkout/sessions", mode="payment", success_url=RETURN_URL,
                        line_items=[line])["id"]  # fmt: skip

    def pay_session(self, session_id: str, card: str | None = None) -> None:
        """As its page does; raises ValueError where it cannot be paid."""
        unit = self.sim.work(
            lambda call: requests.pay_page(call, session_id, card or self.card, True,
                                           "buyer@example.com", None),
            base_url=self.base_url,
        )  # fmt: skip
        done = self.sim.store.call(unit)
        if not done.complete and card is None:
            raise ValueError(f"the session cannot be paid: {done.message or done.status}")

    def customer(self) -> str:
        item = self.found("customer")
        return item["id"] if item else self.api("/v1/customers", name="Maya Okafor",
                                                email="maya@example.com")["id"]  # fmt: skip

    def attached(self) -> str:
        item = self.found("payment_method")
        if item is not None and item["customer"]:
            return item["id"]
        wanted = item["id"] if item else "pm_card_visa"
        whose = self.api("/v1/customers", name="Maya Okafor")["id"]
        return self.api(f"/v1/payment_methods/{wanted}/attach", customer=whose)["id"]


def trigger(
    sim: Simulator, base_url: str, type: str, *, object: dict[str, Any] | None = None,
    version: str | None = None, **given: Any,
) -> list[dict[str, Any]]:
    """Make an event of this type happen; returns all events that came of it, oldest first.

    `of` names the object that it happens to; `amount`, `currency`, `card` what is made without;
    `object` is told as it is, under any type; `version` is the API version of the shapes. Raises
    ValueError or StripeError where it cannot be.
    """
    scene = _scene(sim, base_url, type, given)
    before, told = _last(sim), sim.switches.event_version
    if version is not None:
        sim.switches.change({"event_version": version})
    try:
        if object is not None:
            _tell(sim, base_url, type, object)
        elif type in RECIPES:
            RECIPES[type](scene)
        else:
            _tell(sim, base_url, type, _sample(scene))
    finally:
        sim.switches.change({"event_version": told})
    events = _since(sim, base_url, before)
    if not any(event["type"] == type for event in events):
        raise ValueError(f"nothing happened that {type} tells of: {scene.of} is past it")
    return events


def known() -> list[str]:
    """The types that have a recipe."""
    return sorted(RECIPES)


def _scene(sim: Simulator, base_url: str, type: str, given: dict[str, Any]) -> Scene:
    if not isinstance(type, str) or not TYPE.fullmatch(type) or len(type) > 100:
        raise ValueError("type is the type of an event, such as payment_intent.succeeded")
    kinds = {"of": str, "amount": int, "currency": str, "card": str}
    for name, value in given.items():
        if name not in kinds:
            raise ValueError(f"there is no {name}; there are {', '.join(kinds)}, object, version")
        if value is not None and type_of(value) is not kinds[name]:
            raise ValueError(f"{name} is not of type {kinds[name].__name__}")
    return Scene(sim, base_url, type, **{k: v for k, v in given.items() if v is not None})


def type_of(value: Any) -> type:
    return value.__class__


def _last(sim: Simulator) -> int:
    return sim.store.call(lambda tx: tx.sql.execute(
        "select coalesce(max(seq), 0) from objects where kind = 'event'"
    ).fetchone()[0])


def _since(sim: Simulator, base_url: str, seq: int) -> list[dict[str, Any]]:
    def read(tx: Transaction) -> list[dict[str, Any]]:
        return [sim.show(tx, one, base_url) for one in tx.scan("event", after=seq)]

    return sim.store.call(read)


def _tell(sim: Simulator, base_url: str, type: str, item: dict[str, Any]) -> None:
    if not isinstance(item, dict):
        raise ValueError("object is a JSON object")
    if len(item) > 500:
        raise ValueError("object has too many members")
    sim.store.call(sim.work(lambda call: call.tell(type, item), base_url=base_url))


def _sample(scene: Scene) -> dict[str, Any]:
    """The named object as it is; else one of the type's kind, made up in Stripe's shape."""
    if scene.of is not None:
        def read(tx: Transaction) -> dict[str, Any] | None:
            item = tx.get(scene.of or "")
            return scene.sim.show(tx, item, scene.base_url) if item else None

        item = scene.sim.store.call(read)
        if item is None:
            raise ValueError(f"there is no object {scene.of[:100]}")
        return item
    kind = _kind(scene.type)
    if kind is None:
        raise ValueError(
            f"no shape is known for {scene.type}; hand in its object, or take one of: "
            + ", ".join(known())
        )
    item = shapes.sample(kind)
    made = {"id": f"{kind.rpartition('.')[2]}_{ids.token(24)}", "object": kind,
            "created": scene.sim.now(), "currency": scene.currency, "amount": scene.amount,
            "livemode": False}  # fmt: skip
    item |= {name: value for name, value in made.items() if name in item}
    return item


def _kind(type: str) -> str | None:
    """`invoice.paid` is of an invoice, `customer.subscription.updated` of a subscription."""
    about = type.rpartition(".")[0]
    for wanted in (KINDS.get(about), about, about.rpartition(".")[2]):
        if wanted and shapes.property_node(wanted, "object") is not None:
            return wanted
    return None


# Payments -----------------------------------------------------------------------------------------


@recipe("payment_intent.created")
def _created(scene: Scene) -> None:
    scene.intent()


@recipe("payment_intent.succeeded", "charge.succeeded", "charge.updated")
def _succeeded(scene: Scene) -> None:
    scene.paid()


@recipe("payment_intent.payment_failed", "charge.failed")
def _failed(scene: Scene) -> None:
    item = scene.found("checkout.session")
    if item is not None:
        scene.pay_session(item["id"], DECLINED)
    else:
        scene.intent(payment_method="pm_card_visa_chargeDeclined", confirm=True)


@recipe("payment_intent.requires_action")
def _acts(scene: Scene) -> None:
    scene.intent(payment_method="pm_card_authenticationRequired", confirm=True,
                 return_url=RETURN_URL)  # fmt: skip


def _held(scene: Scene) -> str:
    item = scene.found("payment_intent")
    if item is not None:
        return item["id"]
    return scene.intent(payment_method="pm_card_visa", confirm=True, capture_method="manual")["id"]


@recipe("payment_intent.amount_capturable_updated")
def _hold(scene: Scene) -> None:
    _held(scene)


@recipe("charge.captured")
def _capture(scene: Scene) -> None:
    scene.api(f"/v1/payment_intents/{_held(scene)}/capture")


@recipe("charge.expired")
def _expire(scene: Scene) -> None:
    wanted = _held(scene)

    def work(call: Call) -> None:
        confirmation.cancel(call, call.find("payment_intent", wanted, "intent"), "automatic")

    scene.sim.store.call(scene.sim.work(work, base_url=scene.base_url))


@recipe("payment_intent.canceled")
def _cancel(scene: Scene) -> None:
    item = scene.found("payment_intent") or scene.intent()
    scene.api(f"/v1/payment_intents/{item['id']}/cancel")


@recipe("checkout.session.completed")
def _complete(scene: Scene) -> None:
    scene.pay_session(scene.session())


@recipe("checkout.session.expired")
def _end(scene: Scene) -> None:
    scene.api(f"/v1/checkout/sessions/{scene.session()}/expire")


# The ways back ------------------------------------------------------------------------------------


@recipe("charge.refunded", "refund.created")
def _refund(scene: Scene) -> None:
    scene.act("refund", payment=scene.paid())


@recipe("refund.updated", "charge.refund.updated", "refund.failed")
def _finish(scene: Scene) -> None:
    item = scene.found("refund") if (scene.of or "").startswith("re_") else None
    item = item or scene.act("refund", payment=scene.paid(), status="pending")
    outcome = "failed" if scene.type == "refund.failed" else "succeeded"
    scene.act("finish_refund", refund=item["id"], outcome=outcome)


def _disputed(scene: Scene) -> str:
    if (scene.of or "").startswith("du_"):
        return (scene.found("dispute") or {})["id"]
    return scene.act("dispute", payment=scene.paid())["id"]


@recipe("charge.dispute.created", "charge.dispute.funds_withdrawn")
def _dispute(scene: Scene) -> None:
    scene.act("dispute", payment=scene.paid())


@recipe("charge.dispute.updated")
def _answer(scene: Scene) -> None:
    told = {"uncategorized_text": "The order was delivered."}
    scene.api(f"/v1/disputes/{_disputed(scene)}", evidence=told, submit=False)


@recipe("charge.dispute.closed", "charge.dispute.funds_reinstated")
def _decide(scene: Scene) -> None:
    outcome = "won" if scene.type.endswith("reinstated") else "lost"
    scene.act("decide_dispute", dispute=_disputed(scene), outcome=outcome)


# Customers, methods, setups -----------------------------------------------------------------------


@recipe("customer.created")
def _customer(scene: Scene) -> None:
    scene.api("/v1/customers", name="Maya Okafor", email="maya@example.com")


@recipe("customer.updated")
def _change_customer(scene: Scene) -> None:
    scene.api(f"/v1/customers/{scene.customer()}", description=f"Changed {ids.token(6)}")


@recipe("customer.deleted")
def _delete_customer(scene: Scene) -> None:
    scene.api(f"/v1/customers/{scene.customer()}", "DELETE")


@recipe("payment_method.attached")
def _attach(scene: Scene) -> None:
    scene.attached()


@recipe("payment_method.detached")
def _detach(scene: Scene) -> None:
    scene.api(f"/v1/payment_methods/{scene.attached()}/detach")


@recipe("payment_method.updated")
def _change_method(scene: Scene) -> None:
    scene.api(f"/v1/payment_methods/{scene.attached()}",
              billing_details={"name": f"Maya {ids.token(4)}"})  # fmt: skip


@recipe("payment_method.automatically_updated")
def _replace_card(scene: Scene) -> None:
    scene.act("update_card", payment_method=scene.attached(), exp_year=2042)


@recipe("setup_intent.created")
def _setup(scene: Scene) -> None:
    scene.api("/v1/setup_intents", payment_method_types=["card"])


@recipe("setup_intent.succeeded", "setup_intent.setup_failed", "setup_intent.requires_action")
def _set_up(scene: Scene) -> None:
    method = {"succeeded": "pm_card_visa", "setup_failed": "pm_card_visa_chargeDeclined",
              "requires_action": "pm_card_authenticationRequired"}  # fmt: skip
    scene.tried("/v1/setup_intents", payment_method_types=["card"], confirm=True,
                customer=scene.customer(), return_url=RETURN_URL,
                payment_method=method[scene.type.rpartition(".")[2]])  # fmt: skip


@recipe("setup_intent.canceled")
def _cancel_setup(scene: Scene) -> None:
    item = scene.found("setup_intent") or scene.api(
        "/v1/setup_intents", payment_method_types=["card"]
    )
    scene.api(f"/v1/setup_intents/{item['id']}/cancel")


# The catalogue ------------------------------------------------------------------------------------


def _product(scene: Scene) -> str:
    item = scene.found("product")
    return item["id"] if item else scene.api("/v1/products", name="Sample")["id"]


def _price(scene: Scene) -> str:
    item = scene.found("price")
    return item["id"] if item else scene.api(
        "/v1/prices", currency=scene.currency, unit_amount=scene.amount,
        product_data={"name": "Sample"},
    )["id"]  # fmt: skip


@recipe("product.created")
def _make_product(scene: Scene) -> None:
    scene.api("/v1/products", name="Sample")


@recipe("product.updated")
def _change_product(scene: Scene) -> None:
    scene.api(f"/v1/products/{_product(scene)}", description=f"Changed {ids.token(6)}")


@recipe("product.deleted")
def _delete_product(scene: Scene) -> None:
    scene.api(f"/v1/products/{_product(scene)}", "DELETE")


@recipe("price.created")
def _make_price(scene: Scene) -> None:
    scene.of = None
    _price(scene)


@recipe("price.updated")
def _change_price(scene: Scene) -> None:
    scene.api(f"/v1/prices/{_price(scene)}", nickname=f"Changed {ids.token(6)}")
