"""The library's front for wallets, rates and holds: `pay.wallets`, `pay.rates`, `pay.hold`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from types import TracebackType
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.client_parts import CustomerRef, PackRef, _as_is, _Part, id_of, request_key
from paydesk.env import Env
from paydesk.errors import HoldClosed, InvalidRequest, NotFound, PaydeskError
from paydesk.flows import (
    customers,
    heads,
    holds,
    rates,
    wallet_history,
    wallet_moves,
    wallet_payments,
    wallets,
    withdrawals,
)
from paydesk.flows.checkout import StartCheckout
from paydesk.flows.holds import Hold as HoldView
from paydesk.flows.rates import Imported
from paydesk.flows.wallet_history import Statement as WalletStatement
from paydesk.flows.wallet_history import WalletLine
from paydesk.flows.wallet_moves import Conversion, Quote
from paydesk.flows.wallet_moves import Transferred as MoneyTransferred
from paydesk.flows.wallets import Wallet
from paydesk.flows.withdrawals import Withdrawal
from paydesk.logger import get_logger
from paydesk.results import Listing, Payment
from paydesk.rules.ledger import CREDIT
from paydesk.rules.money import Money, currency_code
from paydesk.rules.rates import Rate

log = get_logger(__name__)

#: A withdrawal: its id (`wd_…`), or the object.
WithdrawalRef = str | UUID | Withdrawal
#: A hold: its id (`hold_…`), or the object.
HoldRef = str | UUID | HoldView


class Wallets(_Part):
    """Money that customers keep with us, a wallet for each currency."""

    def balance(self, customer: CustomerRef, currency: str) -> Money:
        """What the customer can use now; nothing where there is no such wallet."""
        customer_id, code = customers.resolve(self._env, customer), currency_code(currency)
        with self._env.db.read() as tx:
            return wallets.balance(tx, customer_id, code)

    def get(self, customer: CustomerRef, currency: str) -> Wallet:
        """The wallet of this currency, made when absent."""
        return wallets.make(self._env, customers.resolve(self._env, customer), currency)

    def list(self, customer: CustomerRef) -> Listing[Wallet]:
        """All wallets of a customer, by currency."""

        def page(last: Wallet | None, n: int) -> Any:
            customer_id = customers.resolve(self._env, customer)
            with self._env.db.read() as tx:
                return [] if last else wallets.list_(tx, customer_id)

        return Listing(page, _as_is)

    def history(
        self, customer: CustomerRef, currency: str, *, kind: str | None = None,
        limit: int | None = None,
    ) -> Listing[WalletLine]:  # fmt: skip
        """What changed a wallet, newest first. `kind`: one type, such as WALLET_DEPOSIT."""

        def page(last: Any, n: int) -> Any:
            customer_id, code = customers.resolve(self._env, customer), currency_code(currency)
            before = last.seq if last else None
            with self._env.db.read() as tx:
                return wallet_history.history(
                    tx, customer_id, code, limit=n, before_seq=before, kind=kind
                )

        return Listing(page, _as_is, limit)

    def statement(
        self, customer: CustomerRef, currency: str, *,
        start: str | date | datetime | None = None, end: str | date | datetime | None = None,
        last: str | None = None, time_zone: str | None = None,
    ) -> WalletStatement:  # fmt: skip
        """A wallet over a range of time (the last 30 days): the balance before and after it, and
        every line between, also as `.csv()`."""
        return wallet_history.statement(
            self._env, customers.resolve(self._env, customer), currency, start=start, end=end,
            last=last, time_zone=time_zone,
        )  # fmt: skip

    def pay(
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
        wanted = StartCheckout(
            customer_id=customers.resolve(self._env, customer), pack=pack, credits=credits,
            item=item, quantity=quantity, service=service, amount=amount, promo=promo,
            description=description, reference=reference, metadata=metadata or {},
            request_key=request_key(key),
        )  # fmt: skip
        return Payment.of(wallet_payments.pay(self._env, wanted))

    def transfer(
        self, source: CustomerRef, target: CustomerRef, amount: Money, *,
        reference: str | None = None, note: str | None = None, by: str | None = None,
        key: str | None = None,
    ) -> MoneyTransferred:  # fmt: skip
        """Move money between customers, where the policy allows it. Above a threshold it is
        `requested`, and somebody else than `by` decides its `withdrawal_id`. Raises
        TransferNotAllowed."""
        to_id = customers.ensure(self._env, target, create=False).uuid
        return wallet_moves.transfer_now(
            self._env, customers.resolve(self._env, source), to_id, amount, reference=reference,
            note=note, by=by, request_key=request_key(key),
        )  # fmt: skip

    def quote(self, amount: Money, to: str) -> Quote:
        """What an amount would become in another currency now. Raises NoRate."""
        return wallet_moves.quote(self._env, amount, to)

    def convert(
        self, customer: CustomerRef, amount: Money, to: str, *, quote: Quote | None = None,
        key: str | None = None,
    ) -> Conversion:  # fmt: skip
        """Make money of one wallet money of another at the stored rate; at a `quote`'s, or
        Conflict where it holds no more. Raises NoRate, InsufficientFunds."""
        return wallet_moves.convert_now(
            self._env, customers.resolve(self._env, customer), amount, to,
            rate_id=quote.rate.id if quote else None,
            margin_bps=quote.margin_bps if quote else None, request_key=request_key(key),
        )  # fmt: skip

    def withdraw(
        self, customer: CustomerRef, amount: Money, destination: str, *, by: str,
        metadata: Mapping[str, Any] | None = None, key: str | None = None,
    ) -> Withdrawal:  # fmt: skip
        """Set money aside to be paid out; above a threshold somebody else than `by` decides."""
        return withdrawals.request(
            self._env, customers.resolve(self._env, customer), amount, destination, by=by,
            metadata=metadata, request_key=request_key(key),
        )  # fmt: skip

    def withdrawals(
        self, customer: CustomerRef | None = None, *, state: str | None = None,
        limit: int | None = None,
    ) -> Listing[Withdrawal]:  # fmt: skip
        """Withdrawals and transfers that wait or waited, newest first, one customer's or all."""

        def page(last: Withdrawal | None, n: int) -> Any:
            owner = None if customer is None else customers.resolve(self._env, customer)
            with self._env.db.read() as tx:
                return withdrawals.list_(
                    tx, owner, state=state, limit=n, after=last.id if last else None
                )

        return Listing(page, _as_is, limit)

    def decide(
        self, withdrawal: WithdrawalRef, decision: str, *, by: str, note: str | None = None
    ) -> Withdrawal:
        """`approve` or `reject` a withdrawal, or a transfer, which is moved by it. Raises
        ApprovalRequired for who asked for it."""
        return withdrawals.decide(
            self._env, *_owned("withdrawal", withdrawal), decision, by=by, note=note
        )

    def mark_paid(self, withdrawal: WithdrawalRef, reference: str, *, by: str) -> Withdrawal:
        """The money of an approved withdrawal was sent under this reference."""
        return withdrawals.mark_paid(
            self._env, *_owned("withdrawal", withdrawal), reference, by=by
        )

    def cancel(self, withdrawal: WithdrawalRef, *, by: str) -> Withdrawal:
        """Take a withdrawal back that is not paid; its money is in the wallet again."""
        return withdrawals.cancel(
            self._env, *_owned("withdrawal", withdrawal), by=by, is_staff=True
        )

    def freeze(
        self, customer: CustomerRef, currency: str, *, by: str, reason: str | None = None
    ) -> Wallet:
        """Let nothing leave a wallet until it is opened again."""
        return self._state(customer, currency, "freeze", by, reason)

    def unfreeze(
        self, customer: CustomerRef, currency: str, *, by: str, reason: str | None = None
    ) -> Wallet:
        """Open a frozen or closed wallet again."""
        return self._state(customer, currency, "unfreeze", by, reason)

    def close(
        self, customer: CustomerRef, currency: str, *, by: str, reason: str | None = None
    ) -> Wallet:
        """Close an empty wallet. Raises Conflict where it is not empty."""
        return self._state(customer, currency, "close", by, reason)

    def _state(
        self, customer: CustomerRef, currency: str, action: str, by: str, reason: str | None
    ) -> Wallet:
        customer_id, code = customers.resolve(self._env, customer), currency_code(currency)
        with self._env.db.read() as tx:
            found = wallets.of(tx, customer_id, code)
        if found is None:
            raise NotFound(f"This customer has no wallet in {code.upper()}.")
        return wallets.set_state(
            self._env, customer_id, found.id, action, actor=by, reason=reason
        )


class Rates(_Part):
    """Exchange rates."""

    def enter(
        self, base: str, quote: str, rate: str | int | Decimal, *, by: str | None = None,
        at: datetime | None = None,
    ) -> Rate:  # fmt: skip
        """One unit of `base` is worth `rate` units of `quote` from `at` (now) on."""
        return rates.enter(self._env, base, quote, rate, by=by, at=at)

    def import_ecb(
        self, data: bytes, *, by: str | None = None, since: date | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Imported:  # fmt: skip
        """Store a file of euro reference rates (XML, CSV or the ZIP of one); safe to repeat.
        `progress` is told how many rates are done, and of how many."""
        return rates.import_ecb(self._env, data, by=by, since=since, progress=progress)

    def latest(self, base: str, quote: str) -> Rate:
        """The stored rate that serves this pair now, in whichever direction. Raises NoRate."""
        with self._env.db.read() as tx:
            return rates.latest(
                tx, currency_code(base), currency_code(quote), self._env.now(),
                max_age_days=self._env.settings.rate_max_age_days,
            )  # fmt: skip

    def list(
        self, *, base: str | None = None, quote: str | None = None, limit: int | None = None
    ) -> Listing[Rate]:
        """Stored rates, newest first."""

        def page(last: Rate | None, n: int) -> Any:
            with self._env.db.read() as tx:
                return rates.list_(
                    tx, base=base, quote=quote, limit=n, after=last.id if last else None
                )

        return Listing(page, _as_is, limit)


class Holds(_Part):
    """What was set aside by `pay.hold(...)`, by its id: for the process that ends it later."""

    def get(self, hold: HoldRef) -> HoldView:
        """A hold as it stands. Raises NotFound."""
        with self._env.db.read() as tx:
            return holds.get(tx, *_owned("hold", hold))

    def list(
        self, customer: CustomerRef, *, state: str | None = None, limit: int | None = None
    ) -> Listing[HoldView]:
        """A customer's holds, newest first; `state` open or closed."""

        def page(last: HoldView | None, n: int) -> Any:
            customer_id = customers.resolve(self._env, customer)
            with self._env.db.read() as tx:
                return holds.list_(
                    tx, customer_id, state=state, limit=n, after=last.id if last else None
                )

        return Listing(page, _as_is, limit)

    def capture(
        self, hold: HoldRef, amount: int | Money | None = None, *, final: bool = True,
        key: str | None = None,
    ) -> HoldView:  # fmt: skip
        """Use all of it or a part; the rest goes back, or, without `final`, stays set aside for
        captures to come. Raises HoldClosed."""
        owner, hold_id = _owned("hold", hold)
        if isinstance(amount, Money):
            amount = _minor_of(self.get(hold), amount)
        return holds.capture_now(
            self._env, owner, hold_id, amount, is_final=final, request_key=request_key(key)
        )

    def release(self, hold: HoldRef, *, key: str | None = None) -> HoldView:
        """Give back what is left of it. Raises HoldClosed."""
        return holds.release_now(
            self._env, *_owned("hold", hold), request_key=request_key(key)
        )


class Hold:
    """Credits, or money of a wallet, set aside: `with pay.hold(...) as hold: hold.capture(n)`.

    What was not captured when the block ends, or fails, is released. `amount`, `captured` and
    `left` are whole credits, or Money.
    """

    def __init__(self, env: Env, view: HoldView) -> None:
        self._env = env
        self._view = view

    @property
    def id(self) -> str:
        return ids.show("hold", self._view.id)

    @property
    def amount(self) -> int | Money:
        return self._shown(self._view.amount)

    @property
    def captured(self) -> int | Money:
        return self._shown(self._view.captured)

    @property
    def left(self) -> int | Money:
        """What is still set aside."""
        return self._shown(self._view.left)

    @property
    def status(self) -> str:
        """open, captured, released or expired."""
        return self._view.status(heads.now(self._env, self._view.customer_id))

    @property
    def expires_at(self) -> datetime:
        """From this instant on nothing can be captured."""
        return self._view.expires_at

    def capture(self, amount: int | Money | None = None, *, final: bool = True) -> Hold:
        """Use all of it or a part; the rest goes back at once, or, without `final`, stays set
        aside for captures to come. Raises HoldClosed."""
        minor = _minor_of(self._view, amount) if isinstance(amount, Money) else amount
        view = self._view
        self._view = holds.capture_now(
            self._env, view.customer_id, view.id, minor, is_final=final
        )
        return self

    def release(self) -> Hold:
        """Give back what is left of it. Raises HoldClosed."""
        view = self._view
        self._view = holds.release_now(self._env, view.customer_id, view.id)
        return self

    def __enter__(self) -> Hold:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._view.state != "open":
            return
        try:
            self.release()
        except HoldClosed:  # Its time is over, or another process has ended it.
            return
        except PaydeskError as failed:
            if exc is None:
                raise
            log.warning("a hold is left to expire", hold=self.id, why=repr(failed)[:300])

    def _shown(self, amount: int) -> int | Money:
        asset = self._view.asset
        return amount if asset == CREDIT else Money(amount, asset, minor=True)

    def __repr__(self) -> str:
        return f"<Hold {self.id} {self.status} {self.amount}>"


def begin_hold(
    env: Env, customer: CustomerRef, up_to: int | Money, *, reason: str | None,
    reference: str | None, minutes: int | None, metadata: Mapping[str, Any] | None,
    key: str | None,
) -> Hold:  # fmt: skip
    """Set aside now what `up_to` says: whole credits, or money of the customer's wallet."""
    amount, asset = (up_to.minor, up_to.currency) if isinstance(up_to, Money) else (up_to, CREDIT)
    view = holds.hold_now(
        env, customers.resolve(env, customer), amount, asset, reason=reason, reference=reference,
        minutes=minutes, metadata=metadata, request_key=request_key(key),
    )  # fmt: skip
    return Hold(env, view)


def _minor_of(view: HoldView, amount: Money) -> int:
    if amount.currency != view.asset:
        raise InvalidRequest(f"This hold is of {view.asset}.", param="amount")
    return amount.minor


def _owned(kind: str, ref: Any) -> tuple[UUID, UUID]:
    """(customer, object) of an id or an object."""
    value = id_of(ref)
    found = value if isinstance(value, UUID) else ids.parse(kind, value)
    return ids.customer_of(found), found
