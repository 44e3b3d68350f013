"""The simulator for tests: on a port in a thread of its own, or without any server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from . import background, cli, control, delivery, requests, server, signing, triggers
from .app import create_app
from .cli import Payment
from .config import Config, Webhook
from .engine import Simulator, Upload
from .objects import authentication, test_clocks
from .store import Transaction

SECRET_KEY = "sk_test_sandbox_of_the_tests"
WEBHOOK_SECRET = "whsec_sandbox_of_the_tests"
CARD = "4242424242424242"


@dataclass(frozen=True)
class Delivery:
    """An event as it is sent: post `body` with `headers` wherever the test wants it."""

    event_id: str
    type: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        return json.loads(self.body)


class Sandbox:
    """A simulator in this process; all methods may be called from any thread."""

    def __init__(self, sim: Simulator, url: str, secret_key: str, webhook_secret: str) -> None:
        self.sim = sim
        self.url = url
        self.secret_key = secret_key
        self.webhook_secret = webhook_secret

    def config(self, **switches: Any) -> dict[str, Any]:
        """Set switches (docs/simulator.md) and return all of them."""
        return control.change(self.sim, switches)

    def fault(self, kind: str, path: str = "*", **more: Any) -> None:
        """Trouble for the next call that matches; `method`, `times`, `seconds` as in Fault."""
        faults = self.sim.switches.shown()["faults"]
        self.config(faults=[*faults, {"kind": kind, "path": path, **more}])

    def reset(self) -> None:
        control.reset(self.sim)

    def stats(self) -> dict[str, Any]:
        return control.stats(self.sim)

    def advance(self, seconds: int) -> None:
        """Move the simulator's clock ahead; what is due then happens before this returns."""
        self.config(clock_offset_s=self.sim.switches.clock_offset_s + seconds)

    def pay(
        self, session_id: str, card: str = CARD, *, approve: bool = True,
        email: str = "buyer@example.com", wallet: str | None = None,
    ) -> Payment:
        """Pay a session as its page would, in a few milliseconds and without HTTP.

        `wallet` is apple_pay or google_pay where the card comes out of one.
        """
        unit = self.sim.work(
            lambda call: requests.pay_page(call, session_id, card, approve, email, wallet),
            base_url=self.url,
        )
        return self.sim.store.call(unit)

    def authenticate(self, intent_id: str, succeed: bool = True) -> dict[str, Any]:
        """Complete or fail 3-D Secure of a payment or setup intent, as its page would.

        Returns the intent as it is then; one that waits for nobody stays as it is. KeyError where
        there is none.
        """
        unit = self.sim.work(
            lambda call: authentication.authenticate(call, intent_id, succeed), base_url=self.url
        )
        self.sim.store.call(unit)
        return self.get(intent_id)

    def act(self, action: str, **given: Any) -> dict[str, Any]:
        """Any action of backstage.py and tampering.py: what happens without the shop.

        `silent=True` keeps it from the events. Returns the object; raises ValueError or
        StripeError where it cannot be done.
        """
        return control.act(self.sim, action, given, self.url)

    def trigger(self, type: str, **given: Any) -> list[dict[str, Any]]:
        """Make an event of this type happen (triggers.py); returns every event that came of it."""
        return triggers.trigger(self.sim, self.url, type, **given)

    def advance_clock(self, clock_id: str, to: int) -> dict[str, Any]:
        """Move a test clock to a time, in as many steps as Stripe allows; returns it when ready."""
        while (clock := self.get(clock_id))["frozen_time"] < to:
            if clock["status"] == "ready":
                reachable = self.sim.store.call(
                    self.sim.work(lambda call, one=clock: test_clocks.latest(call, one))
                )
                path = f"/v1/test_helpers/test_clocks/{clock_id}/advance"
                self.request("POST", path, {"frozen_time": min(to, reachable)})
            self.run_due()
        return clock

    def refund(
        self, payment: str, amount: int | None = None, *, reason: str | None = None,
        status: str | None = None, silent: bool = False,
    ) -> dict[str, Any]:
        """Refund a charge or payment intent as somebody does in the provider's dashboard."""
        return self.act(
            "refund", payment=payment, amount=amount, reason=reason, status=status, silent=silent
        )

    def finish_refund(
        self, refund_id: str, outcome: str = "succeeded", *, silent: bool = False
    ) -> dict[str, Any]:
        """Let a refund succeed or fail now; one that succeeded may still fail."""
        return self.act("finish_refund", refund=refund_id, outcome=outcome, silent=silent)

    def dispute(
        self, payment: str, amount: int | None = None, *, reason: str = "fraudulent",
        inquiry: bool = False, silent: bool = False,
    ) -> dict[str, Any]:
        """Let the owner of the card dispute a charge or payment intent, or a part of it."""
        return self.act(
            "dispute", payment=payment, amount=amount, reason=reason, inquiry=inquiry,
            silent=silent,
        )

    def decide_dispute(
        self, dispute_id: str, outcome: str, *, silent: bool = False
    ) -> dict[str, Any]:
        """Let the bank decide: won, lost, warning_closed or escalated."""
        return self.act("decide_dispute", dispute=dispute_id, outcome=outcome, silent=silent)

    def pay_directly(
        self, amount: int, currency: str = "usd", *, silent: bool = False, **more: Any
    ) -> dict[str, Any]:
        """A payment the shop knows nothing of; `card`, `customer`, `metadata` as in `pay`."""
        return self.act("pay", amount=amount, currency=currency, silent=silent, **more)

    def alter(self, object_id: str, *, event: bool = False, **fields: Any) -> dict[str, Any]:
        """Set fields of any object; nobody is told unless `event` asks for it."""
        return self.act("alter", id=object_id, set=fields, event=event)

    def alter_amount(self, object_id: str, amount: int) -> dict[str, Any]:
        """Give a payment intent, charge or refund another amount, with its books."""
        return self.act("alter_amount", id=object_id, amount=amount)

    def drop(self, object_id: str) -> dict[str, Any]:
        """Make an object and what hangs on it as if it had never been."""
        return self.act("drop", id=object_id)

    def pay_by_http(self, session_id: str, card: str = CARD, *, approve: bool = True) -> Payment:
        """The same through the hosted page."""
        return cli.pay(session_id, card, self.url, approve=approve)

    def pay_many(
        self, session_ids: Iterable[str], card: str = CARD, *, threads: int = 8
    ) -> list[Payment]:
        """Pay sessions in parallel through the hosted page, results in the order given."""
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda one: self.pay_by_http(one, card), session_ids))

    def request(self, method: str, path: str, params: dict[str, Any] | None = None,
                upload: Upload | None = None, **headers: str) -> dict[str, Any]:
        """An API call without HTTP; `params` nested as in the SDK. Raises StripeError.

        `upload` is the file of `POST /v1/files`; `file` in `params` is then any text.
        """
        return requests.ask(
            self.sim, method, path, params or {}, base_url=self.url, upload=upload,
            idempotency_key=headers.get("idempotency_key"),
        )

    def get(self, object_id: str) -> dict[str, Any]:
        """Any object by its id, as the API shows it; KeyError where there is none."""

        def read(tx: Transaction) -> dict[str, Any] | None:
            item = tx.get(object_id)
            return self.sim.show(tx, item, self.url) if item else None

        found = self.sim.store.call(read)
        if found is None:
            raise KeyError(object_id)
        return found

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """Every object of a kind (`checkout.session`, `refund`, ...), oldest first."""
        return self.sim.store.call(
            lambda tx: [self.sim.show(tx, one, self.url) for one in tx.scan(kind, after=0)]
        )

    def events(self, *types: str) -> list[dict[str, Any]]:
        """Every event so far, oldest first; of these types where some are named."""
        return [one for one in self.objects("event") if not types or one["type"] in types]

    def suspend_delivery(self) -> None:
        """Hold events back from now on; take them with `deliveries()`."""
        self.config(suspended=True)

    def resume_delivery(self) -> None:
        """Send what was held back, and what comes, to the endpoints again."""
        self.config(suspended=False)

    def deliveries(
        self, *types: str, about: str | None = None, timestamp: int | None = None,
        version: str | None = None,
    ) -> list[Delivery]:
        """Every event so far, signed with the sandbox's webhook secret, oldest first.

        `about` keeps those whose object is, or belongs to, the session or intent of this id;
        `timestamp` (Unix seconds) is the signature's time instead of now; `version` has the events
        in the shapes of an older API version, such as 2020-08-27.
        """
        at = int(self.sim.config.clock()) if timestamp is None else timestamp

        def read(tx: Transaction) -> list[Delivery]:
            events = _events_about(tx, about) if about else tx.scan("event", after=0)
            return [
                self._signed(
                    delivery.event_body(self.sim, tx, event, self.url, version), event, at
                )
                for event in events
                if not types or event["type"] in types
            ]

        return self.sim.store.call(read)

    def _signed(self, body: bytes, event: dict[str, Any], at: int) -> Delivery:
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": delivery.USER_AGENT,
            "Stripe-Signature": signing.header(self.webhook_secret, body, at),
        }
        return Delivery(event["id"], event["type"], headers, body)

    def deliver(self, **which: Any) -> int:
        """Send held and lost events now, or with `again=True` every event once more.

        `events`, `types`, `order` and `seed` as in `POST /_sim/deliver`. Returns how many.
        """
        return self.sim.store.call(self.sim.work(lambda call: delivery.deliver(call, **which)))

    def wait_until_delivered(self, timeout_s: float = 10.0) -> None:
        """Wait until no delivery is pending; raises TimeoutError."""
        end = time.monotonic() + timeout_s
        while self.stats()["deliveries"].get("pending"):
            if time.monotonic() > end:
                raise TimeoutError("deliveries are still pending")
            time.sleep(0.005)

    def run_due(self) -> None:
        """Do now what the timer would do within a second: expire sessions, finish refunds."""
        while self.sim.store.call(self.sim.work(background.run_due)):
            pass


def _events_about(tx: Transaction, about: str) -> Iterator[dict[str, Any]]:
    """Events of an object and of what belongs to the same purchase, oldest first."""
    item = tx.get(about) or {}
    related = [item.get(name) for name in ("payment_intent", "_session", "_customer")]
    ids = {about, *(str(one) for one in related if one)}
    # Events that name one of the ids somewhere; which of them are about it is seen below.
    rows = tx.sql.execute(
        "select data from objects where kind = 'event' and exists"
        " (select 1 from json_each(?) wanted where instr(objects.data, wanted.value)) order by seq",
        (json.dumps(sorted(ids)),),
    ).fetchall()
    for row in rows:
        event = json.loads(row[0])
        told = event["data"]["object"]
        if ids & {told.get("id"), told.get("payment_intent")}:
            yield event


@contextlib.contextmanager
def running_simulator(
    webhook_url: str | None = None,
    secret: str = WEBHOOK_SECRET,
    db: str = ":memory:",
    *,
    webhook_version: str | None = None,
    secret_key: str = SECRET_KEY,
    port: int = 0,
    clock: Callable[[], float] = time.time,
    merchant: str = "Sandbox shop",
) -> Iterator[Sandbox]:
    """A simulator on a port of its own, in a thread of its own, until the block ends."""
    sock = server.listen("127.0.0.1", port)
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    webhooks = ()
    if webhook_url:
        webhooks = (Webhook(webhook_url, secret, api_version=webhook_version),)
    sim = Simulator(
        Config(db=db, secret_key=secret_key, webhooks=webhooks, base_url=url, clock=clock,
               merchant=merchant)
    )
    control.register(sim)
    running = server.server(create_app(sim=sim), log_level="error")
    thread = threading.Thread(
        target=lambda: asyncio.run(running.serve(sockets=[sock])), name="simulator", daemon=True
    )
    thread.start()
    try:
        while not running.started:
            if not thread.is_alive():
                raise RuntimeError("the simulator did not start")
            time.sleep(0.002)
        yield Sandbox(sim, url, secret_key, secret)
    finally:
        running.should_exit = True
        thread.join(10)
        sim.store.close()


@contextlib.contextmanager
def sandbox_in_process(
    secret: str = WEBHOOK_SECRET, *, clock: Callable[[], float] = time.time, db: str = ":memory:"
) -> Iterator[Sandbox]:
    """A simulator without a server: `request`, `pay` and `deliveries` alone, the fastest way."""
    sim = Simulator(Config(db=db, base_url="http://simulator.test", clock=clock))
    try:
        yield Sandbox(sim, "http://simulator.test", SECRET_KEY, secret)
    finally:
        sim.store.close()
