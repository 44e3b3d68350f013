"""Recurring revenue in US dollars, at the rate that was known at each instant; and currencies
together.

Rates are looked at for all periods at once. Where none was known the amount has no worth, and the
row says that it lacks one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from paydesk.flows import rates
from paydesk.rules import figures as rules
from paydesk.rules import rates as conversion
from paydesk.rules.figure_names import FIGURES
from paydesk.rules.figures import Range
from paydesk.rules.rates import Rate
from paydesk.rules.recurring import MOVEMENTS

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx

Row = dict[str, Any]

USD = "usd"


@dataclass(frozen=True, slots=True)
class Dollars:
    """What amounts were worth in US cents."""

    known: Mapping[tuple[str, datetime], Rate]

    def of(self, minor: int, currency: str, at: datetime) -> int | None:
        """Rounded half up; None where no rate was known then. Nothing is worth nothing."""
        if currency == USD or not minor:
            return minor
        rate = self.known.get((currency, at))
        return None if rate is None else conversion.worth(minor, currency, USD, rate)


def looked_up(
    tx: Tx, currencies: Iterable[str], instants: Iterable[datetime], max_age_days: int
) -> Dollars:
    """The rates of these currencies at these instants."""
    return Dollars(rates.known_at(tx, currencies, USD, instants, max_age_days=max_age_days))


def edges(
    over: Range, period: str | None, bucket: date | None, now: datetime
) -> tuple[datetime, datetime]:
    """The instants at which a period of the range begins and ends; none later than now."""
    begin, end = over.start, over.end
    if period is not None and bucket is not None:
        begin = max(begin, rules.midnight(over.zone, bucket))
        end = min(end, rules.midnight(over.zone, rules.next_period(period, bucket)))
    return min(begin, now), min(end, now)


def rate_movements(
    tx: Tx, rows: Sequence[Row], over: Range, period: str | None, now: datetime, max_age_days: int
) -> None:
    """Adds to rows of recurring revenue and its changes what they are in US cents."""
    spans = {one["bucket"]: edges(over, period, one["bucket"], now) for one in rows}
    dollars = looked_up(tx, {one["currency"] for one in rows},
                        {at for span in spans.values() for at in span}, max_age_days)  # fmt: skip
    for one in rows:
        begin, end = spans[one["bucket"]]
        code = one["currency"]
        told = {"mrr_opening_usd": dollars.of(one["mrr_opening"], code, begin),
                "mrr_closing_usd": dollars.of(one["mrr_closing"], code, end),
                **{f"mrr_{name}_usd": dollars.of(one[f"mrr_{name}"], code, end)
                   for name in MOVEMENTS}}  # fmt: skip
        lacks = None in told.values()
        closing = told["mrr_closing_usd"]
        one |= told
        one["arr_usd"] = None if closing is None else 12 * closing
        one["mrr_rates_usd"] = None if lacks else closing - _explained(told)
        one["mrr_unrated"] = int(lacks)


def _explained(told: Mapping[str, Any]) -> int:
    gained = ("opening", "new", "expansion", "reactivation")
    return (sum(told[f"mrr_{name}_usd"] for name in gained)
            - told["mrr_contraction_usd"] - told["mrr_churned_usd"])  # fmt: skip


def together(rows: Iterable[Row], heads: Sequence[str]) -> list[Row]:
    """Rows with the same heads as one: counts and US cents added, amounts of a currency left out,
    in the order of the heads."""
    made: dict[tuple[Any, ...], Row] = {}
    for one in rows:
        into = made.setdefault(tuple([one[h] for h in heads]), {h: one[h] for h in heads})
        for name, value in one.items():
            figure = FIGURES.get(name)
            if figure is None or name in heads:
                continue
            if figure.unit == "money":
                into[name] = None
            elif figure.unit in ("count", "usd"):
                into[name] = into.get(name, 0) + (value or 0)
    return [made[key] for key in sorted(made, key=_order)]


def _order(key: tuple[Any, ...]) -> list[tuple[bool, Any]]:
    return [(one is not None, one) for one in key]
