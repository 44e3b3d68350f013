"""A small server of BTCPay's Greenfield API: invoices of one store, and signed webhooks.

An invoice is New, Processing (all came, not confirmed), Settled, Expired or Invalid, with an
additional status that tells why. It knows no idempotency keys, as the real one.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
from decimal import Decimal
from typing import Any

from provider_server import ProviderServer, Refusal, Request

KEY, STORE, WEBHOOK_SECRET = "greenfield-key-of-the-tests", "9CiNzKoANXxmk5ayZngSXrHTiVvv", "hook!"


class BTCPayServer(ProviderServer):
    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        self.invoices: dict[str, dict[str, Any]] = {}
        self.payments: dict[str, list[dict[str, Any]]] = {}
        self.events: list[tuple[str, bytes]] = []
        invoices = f"/api/v1/stores/{STORE}/invoices"
        self.route("GET", invoices, self._list)
        self.route("POST", invoices, self._create)
        self.route("GET", f"{invoices}/([^/]+)", self._get)
        self.route("GET", f"{invoices}/([^/]+)/payment-methods", self._methods)

    # The payer's side and the chain's.

    def pay(self, ref: str, paid: Decimal, *, confirmed: bool = True, late: bool = False) -> None:
        """Coins worth `paid` arrive: before the invoice's end, or after it (`late`)."""
        with self.lock:
            invoice = self.invoices[ref]
            self.payments[ref].append({"status": "Settled" if confirmed else "Processing",
                                       "value": str(paid / 50_000)})  # fmt: skip
            total = Decimal(invoice["paidAmount"]) + paid
            asked = Decimal(invoice["amount"])
            invoice["paidAmount"] = str(total)
            self.tell("InvoiceReceivedPayment", ref, afterExpiration=late)
            if late:
                invoice |= {"status": "Expired",
                            "additionalStatus": "PaidLate" if total >= asked else "PaidPartial"}
            elif total < asked:
                self.end(ref, "Expired", "PaidPartial")
                self.tell("InvoiceExpired", ref, partiallyPaid=True)
            else:
                more = "PaidOver" if total > asked else "None"
                self.end(ref, "Settled" if confirmed else "Processing", more)
                self.tell("InvoiceProcessing", ref, overPaid=total > asked)
                if confirmed:
                    self.tell("InvoiceSettled", ref, overPaid=total > asked)

    def confirm(self, ref: str) -> None:
        with self.lock:
            for payment in self.payments[ref]:
                payment["status"] = "Settled"
            if self.invoices[ref]["status"] == "Processing":
                self.invoices[ref]["status"] = "Settled"
                self.tell("InvoiceSettled", ref)
            self.tell("InvoicePaymentSettled", ref)

    def end(self, ref: str, status: str, more: str = "None") -> None:
        with self.lock:
            self.invoices[ref] |= {"status": status, "additionalStatus": more}

    def tell(self, kind: str, ref: str, **more: Any) -> None:
        delivery = f"delivery-{next(self.numbers)}"
        event = {"deliveryId": delivery, "originalDeliveryId": delivery, "isRedelivery": False,
                 "webhookId": "hook-1", "type": kind, "timestamp": int(time.time()),
                 "storeId": STORE, "invoiceId": ref,
                 "metadata": self.invoices[ref]["metadata"], **more}  # fmt: skip
        self.events.append((ref, json.dumps(event).encode()))

    def deliveries(self, ref: str) -> list[tuple[bytes, dict[str, str]]]:
        with self.lock:
            return [(body, signed(body)) for about, body in self.events if about == ref]

    # The interface.

    def _allow(self, request: Request) -> None:
        if request.headers.get("Authorization") != f"token {KEY}":
            raise Refusal(401, {"code": "unauthenticated", "message": "No valid key."})

    def _list(self, request: Request) -> tuple[int, Any]:
        self._allow(request)
        wanted = {value for name, value in request.query if name == "orderId"}
        found = [one for one in self.invoices.values()
                 if not wanted or one["metadata"].get("orderId") in wanted]  # fmt: skip
        told = {name: int(value) for name, value in request.query if name != "orderId"}
        found = [one for one in reversed(found)
                 if told.get("startDate", 0) <= one["createdTime"]
                 <= told.get("endDate", one["createdTime"])]  # fmt: skip
        skip = told.get("skip", 0)
        return 200, found[skip : skip + told.get("take", 50)]

    def _create(self, request: Request) -> tuple[int, Any]:
        self._allow(request)
        told = request.json
        if Decimal(told["amount"]) <= 0:
            return 400, [{"path": "amount", "message": "The amount should be above zero."}]
        ref, now = f"Inv{next(self.numbers):08}", int(time.time())
        invoice = {
            "id": ref, "storeId": STORE, "amount": told["amount"], "paidAmount": "0",
            "currency": told["currency"], "metadata": told["metadata"], "type": "Standard",
            "status": "New", "additionalStatus": "None", "createdTime": now,
            "checkoutLink": f"{self.url}/i/{ref}",
            "expirationTime": now + 60 * told["checkout"]["expirationMinutes"],
        }  # fmt: skip
        self.invoices[ref], self.payments[ref] = invoice, []
        self.tell("InvoiceCreated", ref)
        return 200, invoice

    def _get(self, request: Request, ref: str) -> tuple[int, Any]:
        self._allow(request)
        if ref not in self.invoices:
            return 404, {"code": "invoice-not-found", "message": "The invoice was not found"}
        return 200, self.invoices[ref]

    def _methods(self, request: Request, ref: str) -> tuple[int, Any]:
        self._allow(request)
        return 200, [{"paymentMethodId": "BTC-CHAIN", "payments": self.payments[ref]}]


def signed(body: bytes, secret: str = WEBHOOK_SECRET) -> dict[str, str]:
    mac = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"BTCPay-Sig": f"sha256={mac}", "Content-Type": "application/json"}
