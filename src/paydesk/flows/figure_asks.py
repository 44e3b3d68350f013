"""What is asked of a report, as the builders of its rows hear it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from paydesk.flows.figure_parts import Parts
from paydesk.flows.figures import Row
from paydesk.rules.figure_names import PERIODS
from paydesk.rules.figures import Range

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx


@dataclass(frozen=True, slots=True)
class Ask:
    """What the builders of rows need."""

    tx: Tx
    over: Range
    parts: Parts
    where: Mapping[str, Any]
    limit: int
    recount: bool
    now: datetime
    periods: int
    period: str | None
    max_age_days: int
    together: bool
    #: What was read already for other heads of the same report.
    memo: dict[str, list[Row]] = field(default_factory=dict)


#: (what is asked, the period of a row or None, the other heads) -> rows with whatever adds up.
Build = Callable[[Ask, "str | None", Sequence[str]], list[Row]]
#: (what is asked, a row) -> what follows from it: rates, averages.
Derive = Callable[[Ask, Row], Row]


def filters(ask: Ask, names: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The filters of the payments' sums, by the names that they have there."""
    named = {"status": "state", **(names or {})}
    return {named.get(name, name): value for name, value in ask.where.items()
            if name not in PERIODS}  # fmt: skip


def heads_of(period: str | None, dimensions: Sequence[str]) -> tuple[str, ...]:
    """The members that a row begins with."""
    return ((period,) if period else ()) + tuple(dimensions)


def nothing(ask: Ask, row: Row) -> Row:
    """Of reports whose figures all add up."""
    return {}
