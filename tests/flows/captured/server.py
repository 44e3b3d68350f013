"""Stripe as it stood after a chapter: it answers what the official client asks."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from captured import shapes
from captured.story import Chapter


class Recorded:
    """`chapter` is what it answers from; None: there is nothing any more. `others` are charges,
    refunds and disputes by their ids; `asked` is what it was asked about."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.chapter: Chapter | None = None
        self.others: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.refused: list[str] = []
        self.sent: list[dict[str, list[str]]] = []
        stands = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                version = self.headers.get("Stripe-Version") or ""
                self._send(*stands.answer(self.path, version))

            def _send(self, status: int, found: dict[str, Any]) -> None:
                body = json.dumps(found).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self._send(*stands.refund(self.path, parse_qs(body)))

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, path: str, version: str) -> tuple[int, dict[str, Any]]:
        self.asked.append(path)
        url = urlsplit(path)
        asked = parse_qs(url.query)
        expand = [one for name, values in asked.items() if name.startswith("expand")
                  for one in values]  # fmt: skip
        if version != self.version or (version < shapes.BASIL
                                       and any("payments" in one for one in expand)):  # fmt: skip
            self.refused.append(f"{version} {path}")
            return 400, _error("This version cannot be asked so.", "parameter_invalid")
        found = self._find(url.path.removeprefix("/v1/"), asked, expand)
        if found is None:
            return 404, _error("No such object.", "resource_missing")
        return 200, found

    def refund(self, path: str, asked: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """A refund of a charge or an intent that there is."""
        assert path == "/v1/refunds" and self.chapter is not None, path
        self.sent.append(asked)
        charge, intent = asked.get("charge", [None])[0], asked.get("payment_intent", [None])[0]
        found = next((one for one in self.chapter.bills.values()
                      if (charge or intent) and one.charge
                      and (charge or one.charge, intent or one.intent)
                      == (one.charge, one.intent)), None)  # fmt: skip
        if found is None:
            return 404, _error("No such payment.", "resource_missing")
        return 200, {
            "id": f"re_{found.id[3:]}", "object": "refund", "amount": int(asked["amount"][0]),
            "balance_transaction": f"txn_re{found.id[3:]}", "charge": found.charge,
            "created": found.paid, "currency": "usd", "payment_intent": found.intent,
            "reason": None, "receipt_number": None, "status": "succeeded",
            "metadata": {name[9:-1]: values[0] for name, values in asked.items()
                         if name.startswith("metadata[")},
        }  # fmt: skip

    def _find(
        self, name: str, asked: dict[str, list[str]], expand: list[str]
    ) -> dict[str, Any] | None:
        chapter, version = self.chapter, self.version
        kind, _, id = name.partition("/")
        if id in self.others:
            return self.others[id]
        if kind == "refunds" and not id:
            whose = ("charge", "payment_intent")
            return _list("refunds", [
                one for one in self.others.values() if one["object"] == "refund"
                and all(asked.get(key, [one.get(key)]) == [one.get(key)] for key in whose)
            ])  # fmt: skip
        if chapter is None:
            return None
        if kind == "subscriptions" and id == shapes.SUBSCRIPTION:
            return shapes.subscription(version, chapter.sub)
        listed = any("payments" in one for one in expand)
        if kind == "invoices" and id in chapter.bills:
            return shapes.invoice(version, chapter.bills[id], listed=listed)
        if kind == "invoices" and asked.get("subscription") == [shapes.SUBSCRIPTION]:
            since = int(asked.get("created[gte]", ["0"])[0])
            found = [shapes.invoice(version, one, listed=listed)
                     for one in reversed(chapter.bills.values()) if one.made >= since]  # fmt: skip
            return _list("invoices", found)
        for bill in chapter.bills.values():
            if bill.intent is None:
                continue
            if kind == "payment_intents" and id == bill.intent:
                return shapes.intent(version, bill, expanded="latest_charge" in expand)
            if kind == "charges" and asked.get("payment_intent") == [bill.intent]:
                return _list("charges", [shapes.charge(version, bill, one)
                                         for one in reversed(bill.tried)])  # fmt: skip
        return None


def _list(name: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    return {"object": "list", "data": found, "has_more": False, "url": f"/v1/{name}"}


def _error(message: str, code: str) -> dict[str, Any]:
    return {"error": {"type": "invalid_request_error", "message": message, "code": code}}
