"""client_analytics, each method in a thread. Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paydesk import client_analytics
from paydesk.client_analytics import Frame, When
from paydesk.client_threads import Threads


class AsyncAnalytics:
    """Figures of a range: `start` and `end` (days, counted whole, or instants) or `last` ("30d",
    "12mo"), in the business's time zone or `tz`; by one of hour, day, week, month, year and further
    names. Without a range the last 30 days. Each raises InvalidRequest.
    """

    def __init__(self, threads: Threads, part: client_analytics.Analytics) -> None:
        self._threads = threads
        self._part = part

    async def payments(
        self,
        *,
        start: When | None = None,
        end: When | None = None,
        last: str | None = None,
        by: str | Sequence[str] | None = None,
        tz: str | None = None,
        currency: str | None = None,
        method: str | None = None,
        provider: str | None = None,
        country: str | None = None,
        money: str = 'minor',
    ) -> Frame:
        """Payments made: how many, how they ended, what they brought. By status, reason too."""
        return await self._threads.run(
            self._part.payments, start=start, end=end, last=last, by=by, tz=tz, currency=currency,
            method=method, provider=provider, country=country, money=money,
        )  # fmt: skip

    async def revenue(
        self,
        *,
        start: When | None = None,
        end: When | None = None,
        last: str | None = None,
        by: str | Sequence[str] | None = None,
        tz: str | None = None,
        currency: str | None = None,
        method: str | None = None,
        provider: str | None = None,
        country: str | None = None,
        money: str = 'minor',
    ) -> Frame:
        """What came in and went out, from the books: gross, refunds, disputes, fees, net."""
        return await self._threads.run(
            self._part.revenue, start=start, end=end, last=last, by=by, tz=tz, currency=currency,
            method=method, provider=provider, country=country, money=money,
        )  # fmt: skip

    async def credits(
        self,
        *,
        start: When | None = None,
        end: When | None = None,
        last: str | None = None,
        by: str | Sequence[str] | None = None,
        tz: str | None = None,
    ) -> Frame:
        """Credits issued, used, gone and outstanding."""
        return await self._threads.run(
            self._part.credits, start=start, end=end, last=last, by=by, tz=tz,
        )  # fmt: skip

    async def packs(
        self,
        *,
        start: When | None = None,
        end: When | None = None,
        last: str | None = None,
        by: str | Sequence[str] | None = None,
        tz: str | None = None,
        currency: str | None = None,
        money: str = 'minor',
    ) -> Frame:
        """What sold best: packs, items, services, top-ups."""
        return await self._threads.run(
            self._part.packs, start=start, end=end, last=last, by=by, tz=tz, currency=currency,
            money=money,
        )  # fmt: skip

    async def promos(
        self,
        *,
        start: When | None = None,
        end: When | None = None,
        last: str | None = None,
        by: str | Sequence[str] | None = None,
        tz: str | None = None,
        currency: str | None = None,
        money: str = 'minor',
    ) -> Frame:
        """What promo codes brought and cost."""
        return await self._threads.run(
            self._part.promos, start=start, end=end, last=last, by=by, tz=tz, currency=currency,
            money=money,
        )  # fmt: skip

    async def customers(
        self,
        *,
        start: When | None = None,
        end: When | None = None,
        last: str | None = None,
        by: str | Sequence[str] | None = None,
        tz: str | None = None,
        currency: str | None = None,
        money: str = 'minor',
        limit: int = 100,
    ) -> Frame:
        """Who pays: for the first time and again, how often; by customer, who paid most."""
        return await self._threads.run(
            self._part.customers, start=start, end=end, last=last, by=by, tz=tz, currency=currency,
            money=money, limit=limit,
        )  # fmt: skip

    async def methods(
        self,
        *,
        start: When | None = None,
        end: When | None = None,
        last: str | None = None,
        by: str | Sequence[str] | None = None,
        tz: str | None = None,
        currency: str | None = None,
        provider: str | None = None,
        country: str | None = None,
        money: str = 'minor',
    ) -> Frame:
        """How well each way to pay works; by reason, why tries were declined."""
        return await self._threads.run(
            self._part.methods, start=start, end=end, last=last, by=by, tz=tz, currency=currency,
            provider=provider, country=country, money=money,
        )  # fmt: skip

    async def risk(
        self,
        *,
        start: When | None = None,
        end: When | None = None,
        last: str | None = None,
        by: str | Sequence[str] | None = None,
        tz: str | None = None,
        money: str = 'minor',
    ) -> Frame:
        """What the risk rules decided, what people made of it, and disputes."""
        return await self._threads.run(
            self._part.risk, start=start, end=end, last=last, by=by, tz=tz, money=money,
        )  # fmt: skip

    async def refunds(
        self,
        *,
        start: When | None = None,
        end: When | None = None,
        last: str | None = None,
        by: str | Sequence[str] | None = None,
        tz: str | None = None,
        money: str = 'minor',
    ) -> Frame:
        """Refunds asked for, and why."""
        return await self._threads.run(
            self._part.refunds, start=start, end=end, last=last, by=by, tz=tz, money=money,
        )  # fmt: skip

    async def forecast(
        self,
        *,
        periods: int = 3,
        start: When | None = None,
        end: When | None = None,
        last: str | None = None,
        by: str | Sequence[str] | None = None,
        tz: str | None = None,
        currency: str | None = None,
        money: str = 'minor',
    ) -> Frame:
        """Net revenue of the next months, weeks or days, by what the range, or the years before,
        brought: `expected`, and from `low` to `high`."""
        return await self._threads.run(
            self._part.forecast, periods=periods, start=start, end=end, last=last, by=by, tz=tz,
            currency=currency, money=money,
        )  # fmt: skip

    async def mrr(
        self,
        *,
        start: When | None = None,
        end: When | None = None,
        last: str | None = None,
        by: str | Sequence[str] | None = None,
        tz: str | None = None,
        currency: str | None = None,
        money: str = 'minor',
        together: bool = False,
    ) -> Frame:
        """Monthly recurring revenue of subscriptions: opening, new, expansion, reactivation,
        contraction, churned, net and closing; by month of the last 12 where nothing is asked.
        `together`: all currencies, in US dollars."""
        return await self._threads.run(
            self._part.mrr, start=start, end=end, last=last, by=by, tz=tz, currency=currency,
            money=money, together=together,
        )  # fmt: skip

    async def churn(
        self,
        *,
        start: When | None = None,
        end: When | None = None,
        last: str | None = None,
        by: str | Sequence[str] | None = None,
        tz: str | None = None,
        currency: str | None = None,
        money: str = 'minor',
    ) -> Frame:
        """Customers and recurring revenue that were lost, and the rates of both; by month of the
        last 12 where nothing is asked."""
        return await self._threads.run(
            self._part.churn, start=start, end=end, last=last, by=by, tz=tz, currency=currency,
            money=money,
        )  # fmt: skip

    async def cohorts(
        self,
        *,
        start: When | None = None,
        end: When | None = None,
        last: str | None = None,
        by: str | Sequence[str] | None = None,
        tz: str | None = None,
        currency: str | None = None,
        money: str = 'minor',
        together: bool = False,
    ) -> Frame:
        """Customers by the month (or week, or year) in which they first paid for a subscription,
        and what is left of them and their recurring revenue at each `age` in months; those of the
        last 12 where nothing is asked. `together`: all currencies, in US dollars."""
        return await self._threads.run(
            self._part.cohorts, start=start, end=end, last=last, by=by, tz=tz, currency=currency,
            money=money, together=together,
        )  # fmt: skip

    async def trials(
        self,
        *,
        start: When | None = None,
        end: When | None = None,
        last: str | None = None,
        by: str | Sequence[str] | None = None,
        tz: str | None = None,
        plan: str | None = None,
    ) -> Frame:
        """What became of trials, by when they began; by month of the last 12 where nothing is
        asked. By plan too."""
        return await self._threads.run(
            self._part.trials, start=start, end=end, last=last, by=by, tz=tz, plan=plan,
        )  # fmt: skip

    async def subscriptions(
        self,
        *,
        start: When | None = None,
        end: When | None = None,
        last: str | None = None,
        by: str | Sequence[str] | None = None,
        tz: str | None = None,
        currency: str | None = None,
        plan: str | None = None,
        money: str = 'minor',
    ) -> Frame:
        """How many subscriptions stand by plan and state at the end of the range, or of each
        period, with their seats and recurring revenue."""
        return await self._threads.run(
            self._part.subscriptions, start=start, end=end, last=last, by=by, tz=tz,
            currency=currency, plan=plan, money=money,
        )  # fmt: skip

    async def attention(self) -> list[dict[str, Any]]:
        """What waits for a person, the worst first: `kind`, `tone` (bad, warn or info), `count` up
        to 99, `title`, `text`, `href` of its screen and `due_at`, the first deadline or None."""
        return await self._threads.run(self._part.attention)
