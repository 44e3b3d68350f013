"""Which parts of a range are counted already: months, days, and what is left to the raw rows.

Days and months are those of the business's time zone. A range in another one is cut where its own
periods begin; what lies wholly between two cuts is taken as it was counted, the edges are not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from paydesk.rules import figures as rules
from paydesk.rules.figures import Range

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx

#: A stretch of time whose raw rows are counted: from an instant up to another.
Segment = tuple[datetime, datetime]

#: Changes that the days do not know yet are looked through for so many customers in a report.
MOST_PENDING = 500
#: With more gaps than these among the counted days, the raw rows are counted altogether.
MOST_SEGMENTS = 150
#: A range in another time zone is cut into so many periods at most.
_MOST_CUTS = 4_000


@dataclass(frozen=True, slots=True)
class Parts:
    """What a report adds up: whole months, days, and the raw rows of the segments.

    `narrow`: those of the days that have narrow sums. `kept_zone`: whose days and months they are.
    `behind`: customers whose last changes only the segments see.
    """

    months: tuple[date, ...]
    days: tuple[date, ...]
    narrow: frozenset[date]
    segments: tuple[Segment, ...]
    kept_zone: str
    behind: int = 0


def raw(over: Range, behind: int = 0) -> Parts:
    """The range from its raw rows alone."""
    return Parts((), (), frozenset(), ((over.start, over.end),), over.time_zone, behind)


def parts_of(tx: Tx, over: Range, period: str | None) -> Parts:
    """What can be taken as it was counted, for a report by this period. Only raw rows have hours,
    and months cannot be told apart by week or day."""
    if period == "hour":
        return raw(over)
    state = _state(tx, over)
    if state is None:
        return raw(over)
    kept = state["time_zone"]
    is_own = kept == over.time_zone
    spans = [over] if is_own else list(_cut(over, period, kept))
    insides = [(s, *_inside(s, state["covered_until"])) for s in spans]
    if len(spans) > _MOST_CUTS or all(begin >= end for _, begin, end in insides):
        return raw(over)
    changed, behind = _touched(tx, state["news"], kept)
    stale = changed.union(state["dirty"])
    narrow, spoiled = frozenset(state["days"]), {d.replace(day=1) for d in stale}
    has_months = not is_own or period in (None, "month", "year")
    whole = [m for m in state["months"] if has_months and m not in spoiled]
    months: list[date] = []
    days: list[date] = []
    segments: list[Segment] = []
    for span, begin, end in insides:
        if begin >= end:
            segments.append((span.start, span.end))
            continue
        segments += _edges(span, begin, end, stale)
        fresh = [d for d in rules.days_between(max(begin, state["first_day"]), end)
                 if d not in stale]  # fmt: skip
        found = [m for m in whole if begin <= m and rules.next_month(m) <= end]
        months += found
        days += [d for d in fresh if d.replace(day=1) not in found]
    joined = _joined(segments)
    if len(joined) > MOST_SEGMENTS:
        return raw(over, behind)
    return Parts(tuple(months), tuple(days), narrow, joined, kept, behind)


def _cut(over: Range, period: str | None, kept_zone: str) -> Iterator[Range]:
    """The range's periods in its own time zone, as stretches of the days' one."""
    starts = [over.start]
    if period is not None:
        day = rules.period_start(period, over.first_day)
        while len(starts) <= _MOST_CUTS:
            day += timedelta(days=rules.days_in(period, day))
            at = rules.midnight(over.zone, day)
            if at >= over.end:
                break
            starts.append(at)
    for start, end in zip(starts, [*starts[1:], over.end], strict=True):
        yield Range(start, end, kept_zone)


def _inside(span: Range, covered_until: date) -> tuple[date, date]:
    """Counted days that lie in a span wholly: the first, and the one after the last."""
    first, after = span.whole_days
    return first, min(after, covered_until)


def _edges(span: Range, begin: date, end: date, stale: set[date]) -> Iterator[Segment]:
    """What of a span its days do not say."""
    zone = span.zone
    yield span.start, rules.midnight(zone, begin)
    for day in sorted(d for d in stale if begin <= d < end):
        yield rules.midnight(zone, day), rules.midnight(zone, day + timedelta(days=1))
    yield rules.midnight(zone, end), span.end


def _joined(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """In order, those that touch as one, empty ones left out."""
    made: list[Segment] = []
    for start, end in sorted(s for s in segments if s[0] < s[1]):
        if made and made[-1][1] >= start:
            made[-1] = (made[-1][0], max(end, made[-1][1]))
        else:
            made.append((start, end))
    return tuple(made)


def _state(tx: Tx, over: Range) -> dict[str, Any] | None:
    """What is counted around a range, read at once: since each answer costs a way to the server.
    `days` are those with narrow sums, `news` the customers whose last changes no day knows."""
    return tx.one(
        "select s.time_zone, s.covered_until, least(s.covered_from,"
        "  (select min(day) from figure_payments), (select min(day) from figure_books))"
        "  as first_day,"
        " array(select day from figure_dirty where day between %(first)s and %(last)s) as dirty,"
        " array(select bucket from figure_summed where grain = 'day'"
        "  and bucket between %(first)s and %(last)s) as days,"
        " array(select bucket from figure_summed where grain = 'month'"
        "  and bucket between %(first)s and %(last)s order by 1) as months,"
        " array(select customer_id from news union select customer_id from feeds"
        "  where sink = 'figures' and try_at is not null limit %(most)s) as news"
        " from figure_state s",
        {
            "first": over.first_day - timedelta(days=2), "last": over.last_day + timedelta(days=2),
            "most": MOST_PENDING + 1,
        },
    )  # fmt: skip


# What the days do not know yet --------------------------------------------------------------------


def pending(tx: Tx, time_zone: str) -> tuple[set[date], int]:
    """Days touched by events that the sweep has not read, and how many customers were left out."""
    rows = tx.all(
        "select customer_id from news union select customer_id from feeds"
        " where sink = 'figures' and try_at is not null limit %(most)s",
        {"most": MOST_PENDING + 1},
    )
    return _touched(tx, [row["customer_id"] for row in rows], time_zone)


def _touched(tx: Tx, customers: Sequence[UUID], time_zone: str) -> tuple[set[date], int]:
    if len(customers) <= MOST_PENDING:
        return touched(tx, customers, time_zone), 0
    count = tx.value(
        "select count(*) from (select customer_id from news union select customer_id"
        " from feeds where sink = 'figures' and try_at is not null) n"
    )
    return set(), count


#: The days on which a customer's news changed a row: of payments, of their postings, and of every
#: new posting. Whoever has no mark yet starts where the computing of the days began.
_TOUCHED = """
    with k as (
        select k.id as customer_id,
            coalesce((select seq from feeds f where f.customer_id = k.id and f.sink = 'figures'),
                (select seq from feeds f where f.customer_id = k.id and f.sink = 'live'), 0) as seq,
            coalesce((select entry_seq from figure_marks m where m.customer_id = k.id), 0) as entry,
            (select started_at - interval '1 hour' from figure_state
             where not exists (select from figure_marks m where m.customer_id = k.id)) as since
        from unnest(%(customers)s::uuid[]) k(id)
    ), news as (
        select distinct e.customer_id, n.id from k
        join events e on e.customer_id = k.customer_id and e.seq > k.seq
        cross join lateral (values (e.subject_id),
            (case when e.data ->> 'payment_id' ~ '^[0-9a-f-]{36}$'
             then (e.data ->> 'payment_id')::uuid end)) n(id)
        where n.id is not null
    ), entries as (
        select t.customer_id, t.subject_id, t.effective_at from k
        join transfers t on t.customer_id = k.customer_id and t.seq > k.entry
        where k.since is null or t.created_at >= k.since
    ), paid as (
        select distinct p.customer_id, p.id, p.created_at from (
            select customer_id, id from news
            union select customer_id, subject_id from entries where subject_id is not null
            union select r.customer_id, r.payment_id from news n
                join refunds r on r.customer_id = n.customer_id and r.id = n.id
            union select d.customer_id, d.payment_id from news n
                join disputes d on d.customer_id = n.customer_id and d.id = n.id
            union select c.customer_id, c.payment_id from news n
                join checkouts c on c.customer_id = n.customer_id and c.id = n.id
        ) s join payments p on p.customer_id = s.customer_id and p.id = s.id
    )
    select (created_at at time zone %(time_zone)s)::date as day from paid
    union select (effective_at at time zone %(time_zone)s)::date from entries
    union select (t.effective_at at time zone %(time_zone)s)::date from paid
        join transfers t on t.customer_id = paid.customer_id and t.subject_id = paid.id
        and t.asset <> 'CREDIT'
    order by day
"""


def touched(tx: Tx, customers: Sequence[UUID], time_zone: str) -> set[date]:
    """The days whose figures these customers' unread events and postings changed."""
    if not customers:
        return set()
    rows = tx.all(_TOUCHED, {"customers": list(customers), "time_zone": time_zone})
    return {row["day"] for row in rows}
