"""client_subscriptions, each method in a thread. Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from paydesk import client_subscriptions
from paydesk.client_methods import MethodRef
from paydesk.client_parts import CustomerRef
from paydesk.client_plans import PlanRef
from paydesk.client_subscriptions import ChangePreview, NewPreview, Subscription, SubscriptionRef
from paydesk.client_threads import AsyncListing, Threads
from paydesk.flows.subscription_views import Why


class AsyncSubscriptions:
    """Subscriptions that run, and what becomes of them."""

    def __init__(self, threads: Threads, part: client_subscriptions.Subscriptions) -> None:
        self._threads = threads
        self._part = part

    async def get(self, subscription: SubscriptionRef) -> Subscription:
        """One subscription. Raises NotFound."""
        return await self._threads.run(self._part.get, subscription)

    async def current(
        self,
        customer: CustomerRef,
        *,
        family: str | None = None,
    ) -> Subscription | None:
        """The customer's running subscription, of a family where there are several; None without
        one."""
        return await self._threads.run(self._part.current, customer, family=family)

    def list(
        self,
        customer: CustomerRef | None = None,
        *,
        status: str | None = None,
        plan: str | None = None,
        limit: int | None = None,
    ) -> AsyncListing[Subscription]:
        """Subscriptions, newest first: a customer's, or everybody's."""
        return AsyncListing(self._threads, self._part.list(
            customer, status=status, plan=plan, limit=limit,
        ))  # fmt: skip

    async def preview_new(
        self,
        customer: CustomerRef,
        plan: PlanRef,
        *,
        quantity: int = 1,
        currency: str | None = None,
        promo: str | None = None,
        trial_days: int | None = None,
        method: MethodRef | None = None,
        hosted: bool = False,
        provider: str | None = None,
        runner: str = 'paydesk',
        zone: str | None = None,
    ) -> NewPreview:
        """What `subscribe` with the same arguments would cost first, and next; nothing is written
        or reserved. Raises as `subscribe`; NotSupported for a `runner` that reckons it itself."""
        return await self._threads.run(
            self._part.preview_new, customer, plan, quantity=quantity, currency=currency,
            promo=promo, trial_days=trial_days, method=method, hosted=hosted, provider=provider,
            runner=runner, zone=zone,
        )  # fmt: skip

    async def preview(
        self,
        subscription: SubscriptionRef,
        *,
        plan: PlanRef | None = None,
        quantity: int | None = None,
        at: str | None = None,
    ) -> ChangePreview:
        """What a change of plan or seats would cost; nothing changes. `at`: now or period_end,
        else as the plan has it."""
        return await self._threads.run(
            self._part.preview, subscription, plan=plan, quantity=quantity, at=at,
        )  # fmt: skip

    async def change(
        self,
        subscription: SubscriptionRef,
        *,
        plan: PlanRef | None = None,
        quantity: int | None = None,
        at: str | None = None,
        expect: ChangePreview | str | None = None,
        return_url: str | None = None,
        key: str | None = None,
    ) -> Subscription:
        """Change plan or seats. With `expect`, a preview of the last hour, it is refused where it
        would cost another sum by now. What it costs is charged at once; where that fails nothing
        changes. Where a bank asks its holder first, send him to the answer's `url`, which leads
        back to `return_url`; until then the old plan runs.

        Raises PreviewOutdated, PaymentFailed, PaymentMethodNotUsable, InvalidRequest, Conflict.
        """
        return await self._threads.run(
            self._part.change, subscription, plan=plan, quantity=quantity, at=at, expect=expect,
            return_url=return_url, key=key,
        )  # fmt: skip

    async def drop_change(self, subscription: SubscriptionRef) -> Subscription:
        """Take back the change that waits, for the period's end or for its payment: that is ended
        at the provider first. Where its money came before that the answer has the new plan.
        Nothing is done where nothing waits. Raises PaymentInFlight, ProviderUnavailable."""
        return await self._threads.run(self._part.drop_change, subscription)

    async def cancel(
        self,
        subscription: SubscriptionRef,
        *,
        at: str = 'period_end',
        reason: str | None = None,
        refund: str | None = None,
        by: str | None = None,
    ) -> Subscription:
        """End it at the period's end, or with `at="now"` at once, which shuts what it opens.
        `refund="unused"` then gives back what was paid for the rest."""
        return await self._threads.run(
            self._part.cancel, subscription, at=at, reason=reason, refund=refund, by=by,
        )  # fmt: skip

    async def reactivate(self, subscription: SubscriptionRef) -> Subscription:
        """Take back a cancellation at the period's end, before it comes."""
        return await self._threads.run(self._part.reactivate, subscription)

    async def pause(
        self,
        subscription: SubscriptionRef,
        *,
        resume_at: datetime | None = None,
    ) -> Subscription:
        """Stop its time: nothing is billed and nothing is open until it is resumed."""
        return await self._threads.run(self._part.pause, subscription, resume_at=resume_at)

    async def resume(self, subscription: SubscriptionRef) -> Subscription:
        """Let its time run on; the period ends later by the pause."""
        return await self._threads.run(self._part.resume, subscription)

    async def set_method(
        self,
        subscription: SubscriptionRef,
        method: MethodRef | None,
    ) -> Subscription:
        """Charge this method from now on; None: whichever is the default."""
        return await self._threads.run(self._part.set_method, subscription, method)

    async def why(self, line: str | UUID) -> Why:
        """Why a line of an invoice is as it is: its rule, inputs, and the entries in the books.
        `explain()` says it in words. Raises NotFound."""
        return await self._threads.run(self._part.why, line)
