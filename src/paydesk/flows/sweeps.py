"""What sweeps share: a fault of one row stays that row's own and delays no other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import structlog

from paydesk.db.errors import DatabaseUnavailable
from paydesk.errors import PaydeskError

log = structlog.get_logger(__name__)

#: How long a sweep waits for a customer who is held elsewhere; the next round comes soon.
WAIT_S = 1.0


@contextmanager
def one_row(sweep: str, row: object) -> Iterator[None]:
    """Log what goes wrong with this row and go on; it stays due.

    A database that is away is no row's fault: that comes through and ends the round.
    """
    try:
        yield
    except DatabaseUnavailable:
        raise
    except (PaydeskError, psycopg.Error) as exc:
        log.info("a row is left to a later round", sweep=sweep, row=str(row), why=repr(exc)[:300])
    except Exception:
        log.exception("a row is left to a later round", sweep=sweep, row=str(row))
