"""MonCash of Digicel Haiti: a payment page by a token, and two questions about what was paid.

It sends no webhooks and gives nothing back by its interface. A session's reference is our
payment id and the second at which its page ends, so that asking needs nothing but the reference.

Its return page is one for the whole business and is told nothing but a transaction's number, which
MonCash counts up. So the payer goes there over a page of ours, where the browser is given the
order's secret, and comes back with it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from decimal import Decimal
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from paydesk.errors import InvalidRequest, NotFound, ProviderRefused
from paydesk.ids import parse
from paydesk.providers.base import AnswerUnclear, Charge, Order, Provider, RemoteCheckout, provider
from paydesk.providers.http import Answer, Http, Rejection, authorized
from paydesk.rules.money import HTG
from paydesk.rules.payments import is_ours
from paydesk.settings import Settings

#: A payment token, and with it the page, lives ten minutes.
PAGE_S = 600
#: A transaction's number.
TRANSACTION = re.compile("[0-9]{4,30}", re.ASCII)
#: Room for a payer who has begun, and for clocks that differ.
MARGIN_S = 300
#: A request may be repeated for so long after the payment got its id, each time with a new page.
REPEATS_S = 23 * 3600 + PAGE_S + MARGIN_S


@provider("moncash")
class MonCash(Provider):
    """CreatePayment leads to a page; RetrieveOrderPayment tells whether it was paid."""

    title, means = "MonCash", ("MonCash account", "coins")
    can = frozenset({"checkout", "fetch", "search", "by_hand"})
    currencies = frozenset({"htg"})

    @classmethod
    def is_configured(cls, settings: Settings) -> bool:
        return bool(settings.moncash_client_id and settings.moncash_client_secret)

    @property
    def livemode(self) -> bool:
        return "//sandbox." not in self.settings.moncash_url

    @cached_property
    def _api(self) -> Http:
        told = self.settings
        return authorized(
            "MonCash", f"{told.moncash_url.rstrip('/')}/Api", told.provider_timeout_s,
            "/oauth/token", told.moncash_client_id, told.moncash_client_secret,
            {"scope": "read,write", "grant_type": "client_credentials"},
        )  # fmt: skip

    def warm(self) -> None:
        """Get a token, which also tells whether the credentials are right."""
        self._api.warm()

    def close(self) -> None:
        if "_api" in vars(self):
            self._api.close()

    def checkout_request(self, order: Order) -> dict[str, Any]:
        return {"amount": str(order.amount.decimal), "orderId": order.id}

    def create_checkout(self, order: Order) -> RemoteCheckout:
        """A page for our payment id. A repeat gets a new page of the same order, which can be
        paid once."""
        request = dict(order.request or self.checkout_request(order))
        request["amount"] = Decimal(request["amount"])
        answer = self._api.post("/v1/CreatePayment", request)
        try:
            token = answer["payment_token"]["token"]
        except (KeyError, TypeError) as exc:
            raise AnswerUnclear("MonCash gave no payment token.") from exc
        return RemoteCheckout(
            id=f"{order.id}.{int(time.time()) + PAGE_S}",
            url=_way(order.success_url, token) or self.page_of(token),
            expires_in=PAGE_S,
        )

    def page_of(self, token: str) -> str:
        base = self.settings.moncash_url.rstrip("/")
        return f"{base}/Moncash-middleware/Payment/Redirect?{urlencode({'token': token})}"

    def returned(self, told: Mapping[str, str]) -> str | None:
        """MonCash sends every payer to the one page of its portal, with its transaction's number;
        with our own id, where the portal is told to."""
        ours = told.get("orderId") or told.get("order_id") or ""
        if is_ours(ours):
            return ours
        number = told.get("transactionId") or told.get("transaction_id") or ""
        return number if TRANSACTION.fullmatch(number) else None

    def fetch(self, ref: str) -> Charge:
        """A session, our payment id, or a transaction id of MonCash as its return page names it."""
        order_id, _, ends = ref.partition(".")
        if order_id.isascii() and order_id.isdigit():
            answer = self._ask("/v1/RetrieveTransactionPayment", {"transactionId": order_id})
            return self._charge(answer, ref, None)
        if ends.isascii() and ends.isdigit():
            is_over = time.time() > int(ends) + MARGIN_S
        else:
            is_over = time.time() > _last_end_s(order_id)
        answer = self._look(order_id)
        if answer is not None:
            return self._charge(answer, ref, order_id, is_over=is_over)
        return Charge(
            ref=ref, status="expired" if is_over else "pending", ended=is_over, session_ref=ref,
            payment_id=order_id, livemode=self.livemode,
        )  # fmt: skip

    def search(self, payment_id: str, request: Mapping[str, Any]) -> Charge | None:
        """What was paid for our payment id; None where nothing was."""
        answer = self._look(payment_id)
        return self._charge(answer, payment_id, payment_id) if answer is not None else None

    def _look(self, order_id: str) -> Answer | None:
        try:
            return self._ask("/v1/RetrieveOrderPayment", {"orderId": order_id})
        except ProviderRefused as exc:
            if Rejection.of(exc).status == 404:  # Nobody has paid it.
                return None
            raise

    def _ask(self, path: str, request: Mapping[str, str]) -> Answer:
        return self._api.post(path, request, reads=True)

    def _charge(
        self, answer: Answer, ref: str, order_id: str | None, *, is_over: bool = False
    ) -> Charge:
        try:
            payment = answer["payment"]
            reference, transaction = str(payment["reference"]), str(payment["transaction_id"])
            is_paid = str(payment["message"]).lower() == "successful"
            cost = payment["cost"]
            amount = HTG(cost if isinstance(cost, int | Decimal) else str(cost))
        except (KeyError, TypeError, InvalidRequest) as exc:
            raise AnswerUnclear(f"MonCash's answer about {ref} cannot be understood.") from exc
        if order_id is not None and reference != order_id:
            raise AnswerUnclear(f"MonCash answered about another order than {order_id}.")
        told: dict[str, Any] = {
            "ref": ref, "session_ref": ref if order_id else None, "payment_id": reference,
            "method": "moncash", "livemode": self.livemode,
        }  # fmt: skip
        if is_paid:
            return Charge(
                status="succeeded", amount=amount, fact=transaction, ended=True,
                payment_ref=transaction, **told,
            )  # fmt: skip
        # The payer may try again while the page is there.
        return Charge(
            status="failed" if is_over else "pending", ended=is_over, decline_ref=transaction,
            error_code="declined", error_message="MonCash did not take the money.", **told,
        )  # fmt: skip


def _way(success_url: str, token: str) -> str | None:
    """Our page that leads to MonCash's, beside the order's own; None for who has no such page."""
    page, _, query = success_url.partition("?")
    if not query or not page.endswith("/success"):
        return None
    return f"{page.removesuffix('/success')}/pay?{query}&{urlencode({'token': token})}"


def _last_end_s(payment_id: str) -> int:
    """When the last page that can have been made for a payment ends, in Unix seconds."""
    try:
        return (parse("payment", payment_id).int >> 80) // 1000 + REPEATS_S
    except NotFound:
        raise ProviderRefused(f"No such payment at MonCash: {payment_id[:64]!r}.") from None
