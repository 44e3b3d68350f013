"""What waits for a person: kinds of trouble with their number and the screen that shows them."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx
    from paydesk.env import Env

Row = dict[str, Any]

#: So many of a kind are counted; there may be more.
MOST_COUNTED = 99
#: What is tried again by itself is given so long before anybody hears of it.
_LATE = timedelta(minutes=2)
#: An invoice is overdue a day after its own, and one given up is told for so long.
_OVERDUE, _TOLD = timedelta(days=1), timedelta(days=30)

#: Kind -> (tone, screen, one, several, what it means), the worst first.
KINDS: dict[str, tuple[str, str, str, str, str]] = {
    "blocked": ("bad", "/dashboard/payments?tab=review", "payment without its goods",
                "payments without their goods", "The money is recorded; a person must decide"),
    "disputes": ("bad", "/dashboard/disputes", "dispute to answer", "disputes to answer",
                 "Without an answer the bank decides for the customer"),
    "refunds": ("warn", "/dashboard/refunds?tab=requested", "refund to approve",
                "refunds to approve", "Asked for; nothing moves before a person agrees"),
    "reviews": ("warn", "/dashboard/risk", "risk review", "risk reviews",
                "Stopped by the risk rules until a person decides"),
    "dunning": ("warn", "/dashboard/subscriptions?tab=late", "subscription with a late payment",
                "subscriptions with a late payment", "Charged again by itself until its plan ends"
                " it, or left unpaid"),
    "overdue": ("warn", "/dashboard/invoices?tab=open", "invoice overdue", "invoices overdue",
                "Due for more than a day, and not charged by itself"),
    "uncollectible": ("warn", "/dashboard/invoices?tab=uncollectible", "invoice given up",
                      "invoices given up", "In the last 30 days; they may still be paid"),
    "due": ("warn", "/dashboard/payments?tab=review", "payment whose goods are late",
            "payments whose goods are late", "Tried again by itself"),
    "parked": ("warn", "/dashboard/webhooks?state=parked", "webhook parked", "webhooks parked",
               "Could not be applied; replay when mended"),
    "unknown": ("info", "/dashboard/payments?tab=unconfirmed", "provider call open",
                "provider calls open", "Outcome not known yet; a sweep asks again"),
    "review": ("warn", "/dashboard/payments?tab=review", "payment to look at",
               "payments to look at", "What was paid differs from what was asked"),
}  # fmt: skip


def needs(tx: Tx, now: datetime) -> list[Row]:
    """What needs attention, each a kind, tone (bad, warn or info), count up to MOST_COUNTED,
    title, text, href and, of disputes, `due_at`: the first deadline. Nothing wrong answers [].

    Each is read through an index of just these rows, and no further than is counted.
    """
    row = tx.one(
        "select"
        " (select count(*) from (select from fulfillments where state = 'blocked'"
        "  limit %(most)s) a) as blocked,"
        " (select count(*) from (select from disputes where state = 'needs_response'"
        "  limit %(most)s) b) as disputes,"
        " (select min(due_at) from disputes where state = 'needs_response'"
        "  and clock_id is null) as first_due,"
        " (select count(*) from (select from refunds where state = 'requested'"
        "  limit %(most)s) c) as refunds,"
        " (select count(*) from (select from risk_assessments where decision = 'review'"
        "  and verdict is null limit %(most)s) d) as reviews,"
        " (select count(*) from (select from subscriptions where state in ('past_due', 'unpaid')"
        "  limit %(most)s) e) as dunning,"
        # Whoever stands on a clock has days of his own.
        " (select count(*) from (select from invoices where state = 'open' and clock_id is null"
        "  and finalized_at < %(overdue)s and due_at < %(overdue)s and try_at is null"
        "  limit %(most)s) f) as overdue,"
        " (select count(*) from (select from invoices where state = 'uncollectible'"
        "  and uncollectible_at > %(told)s limit %(most)s) g) as uncollectible,"
        " (select count(*) from (select from fulfillments where state = 'due'"
        "  and try_at < %(late)s limit %(most)s) h) as due,"
        " (select count(*) from (select from provider_events where state = 'parked'"
        "  limit %(most)s) i) as parked,"
        " (select count(*) from (select from provider_calls where state in ('intended', 'unknown')"
        "  and try_at < %(late)s limit %(most)s) j) as unknown,"
        " (select count(*) from (select from payments where review is not null"
        "  limit %(most)s) k) as review",
        {"most": MOST_COUNTED, "late": now - _LATE, "overdue": now - _OVERDUE,
         "told": now - _TOLD},
    )  # fmt: skip
    assert row is not None
    found = []
    for kind, (tone, href, one, several, text) in KINDS.items():
        count = row[kind]
        if not count:
            continue
        due_at = row["first_due"] if kind == "disputes" else None
        title = f"{count}{'+' if count == MOST_COUNTED else ''} {one if count == 1 else several}"
        found.append({"kind": kind, "tone": tone, "count": count, "title": title, "text": text,
                      "href": href, "due_at": due_at})  # fmt: skip
    return found


def look(env: Env) -> list[Row]:
    """What needs attention now."""
    with env.db.read() as tx:
        return needs(tx, env.now())
