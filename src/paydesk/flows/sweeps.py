"""What sweeps share: a fault of one row stays that row's own and delays no other."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg

from paydesk import telemetry
from paydesk.db.errors import DatabaseUnavailable
from paydesk.errors import Busy, PaydeskError
from paydesk.logger import get_logger

log = get_logger(__name__)

#: When a row is taken up again that failed for a fault of ours.
SET_BACK = timedelta(minutes=10)
#: How long a sweep waits for a customer who is held elsewhere; the next round comes soon.
WAIT_S = 1.0
#: Whether a fault that only a batch has is raised instead of being gone around. Tests set it, so
#: that no such fault hides behind rows that are done one by one.
raises_faults = False
#: Whether whoever runs the sweep wants it to end.
_ending: ContextVar[Callable[[], bool]] = ContextVar("paydesk_ending", default=lambda: False)


@contextmanager
def ending_when(asked: Callable[[], bool]) -> Iterator[None]:
    """Sweeps that run inside begin nothing new once `asked` answers true."""
    token = _ending.set(asked)
    try:
        yield
    finally:
        _ending.reset(token)


def is_ending() -> bool:
    """Whether the sweep is to begin nothing new: what is left stays due."""
    return _ending.get()()


def fell_apart(batch: str, exc: Exception, count: int) -> None:
    """Log that a batch failed, whose rows are now done in smaller ones; a fault of the code is
    counted too."""
    if is_expected(exc):
        log.info("a batch falls apart", batch=batch, count=count, why=repr(exc)[:300])
        return
    telemetry.count("paydesk.batch.faults", 1, paydesk_batch=batch, error_type=type(exc).__name__)
    log.error("a batch falls apart", batch=batch, count=count, exc_info=exc)
    if raises_faults:
        raise exc


def is_expected(exc: Exception) -> bool:
    """Whether it belongs to work beside others: no fault of the code, which a batch that falls
    back to single rows would hide."""
    return isinstance(exc, PaydeskError | psycopg.OperationalError)


def is_passing(exc: Exception) -> bool:
    """Whether another transaction or the server ended ours, so that the same may go well if it is
    done anew: a deadlock, a lock that was not to be had in time, a connection that is lost. Not
    a statement that took too long: it would again."""
    if isinstance(exc, DatabaseUnavailable | Busy):
        return True
    if not isinstance(exc, psycopg.OperationalError):
        return False
    if exc.sqlstate == "57014":
        return False
    return (exc.sqlstate or "08")[:2] in ("08", "40", "53", "57") or exc.sqlstate == "55P03"


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


def each(
    sweep: str, rows: Iterable[Mapping[str, Any]], do: Callable[[UUID, UUID], int],
    set_back: Callable[[UUID, UUID], None],
) -> int:  # fmt: skip
    """`do` each row (customer_id, id); answers how much was done. What goes wrong is set back, so
    that a row which fails every time does not stand at the head of every round."""
    done = 0
    for row in rows:
        if is_ending():
            break
        key, is_well = (row["customer_id"], row["id"]), False
        with one_row(sweep, row["id"]):
            done += do(*key)
            is_well = True
        if not is_well:
            with one_row(sweep, row["id"]):
                set_back(*key)
    return done
