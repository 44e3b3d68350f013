"""What a ProviderContract works with: the other side of a provider, and a desk that uses it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from paydesk.clock import FixedClock
from paydesk.env import Env
from paydesk.flows import checkout, credits, customers, inbox, payments
from paydesk.flows.checkout import CheckoutView, StartCheckout
from paydesk.providers.base import Provider
from paydesk.rules.money import Money
from paydesk.worker import Worker

#: Sweeps that bring a purchase to its end, in an order in which one's work can be the next's.
SWEEPS = ("provider_calls", "inbox", "fulfillment", "sessions")

Delivery = tuple[bytes, Mapping[str, str]]


class ProviderBench:
    """The other side of a provider in a test: its server, its payers and its webhooks.

    A subclass gives `provider` and `settings`, and as much of the rest as the provider can;
    what it leaves out skips the tests that need it.
    """

    #: The provider's name, as in `@provider("teller")`.
    provider: str = ""
    #: What is sold, in a currency that it takes.
    price = Money("12.50", "usd")
    #: A currency in which a payer can come although another was asked; None: none can.
    other_currency: str | None = None
    #: Whether a payer can come with another sum than the one asked.
    pays_any_amount = True
    #: What must stand in no error.
    secrets: tuple[str, ...] = ()

    def settings(self) -> dict[str, Any]:
        """What Paydesk is told, by the names of `Settings`."""
        raise TypeError(f"{type(self).__name__} needs settings()")

    def opened(self, env: Env) -> None:
        """The environment is there, for a bench whose payers come through flows of ours."""

    def pay(self, ref: str, amount: Money) -> None:
        """The payer pays the session `ref` with this amount."""
        raise TypeError(f"{type(self).__name__} needs pay()")

    def deliveries(self, ref: str) -> list[Delivery]:
        """Every webhook sent about the session so far, oldest first, as (body, headers)."""
        raise TypeError(f"{type(self).__name__} needs deliveries()")

    def lose_answer(self) -> None:
        """The next request that makes something is carried out, and nobody hears of it."""
        pytest.skip(f"{type(self).__name__} loses no answers")

    def echo_secrets(self) -> None:
        """Until the end every request is refused with a sentence that repeats its credentials."""
        pytest.skip(f"{type(self).__name__} repeats no credentials")

    def sessions(self) -> int:
        """How many sessions can be paid or were."""
        raise TypeError(f"{type(self).__name__} needs sessions()")

    def refunds(self) -> int:
        """How many refunds the provider has."""
        raise TypeError(f"{type(self).__name__} needs refunds()")

    def close(self) -> None:
        """Stop the server."""


@dataclass
class ContractDesk:
    """A desk that sells one pack through the provider under test."""

    env: Env
    bench: ProviderBench
    clock: FixedClock

    @property
    def name(self) -> str:
        return self.bench.provider

    @property
    def provider(self) -> Provider:
        return self.env.providers[self.name]

    def can(self, word: str) -> bool:
        return word in self.provider.can

    def ask(self, method: str, *args: Any, **more: Any) -> Any:
        """A method of the provider, sync or async, without a circuit."""
        return run(getattr(self.provider, method), *args, **more)

    def open(self, user: Any = None, **more: Any) -> CheckoutView:
        user = user or customers.ensure(self.env, f"user_{uuid4().hex[:12]}")
        return checkout.start(
            self.env,
            StartCheckout(customer_id=user.uuid, pack="creator", provider=self.name, **more),
        )

    def pay(self, view: CheckoutView, amount: Money | None = None) -> None:
        self.bench.pay(view.payment.session_ref or "", amount or self.bench.price)

    def verify(self, view: CheckoutView) -> payments.PaymentView:
        checkout.verify(self.env, view.payment.id)
        return self.payment(view)

    def settle(self, view: CheckoutView) -> payments.PaymentView:
        """Bring the payment to its end the way this provider does: asked, told or swept."""
        if self.can("fetch"):
            return self.verify(view)
        self.sweep()
        return self.payment(view)

    def receive(self, delivery: Delivery) -> list[inbox.Received]:
        return inbox.receive(self.env, self.name, *delivery)

    def payment(self, view: CheckoutView) -> payments.PaymentView:
        return payments.get(self.env, view.customer_id, view.payment.id)

    def sweep(self, *names: str) -> None:
        worker = Worker(self.env)
        for name in names or SWEEPS:
            worker.run_once(name)

    def standing(self, view: CheckoutView) -> tuple[Any, ...]:
        """(state, captured minor units, review, credits, postings of money) of a purchase."""
        one = self.payment(view)
        with self.env.db.read() as tx:
            balance = credits.balance_total(tx, view.customer_id, self.env.now())
            captures = tx.value(
                "select count(*) from transfers where customer_id = %(c)s"
                " and reason = 'PAYMENT_CAPTURE'",
                {"c": view.customer_id},
            )
        return one.state, one.captured.minor, one.review, balance, captures

    def stored_events(self) -> int:
        with self.env.db.read() as tx:
            return tx.value("select count(*) from provider_events")


def run(method: Callable[..., Any], *args: Any, **more: Any) -> Any:
    """Call a method that may be async."""
    answer = method(*args, **more)
    return asyncio.run(_awaited(answer)) if inspect.isawaitable(answer) else answer


async def _awaited(answer: Any) -> Any:
    return await answer
