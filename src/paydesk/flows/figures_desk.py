"""The state of the desk in numbers, for those who watch over it: what waits, what is late."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from paydesk import telemetry

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx
    from paydesk.env import Env

#: The books are added up no more often than this, and rarer where that takes long.
_SUM_EVERY_S = 15.0
_SUM_SHARE = 50


@dataclass(frozen=True, slots=True)
class State:
    """Counts by state where they have some; ages in seconds."""

    outbox: int
    inbox: dict[str, int]
    webhook_lag_s: float
    fulfillments: dict[str, int]
    calls: int
    refunds: dict[str, int]
    disputes: dict[str, int]
    disputes_due: int
    parked: int
    webhooks_out: dict[str, int]
    reviews: int
    days_due: int
    beats: dict[str, float]
    payments: list[dict[str, Any]]
    imbalance: dict[str, int]


@dataclass(slots=True)
class _Sums:
    """The books' sums as they were added up last, for each database."""

    at: float = float("-inf")
    rest_s: float = 0.0
    found: dict[str, int] = field(default_factory=dict)


_sums: dict[str, _Sums] = {}


def look(env: Env) -> State:
    """Read it all. Raises DatabaseUnavailable."""
    now = env.now()
    with env.db.read() as tx:
        one = tx.one(
            "select (select count(*) from news) as outbox,"
            " (select coalesce(extract(epoch from %(now)s - min(received_at)), 0)::float8"
            "  from provider_events where state in ('new', 'waiting')) as lag,"
            " (select count(*) from provider_calls"
            "  where state in ('intended', 'unknown')) as calls,"
            " (select count(*) from disputes where state = 'needs_response'"
            "  and due_at < %(soon)s) as due,"
            " (select count(*) from deliveries where state = 'parked') as parked,"
            " (select count(*) from risk_assessments where decision = 'review'"
            "  and verdict is null) as reviews,"
            " (select count(*) from figure_dirty where day < (select covered_until"
            "  from figure_state)) as days",
            {"now": now, "soon": now + timedelta(hours=env.settings.dispute_due_soon_hours)},
        )
        assert one is not None
        beats = {
            row["name"]: max(0.0, (now - row["beat_at"]).total_seconds())
            for row in tx.all("select name, beat_at from heartbeats order by name limit 200")
        }
        return State(
            outbox=one["outbox"],
            inbox=_counts(tx, "select state, count(*) as n from provider_events"
                              " where state in ('new', 'waiting', 'parked') group by state"),
            webhook_lag_s=max(0.0, one["lag"]),
            fulfillments=_counts(tx, "select state, count(*) as n from fulfillments"
                                     " where state in ('due', 'blocked') group by state"),
            calls=one["calls"],
            refunds=_counts(tx, "select state, count(*) as n from refunds"
                                " where state in ('requested', 'pending') group by state"),
            disputes=_counts(tx, "select state, count(*) as n from disputes"
                                 " where state in ('warning', 'needs_response', 'under_review')"
                                 " group by state"),
            disputes_due=one["due"],
            parked=one["parked"],
            webhooks_out=_counts(tx, "select state, count(*) as n from webhook_deliveries"
                                     " where state in ('waiting', 'parked') group by state"),
            reviews=one["reviews"],
            days_due=one["days"],
            beats=beats,
            payments=tx.all(
                "select provider, state, currency, count(*) as n from payments"
                " where created_at >= %(since)s group by provider, state, currency",
                {"since": now - timedelta(days=1)},
            ),
            imbalance=_imbalance(env, tx),
        )  # fmt: skip


def _counts(tx: Tx, query: Any) -> dict[str, int]:
    return {row["state"]: row["n"] for row in tx.all(query)}


def _imbalance(env: Env, tx: Tx) -> dict[str, int]:
    """By asset the sum over all accounts, which is 0; a sum of many rows is kept for longer."""
    kept = _sums.setdefault(env.settings.database_url, _Sums())
    started = time.monotonic()
    if started - kept.at < kept.rest_s:
        return kept.found
    rows = tx.all("select asset, sum(balance)::bigint as total from accounts group by asset")
    took = time.monotonic() - started
    kept.found = {row["asset"]: row["total"] for row in rows}
    kept.at, kept.rest_s = started, (took * _SUM_SHARE if took > _SUM_EVERY_S / _SUM_SHARE else 0)
    return kept.found


def observe(env: Env) -> None:
    """Let an SDK read the desk's gauges, once a process; each reading looks at the database."""
    kept: list[Any] = [float("-inf"), None]

    def state() -> State:
        if time.monotonic() - kept[0] > 5.0:
            kept[:] = [time.monotonic(), look(env)]
        return kept[1]

    telemetry.observe(
        "paydesk.outbox.pending", "1", "Customers whose latest events are not published yet.",
        lambda: [(state().outbox, {})],
    )
    telemetry.observe(
        "paydesk.webhook.lag", "s", "Age of the oldest event not applied yet.",
        lambda: [(state().webhook_lag_s, {})],
    )
    telemetry.observe(
        "paydesk.ledger.imbalance", "1", "Sum over all accounts; anything but 0 is a fault.",
        lambda: [(n, {"paydesk.asset": asset}) for asset, n in state().imbalance.items()],
    )
    telemetry.observe(
        "paydesk.webhook.parked", "1", "Provider events that could not be applied.",
        lambda: [(state().inbox.get("parked", 0), {})],
    )
    telemetry.observe(
        "paydesk.sweep.age", "s", "Since when a sweep of the worker was not heard.",
        lambda: [(age, {"paydesk.sweep": name}) for name, age in state().beats.items()],
    )
