"""Stripe beyond collecting: refunds, disputes, customers, saved methods, setups, its books."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from paydesk.errors import ProviderRefused
from paydesk.providers import stripe_more as shapes
from paydesk.providers.base import (
    AnswerUnclear,
    Listed,
    Order,
    RemoteDispute,
    RemoteMethod,
    RemoteRefund,
    RemoteSetup,
)
from paydesk.providers.stripe_shapes import of_intent
from paydesk.rules.money import Money, to_stripe

PAGE = 100
#: A customer's methods are read up to here.
MOST_PAGES = 10


class _File(io.BytesIO):
    """Content with a name, as the SDK uploads it."""

    def __init__(self, name: str, content: bytes) -> None:
        super().__init__(content)
        self.name = name


class StripeCalls:
    """The calls of `Stripe` that bring money back, keep methods and list what was booked."""

    _client: Any
    _ask: Callable[[Any], dict[str, Any]]

    # Money back -------------------------------------------------------------------------------

    def refund(
        self, ref: str, amount: Money, key: str, *, reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> RemoteRefund:  # fmt: skip
        """`ref`: the payment intent, or the charge of what has none."""
        params: dict[str, Any] = {
            _named(ref): ref, "amount": to_stripe(amount.minor, amount.currency),
        }  # fmt: skip
        if reason in shapes.STRIPE_REASONS:
            params["reason"] = reason
        if metadata:
            params["metadata"] = dict(metadata)
        raw = self._ask(lambda: self._client.v1.refunds.create(params, {"idempotency_key": key}))
        return self._read(shapes.of_refund, _unnamed(raw))

    def fetch_refund(self, ref: str) -> RemoteRefund:
        raw = self._ask(lambda: self._client.v1.refunds.retrieve(ref))
        return self._read(shapes.of_refund, self._followed(raw))

    def payment_of(self, charge: str) -> str:
        """The payment intent of a charge; of one that stands alone, the charge."""
        raw = self._ask(lambda: self._client.v1.charges.retrieve(charge))
        return self._read(shapes.payment_of, raw)

    def _followed(self, raw: dict[str, Any]) -> dict[str, Any]:
        """A refund or dispute in a shape that knows of no intents, with its charge's."""
        charge = raw.get("charge")
        if "payment_intent" in raw or not isinstance(charge, str):
            return raw
        return {**raw, "payment_intent": self.payment_of(charge)}

    def list_refunds(self, payment_ref: str) -> list[RemoteRefund]:
        """Without those that only let held money go."""
        page = self._ask(
            lambda: self._client.v1.refunds.list({_named(payment_ref): payment_ref, "limit": PAGE})
        )
        found = [raw for raw in reversed(page["data"]) if not shapes.is_release(raw)]
        if any("payment_intent" not in raw for raw in found):  # All of them are of one payment.
            whole = payment_ref
            if _named(payment_ref) == "charge":
                whole = self.payment_of(payment_ref)
            found = [{"payment_intent": whole, **raw} for raw in found]
        return [self._read(shapes.of_refund, raw) for raw in found]

    # Disputes ---------------------------------------------------------------------------------

    def fetch_dispute(self, ref: str) -> RemoteDispute:
        raw = self._ask(lambda: self._client.v1.disputes.retrieve(ref))
        return self._read(shapes.of_dispute, self._followed(raw))

    def send_evidence(
        self, ref: str, evidence: Mapping[str, str], *, submit: bool, key: str
    ) -> RemoteDispute:
        params: dict[str, Any] = {"evidence": dict(evidence), "submit": submit}
        raw = self._ask(
            lambda: self._client.v1.disputes.update(ref, params, {"idempotency_key": key})
        )
        return self._read(shapes.of_dispute, _unnamed(raw))

    def upload_file(self, name: str, content: bytes, content_type: str, key: str) -> str:
        """Evidence of a dispute: an image or a PDF; Stripe sees the kind from its content."""
        params: dict[str, Any] = {"purpose": "dispute_evidence", "file": _File(name, content)}
        raw = self._ask(lambda: self._client.v1.files.create(params, {"idempotency_key": key}))
        return raw["id"]

    def accept_dispute(self, ref: str, key: str) -> RemoteDispute:
        raw = self._ask(
            lambda: self._client.v1.disputes.close(ref, None, {"idempotency_key": key})
        )
        return self._read(shapes.of_dispute, _unnamed(raw))

    # Customers and their methods --------------------------------------------------------------

    def ensure_customer(self, order: Order, test_clock: str | None = None) -> str:
        """Only our id goes along: an e-mail that changes meanwhile would make another request
        of the same key. `update_customer` tells the rest."""
        params: dict[str, Any] = {"metadata": {"customer_id": order.customer}}
        if test_clock is not None:
            params["test_clock"] = test_clock
        raw = self._ask(
            lambda: self._client.v1.customers.create(params, {"idempotency_key": order.key})
        )
        return raw["id"]

    def attach_method(self, ref: str, provider_customer: str, key: str) -> RemoteMethod:
        return self._read(shapes.of_method, self._ask(
            lambda: self._client.v1.payment_methods.attach(
                ref, {"customer": provider_customer}, {"idempotency_key": key}
            )
        ))

    def detach_method(self, ref: str, key: str) -> RemoteMethod:
        try:
            raw = self._ask(
                lambda: self._client.v1.payment_methods.detach(ref, None, {"idempotency_key": key})
            )
        except ProviderRefused:
            # Refused when it is nobody's already, as after a repeat past the key's life.
            raw = self._ask(lambda: self._client.v1.payment_methods.retrieve(ref))
            if raw.get("customer"):
                raise
        return self._read(shapes.of_method, raw)

    def list_methods(self, provider_customer: str) -> tuple[list[RemoteMethod], str | None]:
        params: dict[str, Any] = {"customer": provider_customer, "limit": PAGE}
        found: list[RemoteMethod] = []
        for _ in range(MOST_PAGES):
            page = self._ask(lambda: self._client.v1.payment_methods.list(params))
            found += [self._read(shapes.of_method, raw) for raw in page["data"]]
            if not page.get("has_more"):
                break
            params["starting_after"] = page["data"][-1]["id"]
        who = self._ask(lambda: self._client.v1.customers.retrieve(provider_customer))
        default = (who.get("invoice_settings") or {}).get("default_payment_method")
        return found, default["id"] if isinstance(default, dict) else default

    def default_method(self, provider_customer: str, ref: str | None, key: str) -> None:
        params: dict[str, Any] = {"invoice_settings": {"default_payment_method": ref or ""}}
        self._ask(
            lambda: self._client.v1.customers.update(
                provider_customer, params, {"idempotency_key": key}
            )
        )

    # Setups -----------------------------------------------------------------------------------

    def create_setup(self, order: Order, method: str | None = None) -> RemoteSetup:
        """With `order.cancel_url` a page of Stripe's saves the method, without it the browser's
        script does. `order.success_url` is where a bank's page leads back to."""
        metadata = dict(order.metadata)
        options = {"idempotency_key": order.key}
        if order.cancel_url:
            session: dict[str, Any] = {
                "mode": "setup", "customer": order.provider_customer, "metadata": metadata,
                "currency": order.amount.currency, "client_reference_id": order.id,
                "setup_intent_data": {"metadata": metadata},
                "success_url": order.success_url, "cancel_url": order.cancel_url,
            }  # fmt: skip
            raw = self._ask(lambda: self._client.v1.checkout.sessions.create(session, options))
            return self._read(shapes.of_setup_session, raw)
        params: dict[str, Any] = {
            "customer": order.provider_customer, "usage": "off_session",
            "payment_method_types": ["card"], "metadata": metadata,
        }  # fmt: skip
        if method:
            params |= {"payment_method": method, "confirm": True}
            if order.success_url:
                params["return_url"] = order.success_url
        raw = self._ask(lambda: self._client.v1.setup_intents.create(params, options))
        return self._read(shapes.of_setup, raw)

    def fetch_setup(self, ref: str) -> RemoteSetup:
        if ref.startswith("cs_"):
            raw = self._ask(
                lambda: self._client.v1.checkout.sessions.retrieve(
                    ref, {"expand": ["setup_intent.payment_method"]}
                )
            )
            return self._read(shapes.of_setup_session, raw)
        raw = self._ask(
            lambda: self._client.v1.setup_intents.retrieve(ref, {"expand": ["payment_method"]})
        )
        return self._read(shapes.of_setup, raw)

    # Books ------------------------------------------------------------------------------------

    def books(
        self, since: datetime, until: datetime, kind: str, cursor: str | None
    ) -> tuple[list[Listed], str | None]:
        """`charge` lists payment intents, paid or not; `fee` the balance transactions."""
        v1 = self._client.v1
        lists, read, expand = {
            "charge": (v1.payment_intents, _charges, ["data.latest_charge.balance_transaction"]),
            "refund": (v1.refunds, _refunds, None),
            "dispute": (v1.disputes, _disputes, None),
            "fee": (v1.balance_transactions, _fees, ["data.source"]),
        }[kind]
        params: dict[str, Any] = {
            "limit": PAGE,
            "created": {"gte": int(since.timestamp()), "lt": int(until.timestamp())},
        }
        if expand:
            params["expand"] = expand
        if cursor:
            params["starting_after"] = cursor
        page = self._ask(lambda: lists.list(params))
        found = self._read(read, page["data"])
        return found, page["data"][-1]["id"] if page.get("has_more") and page["data"] else None

    @staticmethod
    def _read(read: Callable[[Any], Any], raw: Any) -> Any:
        try:
            return read(raw)
        except (KeyError, ValueError, TypeError, AttributeError) as exc:
            raise AnswerUnclear("Stripe's answer cannot be understood.") from exc


def _named(ref: str) -> str:
    """What a payment's name is the name of: before 2019 there were charges alone."""
    return "payment_intent" if ref.startswith("pi_") else "charge"


def _unnamed(raw: dict[str, Any]) -> dict[str, Any]:
    """What Stripe answers to a change of ours, in a shape that knows of no intents. Whose it is, is
    known, and nobody is asked: the change is done, whatever came of the question."""
    return raw if "payment_intent" in raw else {**raw, "charge": None}


def _charges(rows: list[dict[str, Any]]) -> list[Listed]:
    found = ((raw, of_intent(raw)) for raw in rows)
    return [
        Listed(kind="charge", ref=raw["id"], value=charge, payment_ref=raw["id"],
               created_at=shapes.at(raw["created"]))
        for raw, charge in found if charge is not None
    ]  # fmt: skip


def _refunds(rows: list[dict[str, Any]]) -> list[Listed]:
    """Those that only let held money go are none."""
    return [
        Listed(kind="refund", ref=one.id, value=one, payment_ref=one.payment_ref,
               created_at=shapes.at(raw["created"]))
        for raw in rows if not shapes.is_release(raw) for one in [shapes.of_refund(raw)]
    ]  # fmt: skip


def _disputes(rows: list[dict[str, Any]]) -> list[Listed]:
    return [
        Listed(kind="dispute", ref=one.id, value=one, payment_ref=one.payment_ref,
               created_at=shapes.at(raw["created"]))
        for raw in rows for one in [shapes.of_dispute(raw)]
    ]  # fmt: skip


def _fees(rows: list[dict[str, Any]]) -> list[Listed]:
    return [
        Listed(kind="fee", ref=ref, value=fee, payment_ref=payment, created_at=at)
        for ref, payment, fee, at in shapes.fees_of(rows)
    ]
