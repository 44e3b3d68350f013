"""What tests share of subscriptions that Stripe runs: its clock, its events, its dashboard."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from http_support import Client

from paydesk.flows import customers, provider_customers


class StripeRun:
    """A user whom Stripe knows, on a clock there. Its events come to `path` when a test says so.

    The user's subscription there is the only one.
    """

    def __init__(
        self, sim: Any, client: Client, clock: Any, path: str, user: str = "user_123"
    ) -> None:
        self.sim, self.client, self.clock, self.path = sim, client, clock, path
        self._heard: set[str] = set()
        clock.set(datetime.now(UTC).replace(microsecond=0))  # Its page lasts by its own clock.
        who = customers.ensure(client.env, user)
        frozen = {"frozen_time": int(clock.now().timestamp())}
        self.clock_id = sim.request("POST", "/v1/test_helpers/test_clocks", frozen)["id"]
        told = {"metadata": {"customer_id": who.id}, "test_clock": self.clock_id}
        ref = sim.request("POST", "/v1/customers", told)["id"]
        with client.env.db.transaction(who.uuid) as tx:
            provider_customers.keep(tx, [(who.uuid, "stripe", "", ref)])

    def subscription(self) -> dict[str, Any]:
        (found,) = self.sim.objects("subscription")
        return found

    def go_on(self, **time: Any) -> None:
        """Let time pass here and there; nobody hears of anything."""
        self.clock.advance(**time)
        self.sim.advance_clock(self.clock_id, int(self.clock.now().timestamp()))

    def deliver(self) -> set[str]:
        """Post what nobody heard of yet; answers the types of these events."""
        found = [one for one in self.sim.deliveries() if one.event_id not in self._heard]
        for one in found:
            sent = self.client.post(self.path, content=one.body, headers=one.headers)
            assert (sent.status_code, sent.json()) == (200, {"received": True}), sent.text
        self._heard |= {one.event_id for one in found}
        return {one.type for one in found}

    def reissue(self, card: str) -> None:
        """From now on the card that is charged answers as this test card does."""
        method = self.subscription()["default_payment_method"]

        def change(tx: Any) -> None:
            tx.put({**tx.get(method), "_card": card})

        self.sim.sim.store.call(change)

    def steer(self, verb: str, **told: Any) -> None:
        """What somebody does with the subscription in Stripe's dashboard."""
        self.sim.request(verb, f"/v1/subscriptions/{self.subscription()['id']}", told)
