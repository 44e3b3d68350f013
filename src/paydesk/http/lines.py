"""Cursors of credit histories: from a line's id to its place in the books."""

from __future__ import annotations

from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.errors import NotFound


def seq_of(tx: Tx, customer_id: UUID, line: str) -> int:
    """Where a line stands in the customer's books. Raises NotFound, also for another's."""
    seq = tx.value(
        "select seq from transfers where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": customer_id, "id": ids.parse("transfer", line)},
    )
    if seq is None:
        raise NotFound(f"No such line: {line[:64]!r}.")
    return seq
