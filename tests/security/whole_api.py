"""A request that works for every operation of the OpenAPI document, over a desk with everything."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from service_document import DOCUMENT

from paydesk import ids
from paydesk.flows import heads, ledger, wallets
from paydesk.rules.money import Money

OPERATIONS: list[tuple[str, str, dict[str, Any]]] = [
    (method, path, operation)
    for path, item in sorted(DOCUMENT["paths"].items())
    for method, operation in item.items()
]
#: Members and parameters that say whose a thing is.
OWNERS = ("customer", "customer_id", "user_id", "userId", "user")
AMOUNT = {"amount": 100, "currency": "usd"}
AT = "2030-01-02T03:04:05Z"


def has_body(operation: dict[str, Any]) -> bool:
    return "application/json" in operation.get("requestBody", {}).get("content", {})


@dataclass
class World:
    """A customer who has one of everything. `ids`: parameter of a path -> his thing's id."""

    http: Any
    owner: str
    ids: dict[str, str] = field(default_factory=dict)

    def path(self, path: str, **more: str) -> str:
        for name, value in {**self.ids, **more}.items():
            path = path.replace(f"{{{name}}}", value)
        assert "{" not in path.replace("{}", ""), path
        return path

    def body(self, method: str, path: str) -> dict[str, Any]:
        """A body that is taken where the caller is the desk's own server."""
        found = copy.deepcopy(BODIES[method, path])
        return {k: self._filled(v) for k, v in found.items()}

    def _filled(self, value: Any) -> Any:
        if isinstance(value, str) and value.startswith("$"):
            return self.owner if value == "$owner" else self.ids[value[1:]]
        if isinstance(value, list):
            return [self._filled(v) for v in value]
        if isinstance(value, dict):
            return {k: self._filled(v) for k, v in value.items()}
        return value


ITEM = {"name": "Course", "amount": 900, "currency": "usd", "description": "All of it",
        "grants": [{"type": "course", "id": "python"}], "metadata": {"a": "b"},
        "rules": [{"name": "Students", "customer": {"segment": "student"}, "percent_off": 20}]}
#: (method, path) -> a body; `$name` is filled from the world.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("post", "/api/credits/checkout/package"): {"package_id": "creator", "user_id": "$owner"},
    ("post", "/api/credits/verify-payment"): {"session_id": "$session", "user_id": "$owner"},
    ("post", "/api/payments/methods"): {"paymentMethodId": "pm_card_visa", "userId": "$owner"},
    ("post", "/api/payments/methods/{method}/default"): {"userId": "$owner"},
    ("post", "/api/payments/setup-intent"): {"userId": "$owner"},
    ("post", "/api/purchases/create"): {"itemId": "course", "userId": "$owner"},
    ("post", "/api/purchases/{purchase_id}/refund"): {"amount": 1.5, "reason": "a word"},
    ("post", "/api/subscriptions/checkout-session"): {
        "planId": "pro", "userId": "$owner", "promoCode": "SAVE",
        "successUrl": "https://example.com/a"},
    ("post", "/api/subscriptions/{subscription_id}/cancel"): {"atPeriodEnd": True,
                                                              "reason": "a word"},
    ("put", "/api/subscriptions/{subscription_id}"): {"planId": "pro", "atPeriodEnd": True},
    ("post", "/api/v1/customers/services/payments/{payment_id}/refund"): {
        "amount": 1.5, "reason": "a word"},
    ("post", "/api/v1/customers/services/premium-membership"): {"customer_id": "$owner"},
    ("post", "/payment/credit-packs/{pack}/purchase"): {"userId": "$owner", "promoCode": "SAVE"},
    ("post", "/payment/credits/refund"): {"transactionId": "$spend", "credits": 1,
                                          "userId": "$owner"},
    ("post", "/payment/credits/transfer"): {"toUserId": "kin", "credits": 1, "userId": "$owner"},
    ("post", "/payment/memberships/cancel"): {"userId": "$owner", "reason": "a word"},
    ("post", "/payment/memberships/{membership_id}/subscribe"): {
        "userId": "$owner", "promoCode": "SAVE", "paymentMethodId": "$method",
        "successUrl": "https://example.com/a"},
    ("post", "/payment/promo-codes/apply"): {"code": "SAVE", "packId": "creator",
                                             "userId": "$owner"},
    ("post", "/payment/promo-codes/validate"): {"code": "SAVE", "packId": "creator",
                                                "userId": "$owner"},
    ("post", "/payments"): {"amount": 5, "method": "CASH", "currency": "usd", "userId": "$owner",
                            "description": "a word", "reference": "R-7", "metadata": {"a": "b"}},
    ("post", "/payments/stripe/process"): {
        "amount": 5, "paymentMethodId": "pm_card_visa", "currency": "usd", "userId": "$owner",
        "description": "a word"},
    ("patch", "/payments/{payment}"): {"description": "a word", "metadata": {"a": "b"}},
    ("post", "/v1/access"): {"customer": "$owner", "resource": "course:go", "reason": "a word"},
    ("post", "/v1/access/{access}/revoke"): {"reason": "a word"},
    ("post", "/v1/catalog/sync"): {"provider": "stripe", "dry_run": True},
    ("post", "/v1/checkouts"): {
        "customer": "$owner", "pack": "creator", "promo": "SAVE", "email": "a@example.com",
        "description": "a word", "reference": "R-8", "metadata": {"a": "b"},
        "success_url": "https://example.com/a", "cancel_url": "https://example.com/b"},
    ("post", "/v1/clocks"): {"name": "nightly"},
    ("post", "/v1/clocks/{clock}/advance"): {"by": "1d"},
    ("post", "/v1/conversions"): {**AMOUNT, "customer": "$owner", "to": "htg"},
    ("post", "/v1/conversions/quote"): {**AMOUNT, "to": "htg"},
    ("post", "/v1/credits/grant"): {"customer": "$owner", "credits": 1, "reason": "a word"},
    ("post", "/v1/credits/refund"): {"customer": "$owner", "spend": "$spend", "credits": 1},
    ("post", "/v1/credits/spend"): {
        "customer": "$owner", "credits": 1, "reason": "a word", "reference": "R-9",
        "metadata": {"a": "b"}},
    ("post", "/v1/credits/spend/bulk"): {
        "items": [{"customer": "$owner", "credits": 1, "reason": "a word", "reference": "R-9",
                   "key": "k", "metadata": {"a": "b"}}]},
    ("post", "/v1/credits/transfer"): {"customer": "$owner", "to": "kin", "credits": 1},
    ("post", "/v1/customers"): {
        "external_id": "user_new", "email": "a@example.com", "name": "Ada", "metadata": {"a": "b"}},
    ("patch", "/v1/customers/{customer}"): {
        "email": "a@example.com", "name": "Ada", "owner": "kin", "organization": "Northwind",
        "metadata": {"a": "b"}},
    ("patch", "/v1/disputes/{dispute}/evidence"): {"uncategorized_text": "a word",
                                                   "customer_name": "Ada"},
    ("post", "/v1/holds"): {"customer": "$owner", "credits": 1, "reason": "a word",
                            "reference": "R-1", "metadata": {"a": "b"}},
    ("post", "/v1/holds/{hold}/capture"): {"amount": 1},
    ("post", "/v1/credit-notes"): {"invoice": "$invoice", "amount": 1, "reason": "a word",
                                   "memo": "why"},
    ("post", "/v1/invoices"): {
        "customer": "$owner", "currency": "usd", "memo": "a word", "metadata": {"a": "b"},
        "items": [{"description": "a word", "amount": 5}],
        "buyer": {"name": "Ada", "country": "fr"}},
    ("post", "/v1/refills"): {"customer": "$owner", "threshold": 5, "pack": "creator",
                              "payment_method": "$method"},
    ("post", "/v1/invoices/{invoice}/checkout"): {"success_url": "https://example.com/a"},
    ("post", "/v1/invoices/{invoice}/pay"): {"payment_method": "$method"},
    ("put", "/v1/items/{item}"): ITEM,
    ("post", "/v1/keys"): {"name": "shop", "role": "support"},
    ("post", "/v1/keys/{key}/roll"): {"overlap_hours": 720},
    ("put", "/v1/packs/{pack}"): {
        "name": "Creator Pack", "credits": 150, "amount": 999, "currency": "usd",
        "description": "a word", "metadata": {"a": "b"}},
    ("post", "/v1/payment_methods"): {"customer": "$owner", "token": "pm_card_visa",
                                      "metadata": {"a": "b"}},
    ("patch", "/v1/payment_methods/{method}"): {"customer": "$owner", "default": True},
    ("post", "/v1/payments"): {
        "customer": "$owner", "pack": "creator", "promo": "SAVE", "payment_method": "$method",
        "confirm": True, "email": "a@example.com", "description": "a word", "reference": "R-2",
        "payable": "order:7", "metadata": {"a": "b"}, "return_url": "https://example.com/a"},
    ("patch", "/v1/payments/{payment}"): {"description": "a word", "metadata": {"a": "b"}},
    ("post", "/v1/payments/{payment}/capture"): {"amount": 1},
    ("post", "/v1/payments/{payment}/received"): {"reference": "R-3", "method": "cash",
                                                  "note": "a word"},
    ("post", "/v1/payments/{payment}/reference"): {"reference": "R-4"},
    ("post", "/v1/payments/{payment}/refunds"): {"amount": 1, "reason": "a word", "note": "why",
                                                 "metadata": {"a": "b"}},
    ("post", "/v1/payments/{payment}/resolve"): {"action": "waive"},
    ("put", "/v1/plans/{plan}"): {
        "name": "Pro", "amount": 1999, "currency": "usd", "description": "a word",
        "grants": [{"type": "course", "id": "python"}], "product": "software",
        "dunning": {"days": [1, 3], "final": "cancel"}, "metadata": {"a": "b"}},
    ("post", "/v1/promos/apply"): {"code": "SAVE", "customer": "$owner", "pack": "creator"},
    ("post", "/v1/promos/validate"): {"code": "SAVE", "customer": "$owner", "pack": "creator"},
    ("put", "/v1/promos/{promo}"): {
        "percent_off": 10, "packs": ["creator"], "customers": ["$owner"], "metadata": {"a": "b"},
        "match_metadata": {"segment": "student"}},
    ("post", "/v1/rates"): {"base": "usd", "quote": "htg", "rate": "131.5", "source": "bank"},
    ("post", "/v1/rates/import"): {"data": "Date,USD,HTG\n2026-01-14,1.1,145\n"},
    ("post", "/v1/reconciliations"): {"provider": "stripe", "since": "2026-01-14T00:00:00Z"},
    ("post", "/v1/refunds"): {"payment": "$payment", "amount": 1, "reason": "a word",
                              "note": "why", "metadata": {"a": "b"}},
    ("post", "/v1/refunds/{refund}/approve"): {"note": "why"},
    ("post", "/v1/refunds/{refund}/failed"): {"note": "why"},
    ("post", "/v1/notifications/{notification}/bounced"): {"reason": "mailbox unavailable"},
    ("post", "/v1/refunds/{refund}/paid"): {"reference": "R-5"},
    ("post", "/v1/refunds/{refund}/reject"): {"note": "why"},
    ("post", "/v1/risk/assessments/{assessment}/decide"): {"verdict": "accepted", "note": "why"},
    ("put", "/v1/risk/lists"): {"kind": "customer", "value": "user_9", "action": "review",
                                "reason": "a word"},
    ("post", "/v1/sessions"): {"email": "rosa@example.com", "password": "plain old staircase"},
    ("post", "/v1/setups"): {"customer": "$owner", "metadata": {"a": "b"},
                             "success_url": "https://example.com/a"},
    ("post", "/v1/staff"): {"email": "joe@example.com", "name": "Joe", "role": "support",
                            "password": "plain old staircase"},
    ("patch", "/v1/staff/{staff}"): {"name": "Rosa"},
    ("post", "/v1/staff/{staff}/password"): {"password": "plain old staircase"},
    ("post", "/v1/statements"): {"provider": "manual", "name": "January", "currency": "usd",
                                 "content": "date,amount,reference\n2026-01-02,5.00,R-6\n"},
    ("post", "/v1/statements/ignore"): {"provider": "manual", "line": "1", "reason": "a word"},
    ("post", "/v1/statements/match"): {"provider": "manual", "line": "1", "payment": "$payment"},
    ("post", "/v1/tokens"): {"subject": "user_1", "email": "a@example.com"},
    ("post", "/v1/tokens/end"): {"refresh_token": "a.b.c"},
    ("post", "/v1/tokens/refresh"): {"refresh_token": "a.b.c"},
    ("post", "/v1/tokens/revoke"): {"jti": "j1", "expires_at": AT},
    ("post", "/v1/wallets"): {"customer": "$owner", "currency": "eur", "metadata": {"a": "b"}},
    ("post", "/v1/wallets/pay"): {"customer": "$owner", "pack": "creator", "promo": "SAVE",
                                  "description": "a word", "reference": "R-7",
                                  "metadata": {"a": "b"}},
    ("post", "/v1/wallets/transfers"): {**AMOUNT, "customer": "$owner", "to": "kin",
                                        "reference": "R-8", "note": "a word"},
    ("post", "/v1/wallets/{wallet}/close"): {"reason": "a word"},
    ("post", "/v1/wallets/{wallet}/freeze"): {"reason": "a word"},
    ("post", "/v1/wallets/{wallet}/unfreeze"): {"reason": "a word"},
    ("post", "/v1/webhook_endpoints"): {"url": "https://example.com/hook", "description": "a word",
                                        "events": ["payment.succeeded"], "metadata": {"a": "b"}},
    ("patch", "/v1/webhook_endpoints/{endpoint}"): {"description": "a word",
                                                    "metadata": {"a": "b"}},
    ("post", "/v1/webhook_endpoints/{endpoint}/redeliver"): {"since": "2026-01-14T00:00:00Z"},
    ("post", "/v1/webhook_endpoints/{endpoint}/rotate"): {"overlap_s": 60},
    ("post", "/v1/webhook_endpoints/{endpoint}/test"): {"type": "payment.succeeded"},
    ("post", "/v1/withdrawals"): {**AMOUNT, "customer": "$owner", "destination": "MonCash 7",
                                  "metadata": {"a": "b"}},
    ("post", "/v1/withdrawals/{withdrawal}/decide"): {"decision": "reject", "note": "why"},
    ("post", "/v1/subscriptions"): {
        "customer": "$owner", "plan": "pro", "metadata": {"a": "b"}, "zone": "Europe/Paris",
        "payment_method": "$method", "success_url": "https://example.com/a"},
    ("post", "/v1/subscriptions/preview"): {"customer": "$owner", "plan": "pro"},
    ("post", "/v1/subscriptions/{subscription}/preview"): {"plan": "pro", "at": "now"},
    ("post", "/v1/subscriptions/{subscription}/change"): {"plan": "pro", "at": "period_end"},
    ("post", "/v1/subscriptions/{subscription}/cancel"): {"reason": "a word"},
    ("post", "/v1/subscriptions/{subscription}/pause"): {"resume_at": "2099-01-14T00:00:00Z"},
    ("put", "/v1/subscriptions/{subscription}/payment_method"): {"payment_method": "$method"},
    ("post", "/v1/tax-rates"): {"name": "VAT", "percent": "19", "country": "XX",
                                "product": "software", "inclusive": True},
    ("post", "/v1/withdrawals/{withdrawal}/paid"): {"reference": "R-9"},
}  # fmt: skip


def world(http: Any, sim: Any, make: Any, owner: str = "user_1") -> World:
    """A desk that sells everything, and a customer who has bought and owns one of each."""
    made = World(http, owner)
    user, kin = make.user(owner, name="Ada Buyer"), make.user("kin")
    make.pack()
    make.promo("SAVE", percent_off=10)
    for item, more in (("course", {}), ("premium_membership",
                                        {"kind": "service", "duration_months": 6, "grants": None})):
        _ok(asked(http, "put", f"/v1/items/{item}", json={**ITEM, **more}))
    _ok(asked(http, "patch", f"/v1/customers/{kin.id}", json={"owner": owner}))
    make.credits(user, 5_000)
    _fill(http.env, user.uuid, Money(100_000_00, "usd", minor=True))
    plan = BODIES["put", "/v1/plans/{plan}"]
    _ok(asked(http, "put", "/v1/plans/pro", json=plan))
    _ok(asked(http, "put", "/v1/plans/gold", json={**plan, "kind": "membership", "credits": 9}))
    _ok(asked(http, "post", "/v1/rates", json=BODIES["post", "/v1/rates"]))
    made.ids = {
        "customer": user.id, "user": owner, "user_id": owner, "pack": "creator", "promo": "SAVE",
        "item": "course", "provider": "stripe", "report": "payments", "plan": "pro",
        "membership_id": "gold",
    }  # fmt: skip
    _buy(made, sim)
    _own(made, sim)
    _desk(made)
    return made


def _buy(made: World, sim: Any) -> None:
    """A pack that is disputed, a course that is refunded in part, a membership."""
    for what, card in (({"pack": "creator"}, "4000000000000259"), ({"item": "course"}, None),
                       ({"service": "premium_membership"}, None)):  # fmt: skip
        key = {"Idempotency-Key": f"open-{made.owner}-{'-'.join(what)}"}
        one = _ok(asked(made.http, "post", "/v1/checkouts", headers=key,
                        json={"customer": made.owner, **what}))  # fmt: skip
        session = one["payment"]["provider_session_id"]
        sim.pay(session, **({"card": card} if card else {}))
        for sent in sim.deliveries(about=session):
            asked(made.http, "post", "/v1/webhooks/stripe", content=sent.body, headers=sent.headers)
        if "item" in what:
            made.ids |= {"checkout": one["id"], "payment": one["payment"]["id"],
                         "session": session, "handle": one["payment"]["handle"]}
    made.ids["payment_id"] = made.ids["payment"]
    refund = {"payment": made.ids["payment"], "amount": 1}
    made.ids["refund"] = _ok(asked(made.http, "post", "/v1/refunds", json=refund))["id"]
    for name, path in (("purchase", "/v1/purchases"), ("service", "/v1/services"),
                       ("access", "/v1/access"), ("event", "/v1/events"),
                       ("dispute", "/v1/disputes")):  # fmt: skip
        made.ids[name] = _first(made, path)
    made.ids |= {"purchase_id": made.ids["purchase"], "service_id": made.ids["service"]}


def _own(made: World, sim: Any) -> None:
    """What stands beside purchases: spends, methods, wallets and what moves there."""
    def post(path: str, body: dict[str, Any]) -> dict[str, Any]:
        return _ok(asked(made.http, "post", path, json={"customer": made.owner, **body}))

    made.ids |= {
        "spend": post("/v1/credits/spend", {"credits": 9})["id"],
        "method": post("/v1/payment_methods", {"token": "pm_card_visa"})["id"],
        "setup": post("/v1/setups", {})["id"],
        "hold": post("/v1/holds", {"credits": 5})["id"],
        "conversion": post("/v1/conversions", {**AMOUNT, "to": "htg"})["id"],
        "withdrawal": post("/v1/withdrawals", {**AMOUNT, "destination": "MonCash 7"})["id"],
    }
    items = [{"description": "Consulting", "amount": 500}]
    made.ids["refill"] = post("/v1/refills", {"threshold": 1, "pack": "creator"})["id"]
    made.ids["invoice"] = post("/v1/invoices", {"currency": "usd", "items": items})["id"]
    note = {"invoice": made.ids["invoice"], "amount": 100}
    made.ids["credit_note"] = _ok(asked(made.http, "post", "/v1/credit-notes", json=note))["id"]
    subscription = post("/v1/subscriptions", {"plan": "pro"})
    made.ids["subscription"] = made.ids["subscription_id"] = subscription["id"]
    post("/v1/subscriptions", {"plan": "gold"})
    billed = asked(made.http, "get", f"/v1/invoices/{subscription['latest_invoice']}")
    made.ids["invoice_item"] = _ok(billed)["items"][0]["id"]
    wallets = _ok(asked(made.http, "get", f"/v1/wallets?customer={made.owner}"))["data"]
    made.ids["wallet"] = next(one["id"] for one in wallets if one["currency"] == "usd")


def _desk(made: World) -> None:
    """What the desk itself has: keys, people, endpoints, a reconciliation."""
    post = lambda path: _ok(asked(made.http, "post", path, json=made.body("post", path)))  # noqa: E731
    made.ids["key"] = post("/v1/keys")["id"]
    made.ids["endpoint"] = post("/v1/webhook_endpoints")["id"]
    made.ids["tax_rate"] = post("/v1/tax-rates")["id"]
    made.ids["clock"] = post("/v1/clocks")["id"]
    made.ids["reconciliation"] = post("/v1/reconciliations")["id"]
    person = {**BODIES["post", "/v1/staff"], "email": f"rosa-{made.owner}@example.com"}
    made.ids["staff"] = _ok(asked(made.http, "post", "/v1/staff", json=person))["id"]
    made.ids |= {"assessment": "risk_none", "file": "file_none", "delivery": "dlv_none",
                 "notification": "ntf_none"}  # fmt: skip


def asked(http: Any, method: str, path: str, **more: Any) -> Any:
    """An answer. Where many tests run at once the service may be too busy to count a request, or
    the simulator too slow, and says so by a 503: the same is asked again."""
    for _ in range(8):
        answer = http.request(method.upper(), path, **more)
        if answer.status_code != 503:
            break
    return answer


def query(made: World, method: str, path: str) -> dict[str, str]:
    """Parameters that the desk's own server has to send."""
    operation = DOCUMENT["paths"][path][method]
    names = [one["name"] for one in operation.get("parameters", []) if one["in"] == "query"]
    found = {name: made.owner for name in names if name in OWNERS}
    return found | {name: QUERIES[name] for name in names if name in QUERIES}


QUERIES = {"resource": "course:python", "base": "usd", "quote": "htg"}


def strings_of(body: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a body has texts: the path of each."""
    pairs = body.items() if isinstance(body, dict) else enumerate(body)
    for name, value in pairs:
        if isinstance(value, str):
            yield (*path, name)
        elif isinstance(value, dict | list):
            yield from strings_of(value, (*path, name))


def replaced(body: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The body with another value at one place."""
    made = copy.deepcopy(body)
    inner = made
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return made


def _first(made: World, path: str) -> str:
    found = _ok(asked(made.http, "get", f"{path}?customer={made.owner}"))["data"]
    assert found, path
    return found[0]["id"]


def _fill(env: Any, owner: Any, money: Money) -> None:
    """Money in a wallet, as if it had been paid in."""
    with env.db.transaction(owner) as tx:
        now, txn_id = heads.decide(tx, env.now(), owner), ids.new_owned(owner)
        ledger.post(tx, [
            ledger.Entry(customer_id=owner, debit="clearing", credit="deposits",
                         asset=money.currency, amount=money.minor, reason="TEST_CAPTURE",
                         txn_id=txn_id, effective_at=now)
        ])  # fmt: skip
        wallets.put_in(tx, now, [
            wallets.Arrival(customer_id=owner, money=money, source="deposits", txn_id=txn_id,
                            reason="WALLET_DEPOSIT", event=None)
        ])  # fmt: skip


def _ok(answer: Any) -> Any:
    assert answer.status_code < 300, (answer.request.url, answer.text)
    return answer.json()
