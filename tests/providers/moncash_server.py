"""A small server of MonCash's documented interface: token, CreatePayment and two questions.

An order is known by the business's own id. It can be paid once; another CreatePayment for it makes
another token of the same order. What nobody paid is not found.
"""

from __future__ import annotations

import base64
import itertools
from decimal import Decimal
from typing import Any

from provider_server import ProviderServer, Refusal, Request

CLIENT_ID, SECRET = "moncash-business", "moncash-secret-of-the-tests"


class MonCashServer(ProviderServer):
    def __init__(self) -> None:
        super().__init__()
        self.numbers = itertools.count(12_874_820)
        self.tokens: set[str] = set()
        self.orders: dict[str, Decimal] = {}
        self.payments: dict[str, dict[str, Any]] = {}
        self.route("POST", "/Api/oauth/token", self._token)
        self.route("POST", "/Api/v1/CreatePayment", self._create)
        self.route("POST", "/Api/v1/RetrieveOrderPayment", self._of_order)
        self.route("POST", "/Api/v1/RetrieveTransactionPayment", self._of_transaction)

    def loses(self, request: Request) -> bool:
        return request.path.endswith("/CreatePayment")

    def pay(self, order_id: str, cost: Any, message: str = "successful") -> str:
        """The payer pays on the page; the transaction's id."""
        with self.lock:
            paid = self.payments.get(order_id)
            assert paid is None or paid["message"] != "successful", "an order is paid once"
            transaction = str(next(self.numbers))
            self.payments[order_id] = {
                "reference": order_id, "transaction_id": transaction, "cost": cost,
                "message": message, "payer": "50937007294",
            }  # fmt: skip
            return transaction

    def _token(self, request: Request) -> tuple[int, Any]:
        wanted = base64.b64encode(f"{CLIENT_ID}:{SECRET}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {wanted}":
            return 401, {"error": "invalid_client"}
        assert request.form == {"scope": "read,write", "grant_type": "client_credentials"}
        token = f"token-{next(self.numbers)}"
        self.tokens.add(token)
        return 200, {"access_token": token, "token_type": "bearer", "expires_in": 59,
                     "scope": "read,write"}  # fmt: skip

    def _allow(self, request: Request) -> None:
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.tokens:
            raise Refusal(401, {"error": "invalid_token"})

    def _create(self, request: Request) -> tuple[int, Any]:
        self._allow(request)
        amount, order_id = request.json["amount"], request.json["orderId"]
        if not isinstance(amount, int | Decimal) or amount <= 0 or not order_id:
            return 400, {"error": "Bad Request", "message": "Wrong amount", "status": 400}
        if self.payments.get(order_id, {}).get("message") == "successful":
            return 403, {"error": "Forbidden", "message": "The order was paid", "status": 403}
        self.orders[order_id] = Decimal(amount)
        return 202, {
            "path": "/Api/v1/CreatePayment", "status": 202, "timestamp": 1_562_903_797_051,
            "payment_token": {"token": f"page-{next(self.numbers)}",
                              "created": "2026-07-12 02:44:57:043",
                              "expired": "2026-07-12 02:54:57:043"},
        }  # fmt: skip

    def _of_order(self, request: Request) -> tuple[int, Any]:
        self._allow(request)
        return self._shown(request.path, self.payments.get(request.json["orderId"]))

    def _of_transaction(self, request: Request) -> tuple[int, Any]:
        self._allow(request)
        wanted = request.json["transactionId"]
        found = (p for p in self.payments.values() if p["transaction_id"] == wanted)
        return self._shown(request.path, next(found, None))

    def _shown(self, path: str, payment: dict[str, Any] | None) -> tuple[int, Any]:
        if payment is None:
            return 404, {"path": path, "error": "Not Found", "message": "Not Found", "status": 404}
        return 200, {"path": path, "payment": payment, "status": 200,
                     "timestamp": 1_560_029_360_970}  # fmt: skip
