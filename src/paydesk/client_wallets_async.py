"""client_wallets, each method in a thread. Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from paydesk import client_wallets
from paydesk.client_parts import CustomerRef, PackRef
from paydesk.client_threads import AsyncListing, Threads
from paydesk.client_wallets import HoldRef, WithdrawalRef
from paydesk.flows.holds import Hold as HoldView
from paydesk.flows.rates import Imported
from paydesk.flows.wallet_history import Statement as WalletStatement
from paydesk.flows.wallet_history import WalletLine
from paydesk.flows.wallet_moves import Conversion, Quote
from paydesk.flows.wallet_moves import Transferred as MoneyTransferred
from paydesk.flows.wallets import Wallet
from paydesk.flows.withdrawals import Withdrawal
from paydesk.results import Payment
from paydesk.rules.money import Money
from paydesk.rules.rates import Rate


class AsyncWallets:
    """Money that customers keep with us, a wallet for each currency."""

    def __init__(self, threads: Threads, part: client_wallets.Wallets) -> None:
        self._threads = threads
        self._part = part

    async def balance(self, customer: CustomerRef, currency: str) -> Money:
        """What the customer can use now; nothing where there is no such wallet."""
        return await self._threads.run(self._part.balance, customer, currency)

    async def get(self, customer: CustomerRef, currency: str) -> Wallet:
        """The wallet of this currency, made when absent."""
        return await self._threads.run(self._part.get, customer, currency)

    def list(self, customer: CustomerRef) -> AsyncListing[Wallet]:
        """All wallets of a customer, by currency."""
        return AsyncListing(self._threads, self._part.list(customer))

    def history(
        self,
        customer: CustomerRef,
        currency: str,
        *,
        kind: str | None = None,
        limit: int | None = None,
    ) -> AsyncListing[WalletLine]:
        """What changed a wallet, newest first. `kind`: one type, such as WALLET_DEPOSIT."""
        return AsyncListing(self._threads, self._part.history(
            customer, currency, kind=kind, limit=limit,
        ))  # fmt: skip

    async def statement(
        self,
        customer: CustomerRef,
        currency: str,
        *,
        start: str | date | datetime | None = None,
        end: str | date | datetime | None = None,
        last: str | None = None,
        time_zone: str | None = None,
    ) -> WalletStatement:
        """A wallet over a range of time (the last 30 days): the balance before and after it, and
        every line between, also as `.csv()`."""
        return await self._threads.run(
            self._part.statement, customer, currency, start=start, end=end, last=last,
            time_zone=time_zone,
        )  # fmt: skip

    async def pay(
        self,
        customer: CustomerRef,
        *,
        pack: PackRef | None = None,
        credits: int | None = None,
        item: Any = None,
        quantity: int = 1,
        service: Any = None,
        amount: Money | None = None,
        promo: str | None = None,
        description: str | None = None,
        reference: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Payment:
        """Pay an order from the wallet of its currency, handed over at once. Raises
        InsufficientFunds with `needed` and `balance`, and then nothing happened."""
        return await self._threads.run(
            self._part.pay, customer, pack=pack, credits=credits, item=item, quantity=quantity,
            service=service, amount=amount, promo=promo, description=description,
            reference=reference, metadata=metadata, key=key,
        )  # fmt: skip

    async def transfer(
        self,
        source: CustomerRef,
        target: CustomerRef,
        amount: Money,
        *,
        reference: str | None = None,
        note: str | None = None,
        by: str | None = None,
        key: str | None = None,
    ) -> MoneyTransferred:
        """Move money between customers, where the policy allows it. Above a threshold it is
        `requested`, and somebody else than `by` decides its `withdrawal_id`. Raises
        TransferNotAllowed."""
        return await self._threads.run(
            self._part.transfer, source, target, amount, reference=reference, note=note, by=by,
            key=key,
        )  # fmt: skip

    async def quote(self, amount: Money, to: str) -> Quote:
        """What an amount would become in another currency now. Raises NoRate."""
        return await self._threads.run(self._part.quote, amount, to)

    async def convert(
        self,
        customer: CustomerRef,
        amount: Money,
        to: str,
        *,
        quote: Quote | None = None,
        key: str | None = None,
    ) -> Conversion:
        """Make money of one wallet money of another at the stored rate; at a `quote`'s, or
        Conflict where it holds no more. Raises NoRate, InsufficientFunds."""
        return await self._threads.run(
            self._part.convert, customer, amount, to, quote=quote, key=key,
        )  # fmt: skip

    async def withdraw(
        self,
        customer: CustomerRef,
        amount: Money,
        destination: str,
        *,
        by: str,
        metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Withdrawal:
        """Set money aside to be paid out; above a threshold somebody else than `by` decides."""
        return await self._threads.run(
            self._part.withdraw, customer, amount, destination, by=by, metadata=metadata, key=key,
        )  # fmt: skip

    def withdrawals(
        self,
        customer: CustomerRef | None = None,
        *,
        state: str | None = None,
        limit: int | None = None,
    ) -> AsyncListing[Withdrawal]:
        """Withdrawals and transfers that wait or waited, newest first, one customer's or all."""
        return AsyncListing(self._threads, self._part.withdrawals(
            customer, state=state, limit=limit,
        ))  # fmt: skip

    async def decide(
        self,
        withdrawal: WithdrawalRef,
        decision: str,
        *,
        by: str,
        note: str | None = None,
    ) -> Withdrawal:
        """`approve` or `reject` a withdrawal, or a transfer, which is moved by it. Raises
        ApprovalRequired for who asked for it."""
        return await self._threads.run(self._part.decide, withdrawal, decision, by=by, note=note)

    async def mark_paid(self, withdrawal: WithdrawalRef, reference: str, *, by: str) -> Withdrawal:
        """The money of an approved withdrawal was sent under this reference."""
        return await self._threads.run(self._part.mark_paid, withdrawal, reference, by=by)

    async def cancel(self, withdrawal: WithdrawalRef, *, by: str) -> Withdrawal:
        """Take a withdrawal back that is not paid; its money is in the wallet again."""
        return await self._threads.run(self._part.cancel, withdrawal, by=by)

    async def freeze(
        self,
        customer: CustomerRef,
        currency: str,
        *,
        by: str,
        reason: str | None = None,
    ) -> Wallet:
        """Let nothing leave a wallet until it is opened again."""
        return await self._threads.run(self._part.freeze, customer, currency, by=by, reason=reason)

    async def unfreeze(
        self,
        customer: CustomerRef,
        currency: str,
        *,
        by: str,
        reason: str | None = None,
    ) -> Wallet:
        """Open a frozen or closed wallet again."""
        return await self._threads.run(
            self._part.unfreeze, customer, currency, by=by, reason=reason,
        )  # fmt: skip

    async def close(
        self,
        customer: CustomerRef,
        currency: str,
        *,
        by: str,
        reason: str | None = None,
    ) -> Wallet:
        """Close an empty wallet. Raises Conflict where it is not empty."""
        return await self._threads.run(self._part.close, customer, currency, by=by, reason=reason)


class AsyncRates:
    """Exchange rates."""

    def __init__(self, threads: Threads, part: client_wallets.Rates) -> None:
        self._threads = threads
        self._part = part

    async def enter(
        self,
        base: str,
        quote: str,
        rate: str | int | Decimal,
        *,
        by: str | None = None,
        at: datetime | None = None,
    ) -> Rate:
        """One unit of `base` is worth `rate` units of `quote` from `at` (now) on."""
        return await self._threads.run(self._part.enter, base, quote, rate, by=by, at=at)

    async def import_ecb(
        self,
        data: bytes,
        *,
        by: str | None = None,
        since: date | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Imported:
        """Store a file of euro reference rates (XML, CSV or the ZIP of one); safe to repeat.
        `progress` is told how many rates are done, and of how many."""
        return await self._threads.run(
            self._part.import_ecb, data, by=by, since=since, progress=progress,
        )  # fmt: skip

    async def latest(self, base: str, quote: str) -> Rate:
        """The stored rate that serves this pair now, in whichever direction. Raises NoRate."""
        return await self._threads.run(self._part.latest, base, quote)

    def list(
        self,
        *,
        base: str | None = None,
        quote: str | None = None,
        limit: int | None = None,
    ) -> AsyncListing[Rate]:
        """Stored rates, newest first."""
        return AsyncListing(self._threads, self._part.list(base=base, quote=quote, limit=limit))


class AsyncHolds:
    """What was set aside by `pay.hold(...)`, by its id: for the process that ends it later."""

    def __init__(self, threads: Threads, part: client_wallets.Holds) -> None:
        self._threads = threads
        self._part = part

    async def get(self, hold: HoldRef) -> HoldView:
        """A hold as it stands. Raises NotFound."""
        return await self._threads.run(self._part.get, hold)

    def list(
        self,
        customer: CustomerRef,
        *,
        state: str | None = None,
        limit: int | None = None,
    ) -> AsyncListing[HoldView]:
        """A customer's holds, newest first; `state` open or closed."""
        return AsyncListing(self._threads, self._part.list(customer, state=state, limit=limit))

    async def capture(
        self,
        hold: HoldRef,
        amount: int | Money | None = None,
        *,
        final: bool = True,
        key: str | None = None,
    ) -> HoldView:
        """Use all of it or a part; the rest goes back, or, without `final`, stays set aside for
        captures to come. Raises HoldClosed."""
        return await self._threads.run(self._part.capture, hold, amount, final=final, key=key)

    async def release(self, hold: HoldRef, *, key: str | None = None) -> HoldView:
        """Give back what is left of it. Raises HoldClosed."""
        return await self._threads.run(self._part.release, hold, key=key)
