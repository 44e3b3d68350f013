"""BTCPay Server: invoices paid in coins, and webhooks signed with the store's secret.

Amounts are the invoice's own currency: what BTCPay says was paid, over or under the invoice. An
invoice gives nothing back by itself (BTCPay's refund is a page on which the payer claims coins),
so there is no refund here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import cached_property
from typing import Any

from paydesk.errors import InvalidRequest, InvalidSignature, MalformedRequest
from paydesk.providers import texts
from paydesk.providers.base import (
    AnswerUnclear,
    Charge,
    Listed,
    Order,
    Provider,
    ProviderEvent,
    RemoteCheckout,
    provider,
)
from paydesk.providers.http import Http, part
from paydesk.rules.money import Money, exponent
from paydesk.rules.payments import is_ours
from paydesk.settings import Settings

#: An invoice's status where it alone decides.
_PLAIN = {"New": "pending", "Processing": "processing"}
#: Why an ended invoice may still have brought money.
_CAME_ANYWAY = frozenset({"PaidPartial", "PaidLate", "PaidOver"})
#: Invoices on a page of the books.
PAGE = 50
#: How a webhook's signature begins.
_SCHEME = "sha256="


@provider("btcpay")
class BTCPay(Provider):
    """The Greenfield API of one store. Our payment id is the invoice's `orderId`, which BTCPay
    finds invoices by."""

    title, means = "BTCPay Server", ("Bitcoin", "coins")
    can = frozenset({"checkout", "fetch", "search", "webhooks", "books", "by_hand"})

    @classmethod
    def is_configured(cls, settings: Settings) -> bool:
        return bool(settings.btcpay_url and settings.btcpay_api_key and settings.btcpay_store_id)

    @property
    def livemode(self) -> bool:
        return self.settings.btcpay_live

    @cached_property
    def _api(self) -> Http:
        told = self.settings
        return Http(
            "BTCPay Server",
            f"{told.btcpay_url.rstrip('/')}/api/v1/stores/{part(told.btcpay_store_id)}",
            told.provider_timeout_s,
            headers={"Authorization": f"token {told.btcpay_api_key}"},
            secrets=[told.btcpay_api_key, told.btcpay_webhook_secret],
        )

    def warm(self) -> None:
        """Ask for one invoice, which also tells whether the key is right."""
        self._api.get("/invoices", params={"take": 1})

    def close(self) -> None:
        if "_api" in vars(self):
            self._api.close()

    def checkout_request(self, order: Order) -> dict[str, Any]:
        return {
            "amount": str(order.amount.decimal),
            "currency": order.amount.currency.upper(),
            "metadata": {
                "orderId": order.id,
                "itemDesc": order.description[:250],
                "paydeskKey": order.key,
                **({"buyerEmail": order.email} if order.email else {}),
            },
            "checkout": {
                "expirationMinutes": max(1, -(-order.expires_in_s // 60)),
                "redirectURL": order.success_url,
                "redirectAutomatically": bool(order.success_url),
            },
        }

    def create_checkout(self, order: Order) -> RemoteCheckout:
        """BTCPay knows no idempotency keys: what a lost answer left behind is looked for first."""
        request = dict(order.request or self.checkout_request(order))
        for raw in self._invoices(order.id):
            if (raw.get("metadata") or {}).get("paydeskKey") == order.key:
                return _checkout(raw)
        return _checkout(self._api.post("/invoices", request).body)

    def fetch(self, ref: str) -> Charge:
        return self._charge(self._api.get(f"/invoices/{part(ref)}").body)

    def search(self, payment_id: str, request: Mapping[str, Any]) -> Charge | None:
        """The invoice of our payment; where a repeat made a second one, the one that was paid."""
        found = [self._charge(raw) for raw in self._invoices(payment_id)]
        paid = [one for one in found if one.status in ("succeeded", "processing")]
        return next(iter(paid or found), None)

    def books(
        self, since: datetime, until: datetime, kind: str, cursor: str | None
    ) -> tuple[list[Listed], str | None]:
        """Our invoices by the time they were made, newest first. BTCPay records no refunds,
        disputes or fees of its own."""
        if kind != "charge":
            return [], None
        skip = int(cursor or 0)
        params = {"startDate": int(since.timestamp()), "endDate": math.ceil(until.timestamp()),
                  "skip": skip, "take": PAGE}  # fmt: skip
        body = self._api.get("/invoices", params=params).body
        if not isinstance(body, list):
            raise AnswerUnclear("BTCPay's list of invoices cannot be understood.")
        found = []
        for raw in body:
            if not is_ours((raw.get("metadata") or {}).get("orderId")):
                continue  # Another program's, of whatever kind.
            charge, at = self._charge(raw), _made_at(raw)
            if since <= at < until:
                found.append(Listed(kind="charge", ref=charge.ref, value=charge, created_at=at,
                                    payment_ref=charge.payment_ref))  # fmt: skip
        return found, str(skip + PAGE) if len(body) == PAGE else None

    def _invoices(self, payment_id: str) -> list[dict[str, Any]]:
        """Our payment's invoices, the oldest first."""
        body = self._api.get("/invoices", params={"orderId": payment_id, "take": 50}).body
        if not isinstance(body, list):
            raise AnswerUnclear("BTCPay's list of invoices cannot be understood.")
        mine = [
            raw for raw in body if isinstance(raw, dict)
            and (raw.get("metadata") or {}).get("orderId") == payment_id
        ]  # fmt: skip
        return sorted(mine, key=lambda raw: (str(raw.get("createdTime")), str(raw.get("id"))))

    def _charge(self, raw: Any) -> Charge:
        if not isinstance(raw, dict) or not raw.get("id"):
            raise AnswerUnclear("BTCPay's invoice cannot be understood.")
        status, more = raw.get("status"), raw.get("additionalStatus")
        if status in _PLAIN:
            # A part that came before its end is told when the invoice has ended.
            return self._told(raw, _PLAIN[status])
        if status == "Settled":
            return self._told(raw, "succeeded", amount=_settled(raw))
        if status in ("Expired", "Invalid"):
            ours = "expired" if status == "Expired" else "failed"
            if more not in _CAME_ANYWAY:
                return self._told(raw, ours, ended=True)
            return self._ended_with_money(raw, ours)
        raise AnswerUnclear(f"BTCPay shows the invoice as {str(status)[:40]!r}.")

    def _ended_with_money(self, raw: dict[str, Any], ours: str) -> Charge:
        """An invoice that ended, and was paid in part, too late or too much: as far as the coins
        are settled, the money is here."""
        states = self._payment_states(str(raw["id"]))
        if "Processing" in states:
            return self._told(raw, "processing")
        amount = _paid(raw)
        if "Settled" not in states or amount is None or not amount.minor:
            return self._told(raw, ours, ended=True)
        return self._told(raw, "succeeded", amount=amount)

    def _payment_states(self, ref: str) -> set[str]:
        methods = self._api.get(f"/invoices/{part(ref)}/payment-methods").body
        if not isinstance(methods, list):
            raise AnswerUnclear("BTCPay's list of payments cannot be understood.")
        payments = [p for m in methods if isinstance(m, dict) for p in m.get("payments") or []]
        return {str(p.get("status")) for p in payments if isinstance(p, dict)}

    def _told(
        self, raw: dict[str, Any], status: str, *, amount: Money | None = None, ended: bool = False
    ) -> Charge:
        ref, metadata = str(raw["id"]), raw.get("metadata") or {}
        is_paid = status == "succeeded"
        return Charge(
            ref=ref, status=status, amount=amount, fact=ref if is_paid else None,
            ended=ended or is_paid, session_ref=ref, payment_ref=ref if is_paid else None,
            payment_id=metadata.get("orderId"), method="bitcoin", livemode=self.livemode,
            error_code="invalid" if status == "failed" else None,
            error_message="The coins did not arrive." if status == "failed" else None,
        )  # fmt: skip

    # Webhooks -------------------------------------------------------------------------------------

    def parse_webhook(self, body: bytes, headers: Mapping[str, str]) -> list[ProviderEvent]:
        given = next((v for k, v in headers.items() if k.lower() == "btcpay-sig"), "")
        if not given.startswith(_SCHEME):
            raise InvalidSignature()
        self.verify_hmac(body, given.removeprefix(_SCHEME), self.settings.btcpay_webhook_secret)
        return [self.read_event(body.decode("utf-8", "replace"), None)]

    def read_event(self, body: str, ref: str | None) -> ProviderEvent:
        """What an event is about. It carries no claim: BTCPay is asked how the invoice stands."""
        try:
            raw = texts.clean(json.loads(body))
            kind, delivery = str(raw["type"]), raw.get("originalDeliveryId") or raw["deliveryId"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise MalformedRequest("The webhook's body is no event of BTCPay.") from None
        told: dict[str, Any] = {"id": str(delivery), "type": kind, "body": body}
        invoice = raw.get("invoiceId")
        if not kind.startswith("Invoice") or not invoice:
            return ProviderEvent(kind="ignored", **told)
        if raw.get("storeId") != self.settings.btcpay_store_id:
            return ProviderEvent(
                kind="charge.updated", ref=invoice, problem="The event is another store's.", **told
            )
        metadata = raw.get("metadata")
        order_id = metadata.get("orderId") if isinstance(metadata, dict) else None
        order_id = order_id if order_id is None else str(order_id)
        if order_id is not None and not is_ours(order_id):
            # Another program's invoice of the same store.
            return ProviderEvent(kind="ignored", ref=invoice, **told)
        return ProviderEvent(kind="charge.updated", ref=invoice, payment_id=order_id, **told)


def _made_at(raw: dict[str, Any]) -> datetime:
    try:
        return datetime.fromtimestamp(int(raw["createdTime"]), UTC)
    except (KeyError, TypeError, ValueError) as exc:
        raise AnswerUnclear("BTCPay does not tell when the invoice was made.") from exc


def _checkout(raw: Any) -> RemoteCheckout:
    if not isinstance(raw, dict) or not raw.get("id") or not raw.get("checkoutLink"):
        raise AnswerUnclear("BTCPay's invoice has no id or no page.")
    left_s = None
    if isinstance(raw.get("expirationTime"), int) and isinstance(raw.get("createdTime"), int):
        left_s = raw["expirationTime"] - raw["createdTime"]
    return RemoteCheckout(id=str(raw["id"]), url=str(raw["checkoutLink"]), expires_in=left_s)


def _settled(raw: dict[str, Any]) -> Money:
    """What a settled invoice brought.

    A person of the shop may have marked it: then what was paid elsewhere is the invoice's amount.
    A server that does not tell what was paid says nothing but that it was enough, unless it was
    more. Raises AnswerUnclear there.
    """
    paid, asked = _paid(raw), _money(raw, "amount")
    if paid is not None and paid.minor:
        return paid
    more = raw.get("additionalStatus")
    if asked is None or (paid is None and more in _CAME_ANYWAY):
        raise AnswerUnclear("BTCPay does not tell how much was paid.")
    return asked


def _paid(raw: dict[str, Any]) -> Money | None:
    return _money(raw, "paidAmount")


def _money(raw: dict[str, Any], name: str) -> Money | None:
    """An amount of the invoice. Coins are worth fractions of a minor unit: rounded half up."""
    if raw.get(name) is None:
        return None
    try:
        currency = str(raw["currency"]).lower()
        value = Decimal(str(raw[name]))
        step = Decimal(1).scaleb(-exponent(currency))
        return Money(value.quantize(step, rounding=ROUND_HALF_UP), currency)
    except (KeyError, InvalidOperation, InvalidRequest) as exc:
        raise AnswerUnclear("An amount of BTCPay cannot be understood.") from exc
