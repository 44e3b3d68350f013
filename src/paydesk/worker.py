"""The worker: sweeps that take up what is due. What is due is a row; the worker keeps nothing."""

from __future__ import annotations

import gc
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg

from paydesk import causes, telemetry
from paydesk.env import Env
from paydesk.errors import PaydeskError
from paydesk.flows import (
    access,
    checkout,
    clocks,
    credits,
    disputes,
    events,
    figures_desk,
    fulfillment,
    holds,
    housekeeping,
    inbox,
    invoice_numbers,
    notifications,
    offline,
    outgoing_feed,
    promos,
    provider_billing_events,
    provider_calls,
    reconcile,
    refill_steps,
    refunds,
    reminders,
    renewals,
    risk,
    rollups,
    services,
    setups,
    subscription_notices,
    trail,
    webhook_deliveries,
)
from paydesk.flows.sweeps import ending_when
from paydesk.logger import get_logger

log = get_logger(__name__)

#: A sweep takes up what is due, at most so much at a time, and answers how much it did.
Sweep = Callable[[Env], int]

#: (name, what to do, seconds to rest when nothing was due).
SWEEPS: list[tuple[str, Sweep, float]] = [
    ("publisher", events.publish, 0.2),
    ("inbox", inbox.apply_waiting, 1.0),
    ("fulfillment", fulfillment.fulfil_due, 2.0),
    ("provider_calls", provider_calls.resolve_due, 2.0),
    ("sessions", checkout.expire_due, 5.0),
    ("setups", setups.expire_due, 30.0),
    ("credit_expiry", credits.expire_due, 5.0),
    ("holds", holds.expire_due, 1.0),
    ("promo_uses", promos.release_expired, 10.0),
    ("invoice_numbers", invoice_numbers.number_due, 2.0),
    ("seals", trail.seal_due, 2.0),
    ("risk", risk.watch, 2.0),
    ("statements", offline.match_waiting, 60.0),
    ("outgoing_feed", outgoing_feed.drain, 0.5),
    ("webhooks_out", webhook_deliveries.send_due, 0.5),
    ("notifications", notifications.send_due, 2.0),
    ("credits_expiring", notifications.tell_expiring, 300.0),
    ("webhook_history", webhook_deliveries.forget, 300.0),
    ("services", services.end_due, 10.0),
    ("access", access.end_due, 10.0),
    ("clocks", clocks.run_due, 1.0),
    ("refunds", refunds.ask_pending, 60.0),
    ("renewals", renewals.run_due, 2.0),
    ("provider_billing", provider_billing_events.look_due, 30.0),
    ("provider_subscriptions", provider_billing_events.discover, 300.0),
    ("refills", refill_steps.run_due, 2.0),
    ("reminders", reminders.remind_due, 300.0),
    ("billing_notices", subscription_notices.tell_due, 300.0),
    ("disputes", disputes.warn_due, 60.0),
    ("reconciliation", reconcile.nightly, 10.0),
    ("figures", rollups.keep, 5.0),
    ("housekeeping", housekeeping.forget, 60.0),
]
#: How often a sweep says that it lives.
BEAT_S = 5.0
#: The rest after a failure: the database or a provider is away.
PAUSE_S = 2.0
#: A batch makes some hundred thousand objects, and next to no cycles: the collector comes after so
#: many, and looks at older ones as many times less often. Its default is 700.
COLLECT_AFTER, COLLECT_OLDER = 50_000, 20


class Worker:
    """One thread for each sweep, so that a slow provider delays no other. Any number of workers
    may run side by side: every sweep locks and looks again before it acts."""

    def __init__(self, env: Env, sweeps: Sequence[tuple[str, Sweep, float]] | None = None) -> None:
        self.env = env
        self.sweeps = list(SWEEPS if sweeps is None else sweeps)
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Run all sweeps from now on, each in a thread of its own."""
        assert not self._threads, "the worker runs already"
        self._stop.clear()
        figures_desk.observe(self.env)
        threading.Thread(target=self.env.providers.warm, daemon=True).start()
        self._threads = [
            threading.Thread(
                target=self._loop, args=sweep, name=f"paydesk-{sweep[0]}", daemon=True
            )
            for sweep in self.sweeps
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 20.0) -> bool:
        """Begin nothing new and wait for what runs; whether all of it ended in time."""
        self._stop.set()
        until = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        ended = not any(thread.is_alive() for thread in self._threads)
        self._threads = []
        return ended

    def run_once(self, name: str | None = None) -> dict[str, int]:
        """Run one sweep, or each in turn, here and now; answers how much each did.

        What a sweep raises comes through.
        """
        chosen = [s for s in self.sweeps if name in (None, s[0])]
        assert chosen, f"no sweep is called {name!r}"
        return {known: sweep(self.env) for known, sweep, _ in chosen}

    def run_forever(self) -> None:
        """Work until SIGTERM or SIGINT; what runs then is finished first."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        self.start()
        self._stop.wait()
        self.stop()

    def _loop(self, name: str, sweep: Sweep, every_s: float) -> None:
        beaten_at = 0.0
        while not self._stop.is_set():
            rest_s = every_s
            try:
                started_ns = time.time_ns()
                with causes.by("worker", f"sweep {name}"), ending_when(self._stop.is_set):
                    worked = sweep(self.env)
                if worked:
                    rest_s = 0.0
                    telemetry.past_span("sweep " + name, started_ns, paydesk_sweep=name)
                if time.monotonic() - beaten_at >= BEAT_S:
                    beat(self.env, name)
                    beaten_at = time.monotonic()
            except (PaydeskError, psycopg.Error) as exc:
                log.warning("a sweep failed", sweep=name, error=repr(exc)[:300])
                rest_s = max(PAUSE_S, every_s)
            except Exception:  # The edge of a sweep: its own fault must not end it for good.
                log.exception("a sweep failed", sweep=name)
                rest_s = max(PAUSE_S, every_s)
            self._stop.wait(rest_s)


def settle_in() -> None:
    """For a process that does nothing but sweeps: what it has loaded by now stays, so that the
    collector of cycles looks at that no more, and it comes seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER, COLLECT_OLDER, COLLECT_OLDER)


def beat(env: Env, name: str) -> None:
    """Say that this sweep lives; readiness and `paydesk doctor` look at it."""
    with env.db.transaction() as tx:
        tx.run(
            "insert into heartbeats (name, beat_at) values (%(name)s, %(now)s)"
            " on conflict (name) do update set beat_at = greatest(heartbeats.beat_at,"
            " excluded.beat_at)",
            {"name": name, "now": env.now()},
        )


def beats(env: Env) -> dict[str, Any]:
    """When each sweep was last seen alive."""
    with env.db.read() as tx:
        rows = tx.all("select name, beat_at from heartbeats order by name limit 100")
    return {row["name"]: row["beat_at"] for row in rows}
