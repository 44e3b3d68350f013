"""What tests of refunds share: buy, spend, refund, and look at the books."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from dataclasses import replace
from typing import Any

import stripe

from paydesk import ids
from paydesk.flows import credits, ledger, refunds
from paydesk.flows.refunds import WantRefund

CARDS = {"pm_card_refundFail": "4000000000005126", "pm_card_pendingRefund": "4000000000007726"}


class Refunding:
    """A desk whose payments are refunded."""

    def __init__(self, desk: Any) -> None:
        self.desk, self.sim = desk, desk.sim
        self.sdk = stripe.StripeClient(
            desk.sim.secret_key, base_addresses={"api": desk.sim.url}
        )
        self._numbers = itertools.count(1)

    @property
    def env(self) -> Any:
        return self.desk.env

    def use(self, **settings: Any) -> None:
        """Go on with other settings."""
        self.desk.env = replace(self.env, settings=replace(self.env.settings, **settings))
        self.desk.make.env = self.desk.env

    def bought(self, user: Any = None, card: str | None = None, **more: Any) -> Any:
        """A paid checkout of the pack: 150 credits for 9.99."""
        view = self.desk.open(user, **more)
        self.desk.pay(view, **({"card": CARDS[card]} if card else {}))
        self.desk.deliver(view)
        return view

    def spend(self, view: Any, amount: int) -> Any:
        found = credits.spend_now(self.env, credits.new_spend(view.customer_id, amount, "render"))
        return credits.raise_for(found)

    def refund(self, view: Any, amount: Any = None, *, key: str | None = None, **more: Any) -> Any:
        key = key or f"refund {next(self._numbers)}"
        told = {"customer_id": view.customer_id, "by": "rosa@example.com", **more}
        return refunds.request(
            self.env,
            WantRefund(
                payment_id=view.payment.id, amount=amount,
                request_key=ids.request_key("test", key),
                request_hash=hashlib.sha256(repr((amount, more.get("reason"))).encode()).digest(),
                **told,
            ),
        )  # fmt: skip

    def decide(self, found: Any, action: str, **more: Any) -> Any:
        return refunds.decide(self.env, found.customer_id, found.id, action, **more)

    def deliver(self, view: Any) -> None:
        """Hand over every webhook about the payment's refunds that the simulator has."""
        for one in self.sim.deliveries():
            if "refund" in one.type:
                self.desk.receive(one)

    def snapshots(self, view: Any) -> list[Any]:
        """The payment's refunds at the provider; where one failed later, as it was before too."""
        listed = self.env.providers.call(
            "stripe", "list_refunds", self.desk.payment(view).payment_ref
        )
        found = []
        for one in listed:
            if one.status == "failed":
                found.append(replace(one, status="succeeded", error_code=None))
            found.append(one)
        return found

    def apply(self, view: Any, remote: Any, path: str = "webhook") -> Any:
        account = self.env.providers["stripe"].account
        owner = (view.customer_id, view.payment.id)
        return refunds.apply_remote(self.env, "stripe", account, remote, owner, path)

    def accounts(self, view: Any, asset: str) -> dict[str, int]:
        """Every account that is not at zero."""
        rows = self.desk.all(
            "select code, balance from accounts where customer_id = %(c)s and asset = %(a)s"
            " and balance <> 0 order by code", c=view.customer_id, a=asset,
        )  # fmt: skip
        return dict(sorted((ledger.NAMES[r["code"]], r["balance"]) for r in rows))

    def cause(self, view: Any, type: str) -> dict[str, Any]:
        rows = self.desk.all(
            "select cause from events where customer_id = %(c)s and type = %(t)s",
            c=view.customer_id, t=type,
        )
        return rows[-1]["cause"]

    def quietly(self, task: Any, *errors: type[BaseException]) -> Any:
        with contextlib.suppress(*errors):
            return task()
