"""What a payment provider is: the words it answers in, and the one way it is called."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import hmac
import importlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from paydesk.db.postgres import in_transaction
from paydesk.errors import InvalidSignature, NotFound, PaydeskError
from paydesk.providers.billing import CLOCK_METHODS, Billing
from paydesk.providers.billing import METHODS as BILLING_METHODS
from paydesk.providers.circuit import AnswerUnclear as AnswerUnclear
from paydesk.providers.circuit import Circuit
from paydesk.providers.circuit import SlowDown as SlowDown
from paydesk.providers.options import provider_settings
from paydesk.providers.remote import Listed as Listed
from paydesk.providers.remote import RemoteDispute as RemoteDispute
from paydesk.providers.remote import RemoteMethod as RemoteMethod
from paydesk.providers.remote import RemoteRefund as RemoteRefund
from paydesk.providers.remote import RemoteSetup as RemoteSetup
from paydesk.rules.catalog_sync import Product
from paydesk.rules.money import Money
from paydesk.settings import Settings

#: Entry points under which installed packages offer providers.
ENTRY_POINTS = "paydesk.providers"
#: Providers of this package, imported on first use.
BUILT_IN = {
    "stripe": "paydesk.providers.stripe",
    "manual": "paydesk.providers.manual",
    "natcash": "paydesk.providers.natcash",
    "moncash": "paydesk.providers.moncash",
    "paypal": "paydesk.providers.paypal",
    "btcpay": "paydesk.providers.btcpay",
}

#: The words of `Provider.can`, and the methods that each promises.
ABILITIES: dict[str, tuple[str, ...]] = {
    "checkout": ("create_checkout",),
    "expire": ("expire_checkout",),
    "charge": ("charge",),
    "capture": ("capture",),
    "void": ("void",),
    "refund": ("refund", "fetch_refund", "list_refunds"),
    "fetch": ("fetch",),
    "search": ("search",),
    "webhooks": ("parse_webhook",),
    "customers": ("update_customer",),
    "methods": ("attach_method", "detach_method", "list_methods", "default_method"),
    "setup": ("create_setup", "fetch_setup"),
    "disputes": ("fetch_dispute",),
    "books": ("books",),
    "catalog": ("catalog_page", "save_product", "make_price", "set_price", "switch_price"),
    "billing": BILLING_METHODS,
    "clocks": CLOCK_METHODS,
    "offline": (),
    "by_hand": (),
}

#: Why money goes back, in the words that every provider understands.
REFUND_REASONS = ("requested_by_customer", "duplicate", "fraudulent", "other")


@dataclass(frozen=True, kw_only=True)
class OrderLine:
    """One line of what is bought. `amount` is for the whole line, after its discount."""

    name: str
    amount: Money
    quantity: int = 1


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a provider is asked to collect.

    `key` is the idempotency key: the same key and request never make a second session.
    `expires_in_s` is how long the session should stay payable. `request` is the provider's own
    body, built once by `checkout_request`, kept, and sent unchanged by every repeat.
    `provider_customer` is the provider's own id of the customer, where it has one. `at` is the
    present by the database's clock, None where only the machine's can be had. `save_method`: what
    is paid with is kept for charges while the customer is away.
    """

    id: str
    customer: str
    key: str
    amount: Money
    description: str
    lines: tuple[OrderLine, ...] = ()
    email: str | None = None
    success_url: str = ""
    cancel_url: str = ""
    expires_in_s: int = 1800
    metadata: Mapping[str, str] = field(default_factory=dict)
    request: Mapping[str, Any] | None = None
    provider_customer: str | None = None
    at: datetime | None = None
    save_method: bool = False


@dataclass(frozen=True, kw_only=True)
class RemoteCheckout:
    """A session that the provider opened. `expires_in`: seconds, where the provider says."""

    id: str
    url: str
    expires_in: int | None = None
    payment_ref: str | None = None
    account: str = ""
    #: The order's `provider_customer` where the provider has it no more and did without.
    gone_customer: str | None = None


@dataclass(frozen=True, kw_only=True)
class Charge:
    """How a payment stands at its provider.

    `status` is one of pending, processing, requires_action, authorized, succeeded, failed,
    expired, canceled. `amount` is what was captured when it is `succeeded`, what is held when
    `authorized`. `fact` names the capture: the same money always under the same word. `ended`
    says that no money can come through `ref` any more. `decline_ref` names a declined try.
    `provider_customer` is the provider's own id of who pays, `customer_id` ours.
    """

    ref: str
    status: str
    amount: Money | None = None
    fact: str | None = None
    ended: bool = False
    session_ref: str | None = None
    payment_ref: str | None = None
    payment_id: str | None = None
    customer_id: str | None = None
    provider_customer: str | None = None
    method: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    #: What the bank or its network advises after a decline: a word that rules/dunning knows.
    advice: str | None = None
    decline_ref: str | None = None
    account: str = ""
    livemode: bool | None = None
    #: What the payer has to open where `status` is requires_action, such as 3-D Secure.
    action_url: str | None = None
    #: What was paid with, as it may be kept: brand, last4, exp_month, exp_year, country, wallet
    #: (apple_pay, google_pay), the provider's id of the saved method.
    method_detail: Mapping[str, Any] | None = None
    #: What the provider kept for itself, once it is known.
    fee: Money | None = None
    #: The sum that went back as far as the provider says; a reason to look, never a posting.
    refunded: Money | None = None

    @property
    def capture_fact(self) -> str:
        """The word under which this capture is posted once."""
        return f"capture:{self.fact or self.payment_ref or self.ref}"


@dataclass(frozen=True, kw_only=True)
class ProviderEvent:
    """A provider's message. `charge` is what it claims, None where the provider must be asked.

    `kind` is `charge.updated`, `refund.updated`, `dispute.updated`, `method.updated`,
    `setup.updated`, `subscription.updated`, `invoice.updated`, or `ignored` for news that changes
    nothing here. `ref` is then the session's
    or payment's, the refund's, the dispute's, the method's, the setup's id; `payment_ref` the
    payment that a refund or dispute belongs to, or the provider's customer of a method, and
    `payment_id`, `customer_id` our own ids where the event carries them. A refund's `ref` is None
    where the event says only of which payment: its refunds are listed. `charge_ref` is the charge
    that a refund or dispute names where it names no payment: `payment_of` tells it. `about` is the
    subscription's id at the provider: what several events are about is asked about once.
    `problem` says why an event that was properly signed cannot be used: it is stored and parked.
    """

    id: str
    kind: str
    ref: str | None = None
    type: str = ""
    body: str = ""
    account: str = ""
    livemode: bool | None = None
    charge: Charge | None = None
    problem: str | None = None
    payment_ref: str | None = None
    charge_ref: str | None = None
    payment_id: str | None = None
    customer_id: str | None = None
    about: str | None = None


class MissingHeader(KeyError):
    """A webhook came without a header that its provider reads: it is not the provider's."""


class WebhookHeaders(dict[str, str]):
    """A webhook's headers by their names in any case. Raises MissingHeader for one that is not
    there; `get` does not."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__({name.lower(): value for name, value in headers.items()})

    def __missing__(self, name: str) -> str:
        if name != name.lower():
            return self[name.lower()]
        raise MissingHeader(name)

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name.lower(), default)


class Provider(Billing):
    """Base of all providers. Methods may be `def` or `async def`; they keep nothing.

    They raise ProviderRefused when nothing happened and never will for this request,
    ProviderUnavailable when nothing happened but may later, OutcomeUnknown when nobody can tell;
    AnswerUnclear, which is one of these, when the provider answered and still nobody can tell;
    SlowDown, which is one too, when it did nothing because it is asked too often.
    """

    name: ClassVar[str] = ""
    #: Its name as people know it.
    title: ClassVar[str] = ""
    #: What the payer pays with there, as pages say it, and the drawing beside it.
    means: ClassVar[tuple[str, str]] = ("Payment", "credit-card")
    #: What it can do, of: checkout, expire, charge, capture, void, refund, fetch, search,
    #: webhooks, customers, methods (attach, detach, list, default), setup, disputes (fetch and
    #: evidence), books (list what it recorded, for reconciliation), catalog (products and prices
    #: are kept there too), billing (it runs subscriptions itself),
    #: offline (a person or a statement confirms; nothing can be asked),
    #: by_hand (its refunds are made in its own portal, and recorded here).
    can: ClassVar[frozenset[str] | set[str]] = frozenset({"fetch"})
    #: Currencies it takes; None for all.
    currencies: ClassVar[frozenset[str] | set[str] | None] = None
    #: Shortest life of a session that the provider allows.
    least_session_s: ClassVar[int] = 0
    #: Whether a signed event that says paid may be believed without asking.
    events_are_proof: ClassVar[bool] = False

    def __init_subclass__(cls, **more: Any) -> None:
        super().__init_subclass__(**more)
        if "parse_webhook" in vars(cls):  # Who reads webhooks need not say so twice.
            cls.can = frozenset({*cls.can, "webhooks"})

    def __init__(self, settings: Settings) -> None:
        # Any: the provider's own settings stand beside Paydesk's.
        self.settings: Any = provider_settings(settings, self.name)
        self._http: Any = None

    @property
    def http(self) -> Any:
        """A client of `settings.base` with deadlines, to be awaited; answers are JSON, their
        numbers exact. Its failures are the errors that a provider raises."""
        from paydesk.providers.http import AsyncHttp, Http

        if self._http is None:
            timeout_s, secret = self.settings.provider_timeout_s, self.settings.webhook_secret
            self._http = AsyncHttp(
                Http(self.name, self.settings.base, timeout_s, secrets=[secret])
            )
        return self._http

    @classmethod
    def is_configured(cls, settings: Settings) -> bool:
        """Whether the settings say enough to use it; what is not configured is not offered."""
        return True

    @property
    def account(self) -> str:
        """The account at the provider, as its events name it; empty for its only one."""
        return ""

    def session_minutes(self) -> int:
        """How long a checkout with it can be paid."""
        return self.settings.session_expiry_minutes

    @property
    def livemode(self) -> bool:
        """Whether real money moves."""
        return self.settings.live

    def check_amount(self, amount: Money) -> None:
        """Raises InvalidRequest for an amount that it cannot be asked for exactly. Asked before
        anything is written of an order."""

    def checkout_request(self, order: Order) -> dict[str, Any]:
        """The exact body to send for this order: JSON, built once and kept."""
        return {}

    def create_checkout(self, order: Order) -> Any:
        """Open a session. The same `order.key` opens no second one."""
        raise self._lacks("checkout")

    def expire_checkout(self, ref: str, key: str) -> Any:
        """End a session so that no money can come; answers the Charge as it then stands."""
        raise self._lacks("expire")

    def charge(
        self, order: Order, method: str, off_session: bool = True, capture: bool = True
    ) -> Any:
        """Take money from a saved method now; answers a Charge.

        A decline answers `failed`, a method that asks for its owner `requires_action`, with the
        `action_url` that leads back to `order.success_url` where the customer is not away
        (`off_session`). Without `capture` it is only held (`authorized`).
        """
        raise self._lacks("charge")

    def capture(self, ref: str, amount: Money, key: str) -> Any:
        """Take held money, all of it or a part; answers the Charge. The rest is let go."""
        raise self._lacks("capture")

    def void(self, ref: str, key: str) -> Any:
        """Let held money go; answers the Charge as it then stands."""
        raise self._lacks("void")

    def refund(
        self, ref: str, amount: Money, key: str, *, reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Any:
        """Give captured money back, all of it or a part; answers a RemoteRefund.

        `reason` is one of REFUND_REASONS; `metadata` carries our ids (`refund_id`, `payment_id`,
        `customer_id`), so that its events and its books lead back to us.
        """
        raise self._lacks("refund")

    def fetch_refund(self, ref: str) -> Any:
        """The RemoteRefund as it stands. Has no effect."""
        raise self._lacks("refund")

    def payment_of(self, charge: str) -> str:
        """The `payment_ref` that an event's `charge_ref` is a charge of. Has no effect."""
        raise self._lacks("refund")

    def list_refunds(self, payment_ref: str) -> Any:
        """Every RemoteRefund of a payment, at most 100, oldest first. Has no effect."""
        raise self._lacks("refund")

    def fetch_dispute(self, ref: str) -> Any:
        """The RemoteDispute as it stands. Has no effect."""
        raise self._lacks("disputes")

    def send_evidence(
        self, ref: str, evidence: Mapping[str, str], *, submit: bool, key: str
    ) -> Any:
        """Write evidence (the provider's names of texts and files), and submit it; answers the
        RemoteDispute."""
        raise self._lacks("disputes")

    def upload_file(self, name: str, content: bytes, content_type: str, key: str) -> Any:
        """Store a file for evidence; answers its id at the provider."""
        raise self._lacks("disputes")

    def accept_dispute(self, ref: str, key: str) -> Any:
        """Give a dispute up; answers the RemoteDispute, lost."""
        raise self._lacks("disputes")

    def create_setup(self, order: Order, method: str | None = None) -> Any:
        """Begin saving a method of `order.provider_customer`; answers a RemoteSetup.

        With `method` it is confirmed at once; without, the payer's browser does it.
        """
        raise self._lacks("setup")

    def fetch_setup(self, ref: str) -> Any:
        """The RemoteSetup as it stands. Has no effect."""
        raise self._lacks("setup")

    def ensure_customer(self, order: Order, test_clock: str | None = None) -> Any:
        """The provider's id of our customer, made with `order.key` where there is none.

        `test_clock`: the provider's clock by which he lives there; asked for only where `can` has
        the word `clocks`.
        """
        raise self._lacks("customers")

    def attach_method(self, ref: str, provider_customer: str, key: str) -> Any:
        """Make a method the customer's; answers the RemoteMethod."""
        raise self._lacks("methods")

    def detach_method(self, ref: str, key: str) -> Any:
        """Take a method away; one that is gone already is no fault. Answers the RemoteMethod."""
        raise self._lacks("methods")

    def list_methods(self, provider_customer: str) -> Any:
        """The customer's RemoteMethods and the id of the default one: (methods, default)."""
        raise self._lacks("methods")

    def default_method(self, provider_customer: str, ref: str | None, key: str) -> Any:
        """Set what the customer pays with when nothing else is said."""
        raise self._lacks("methods")

    def books(self, since: datetime, until: datetime, kind: str, cursor: str | None) -> Any:
        """One page of what the provider recorded in [since, until), oldest or newest first:
        (list of Listed, next cursor or None). `kind` is charge, refund, dispute or fee."""
        raise self._lacks("books")

    def catalog_page(self, kind: str, cursor: str | None) -> Any:
        """One page of everything there, archived or not: (list of RemoteProduct or, where `kind`
        is price, of RemotePrice, next cursor or None)."""
        raise self._lacks("catalog")

    def save_product(self, ref: str | None, product: Product, key: str) -> Any:
        """Make a product (`ref` None; the same `key` makes no second one), or make it so; answers
        the RemoteProduct. Metadata that is not named stays."""
        raise self._lacks("catalog")

    def make_price(
        self, product: str, amount: Money, metadata: Mapping[str, str], key: str,
        interval: tuple[str, int] | None = None,
    ) -> Any:  # fmt: skip
        """A new price of a product, paid once, or every `interval` of (unit, count); answers the
        RemotePrice. Prices never change."""
        raise self._lacks("catalog")

    def set_price(self, product: str, price: str) -> Any:
        """Sell a product by this price, which is archived no more; answers the RemoteProduct."""
        raise self._lacks("catalog")

    def switch_price(self, price: str, active: bool) -> Any:
        """Archive a price that is not the default, or take it up again; answers the RemotePrice."""
        raise self._lacks("catalog")

    def returned(self, told: Mapping[str, str]) -> str | None:
        """Which payment a payer who comes back to `/checkout/return/{name}` names there: by the
        provider's own reference or our payment id, None where by none. It only chooses among the
        orders whose secrets the browser holds: whoever comes may have written anything."""
        return None

    def page_of(self, token: str) -> str | None:
        """The provider's page behind our `/checkout/{id}/pay?token=…`, which marks the browser on
        its way; None where `url` leads there by itself."""
        return None

    def fetch(self, ref: str) -> Any:
        """The Charge of a session or payment as it stands. Has no effect."""
        raise self._lacks("fetch")

    def search(self, payment_id: str, request: Mapping[str, Any]) -> Any:
        """The Charge that carries our payment id, or None; `request` is the call's stored body."""
        raise self._lacks("search")

    def update_customer(
        self, ref: str, email: str | None, name: str | None, metadata: Mapping[str, str]
    ) -> Any:
        """Write what we know of a customer onto the provider's own. Safe to repeat."""
        raise self._lacks("customers")

    def parse_webhook(self, body: bytes, headers: Mapping[str, str]) -> list[ProviderEvent]:
        """Check the signature and read. Raises InvalidSignature or MalformedRequest."""
        raise self._lacks("webhooks")

    def read_event(self, body: str, ref: str | None) -> ProviderEvent:
        """A stored event once more, unsigned: what it is about, so that the provider is asked."""
        return ProviderEvent(id="", kind="charge.updated", ref=ref, body=body)

    def verify_hmac(
        self, body: bytes, signature: str, secret: str | None = None, digest: str = "sha256"
    ) -> Any:
        """Compare a hexadecimal HMAC of the body in constant time; answers the body's JSON, None
        where it is none.

        `secret`: the provider's setting `webhook_secret` where none is given. Raises
        InvalidSignature.
        """
        key: str = self.settings.webhook_secret if secret is None else secret
        wanted = hmac.new(key.encode(), body, getattr(hashlib, digest)).hexdigest()
        given = signature.encode("utf-8", "replace")
        if not key or not hmac.compare_digest(wanted.encode(), given):
            raise InvalidSignature()
        try:
            return json.loads(body, parse_float=Decimal)
        except (ValueError, RecursionError):
            return None

    def warm(self) -> None:
        """Do now what the first call would wait for, such as a slow import."""

    def close(self) -> None:
        """Let go of connections."""
        if self._http is not None:
            self._http.close()


_registry: dict[str, type[Provider]] = {}


def provider(name: str) -> Callable[[type[Provider]], type[Provider]]:
    """Class decorator: make a provider known under this name."""

    def register(kind: type[Provider]) -> type[Provider]:
        kind.name = name
        kind.title = kind.title or name.capitalize()
        _registry[name] = kind
        return kind

    return register


#: Methods whose answer bears the id that was asked about.
NAMED = frozenset({
    "fetch_refund", "fetch_dispute", "fetch_subscription", "fetch_invoice", "fetch_page",
})  # fmt: skip


class Providers(Mapping[str, Provider]):
    """The providers of one environment, each behind a circuit of its own."""

    def __init__(self, settings: Settings, known: Mapping[str, Provider], default: str) -> None:
        self._known = dict(known)
        self._circuits = {
            name: Circuit(
                name, size=settings.provider_concurrency, timeout_s=settings.provider_timeout_s
            )
            for name in known
        }
        self.default = default

    def __getitem__(self, name: str) -> Provider:
        try:
            return self._known[name]
        except KeyError:
            raise NotFound(f"No provider is called {name[:64]!r}.", param="provider") from None

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def call(self, name: str, method: str, *args: Any, **more: Any) -> Any:
        """Call a provider within its deadline. Never inside a transaction.

        Raises ProviderUnavailable (nothing happened), ProviderRefused, OutcomeUnknown.
        """
        assert not in_transaction(), f"{name}.{method} must not be called inside a transaction"
        known = self[name]
        found = self._circuits[name].call(functools.partial(getattr(known, method), **more), *args)
        if method in NAMED and args and getattr(found, "id", args[0]) != args[0]:
            raise AnswerUnclear(f"{name} answered about something else than it was asked about.")
        return found

    def warm(self) -> None:
        """Warm every provider; one that cannot be reached yet is no fault."""
        for known in self._known.values():
            with contextlib.suppress(PaydeskError):
                known.warm()

    def circuit(self, name: str) -> Circuit:
        """The circuit that a provider is called through."""
        return self._circuits[name]

    def health(self) -> dict[str, str]:
        """Each provider's circuit: `closed` (well), `open` (resting), `trying`."""
        return {name: circuit.state for name, circuit in self._circuits.items()}

    def close(self) -> None:
        for circuit in self._circuits.values():
            circuit.close()
        for known in self._known.values():
            known.close()


def kinds() -> dict[str, type[Provider]]:
    """Every provider that is built in or installed (entry points), configured or not."""
    for module in BUILT_IN.values():
        importlib.import_module(module)
    for point in _installed():
        if point.name not in _registry:
            point.load()
    return dict(_registry)


@functools.cache
def _installed() -> tuple[importlib.metadata.EntryPoint, ...]:
    """What installed packages offer: reading every package's list takes a while."""
    return tuple(importlib.metadata.entry_points(group=ENTRY_POINTS))


def load(settings: Settings, *extra: Provider, default: str = "stripe") -> Providers:
    """The providers that are configured, and `extra`, ready to be called."""
    known: dict[str, Provider] = {
        name: kind(settings) for name, kind in kinds().items() if kind.is_configured(settings)
    }
    known.update({one.name: one for one in extra})
    return Providers(settings, known, default)
