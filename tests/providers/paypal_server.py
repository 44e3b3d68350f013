"""A small server of PayPal's documented interface: tokens, orders, captures, refunds, disputes.

Orders v2 and Payments v2 with PayPal-Request-Id, which is kept and answers again; a changed body
under a key that was used is refused. Webhooks are signed with a certificate of the server's own,
which it shows, and verified by the documented call too, for the event's very bytes.
"""

from __future__ import annotations

import base64
import itertools
import json
import zlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email import message_from_bytes
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from paypal_certificates import signer
from provider_server import ProviderServer, Refusal, Request

CLIENT_ID, SECRET = "paypal-app-of-the-tests", "paypal-secret-of-the-tests"
WEBHOOK_ID = "1JE4291016473214C"
CERTIFICATE = "/v1/notifications/certs/CERT-1"
WHOLE = {"HUF", "JPY", "TWD"}


def issue(status: int, name: str, code: str, text: str) -> Refusal:
    return Refusal(status, {"name": name, "message": "The request could not be performed.",
                            "details": [{"issue": code, "description": text}]})  # fmt: skip


def absent() -> Refusal:
    return issue(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID", "No such resource.")


class PayPalServer(ProviderServer):
    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(1)
        self.tokens: set[str] = set()
        self.kept: dict[tuple[str, str], tuple[bytes, tuple[int, Any]]] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.captures: dict[str, dict[str, Any]] = {}
        self.refunds: dict[str, dict[str, Any]] = {}
        self.disputes: dict[str, dict[str, Any]] = {}
        self.events: list[tuple[str, bytes]] = []
        self.taken: dict[str, dict[str, str]] = {}
        self.capture_status = "COMPLETED"
        self.decline: str | None = None
        self.is_rigid = False
        self.may_search = True
        self.page_size = 500
        self.chain = signer().chain
        for method, pattern, function in (
            ("POST", "/v1/oauth2/token", self._token),
            ("POST", "/v2/checkout/orders", self._once(self._create)),
            ("GET", "/v2/checkout/orders/([^/]+)", self._get_order),
            ("PATCH", "/v2/checkout/orders/([^/]+)", self._change),
            ("GET", "/v1/reporting/transactions", self._search),
            ("POST", "/v2/checkout/orders/([^/]+)/capture", self._once(self._capture)),
            ("GET", "/v2/payments/captures/([^/]+)", self._get_capture),
            ("POST", "/v2/payments/captures/([^/]+)/refund", self._once(self._refund)),
            ("GET", "/v2/payments/refunds/([^/]+)", self._get_refund),
            ("GET", "/v1/customer/disputes/([^/]+)", self._get_dispute),
            ("POST", "/v1/customer/disputes/([^/]+)/accept-claim", self._accept),
            ("POST", "/v1/customer/disputes/([^/]+)/provide-evidence", self._evidence),
            ("POST", "/v1/notifications/verify-webhook-signature", self._verify),
            ("GET", CERTIFICATE, lambda _: (200, self.chain) if self.chain else (404, None)),
        ):
            self.route(method, pattern, function)

    def loses(self, request: Request) -> bool:
        return request.method == "POST" and request.path.startswith("/v2/")

    # The payer's side.

    def approve(self, order_id: str, paid: dict[str, str] | None = None) -> None:
        """The payer agrees on PayPal's page. `paid`: PayPal will capture this instead."""
        with self.lock:
            order = self.orders[order_id]
            assert order["status"] in ("CREATED", "PAYER_ACTION_REQUIRED")
            order["status"] = "APPROVED"
            if paid:
                self.taken[order_id] = paid
            self._tell("CHECKOUT.ORDER.APPROVED", order, order_id)

    def deliveries(self, order_id: str) -> list[tuple[bytes, dict[str, str]]]:
        with self.lock:
            return [(body, self.signed(body)) for about, body in self.events if about == order_id]

    def signed(self, body: bytes, **changed: str) -> dict[str, str]:
        event = json.loads(body)
        told = {"PAYPAL-AUTH-ALGO": "SHA256withRSA", "PAYPAL-TRANSMISSION-ID": f"tr-{event['id']}",
                "PAYPAL-CERT-URL": f"{self.url}{CERTIFICATE}",
                "PAYPAL-TRANSMISSION-TIME": "2026-05-01T10:00:00Z"}  # fmt: skip
        text = _signed_text(told["PAYPAL-TRANSMISSION-ID"], told["PAYPAL-TRANSMISSION-TIME"], body)
        signature = signer().key.sign(text, PKCS1v15(), SHA256())
        return {**told, "PAYPAL-TRANSMISSION-SIG": base64.b64encode(signature).decode(),
                **{f"PAYPAL-{name.upper().replace('_', '-')}": value
                   for name, value in changed.items()}}  # fmt: skip

    def _tell(self, kind: str, resource: dict[str, Any], order_id: str) -> None:
        event = {"id": f"WH-{next(self.numbers):08}", "event_version": "1.0", "event_type": kind,
                 "create_time": "2026-05-01T10:00:00Z", "resource": resource}  # fmt: skip
        self.events.append((order_id, json.dumps(event).encode()))

    # The interface.

    def _token(self, request: Request) -> tuple[int, Any]:
        wanted = base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {wanted}":
            return 401, {"error": "invalid_client", "error_description": "Authentication failed"}
        assert request.form == {"grant_type": "client_credentials"}
        token = f"A21AA-{next(self.numbers)}"
        self.tokens.add(token)
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": 32_400}

    def _allow(self, request: Request) -> None:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            raise Refusal(401, {"name": "AUTHENTICATION_FAILURE", "message": "No valid token."})

    def _once(self, function: Any) -> Any:
        """The same PayPal-Request-Id answers the same again."""

        def wrapped(request: Request, *parts: str) -> tuple[int, Any]:
            self._allow(request)
            key = (request.path, request.headers.get("PayPal-Request-Id") or "")
            if key in self.kept:
                body, answer = self.kept[key]
                if body != request.body:
                    raise issue(422, "UNPROCESSABLE_ENTITY", "PAYPAL_REQUEST_ID_PREVIOUSLY_USED",
                                "Used with another body.")  # fmt: skip
                return answer
            answer = function(request, *parts)
            if key[1]:
                self.kept[key] = (request.body, json.loads(json.dumps(answer, default=str)))
            return answer

        return wrapped

    def _id(self, letter: str) -> str:
        return f"{next(self.numbers):05}{letter}{'0' * 11}"

    def _create(self, request: Request) -> tuple[int, Any]:
        told = request.json
        (unit,) = told["purchase_units"]
        assert told["intent"] == "CAPTURE" and set(unit["amount"]) == {"currency_code", "value"}
        if unit["amount"]["currency_code"] in WHOLE and "." in unit["amount"]["value"]:
            raise issue(422, "UNPROCESSABLE_ENTITY", "DECIMALS_NOT_SUPPORTED", "No decimals.")
        order_id = self._id("A")
        page = f"https://www.paypal.com/checkoutnow?token={order_id}"
        order = {
            "id": order_id, "intent": "CAPTURE", "status": "PAYER_ACTION_REQUIRED",
            "purchase_units": [{"reference_id": "default", **unit}],
            "payment_source": {"paypal": {}}, "create_time": "2026-05-01T09:59:00Z",
            "links": [{"href": f"{self.url}/v2/checkout/orders/{order_id}", "rel": "self"},
                      {"href": page, "rel": "payer-action", "method": "GET"}],
        }  # fmt: skip
        self.orders[order_id] = order
        return 200, order

    def _get_order(self, request: Request, order_id: str) -> tuple[int, Any]:
        self._allow(request)
        if order_id not in self.orders:
            raise absent()
        return 200, self.orders[order_id]

    def _change(self, request: Request, order_id: str) -> tuple[int, Any]:
        self._allow(request)
        order = self.orders.get(order_id)
        if order is None:
            raise absent()
        if order["status"] == "COMPLETED" or self.is_rigid:
            raise issue(422, "UNPROCESSABLE_ENTITY", "ORDER_ALREADY_COMPLETED", "Too late.")
        (change,) = request.json
        assert change["path"] == "/purchase_units/@reference_id=='default'/custom_id"
        order["purchase_units"][0]["custom_id"] = change["value"]
        return 204, None

    def _capture(self, request: Request, order_id: str) -> tuple[int, Any]:
        order = self.orders.get(order_id)
        if order is None:
            raise absent()
        if order["status"] == "COMPLETED":
            raise issue(422, "UNPROCESSABLE_ENTITY", "ORDER_ALREADY_CAPTURED", "Captured already.")
        if order["status"] != "APPROVED":
            raise issue(422, "UNPROCESSABLE_ENTITY", "ORDER_NOT_APPROVED", "Not approved.")
        if self.decline:
            order["status"] = "PAYER_ACTION_REQUIRED"
            raise issue(422, "UNPROCESSABLE_ENTITY", self.decline, "The instrument was declined.")
        unit = order["purchase_units"][0]
        capture_id = self._id("C")
        amount = self.taken.get(order_id, unit["amount"])
        capture = {
            "id": capture_id, "status": self.capture_status, "amount": amount,
            "custom_id": unit["custom_id"], "invoice_id": unit["invoice_id"],
            "create_time": "2026-05-01T10:00:00Z",
            "seller_receivable_breakdown": {
                "gross_amount": amount,
                "paypal_fee": {"currency_code": amount["currency_code"], "value": "1.00"}},
            "supplementary_data": {"related_ids": {"order_id": order_id}},
        }  # fmt: skip
        self.captures[capture_id] = capture
        order |= {"status": "COMPLETED", "payer": {"payer_id": "QYR5Z8XDVJNXQ"}}
        unit["payments"] = {"captures": [capture]}
        word = "COMPLETED" if self.capture_status == "COMPLETED" else self.capture_status
        self._tell(f"PAYMENT.CAPTURE.{word}", capture, order_id)
        return 201, order

    def _get_capture(self, request: Request, capture_id: str) -> tuple[int, Any]:
        self._allow(request)
        if capture_id not in self.captures:
            raise absent()
        return 200, self.captures[capture_id]

    def _refund(self, request: Request, capture_id: str) -> tuple[int, Any]:
        capture = self.captures.get(capture_id)
        if capture is None:
            raise absent()
        amount = request.json.get("amount", capture["amount"])
        before = [r for r in self.refunds.values() if r["_capture"] == capture_id]
        back = sum((Decimal(r["amount"]["value"]) for r in before), Decimal(amount["value"]))
        if back > Decimal(capture["amount"]["value"]):
            raise issue(422, "UNPROCESSABLE_ENTITY", "REFUND_AMOUNT_EXCEEDED", "Too much.")
        refund_id = self._id("R")
        refund = {
            "id": refund_id, "status": "COMPLETED", "amount": amount, "_capture": capture_id,
            "custom_id": request.json.get("custom_id"),
            "create_time": f"2026-05-01T11:00:{len(before):02}Z",
            "links": [{"rel": "self", "href": f"{self.url}/v2/payments/refunds/{refund_id}"},
                      {"rel": "up", "href": f"{self.url}/v2/payments/captures/{capture_id}"}],
        }  # fmt: skip
        self.refunds[refund_id] = refund
        whole = back == Decimal(capture["amount"]["value"])
        capture["status"] = "REFUNDED" if whole else "PARTIALLY_REFUNDED"
        order_id = capture["supplementary_data"]["related_ids"]["order_id"]
        payments = self.orders[order_id]["purchase_units"][0]["payments"]
        payments.setdefault("refunds", []).append(refund)
        self._tell("PAYMENT.CAPTURE.REFUNDED", refund, refund_id)
        return 201, refund

    def _get_refund(self, request: Request, refund_id: str) -> tuple[int, Any]:
        self._allow(request)
        if refund_id not in self.refunds:
            raise absent()
        return 200, self.refunds[refund_id]

    def _search(self, request: Request) -> tuple[int, Any]:
        """Transactions of the span, of which one is no payment; pages begin with 1."""
        self._allow(request)
        if not self.may_search:
            return 403, {"name": "NOT_AUTHORIZED", "message": "No permission."}
        told = dict(request.query)
        since, until = (datetime.fromisoformat(told[k]) for k in ("start_date", "end_date"))
        assert until - since <= timedelta(days=31)
        at = _now() - timedelta(seconds=5)
        rows = [
            *(_row(c["id"], "T0006", c["amount"]["value"], c, custom_field=c["custom_id"],
                   fee_amount={"currency_code": c["amount"]["currency_code"], "value": "-1.00"})
              for c in self.captures.values()),
            *(_row(r["id"], "T1107", f"-{r['amount']['value']}", r,
                   paypal_reference_id=r["_capture"]) for r in self.refunds.values()),
            {"transaction_id": "W1", "transaction_event_code": "T0400", "transaction_status": "S",
             "transaction_amount": {"currency_code": "USD", "value": "-100.00"}},
        ]  # fmt: skip
        if not since <= at <= until:
            rows = []
        found = [{"transaction_info": {"transaction_initiation_date": at.isoformat(), **row}}
                 for row in rows]  # fmt: skip
        first = (int(told["page"]) - 1) * self.page_size
        return 200, {"transaction_details": found[first : first + self.page_size],
                     "page": int(told["page"]), "total_items": len(found),
                     "total_pages": -(-len(found) // self.page_size)}  # fmt: skip

    def _get_dispute(self, request: Request, dispute_id: str) -> tuple[int, Any]:
        self._allow(request)
        if dispute_id not in self.disputes:
            raise absent()
        return 200, self.disputes[dispute_id]

    def _accept(self, request: Request, dispute_id: str) -> tuple[int, Any]:
        self._allow(request)
        dispute = self.disputes[dispute_id]
        if dispute["status"] == "RESOLVED":
            raise issue(400, "INVALID_REQUEST", "ACTION_NOT_ALLOWED", "It is resolved.")
        dispute |= {"status": "RESOLVED", "dispute_outcome": {"outcome_code": "ACCEPTED"}}
        return 200, {"links": []}

    def _evidence(self, request: Request, dispute_id: str) -> tuple[int, Any]:
        """multipart/form-data with the part `input`, of JSON; once."""
        self._allow(request)
        dispute = self.disputes[dispute_id]
        if dispute["status"] != "WAITING_FOR_SELLER_RESPONSE":
            raise issue(422, "UNPROCESSABLE_ENTITY", "ACTION_NOT_ALLOWED", "Nothing is awaited.")
        kind = request.headers["Content-Type"]
        form = message_from_bytes(f"Content-Type: {kind}\n\n".encode() + request.body)
        (told,) = form.get_payload()
        assert kind.startswith("multipart/form-data")
        assert told.get_param("name", header="content-disposition") == "input"
        assert told.get_content_type() == "application/json"
        evidences = json.loads(told.get_payload(decode=True))["evidences"]
        assert all(len(one["notes"]) <= 2000 for one in evidences)
        dispute["evidences"] = [{**one, "source": "SUBMITTED_BY_SELLER"} for one in evidences]
        dispute["status"] = "UNDER_REVIEW"
        return 200, {"links": []}

    def _verify(self, request: Request) -> tuple[int, Any]:
        self._allow(request)
        told = request.json
        event = request.body.partition(b'"webhook_event": ')[2][:-1]
        text = _signed_text(told["transmission_id"], told["transmission_time"], event)
        is_right = told["webhook_id"] == WEBHOOK_ID
        try:
            given = base64.b64decode(told["transmission_sig"])
            signer().key.public_key().verify(given, text, PKCS1v15(), SHA256())
        except InvalidSignature:
            is_right = False
        return 200, {"verification_status": "SUCCESS" if is_right else "FAILURE"}


def _signed_text(transmission: str, at: str, body: bytes) -> bytes:
    return f"{transmission}|{at}|{WEBHOOK_ID}|{zlib.crc32(body)}".encode()


def _now() -> datetime:
    return datetime.now(UTC)


def _row(ref: str, code: str, value: str, about: dict[str, Any], **more: Any) -> dict[str, Any]:
    amount = {"currency_code": about["amount"]["currency_code"], "value": value}
    return {"transaction_id": ref, "transaction_event_code": code, "transaction_status": "S",
            "transaction_amount": amount, **more}  # fmt: skip
