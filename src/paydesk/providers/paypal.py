"""PayPal: orders that the payer approves and we capture, refunds, disputes, webhooks.

An approved order is captured by whoever reads it: the payer has agreed to that very sum, and the
capture bears a fixed key made of the order's id, so that a process which dies right after it
loses nothing; the next one reads the capture. An order is ended by a mark on it: since nobody
but us captures, what is marked takes no money.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any

from paydesk.errors import (
    InvalidRequest,
    InvalidSignature,
    MalformedRequest,
    NotSupported,
    OutcomeUnknown,
    ProviderRefused,
    ProviderUnavailable,
)
from paydesk.providers import paypal_shapes as shapes
from paydesk.providers.base import (
    AnswerUnclear,
    Charge,
    Listed,
    Order,
    Provider,
    ProviderEvent,
    RemoteCheckout,
    RemoteDispute,
    RemoteRefund,
    provider,
)
from paydesk.providers.circuit import Circuit
from paydesk.providers.http import Http, Rejection, authorized, encode, part
from paydesk.providers.paypal_signature import Certificates
from paydesk.rules.money import Money
from paydesk.settings import Settings

#: PayPal's names of the headers that a webhook is verified by, and what the call names them.
SIGNED = {
    "auth_algo": "paypal-auth-algo",
    "cert_url": "paypal-cert-url",
    "transmission_id": "paypal-transmission-id",
    "transmission_sig": "paypal-transmission-sig",
    "transmission_time": "paypal-transmission-time",
}
#: An order's or a capture's id.
ORDER_ID = re.compile("[0-9A-Z]{17}")
#: Why an approved order can not be captured although the payer may choose another way to pay.
DECLINES = frozenset({"INSTRUMENT_DECLINED", "PAYER_ACTION_REQUIRED", "PAYER_CANNOT_PAY",
                      "TRANSACTION_REFUSED"})  # fmt: skip
#: What one search of transactions may span (31 days at most), and its largest page.
SPAN, PAGE = timedelta(days=30), 500
#: A webhook's sender waits for us: so long the verification may take.
VERIFY_S = 5
#: So many at once.
VERIFICATIONS = 8


@provider("paypal")
class PayPal(Provider):
    """Orders v2 with intent CAPTURE. Our payment id is the order's custom_id and invoice_id, so
    that PayPal itself takes no second payment for it."""

    title, means = "PayPal", ("PayPal account or card", "credit-card")
    can = frozenset({"checkout", "expire", "fetch", "refund", "webhooks", "disputes",
                     "books"})  # fmt: skip
    currencies = shapes.CURRENCIES

    @classmethod
    def is_configured(cls, settings: Settings) -> bool:
        return bool(settings.paypal_client_id and settings.paypal_client_secret)

    @property
    def livemode(self) -> bool:
        return ".sandbox." not in self.settings.paypal_url

    @cached_property
    def _api(self) -> Http:
        told = self.settings
        return authorized(
            "PayPal", told.paypal_url, told.provider_timeout_s, "/v1/oauth2/token",
            told.paypal_client_id, told.paypal_client_secret,
            {"grant_type": "client_credentials"},
        )  # fmt: skip

    @cached_property
    def _verifier(self) -> Circuit:
        """Verification is no call of a payment: it has a circuit of its own, with its deadline."""
        timeout_s = min(VERIFY_S, self.settings.provider_timeout_s)
        return Circuit("PayPal", size=VERIFICATIONS, timeout_s=timeout_s)

    @cached_property
    def _certificates(self) -> Certificates:
        told = self.settings
        return Certificates(told.paypal_url, sandbox=not self.livemode,
                            timeout_s=told.provider_timeout_s)  # fmt: skip

    def warm(self) -> None:
        """Get a token, which also tells whether the credentials are right."""
        self._api.warm()

    def close(self) -> None:
        for name in ("_api", "_verifier"):
            if name in vars(self):
                getattr(self, name).close()

    # Orders ---------------------------------------------------------------------------------------

    def check_amount(self, amount: Money) -> None:
        shapes.money_out(amount)

    def checkout_request(self, order: Order) -> dict[str, Any]:
        experience = {
            "brand_name": self.settings.business_name[:127],
            "shipping_preference": "NO_SHIPPING",
            "user_action": "PAY_NOW",
            "return_url": order.success_url,
            "cancel_url": order.cancel_url or order.success_url,
        }
        return {
            "intent": "CAPTURE",
            "purchase_units": [
                {
                    "custom_id": order.id,
                    "invoice_id": order.id,
                    "description": order.description[:127],
                    "amount": shapes.money_out(order.amount),
                }
            ],
            "payment_source": {"paypal": {"experience_context": experience}},
        }

    def create_checkout(self, order: Order) -> RemoteCheckout:
        """PayPal keeps the key for six hours. An order made again after that is harmless: the
        first one's page was shown to nobody."""
        answer = self._api.post(
            "/v2/checkout/orders", dict(order.request or self.checkout_request(order)),
            headers={"PayPal-Request-Id": order.key, "Prefer": "return=representation"},
        )  # fmt: skip
        raw = shapes.an_object(answer.body)
        url = shapes.link(raw, "payer-action", "approve")
        if not raw.get("id") or not url:
            raise AnswerUnclear("PayPal's order has no id or no page.")
        return RemoteCheckout(id=str(raw["id"]), url=url)

    def returned(self, told: Mapping[str, str]) -> str | None:
        """PayPal names the order `token`, whether the payer agreed or went back."""
        ref = told.get("token", "")
        return ref if ORDER_ID.fullmatch(ref) else None

    def fetch(self, ref: str) -> Charge:
        """How an order, or a capture, stands. An approved order is captured where it is ours: an
        account can serve other programs, and anybody can name their orders on a return page."""
        try:
            raw = shapes.an_object(self._api.get(f"/v2/checkout/orders/{part(ref)}").body)
        except ProviderRefused as exc:
            if Rejection.of(exc).status != 404:
                raise
            return self._fetch_capture(ref, exc)
        if shapes.may_capture(raw):
            raw = self._capture(ref, raw)
        return shapes.charge_of_order(raw, livemode=self.livemode)

    def expire_checkout(self, ref: str, key: str) -> Charge:
        """Mark the order as ended, and capture it nevermore. What the payer agreed to before is
        taken; where PayPal lets an order of this state not be marked, it stays open."""
        found = self.fetch(ref)
        if found.ended or found.status not in ("pending", "requires_action"):
            return found
        change = {"op": "replace", "path": shapes.CUSTOM_ID_PATH,
                  "value": f"{shapes.ENDED}{found.payment_id}"}  # fmt: skip
        with contextlib.suppress(ProviderRefused):
            self._api.request("PATCH", f"/v2/checkout/orders/{part(ref)}", json=[change])
        # Whoever read it as approved a moment ago may have captured it meanwhile.
        return self.fetch(ref)

    def _fetch_capture(self, ref: str, unknown: ProviderRefused) -> Charge:
        try:
            raw = shapes.an_object(self._api.get(f"/v2/payments/captures/{part(ref)}").body)
        except ProviderRefused as exc:
            if Rejection.of(exc).status != 404 or not ORDER_ID.fullmatch(ref):
                raise unknown from exc
            # PayPal forgets an order that nobody approved in time: no money can come by it.
            return Charge(ref=ref, status="expired", ended=True, session_ref=ref,
                          livemode=self.livemode)  # fmt: skip
        return shapes.charge_of_capture(raw, ref=ref, livemode=self.livemode)

    def _capture(self, ref: str, order: dict[str, Any]) -> dict[str, Any]:
        """Take what the payer agreed to: once, however often it is asked for."""
        try:
            answer = self._api.post(
                f"/v2/checkout/orders/{part(ref)}/capture", {},
                headers={"PayPal-Request-Id": f"capture-{ref}", "Prefer": "return=representation"},
            )  # fmt: skip
            return shapes.an_object(answer.body)
        except ProviderRefused as exc:
            code = exc.extra.get("provider_code")
            if code in DECLINES:
                # Nothing was taken: the payer goes back to PayPal's page and chooses again.
                return {**order, "status": "PAYER_ACTION_REQUIRED", "declined": code}
            if code in ("ORDER_ALREADY_CAPTURED", "ORDER_NOT_APPROVED", "ORDER_ALREADY_COMPLETED"):
                return shapes.an_object(self._api.get(f"/v2/checkout/orders/{part(ref)}").body)
            raise

    # Money back -----------------------------------------------------------------------------------

    def refund(
        self, ref: str, amount: Money, key: str, *, reason: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> RemoteRefund:  # fmt: skip
        """Of a capture. PayPal keeps the key for 45 days. Our refund id is its custom_id."""
        told = metadata or {}
        try:
            request: dict[str, Any] = {"amount": shapes.money_out(amount)}
        except InvalidRequest as exc:
            raise ProviderRefused(exc.detail, provider_code="amount") from exc
        if told.get("refund_id"):
            request["custom_id"] = told["refund_id"][:127]
        answer = self._api.post(
            f"/v2/payments/captures/{part(ref)}/refund", request,
            headers={"PayPal-Request-Id": key, "Prefer": "return=representation"},
        )  # fmt: skip
        return shapes.refund_of(answer.body, ref)

    def fetch_refund(self, ref: str) -> RemoteRefund:
        return shapes.refund_of(self._api.get(f"/v2/payments/refunds/{part(ref)}").body)

    def list_refunds(self, payment_ref: str) -> list[RemoteRefund]:
        """The refunds of a capture, as its order tells them."""
        capture = shapes.an_object(self._api.get(f"/v2/payments/captures/{part(payment_ref)}").body)
        order_id = shapes.order_id_of(capture)
        if order_id is None:
            raise AnswerUnclear("PayPal does not say which order the capture belongs to.")
        order = shapes.an_object(self._api.get(f"/v2/checkout/orders/{part(order_id)}").body)
        found = [shapes.refund_of(raw) for raw in shapes.payments_of(order, "refunds")]
        mine = [one for one in found if one.payment_ref in (None, payment_ref)]
        return sorted(mine, key=lambda one: (str(one.created_at), one.id))[:100]

    # Disputes -------------------------------------------------------------------------------------

    def fetch_dispute(self, ref: str) -> RemoteDispute:
        raw = self._api.get(f"/v1/customer/disputes/{part(ref)}").body
        return shapes.dispute_of(raw, livemode=self.livemode)

    def accept_dispute(self, ref: str, key: str) -> RemoteDispute:
        """Give the claim up. One that is decided already is read instead."""
        try:
            self._api.post(
                f"/v1/customer/disputes/{part(ref)}/accept-claim",
                {"note": "The claim is accepted."}, headers={"PayPal-Request-Id": key},
            )  # fmt: skip
        except ProviderRefused:
            found = self.fetch_dispute(ref)
            if found.status in ("won", "lost", "closed"):
                return found
            raise
        return self.fetch_dispute(ref)

    def send_evidence(
        self, ref: str, evidence: Mapping[str, str], *, submit: bool, key: str
    ) -> RemoteDispute:
        """Texts, at once and for good: PayPal keeps no draft. A repeat reads what became of the
        first. https://developer.paypal.com/docs/api/customer-disputes/v1/#disputes_provide-evidence
        """
        if not submit:
            raise NotSupported("PayPal keeps no draft of evidence.")
        try:
            self._api.post(
                f"/v1/customer/disputes/{part(ref)}/provide-evidence",
                parts={"input": shapes.evidence_out(evidence)},
                headers={"PayPal-Request-Id": key},
            )
        except ProviderRefused:
            found = self.fetch_dispute(ref)
            if found.evidence and found.status not in ("warning", "needs_response"):
                return found
            raise
        return self.fetch_dispute(ref)

    def upload_file(self, name: str, content: bytes, content_type: str, key: str) -> str:
        """PayPal takes files with the evidence alone, and keeps none before."""
        raise ProviderRefused(
            "PayPal takes no file of evidence from here: add it on its Resolution Center page.",
            provider_code="no_files",
        )

    # Books ----------------------------------------------------------------------------------------

    def books(
        self, since: datetime, until: datetime, kind: str, cursor: str | None
    ) -> tuple[list[Listed], str | None]:
        """PayPal's transaction search, which runs up to three hours behind. `cursor` is the start
        of a span and the page in it. Raises NotSupported where the app may not search."""
        if kind not in ("charge", "refund"):
            return [], None
        told, _, page = (cursor or f"{since.isoformat()}|1").partition("|")
        start = datetime.fromisoformat(told)
        end = min(until, start + SPAN, datetime.now(UTC))
        if start >= end:
            return [], None
        params = {"start_date": _second(start), "end_date": _second(end), "fields": "all",
                  "page": page, "page_size": PAGE}  # fmt: skip
        try:
            raw = shapes.an_object(self._api.get("/v1/reporting/transactions", params=params).body)
        except ProviderUnavailable as exc:
            if Rejection.of(exc).status == 403:
                raise NotSupported("The REST app may not use PayPal's transaction search.") from exc
            raise
        found = shapes.listed(raw, kind, livemode=self.livemode)
        if int(page) < int(raw.get("total_pages") or 0):
            following = f"{start.isoformat()}|{int(page) + 1}"
        else:
            following = f"{end.isoformat()}|1" if end == start + SPAN else None
        return [one for one in found if since <= one.created_at < until], following

    # Webhooks -------------------------------------------------------------------------------------

    def parse_webhook(self, body: bytes, headers: Mapping[str, str]) -> list[ProviderEvent]:
        """Checked with PayPal's certificate; where that cannot be had, PayPal is asked whether it
        sent this. Raises ProviderUnavailable where it does not answer either: nothing is stored
        then, and PayPal sends the event again."""
        given = {name.lower(): value for name, value in headers.items()}
        told = {name: given.get(header, "") for name, header in SIGNED.items()}
        webhook_id = self.settings.paypal_webhook_id
        if not webhook_id or not all(told.values()):
            raise InvalidSignature()
        try:
            text = body.decode()
            if not isinstance(json.loads(text), dict):
                raise ValueError
        except (ValueError, RecursionError):
            raise MalformedRequest("The webhook's body is no JSON object.") from None
        is_signed = self._certificates.verify(told, webhook_id, body)
        if is_signed is False or (is_signed is None and not self._confirmed(told, text)):
            raise InvalidSignature()
        return [shapes.read_event(text, livemode=self.livemode)]

    def _confirmed(self, told: Mapping[str, str], text: str) -> bool:
        """What PayPal itself says of an event's signature."""
        webhook_id = self.settings.paypal_webhook_id
        # The event travels as it came: written anew it could differ from what was signed.
        question = encode({**told, "webhook_id": webhook_id})[:-1] + f', "webhook_event": {text}}}'
        verify = partial(self._api.request, content=question, reads=True)
        try:
            answer = self._verifier.call(
                verify, "POST", "/v1/notifications/verify-webhook-signature"
            )
        except ProviderRefused as exc:  # A header that cannot be a signature's.
            raise InvalidSignature() from exc
        except OutcomeUnknown as exc:
            raise ProviderUnavailable(exc.detail, retry_after_s=5) from exc
        return shapes.an_object(answer.body).get("verification_status") == "SUCCESS"

    def read_event(self, body: str, ref: str | None) -> ProviderEvent:
        return shapes.read_event(body, livemode=self.livemode)


def _second(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
