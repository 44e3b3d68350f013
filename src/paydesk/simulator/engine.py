"""The simulator's heart: calls run in one transaction each, objects are shown, events emitted."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from . import errors, ids, shapes, store, versions
from .config import Config, Switches
from .errors import StripeError
from .store import Store, Transaction

#: Stripe keeps idempotency keys for at least a day.
KEY_LIFETIME_S = 86_400
MAX_EXPAND_DEPTH = 4
#: Lists that are only included when asked for, and the call that lists them.
INCLUDABLE = {
    ("checkout.session", "line_items"): "/v1/checkout/sessions/{id}/line_items",
    ("charge", "refunds"): "/v1/charges/{id}/refunds",
    ("customer", "sources"): "/v1/customers/{id}/sources",
    ("customer", "subscriptions"): "/v1/customers/{id}/subscriptions",
    ("customer", "tax_ids"): "/v1/customers/{id}/tax_ids",
    ("invoice", "payments"): "/v1/invoice_payments?invoice={id}",
}
#: Lines of an invoice that are shown with it; all of them have a list of their own.
LINES_SHOWN = 10

#: States of a subscription that has ended.
SUBSCRIPTION_OVER = ("canceled", "incomplete_expired")

Handler = Callable[["Call"], dict[str, Any]]
#: Every operation the simulator has, by "METHOD /path".
OPERATIONS: dict[str, Handler] = {}


def operation(key: str) -> Callable[[Handler], Handler]:
    """Register the handler of an operation; the key is as in Stripe's description."""

    def register(handler: Handler) -> Handler:
        assert key in shapes.table()["operations"], key
        OPERATIONS[key] = handler
        return handler

    return register


@dataclass(frozen=True)
class Upload:
    """A file that came with a call."""

    name: str
    content: bytes


@dataclass
class Call:
    """One call while it runs: its transaction, parameters and what is still to do at its end."""

    sim: Simulator
    tx: Transaction
    params: dict[str, Any] = field(default_factory=dict)
    path: dict[str, str] = field(default_factory=dict)
    request_id: str | None = None
    idempotency_key: str | None = None
    base_url: str = ""
    now: int = 0
    deferred: list[Callable[[], None]] = field(default_factory=list)
    upload: Upload | None = None
    #: Whether what happens is kept from the events, as if the provider had lost them.
    silent: bool = False

    def find(self, kind: str, wanted: str, param: str, status: int = 404) -> dict[str, Any]:
        """The object with this id, or Stripe's `resource_missing`."""
        item = self.tx.get(wanted, kind)
        if item is None:
            raise errors.missing_object(kind, wanted, param, status)
        return item

    def save(self, item: dict[str, Any], due_at: int | None = None) -> dict[str, Any]:
        self.tx.put(item, due_at=due_at)
        return item

    def show(self, item: dict[str, Any]) -> dict[str, Any]:
        return self.sim.show(self.tx, item, self.base_url)

    def emit(
        self, type: str, item: dict[str, Any], previous: dict[str, Any] | None = None
    ) -> None:
        """Record an event with the object as it is now, and its deliveries."""
        if self.silent:
            return
        version = self.sim.switches.event_version or shapes.version()
        data: dict[str, Any] = {"object": self.older(item, version)}
        if previous is not None:
            data["previous_attributes"] = self.older_changes(item, previous, version)
        others = self._pinned(version)
        pinned = {one: self.older(item, one) for one in others}
        before = {} if previous is None else {
            one: self.older_changes(item, previous, one) for one in others
        }
        self._record(type, data, version, pinned, before)

    def older_changes(
        self, item: dict[str, Any], previous: dict[str, Any], version: str
    ) -> dict[str, Any]:
        """`previous_attributes` in the shapes of an older version."""
        if version >= shapes.version() or item["object"] not in ("subscription", "invoice"):
            return previous
        was, now = self.older({**item, **previous}, version), self.older(item, version)
        return {name: value for name, value in was.items() if now.get(name) != value}

    def tell(self, type: str, item: dict[str, Any]) -> None:
        """Record an event of an object as it is handed in: it need not exist, and every endpoint
        gets it like that."""
        version = self.sim.switches.event_version or shapes.version()
        self._record(type, {"object": item}, version, dict.fromkeys(self._pinned(version), item))

    def _pinned(self, version: str) -> list[str]:
        """Other versions that endpoints want."""
        found = {endpoint["api_version"] for endpoint in self.tx.endpoints()}
        return sorted(one for one in found if one not in (None, version))

    def _record(
        self, type: str, data: dict[str, Any], version: str, pinned: dict[str, dict[str, Any]],
        previous: dict[str, dict[str, Any]] | None = None,
    ) -> None:
        event: dict[str, Any] = {
            "id": ids.new("event"),
            "object": "event",
            "api_version": version,
            "created": self.now,
            "data": data,
            "livemode": False,
            "pending_webhooks": 0,
            "request": {"id": self.request_id, "idempotency_key": self.idempotency_key},
            "type": type,
        }
        if pinned:
            event["_versions"] = pinned
        if previous:
            event["_previous"] = previous
        self.tx.put(event)
        self.sim.plan_deliveries(self.tx, event)

    def older(self, item: dict[str, Any], version: str) -> dict[str, Any]:
        """The object as it is shown in an API version, with what that version puts inside it."""
        shown = self.show(item)
        if version >= shapes.version():
            return shown
        kind = versions.lists_inside(item["object"], version)
        inside = self.tx.scan(kind, link=(item["object"], item["id"])) if kind else ()
        # What was recorded in an event has no private fields any more; the stored object has.
        stored = self.tx.get(item["id"]) if "id" in item else None
        return versions.downgrade(
            shown, version, [self.older(one, version) for one in inside],
            {**(stored or {}), **item},
        )

    @contextlib.contextmanager
    def at(self, instant: int) -> Iterator[None]:
        """Do what is inside as of another time: that of a test clock."""
        before, self.now = self.now, instant
        try:
            yield
        finally:
            self.now = before

    @contextlib.contextmanager
    def rehearsal(self) -> Iterator[None]:
        """Do what is inside for its result alone: nothing is kept, nobody is told."""
        silent, waiting = self.silent, list(self.deferred)
        self.silent = True
        self.tx.sql.execute("savepoint rehearsal")
        try:
            yield
        finally:
            self.tx.sql.execute("rollback to rehearsal")
            self.tx.sql.execute("release rehearsal")
            self.silent, self.deferred[:] = silent, waiting

    def later(self, do: Callable[[], None]) -> None:
        """Do something after the answer, as of the present time of this call."""
        instant = self.now

        def run() -> None:
            with self.at(instant):
                do()

        self.deferred.append(run)

    def finish(self) -> None:
        """Do what comes after the answer: balance transactions of an asynchronous capture."""
        while self.deferred:
            self.deferred.pop(0)()


@dataclass
class Answer:
    """Status and body of an API call; `replayed` names the request that made it first."""

    status: int
    body: bytes
    replayed: str | None = None


class Simulator:
    """Everything a simulator is apart from its HTTP face; all methods but `now` and `show` may be
    called from any thread."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.switches = Switches()
        self.store = Store(config.db)
        self.random = random.Random()
        self.counts: dict[str, int] = {}
        #: Called from the store's thread once deliveries that are due were committed.
        self.wake: Callable[[], None] = lambda: None
        #: Called likewise once there is work for the timer that need not wait for its next look.
        self.look: Callable[[], None] = lambda: None
        self._planned = self._hurried = False
        self.store.after_commit = self._committed

    def now(self) -> int:
        """Unix seconds of the objects: the clock and what it was moved ahead by."""
        return int(self.config.clock()) + self.switches.clock_offset_s

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1

    def planned(self) -> None:
        """Note, inside a transaction, that deliveries were planned or released."""
        self._planned = True

    def hurry(self) -> None:
        """Note, inside a transaction, that the timer has something to do at once."""
        self._hurried = True

    def _committed(self) -> None:
        if self._hurried:
            self._hurried = False
            self.look()
        if self._planned:
            self._planned = False
            self.wake()

    def open_call(self, tx: Transaction, **more: Any) -> Call:
        more.setdefault("base_url", self.config.base_url)
        return Call(self, tx, now=self.now(), **more)

    def work(self, do: Callable[[Call], Any], **more: Any) -> Callable[[Transaction], Any]:
        """A unit of work for the store that runs outside an API call (pages, timers)."""

        def run(tx: Transaction) -> Any:
            call = self.open_call(tx, **more)
            result = do(call)
            call.finish()
            return result

        return run

    def api_work(
        self, key: str, params: dict[str, Any], **more: Any
    ) -> Callable[[Transaction], Answer]:
        """A unit of work for one API call: replayed, executed or refused, always an Answer."""

        def run(tx: Transaction) -> Answer:
            call = self.open_call(tx, params=params, **more)
            idempotency_key = call.idempotency_key
            if idempotency_key is None:
                return self._execute(call, key)
            print_of_it = _fingerprint(key, call.path, params)
            replay = self._replay(call, idempotency_key, print_of_it)
            if replay is not None:
                return replay
            answer = self._execute(call, key)
            tx.sql.execute(
                "insert or replace into idempotency (key, fingerprint, request, status, body,"
                " created) values (?, ?, ?, ?, ?, ?)",
                (idempotency_key, print_of_it, call.request_id or "", answer.status, answer.body,
                 call.now),
            )
            return answer

        return run

    def _replay(self, call: Call, key: str, fingerprint: str) -> Answer | None:
        row = call.tx.sql.execute(
            "select fingerprint, request, status, body from idempotency"
            " where key = ? and created > ?",
            (key, call.now - KEY_LIFETIME_S),
        ).fetchone()
        if row is None:
            return None
        if row[0] != fingerprint:
            error = StripeError(
                "Keys for idempotent requests can only be used with the same parameters they were "
                f"first used with. Try using a key other than '{key}' if you meant to execute a "
                "different request.",
                type="idempotency_error",
            )
            return Answer(error.status, encode(error.body(call.request_id)))
        return Answer(row[2], row[3], replayed=row[1])

    def _execute(self, call: Call, key: str) -> Answer:
        """The first that its unit of work writes: a refusal undoes the unit so far."""
        try:
            expand = call.params.pop("expand", [])
            shown = call.show(OPERATIONS[key](call))
            for path in expand:
                self._expand(call, shown, path)
            call.finish()
        except StripeError as error:
            if error.keep:
                call.finish()
            else:
                call.tx.undo()
            shown, status = error.body(call.request_id), error.status
        else:
            status = 200
        return Answer(status, encode(shown))

    def show(self, tx: Transaction, item: dict[str, Any], base_url: str) -> dict[str, Any]:
        """The object as the API shows it: without private fields, links with their address."""
        kind = item.get("object")
        if kind in ("list", "search_result"):
            return {**item, "data": [self.show(tx, one, base_url) for one in item["data"]]}
        shown = {name: value for name, value in item.items() if name[0] != "_"}
        if kind == "checkout.session" and item["status"] == "open":
            shown["url"] = f"{base_url}/c/pay/{item['id']}"
        elif kind in ("payment_intent", "setup_intent") and item.get("next_action"):
            shown["next_action"] = _linked(item["next_action"], item["id"], base_url)
        elif kind == "event":
            shown["pending_webhooks"] = tx.sql.execute(
                "select count(*) from deliveries where event = ? and state in ('pending', 'held')",
                (item["id"],),
            ).fetchone()[0]
        elif kind == "file":
            shown["url"] = f"{base_url}/v1/files/{item['id']}/contents"
        elif kind == "invoice" and "_lines" in item:
            _add_lines(shown, item, base_url)
        elif kind == "dispute" and "_transactions" in item:
            booked = [tx.get(one) for one in item["_transactions"]]
            shown["balance_transactions"] = [self.show(tx, one, base_url) for one in booked if one]
        elif kind == "balance_transaction" and item["available_on"] <= self.now():
            shown["status"] = "available"
        return shown

    def show_event(
        self, tx: Transaction, event: dict[str, Any], base_url: str, version: str | None = None
    ) -> dict[str, Any]:
        """The event as it is sent to an endpoint that pins this version, or none.

        Where the version was not pinned when it happened, what is inside the object is as it is
        now; what was recorded in an older version cannot be shown in a newer one.
        """
        shown = self.show(tx, event, base_url)
        if version is None or version == event["api_version"]:
            return shown
        data = event["data"]
        told, previous = event.get("_versions", {}).get(version), data.get("previous_attributes")
        if told is not None:
            previous = event.get("_previous", {}).get(version, previous)
        elif version < event["api_version"]:
            call = self.open_call(tx, base_url=base_url)
            told = call.older(data["object"], version)
            if previous is not None:
                previous = call.older_changes(data["object"], previous, version)
        else:
            return shown
        data = {**data, "object": told}
        if previous is not None:
            data["previous_attributes"] = previous
        return {**shown, "api_version": version, "data": data}

    def _expand(self, call: Call, shown: Any, path: str) -> None:
        names = path.split(".")
        if len(names) > MAX_EXPAND_DEPTH:
            raise StripeError(
                f"You cannot expand more than {MAX_EXPAND_DEPTH} levels of a property.",
                param="expand",
            )
        self._expand_names(call, shown, names, path)

    def _expand_names(self, call: Call, shown: Any, names: list[str], path: str) -> None:
        if isinstance(shown, list):
            for item in shown:
                self._expand_names(call, item, names, path)
            return
        name, rest = names[0], names[1:]
        if not isinstance(shown, dict):
            raise StripeError(f"This property cannot be expanded ({path}).", param="expand")
        url = INCLUDABLE.get((shown.get("object", ""), name))
        if url is not None and name not in shown:
            shown[name] = self._included(call, shown, name, url.format(id=shown["id"]))
        elif (shown.get("object"), name) == ("invoice", "confirmation_secret"):
            shown[name] = _confirmation_secret(call, shown)
            return
        elif (shown.get("object"), name) == ("invoice", "amount_paid_off_stripe"):
            # Without being asked for, and in events, it says nothing.
            shown[name] = (call.tx.get(shown["id"]) or {}).get("_off_stripe", 0)
            return
        value = shown.get(name)
        if isinstance(value, str):
            value = shown[name] = self._fetched(call, shown, name, path)
        elif not _expandable(shown, name) and not (rest and isinstance(value, dict | list)):
            raise StripeError(f"This property cannot be expanded ({path}).", param="expand")
        if value is not None and rest:
            self._expand_names(call, value, rest, path)

    def _fetched(self, call: Call, shown: dict[str, Any], name: str, path: str) -> dict[str, Any]:
        item = call.tx.get(shown[name]) if _expandable(shown, name) else None
        if item is None:
            raise StripeError(f"This property cannot be expanded ({path}).", param="expand")
        return call.show(item)

    def _included(self, call: Call, shown: dict[str, Any], name: str, url: str) -> dict[str, Any]:
        data: list[dict[str, Any]] = []
        if name == "line_items":
            stored = call.tx.get(shown["id"]) or {}
            data = stored.get("_line_items", [])[:10]
        elif name == "refunds":
            data = list(call.tx.scan("refund", link=("charge", shown["id"])))[:10]
        elif name == "payments":
            known = (call.tx.get(shown["id"]) or {}).get("_payments", [])
            data = [one for name in known if (one := call.tx.get(name))]
        elif name == "subscriptions":
            found = call.tx.scan("subscription", link=("customer", shown["id"]))
            data = [one for one in found if one["status"] not in SUBSCRIPTION_OVER][:10]
        return {
            "object": "list", "data": [call.show(one) for one in data], "has_more": False,
            "url": url,
        }

    def plan_deliveries(self, tx: Transaction, event: dict[str, Any]) -> None:
        """One delivery to each endpoint that wants the event, more or none as the switches say."""
        switches = self.switches
        for endpoint in tx.endpoints():
            wanted = endpoint["enabled_events"]
            if endpoint["status"] != "enabled" or not {"*", event["type"]} & set(wanted):
                continue
            self.planned()
            for _ in range(1 + switches.duplicates):
                due_at = time.time() + switches.delay_s
                due_at += self.random.random() * switches.reorder_window_s
                tx.sql.execute(
                    "insert into deliveries (event, endpoint, state, due_at) values (?, ?, ?, ?)",
                    (event["id"], endpoint["id"], self._delivery_state(event["type"]), due_at),
                )

    def _delivery_state(self, type: str) -> str:
        switches = self.switches
        if any(fnmatchcase(type, pattern) for pattern in switches.muted_types):
            return "lost"
        if switches.lose_next > 0:
            switches.lose_next -= 1
            return "lost"
        if switches.lose_fraction and self.random.random() < switches.lose_fraction:
            return "lost"
        return "held" if switches.suspended else "pending"


def encode(body: dict[str, Any]) -> bytes:
    return store.encode(body).encode()


def _fingerprint(key: str, path: dict[str, str], params: dict[str, Any]) -> str:
    """A hash of what is asked for; a card's number never becomes a part of it."""

    def without_numbers(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: without_numbers(v) for k, v in value.items() if k not in ("number", "cvc")}
        return value

    asked = json.dumps([key, path, without_numbers(params)], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()


def _expandable(shown: dict[str, Any], name: str) -> bool:
    kind = shown.get("object")
    if kind is None:
        return name in shown
    kind = {"list": None, "search_result": None}.get(kind, kind)
    if kind is None:
        return False
    if (kind, name) in INCLUDABLE:
        return True
    node = shapes.resolve(shapes.property_node(kind, name))
    if isinstance(node, dict) and "u" in node:
        return any(isinstance(choice, dict) and "r" in choice for choice in node["u"])
    return isinstance(node, dict) and "x" in node


def _add_lines(shown: dict[str, Any], invoice: dict[str, Any], base_url: str) -> None:
    """The first lines of an invoice, and where its page and its PDF are once it is final."""
    lines = invoice["_lines"]
    shown["lines"] = {
        "object": "list", "data": [public(line) for line in lines[:LINES_SHOWN]],
        "has_more": len(lines) > LINES_SHOWN, "url": f"/v1/invoices/{invoice['id']}/lines",
    }
    if invoice["status"] != "draft":
        page = f"{base_url}/i/{invoice['id']}"
        shown |= {"hosted_invoice_url": page, "invoice_pdf": f"{page}/pdf"}


def public(item: dict[str, Any]) -> dict[str, Any]:
    """An object without its private fields."""
    return {name: value for name, value in item.items() if name[0] != "_"}


def _confirmation_secret(call: Call, shown: dict[str, Any]) -> dict[str, Any] | None:
    """What a browser confirms the payment of an open invoice with."""
    invoice = call.tx.get(shown["id"]) or {}
    intent = call.tx.get(invoice.get("_intent") or "")
    if intent is None or invoice["status"] != "open":
        return None
    return {"client_secret": intent["client_secret"], "type": "payment_intent"}


def _linked(action: dict[str, Any], intent_id: str, base_url: str) -> dict[str, Any]:
    url = f"{base_url}/3d_secure/{intent_id}"
    if action["type"] == "redirect_to_url":
        return {**action, "redirect_to_url": {**action["redirect_to_url"], "url": url}}
    return {**action, "use_stripe_sdk": {**action["use_stripe_sdk"], "stripe_js": url}}
