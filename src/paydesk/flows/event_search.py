"""Finds one event among a customer's many by its id, without an index of ids.

An id holds the milliseconds of its making, and a customer's events are written one after the
other: their times rise with their numbers, up to the skew of the clocks that made them. So the
numbers around a time are narrowed down by reading a few ids, and only those few are looked
through. An index of ids would cost every writer for what is rarely asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from paydesk import ids

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx

#: Milliseconds by which clocks may differ or step back: tried one after the other.
SKEWS_MS = (2_000, 86_400_000)
#: So many ids are read in one step, and so many events are simply looked through.
_PROBES = 64
_FEW = 256


def seq_of(tx: Tx, customer_id: UUID, event_id: UUID) -> int | None:
    """The number of a customer's event, or None when he has no such event."""
    if ids.may_have_clock(customer_id):  # Times of two clocks: nothing rises steadily.
        return tx.value(
            "select seq from events where customer_id = %(customer_id)s and id = %(id)s",
            {"customer_id": customer_id, "id": event_id},
        )
    last = tx.value(
        "select seq from heads where customer_id = %(customer_id)s", {"customer_id": customer_id}
    )
    at_ms = event_id.int >> 80
    low, high = 1, last or 0
    for skew_ms in SKEWS_MS:
        if high - low >= _FEW:
            first, _ = _around(tx, customer_id, last, at_ms - skew_ms)
            _, end = _around(tx, customer_id, last, at_ms + skew_ms + 1)
        else:
            first, end = low, high
        found = tx.value(
            "select seq from events where customer_id = %(customer_id)s"
            " and seq between %(first)s and %(end)s and id = %(id)s",
            {"customer_id": customer_id, "first": first, "end": end, "id": event_id},
        )
        if found is not None or (first, end) == (low, high):
            return found
    return None


def _around(tx: Tx, customer_id: UUID, last: int, ms: int) -> tuple[int, int]:
    """Numbers between which the times pass `ms`; the bounds take in at most a few more."""
    low, high = 1, last + 1
    while high - low > _PROBES:
        step = (high - low) // (_PROBES + 1) + 1
        probes = list(range(low, high, step))
        rows = tx.all(
            "select seq, id from events where customer_id = %(customer_id)s"
            " and seq = any(%(probes)s) order by seq",
            {"customer_id": customer_id, "probes": probes},
        )
        before, after = low, high
        for row in rows:
            if row["id"].int >> 80 >= ms:
                after = row["seq"]
                break
            before = row["seq"] + 1
        if (before, after) == (low, high):
            break
        low, high = before, after
    return max(1, low - 1), high
