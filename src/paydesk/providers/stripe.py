"""Stripe through its official SDK; without a secret key the simulator on this machine answers."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from paydesk import ids
from paydesk.errors import OutcomeUnknown, ProviderRefused, ProviderUnavailable
from paydesk.providers import texts
from paydesk.providers.base import (
    AnswerUnclear,
    Charge,
    Order,
    Provider,
    ProviderEvent,
    RemoteCheckout,
    provider,
)
from paydesk.providers.circuit import SlowDown, told_s
from paydesk.providers.stripe_billing import StripeBilling
from paydesk.providers.stripe_calls import StripeCalls
from paydesk.providers.stripe_catalog import StripeCatalog
from paydesk.providers.stripe_shapes import (
    check_signature,
    declined,
    of_charge,
    of_intent,
    of_session,
    read_event,
)
from paydesk.rules.money import Money, to_stripe

if TYPE_CHECKING:
    from stripe import StripeClient

#: Stripe ends no session earlier than this. https://docs.stripe.com/api/checkout/sessions/create
LEAST_SESSION_S = 1800
#: Room for a repeat of the very same request some minutes later.
SESSION_MARGIN_S = 300
MOST_SESSION_S = 86_400
#: How a charge's id begins; a bank account's is a payment.
CHARGES = ("ch_", "py_")
#: What the simulator is told; it takes any test key.
SIMULATOR_KEY = "sk_test_simulator"
#: How far Stripe's clock and that of the machine which made the request may be apart.
SKEW_S = 300
#: How many pages of 100 sessions a search by our payment id reads at most.
SEARCH_PAGES = 10


@provider("stripe")
class Stripe(StripeCalls, StripeCatalog, StripeBilling, Provider):
    """Checkout Sessions in payment mode. Our ids travel as metadata on session and intent."""

    title, means = "Stripe", ("Card", "credit-card")
    can = frozenset({
        "checkout", "expire", "charge", "capture", "void", "refund", "fetch", "search", "webhooks",
        "customers", "methods", "setup", "disputes", "books", "catalog", "billing",
        "clocks",
    })  # fmt: skip
    least_session_s = LEAST_SESSION_S + SESSION_MARGIN_S
    events_are_proof = True

    @cached_property
    def _client(self) -> StripeClient:
        import stripe  # Takes about a second: only who talks to Stripe waits for it.

        settings = self.settings
        options: dict[str, Any] = {}
        if settings.simulated:
            if not settings.simulator_url:
                raise ProviderUnavailable("No Stripe key is set and no simulator runs.")
            base = settings.simulator_url.rstrip("/")
            options["base_addresses"] = {"api": base, "files": base}
        if settings.stripe_api_version:
            options["stripe_version"] = settings.stripe_api_version
        timeout_s = settings.provider_timeout_s
        return stripe.StripeClient(
            settings.stripe_secret_key or SIMULATOR_KEY,
            max_network_retries=0,
            http_client=stripe.RequestsClient(timeout=(min(3, timeout_s), timeout_s)),
            **options,
        )

    def warm(self) -> None:
        _ = self._client

    def check_amount(self, amount: Money) -> None:
        to_stripe(amount.minor, amount.currency)

    def checkout_request(self, order: Order) -> dict[str, Any]:
        """The parameters of the session: one line, so that its total is the amount asked."""
        metadata = dict(order.metadata)
        life_s = min(max(order.expires_in_s, self.least_session_s), MOST_SESSION_S)
        request: dict[str, Any] = {
            "mode": "payment",
            "client_reference_id": order.id,
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": order.amount.currency,
                        "unit_amount": to_stripe(order.amount.minor, order.amount.currency),
                        "product_data": {"name": order.description[:250]},
                    },
                }
            ],
            "metadata": metadata,
            "payment_intent_data": {"metadata": metadata, "description": order.description[:250]},
            "success_url": order.success_url,
            "expires_at": int(order.at.timestamp() if order.at else time.time()) + life_s,
        }
        if order.cancel_url:
            request["cancel_url"] = order.cancel_url
        if order.save_method:
            request["payment_intent_data"]["setup_future_usage"] = "off_session"
        request |= _who(order.provider_customer, order.email)
        return request

    def create_checkout(self, order: Order) -> RemoteCheckout:
        """A customer who was deleted at Stripe is made anew: the same order under a key of its
        own, so that a repeat comes to the same session."""
        request = dict(order.request or self.checkout_request(order))
        gone: str | None = None
        try:
            raw = self._open(request, order.key)
        except ProviderRefused as exc:
            if not _lacks_customer(exc) or "customer" not in request:
                raise
            gone = request.pop("customer")
            raw = self._open(request | _who(None, order.email), f"{order.key}-anew")
        return self._read(lambda raw: RemoteCheckout(
            id=raw["id"], url=raw["url"], expires_in=raw["expires_at"] - int(time.time()),
            gone_customer=gone,
        ), raw)  # fmt: skip

    def _open(self, request: dict[str, Any], key: str) -> dict[str, Any]:
        return self._ask(
            lambda: self._client.v1.checkout.sessions.create(request, {"idempotency_key": key})
        )

    def update_customer(
        self, ref: str, email: str | None, name: str | None, metadata: Mapping[str, str]
    ) -> None:
        params: dict[str, Any] = {
            "email": email or "", "name": name or "", "metadata": dict(metadata),
        }  # fmt: skip
        self._ask(lambda: self._client.v1.customers.update(ref, params))

    def expire_checkout(self, ref: str, key: str) -> Charge:
        """End the session; one that was paid or ended before is read instead."""
        # Refused when it is no longer open: how it ended stands in the session.
        with contextlib.suppress(ProviderRefused):
            # Without the key: ending is safe to repeat, and a key would repeat a failure for a day.
            self._ask(lambda: self._client.v1.checkout.sessions.expire(ref))
        return self.fetch(ref)

    def charge(
        self, order: Order, method: str, off_session: bool = True, capture: bool = True
    ) -> Charge:
        """A payment intent that is confirmed at once. `method`: a `pm_…` of a customer.

        Not off session, the payer is there: `order.success_url` is where a bank's page leads back
        to. Without `capture` the money is held until it is taken or let go.
        """
        params: dict[str, Any] = {
            "amount": to_stripe(order.amount.minor, order.amount.currency),
            "currency": order.amount.currency,
            "payment_method": method,
            "payment_method_types": ["card"],
            "confirm": True,
            "description": order.description[:250],
            "metadata": dict(order.metadata),
            "expand": ["latest_charge"],
        }
        if off_session:
            params["off_session"] = True
        elif order.success_url:
            params["return_url"] = order.success_url
        if not capture:
            params["capture_method"] = "manual"
        if order.provider_customer:
            params["customer"] = order.provider_customer
        try:
            raw = self._ask(
                lambda: self._client.v1.payment_intents.create(
                    params, {"idempotency_key": order.key}
                )
            )
        except ProviderRefused as exc:
            intent = _declined_intent(exc)
            if intent is None:
                raise
            code = exc.provider_code
            return self._read(lambda raw: declined(raw, code), intent)
        return self._charge_of(raw, of_intent)

    def capture(self, ref: str, amount: Money, key: str) -> Charge:
        params: dict[str, Any] = {
            "amount_to_capture": to_stripe(amount.minor, amount.currency),
            "expand": ["latest_charge"],
        }
        return self._charge_of(self._ask(
            lambda: self._client.v1.payment_intents.capture(ref, params, {"idempotency_key": key})
        ), of_intent)

    def void(self, ref: str, key: str) -> Charge:
        return self._charge_of(self._ask(
            lambda: self._client.v1.payment_intents.cancel(ref, None, {"idempotency_key": key})
        ), of_intent)

    def _charge_of(self, raw: Any, read: Callable[[Any], Charge | None]) -> Charge:
        found = self._read(read, raw)
        if found is None:
            raise AnswerUnclear("Stripe's answer cannot be understood.")
        return found

    def fetch(self, ref: str) -> Charge:
        """How a session (`cs_`), a payment intent (`pi_`), or a charge of none stands."""
        if ref.startswith("pi_"):
            raw = self._ask(
                lambda: self._client.v1.payment_intents.retrieve(ref, {"expand": ["latest_charge"]})
            )
            return self._charge_of(raw, of_intent)
        if ref.startswith(CHARGES):
            raw = self._ask(lambda: self._client.v1.charges.retrieve(ref))
            return self._charge_of(raw, partial(of_charge, alone=True))
        raw = self._ask(
            lambda: self._client.v1.checkout.sessions.retrieve(
                ref, {"expand": ["payment_intent.latest_charge"]}
            )
        )
        return self._charge_of(raw, of_session)

    def search(self, payment_id: str, request: Mapping[str, Any]) -> Charge | None:
        """Look through the sessions that this request can have made, by our payment id."""
        if request.get("kind") == "charge":
            return self._search_intent(payment_id)
        # Sent after our payment got its id, and Stripe takes no end that is nearer than its least.
        latest = request["expires_at"] - LEAST_SESSION_S
        earliest = max(_made_at_s(payment_id), latest - MOST_SESSION_S)
        created = {"gte": earliest - SKEW_S, "lte": latest + SKEW_S}
        params: dict[str, Any] = {"limit": 100, "created": created}
        for _ in range(SEARCH_PAGES):
            page = self._ask(lambda: self._client.v1.checkout.sessions.list(params))
            for raw in page["data"]:
                if raw.get("client_reference_id") == payment_id:
                    return self.fetch(raw["id"])
            if not page.get("has_more"):
                return None
            params["starting_after"] = page["data"][-1]["id"]
        raise AnswerUnclear(f"Too many sessions to find payment {payment_id} among.")

    def _search_intent(self, payment_id: str) -> Charge | None:
        """By Stripe's search, which knows of an intent some minutes after it was made."""
        query = f"metadata['payment_id']:'{payment_id}'"
        page = self._ask(
            lambda: self._client.v1.payment_intents.search({"query": query, "limit": 2})
        )
        if len(page["data"]) > 1:
            raise AnswerUnclear(f"More than one payment intent carries {payment_id}.")
        return self.fetch(page["data"][0]["id"]) if page["data"] else None

    def parse_webhook(self, body: bytes, headers: Mapping[str, str]) -> list[ProviderEvent]:
        header = next((v for k, v in headers.items() if k.lower() == "stripe-signature"), None)
        secrets = [s.strip() for s in self.settings.stripe_webhook_secret.split(",") if s.strip()]
        check_signature(
            body,
            header,
            secrets,
            now_s=time.time(),  # Real time, also where a customer's clock is virtual.
            tolerance_s=self.settings.webhook_tolerance_s,
        )
        return [read_event(body)]

    def read_event(self, body: str, ref: str | None) -> ProviderEvent:
        return read_event(body.encode())

    def _ask(self, send: Any) -> dict[str, Any]:
        """The answer's JSON; the SDK's errors told apart by what may have happened."""
        import stripe

        try:
            answer = send()
        except stripe.RateLimitError as exc:
            raise SlowDown("Stripe asks us to slow down.", told_s(exc.headers or {})) from exc
        except (stripe.AuthenticationError, stripe.PermissionError) as exc:
            raise ProviderUnavailable("Stripe does not accept our key.") from exc
        except (stripe.InvalidRequestError, stripe.CardError) as exc:
            if exc.http_status == 429:
                raise SlowDown("Stripe asks us to slow down.", told_s(exc.headers or {})) from exc
            if exc.http_status == 409:
                raise OutcomeUnknown("The same request is under way at Stripe.") from exc
            code = texts.text(exc.code) if isinstance(exc.code, str) else None
            raise ProviderRefused(_sentence(exc), provider_code=code) from exc
        except stripe.StripeError as exc:
            raise OutcomeUnknown("Stripe did not say what happened.", retry_after_s=2) from exc
        told = answer.last_response
        return texts.clean(told.data) if texts.may_be_odd(told.body) else told.data


def _made_at_s(payment_id: str) -> int:
    """When the payment got its id, in Unix seconds: the id begins with it."""
    return (ids.parse("payment", payment_id).int >> 80) // 1000


def _declined_intent(refused: ProviderRefused) -> dict[str, Any] | None:
    """The payment intent that Stripe's refusal of a card carries."""
    body = getattr(refused.__cause__, "json_body", None)
    error = body.get("error") if isinstance(body, dict) else None
    intent = error.get("payment_intent") if isinstance(error, dict) else None
    return intent if isinstance(intent, dict) else None


def _who(customer: str | None, email: str | None) -> dict[str, str]:
    """Stripe's customer where it has one of ours; else it makes one when the session is paid."""
    if customer:
        return {"customer": customer}
    return {"customer_creation": "always", **({"customer_email": email} if email else {})}


def _lacks_customer(refused: ProviderRefused) -> bool:
    """Whether the request was refused because it names a customer whom Stripe does not have."""
    cause = refused.__cause__
    return (
        getattr(cause, "code", None) == "resource_missing"
        and getattr(cause, "param", None) == "customer"
    )


def _sentence(exc: Any) -> str:
    return texts.text(str(exc.user_message or "Stripe refused the request.")[:500])
