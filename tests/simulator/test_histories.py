"""Random histories: whatever calls follow one another, objects keep their shapes and money adds up.
"""

import contextlib
import json
import random

import pytest

from paydesk.simulator import api, forms, money, shapes
from paydesk.simulator.errors import StripeError
from paydesk.simulator.testing import sandbox_in_process

KEYS = sorted(key for choices in api.ROUTES.values() for key, _ in choices)
KINDS = (
    "balance_transaction", "charge", "checkout.session", "customer", "dispute", "event", "file",
    "payment_intent", "payment_method", "payout", "price", "product", "refund", "setup_attempt",
    "setup_intent", "webhook_endpoint",
)
TEXTS = ["", "a@b.co", "usd", "http://shop.test/", "abc", "pm_card_visa", "tok_visa", "5"]
METHODS = ["pm_card_visa", "pm_card_authenticationRequired", "pm_card_chargeDeclined",
           "pm_card_pendingRefund", "pm_card_refundFail", "pm_card_createDispute",
           "pm_card_createDisputeInquiry", "pm_card_visa_applePay"]
EVIDENCE = ["winning_evidence", "losing_evidence", "escalate_inquiry_evidence", "we shipped it"]
PACK = {"currency": "usd", "unit_amount": "999", "product_data": {"name": "Pack"}}
CARDS = ["4242424242424242", "4000000000000002", "4000002760003184", "4000000000000259"]
SAVING = {"mode": "setup", "currency": "usd", "success_url": "http://shop.test/"}


class History:
    """One run: draws calls, keeps the ids that came back, checks every answer."""

    def __init__(self, sandbox, seed):
        self.sandbox, self.random, self.ids = sandbox, random.Random(seed), ["xx_nothing"]

    def some_id(self, prefix=""):
        fitting = [one for one in self.ids if one.startswith(prefix)] or self.ids
        return self.random.choice(fitting[-12:])

    def value(self, node, depth=0):
        """A form value of the node's shape, often nonsense."""
        node, choose = shapes.resolve(node), self.random.choice
        if isinstance(node, str):
            return {
                "s": lambda: choose([*TEXTS, self.some_id()]),
                "i": lambda: choose(["0", "1", "50", "999", "-1", "2040", "1800000000"]),
                "b": lambda: choose(["true", "false"]), "n": lambda: "1.5", "a": lambda: "x",
            }[node[0]]()
        if "e" in node:
            return choose(node["e"])
        if "u" in node:
            return self.value(choose(node["u"]), depth)
        if "l" in node:
            return {str(i): self.value(node["l"], depth + 1) for i in range(choose([0, 1, 2]))}
        if "m" in node:
            return {name: self.value(node["m"], depth + 1) for name in choose([[], ["a"], ["b"]])}
        names, needed = sorted(node["p"]), node.get("q", [])
        count = min(len(names), choose([0, 1, 2, 3]) if depth < 2 else 1)
        picked = {*needed, *self.random.sample(names, count)}
        return {name: self.value(node["p"][name], depth + 1) for name in sorted(picked)}

    def likely(self):
        """Calls that lead somewhere, by operation."""
        choose = self.random.choice
        return {
            "POST /v1/checkout/sessions": choose([
                SAVING,
                {"success_url": "http://shop.test/",
                 "line_items": {"0": {"quantity": "1", "price_data": PACK}}},
            ]),
            "POST /v1/setup_intents": {
                "payment_method": choose(METHODS), "confirm": choose(["true", "false"]),
                "payment_method_types": {"0": "card"},
            },
            "POST /v1/disputes/{dispute}": {
                "evidence": {"uncategorized_text": choose(EVIDENCE)},
                "submit": choose(["true", "false"]),
            },
            "POST /v1/payment_intents": {
                "amount": "999", "currency": "usd", "payment_method_types": {"0": "card"},
                "payment_method": choose(METHODS), "confirm": choose(["true", "false"]),
                "capture_method": choose(["manual", "automatic", "automatic_async"]),
            },
            "POST /v1/customers": {},
            "POST /v1/products": {"name": "Pack"},
            "POST /v1/payment_methods": {"type": "card", "card": {"token": "tok_visa"}},
            "POST /v1/refunds": {"payment_intent": self.some_id("pi_")},
        }

    def act(self):
        """Something that happens without the shop."""
        choose, part = self.random.choice, str(self.random.choice([None, 100, 400]))
        name, given = choose([
            ("authenticate", {"intent": self.some_id(choose(["pi_", "seti_"])),
                              "succeed": choose([True, False])}),
            ("refund", {"payment": self.some_id("pi_"),
                        "status": choose(["pending", "requires_action", "succeeded"])}),
            ("finish_refund", {"refund": self.some_id("re_"),
                               "outcome": choose(["succeeded", "failed"])}),
            ("dispute", {"payment": self.some_id("pi_"), "inquiry": choose([True, False])}),
            ("decide_dispute", {"dispute": self.some_id("du_"),
                                "outcome": choose(["won", "lost", "escalated"])}),
            ("pay_out", {}),
            ("drop", {"id": self.some_id(choose(["pi_", "re_", "du_", "seti_"]))}),
        ])
        if "payment" in given and part.isdigit():
            given["amount"] = int(part)
        with contextlib.suppress(ValueError, StripeError):
            self.follow(self.sandbox.act(name, **given, silent=choose([True, False])))

    def step(self):
        if self.random.random() < 0.15:
            self.act()
            return
        likely = self.likely()
        key = self.random.choice(sorted(likely) if self.random.random() < 0.4 else KEYS)
        method, path = key.split(" ")
        for part in [part for part in path.split("/") if part[0:1] == "{"]:
            prefix = {"{intent}": "pi_", "{charge}": "ch_", "{session}": "cs_", "{refund}": "re_",
                      "{customer}": "cus_", "{dispute}": "du_"}.get(part, "")
            if "setup_intents" in path:
                prefix = "seti_"
            path = path.replace(part, self.some_id(prefix))
        drawn = self.value(shapes.request_shape(key))
        if key in likely and self.random.random() < 0.8:
            extra = self.random.sample(sorted(drawn.items()), min(1, len(drawn)))
            drawn = {**dict(extra), **likely[key]}
        try:
            key, values = api.route(method, path)
            params = forms.cast(key, drawn)
        except StripeError as refused:
            assert 400 <= refused.status < 500
            return
        replay = self.random.choice([None, f"key-{self.random.randrange(50)}"])
        work = self.sandbox.sim.api_work(key, params, path=values, idempotency_key=replay)
        answer = self.sandbox.sim.store.call(work)
        body = json.loads(answer.body)
        if answer.replayed is None:
            shapes.validate_answer(key, answer.status, body)
        if answer.status == 200:
            self.follow(body)

    def follow(self, body):
        """Remember what was made; pay sessions; let time pass now and then."""
        if "id" in body:
            self.ids.append(body["id"])
        if body["object"] == "checkout.session" and self.random.random() < 0.7:
            self.sandbox.pay(body["id"], self.random.choice(CARDS),
                             approve=self.random.random() < 0.5)
            with contextlib.suppress(KeyError):  # the replay of one that was dropped
                paid = self.sandbox.get(body["id"])
                self.ids.append(paid["payment_intent"] or paid["setup_intent"] or "xx_nothing")
            self.ids += [one["id"] for one in self.sandbox.objects("dispute")[-1:]]
        if self.random.random() < 0.01:
            self.sandbox.advance(self.random.choice([1, 10, 100_000]))


@pytest.mark.parametrize("seed", [1, 2, random.randrange(10**6)])
def test_any_history_keeps_shapes_and_adds_up(seed):
    print(f"seed {seed}")
    with sandbox_in_process() as sandbox:
        history = History(sandbox, seed)
        for _ in range(1200):
            history.step()
        for kind in KINDS:
            for item in sandbox.objects(kind):
                name = f"deleted_{kind}" if item.get("deleted") else kind
                shapes.validate(name, item)
        check_money(sandbox)
        check_disputes(sandbox)
        check_setups(sandbox)


def check_disputes(sandbox):
    """What a dispute holds is what it took, and no charge loses more than it brought."""
    taken = {"needs_response", "under_review", "lost"}
    for dispute in sandbox.objects("dispute"):
        nets = [one["net"] for one in dispute["balance_transactions"]]
        held = -(dispute["amount"] + 1500) if dispute["status"] in taken else 0
        assert sum(nets) == held, dispute
        assert sandbox.get(dispute["charge"])["disputed"]
    for charge in sandbox.objects("charge"):
        lost = sum(one["amount"] for one in sandbox.objects("dispute")
                   if one["charge"] == charge["id"] and one["status"] in taken)
        assert lost <= charge["amount_captured"]


def check_setups(sandbox):
    """A setup intent that succeeded has its method with its customer, one that failed has none."""
    for intent in sandbox.objects("setup_intent"):
        if intent["status"] == "succeeded":
            assert sandbox.get(intent["latest_attempt"])["status"] == "succeeded"
        assert (intent["next_action"] is not None) == (intent["status"] == "requires_action")
    for attempt in sandbox.objects("setup_attempt"):
        sandbox.get(attempt["setup_intent"])


def check_money(sandbox):
    """Captured, refunded and booked amounts agree, charge by charge and in the balance."""
    booked = {one["source"]: one for one in sandbox.objects("balance_transaction")
              if one["type"] == "charge"}
    refunds = sandbox.objects("refund")
    for charge in sandbox.objects("charge"):
        assert charge["captured"] == (charge["id"] in booked)
        own = [one for one in refunds
               if one["charge"] == charge["id"] and one["status"] not in ("failed", "canceled")]
        assert charge["amount_refunded"] == sum(one["amount"] for one in own)
        assert charge["amount_captured"] <= charge["amount"]
        if charge["captured"]:
            transaction = booked[charge["id"]]
            assert transaction["amount"] == charge["amount_captured"]
            assert transaction["fee"] == money.fee_minor(charge["amount_captured"])
    for intent in sandbox.objects("payment_intent"):
        paid = [one for one in sandbox.objects("charge")
                if one["payment_intent"] == intent["id"] and one["paid"]]
        assert len(paid) <= 1
        assert intent["amount_received"] == sum(one["amount_captured"] for one in paid)
    for session in sandbox.objects("checkout.session"):
        if session["payment_status"] == "paid":
            assert sandbox.get(session["payment_intent"])["amount_received"] == (
                session["amount_total"]
            )
