"""Exchange rates: entered by hand or read from files, and the one rate that serves a pair now.

Rows never change. A rate is used from its instant on until `PAYDESK_RATE_MAX_AGE_DAYS` later. A
pair that nobody quotes is served through a third currency, by a rate that is stored as such.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from io import BytesIO
from typing import Any
from uuid import UUID
from zipfile import BadZipFile, ZipFile

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import Conflict, InvalidRequest, NoRate, NotFound
from paydesk.flows import trail
from paydesk.rules import fields
from paydesk.rules import rates as rules
from paydesk.rules.money import MAX_MINOR, Money, currency_code, exponent
from paydesk.rules.rates import CROSS, Rate

#: Rates of a file that go into one statement.
_ROWS_A_STATEMENT = 5_000
#: Rates within the greatest age that are looked at for one pair.
_ROWS_LOOKED_AT = 20_000
#: How long a rate serves where nobody says otherwise; the setting's default.
MAX_AGE_DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What a file brought: `rates` were in it, `new` of them were not known; of `days` days."""

    rates: int
    new: int
    days: int
    first: date | None
    last: date | None


def latest(
    tx: Tx, base: str, quote: str, now: datetime, *, max_age_days: int = MAX_AGE_DAYS
) -> Rate:
    """The stored rate that serves this pair at `now`, in whichever direction it was stored.

    `Rate.base` says which way it reads. Where nobody quotes the pair, one through a third currency
    (the euro before others), or through several, is derived, stored with the source `cross eur ...`
    and used: it is as old as the oldest of them. Raises NoRate with `base` and `quote`.
    """
    found = _chosen(tx, base, quote, now, max_age_days)
    return _stored(tx, found, base, quote, now, max_age_days)


def to_convert(
    tx: Tx, source: str, target: str, now: datetime, *, max_age_days: int = MAX_AGE_DAYS
) -> Rate:
    """As `latest`, for money of a wallet: the pair's own rate or that by which all currencies are
    compared, whichever brings less, so that no way around gains. Raises NoRate."""
    found = rules.least(_all_recent(tx, now, max_age_days), source, target)
    return _stored(tx, found, source, target, now, max_age_days)


def worth(
    tx: Tx, money: Money, currency: str, now: datetime, *, max_age_days: int = MAX_AGE_DAYS
) -> int | None:
    """What money is worth in a currency, rounded half up; None where no rate is known.

    Stores nothing: for limits, and for reading transactions.
    """
    if money.currency == currency:
        return money.minor
    found = _chosen(tx, money.currency, currency, now, max_age_days)
    if not found:
        return None
    rate = found[0]
    if len(found) > 1:
        base, quote, value = rules.derive(found, money.currency, currency)
        rate = Rate(id=rate.id, base=base, quote=quote, rate=value, source=CROSS, at=rate.at)
    return rules.worth(money.minor, money.currency, currency, rate)


def known_at(
    tx: Tx, currencies: Iterable[str], target: str, instants: Iterable[datetime], *,
    max_age_days: int = MAX_AGE_DAYS,
) -> dict[tuple[str, datetime], Rate]:  # fmt: skip
    """The rate that served each currency at each past instant, as `worth` chooses it; a pair that
    had none is missing. Stores nothing."""
    wanted, ats = sorted(set(currencies) - {target}), sorted(set(instants))
    found: dict[tuple[str, datetime], Rate] = {}
    if not wanted or not ats:
        return found
    for touching in ([*wanted, target], None):  # All rates only where few are not enough.
        left = [at for at in ats if any((one, at) not in found for one in wanted)]
        if not left:
            break
        for at, rows in _newest_at(tx, left, touching, max_age_days).items():
            for one in wanted:
                way = [] if (one, at) in found else rules.choose(rows, one, target)
                if not way or (touching and len(way) > 2):
                    continue
                base, quote, value = rules.derive(way, one, target)
                found[one, at] = way[0] if len(way) == 1 else Rate(
                    id=way[0].id, base=base, quote=quote, rate=value, source=CROSS, at=way[0].at
                )
    return found


def _newest_at(
    tx: Tx, instants: list[datetime], touching: list[str] | None, max_age_days: int
) -> dict[datetime, list[Rate]]:
    """At each instant the newest rate of every pair that is neither too old nor derived."""
    since = timedelta(days=max_age_days)
    rows = tx.all(
        "select i.at as instant, n.* from unnest(%(ats)s::timestamptz[], %(sinces)s::timestamptz[])"
        " as i (at, since) cross join lateral ("
        "  select distinct on (r.base, r.quote) r.id, r.base, r.quote, r.rate, r.source, r.at,"
        "   r.entered_by, r.created_at from rates r where r.at > i.since and r.at <= i.at"
        "   and not starts_with(r.source, %(cross)s) and (%(touching)s::text[] is null"
        "    or r.base = any(%(touching)s) or r.quote = any(%(touching)s))"
        "  order by r.base, r.quote, r.at desc, r.created_at desc, r.id desc) n",
        {"ats": instants, "sinces": [at - since for at in instants], "cross": CROSS,
         "touching": touching},
    )  # fmt: skip
    found: dict[datetime, list[Rate]] = {}
    for row in rows:
        found.setdefault(row.pop("instant"), []).append(Rate(**row))
    return found


def is_above(env: Env, money: Money, most: int) -> bool:
    """Whether money is worth more than so many major units of the default currency; False where no
    rate is known."""
    target = env.settings.default_currency
    value: int | None = money.minor
    if money.currency != target:
        with env.db.read() as tx:
            value = worth(tx, money, target, env.now(),
                          max_age_days=env.settings.rate_max_age_days)  # fmt: skip
    return value is not None and value > most * 10 ** exponent(target)


def usd_of(
    tx: Tx, money: Money, now: datetime, *, max_age_days: int = MAX_AGE_DAYS
) -> tuple[int, UUID | None] | None:
    """(worth in US cents, rate used) for a payment's record, rounded half up; dollars need no rate.

    None where no rate is known: the payment is made all the same, and figures say what they lack.
    """
    if money.currency == "usd":
        return money.minor, None
    try:
        rate = latest(tx, money.currency, "usd", now, max_age_days=max_age_days)
    except NoRate:
        return None
    worth = rules.worth(money.minor, money.currency, "usd", rate)
    return (worth, rate.id) if worth <= MAX_MINOR else None


def enter(
    env: Env, base: str, quote: str, rate: str | int | Decimal, *, by: str | None,
    at: datetime | None = None, source: str = "manual",
) -> Rate:  # fmt: skip
    """Store a rate by hand. `at`: since when it holds, by default now, never later.

    The same rate again answers the stored one. Raises InvalidRequest; Conflict where this source
    said something else for that very instant.
    """
    pair = currency_code(base), currency_code(quote)
    if pair[0] == pair[1]:
        raise InvalidRequest("base and quote are the same currency.", param="quote")
    value = rules.parse_rate(rate)
    told = fields.text(source, "source", most=64)
    if told.startswith(CROSS):
        raise InvalidRequest(f"Sources do not begin with {CROSS!r}.", param="source")
    now = env.now()
    since = at or now
    if since > now:
        raise InvalidRequest("A rate cannot hold from a later instant on.", param="at")
    with env.db.transaction() as tx:
        rate_id = ids.new_catalog()
        made = _store(tx, pair, value, told, since, now, by, rate_id)
        if made.rate != value:
            raise Conflict(f"{told} said {rules.plain(made.rate)} for that instant.", param="rate")
        if made.id == rate_id:
            about = {"rate": rules.plain(value), "source": told, "at": since.isoformat()}
            trail.record(tx, now, "rate.entered", f"{pair[0]}/{pair[1]}", about, actor=by)
    return made


def import_ecb(
    env: Env, data: bytes, *, by: str | None = None, since: date | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Imported:  # fmt: skip
    """Store a file of euro reference rates: XML or CSV, or the ZIP of one; a day or the history.

    Each holds from the beginning of its day (UTC) on. `since`: leave out older days. Safe to
    repeat, also where it was broken off: what is known stays as it is. `progress` is told how many
    rates are done, and of how many. Raises InvalidRequest, and then nothing was stored.
    """
    # All of it is read before any of it is written.
    rows = [r for r in rules.parse_ecb(_unpacked(data)) if since is None or r[0] >= since]
    days = {day for day, _, _ in rows}
    last = max(days, default=None)
    if last is not None and last > env.now().date():
        raise InvalidRequest(f"The file has rates of {last}, which has not come.", param="file")
    new = 0
    for begin in range(0, len(rows), _ROWS_A_STATEMENT):
        part = rows[begin : begin + _ROWS_A_STATEMENT]
        with env.db.transaction() as tx:
            new += _store_file(tx, part, env.now(), by)
        if progress is not None:
            progress(begin + len(part), len(rows))
    return Imported(
        rates=len(rows), new=new, days=len(days), first=min(days, default=None), last=last
    )


def _unpacked(data: bytes) -> bytes:
    """The one file in an archive; anything else as it is."""
    if not data.startswith(b"PK"):
        return data
    try:
        with ZipFile(BytesIO(data)) as archive:
            names = [one for one in archive.namelist() if not one.endswith("/")]
            if len(names) != 1:
                raise InvalidRequest("The archive must hold one file of rates.", param="file")
            with archive.open(names[0]) as file:
                return file.read(rules.MAX_FILE_BYTES + 1)
    except (BadZipFile, RuntimeError, zlib.error, EOFError) as exc:
        raise InvalidRequest(f"The archive cannot be read: {exc}", param="file") from None


def get(tx: Tx, rate_id: UUID) -> Rate:
    """A stored rate. Raises NotFound."""
    row = tx.one(
        "select id, base, quote, rate, source, at, entered_by, created_at from rates"
        " where id = %(id)s",
        {"id": rate_id},
    )
    if row is None:
        raise NotFound(f"No such rate: {ids.show('rate', rate_id)}.")
    return Rate(**row)


def list_(
    tx: Tx, *, base: str | None = None, quote: str | None = None, limit: int = 50,
    after: UUID | None = None,
) -> list[Rate]:  # fmt: skip
    """Stored rates, those that hold since latest first; the next page begins after the last id."""
    seen = get(tx, after) if after is not None else None
    rows = tx.all(
        "select id, base, quote, rate, source, at, entered_by, created_at from rates"
        " where (%(base)s::text is null or base = %(base)s)"
        " and (%(quote)s::text is null or quote = %(quote)s)"
        " and (%(at)s::timestamptz is null or (at, id) < (%(at)s::timestamptz, %(id)s::uuid))"
        " order by at desc, id desc limit %(limit)s",
        {"base": base, "quote": quote, "limit": limit, "at": seen.at if seen else None,
         "id": seen.id if seen else None},
    )  # fmt: skip
    return [Rate(**row) for row in rows]


def ends_at(rate: Rate, max_age_days: int) -> datetime:
    """From when on a rate is too old to be used."""
    return rate.at + timedelta(days=max_age_days)


def _chosen(tx: Tx, one: str, other: str, now: datetime, max_age_days: int) -> list[Rate]:
    """The rates that serve a pair; all of them are looked at only where few are not enough."""
    few = rules.choose(_recent(tx, (one, other), now, max_age_days), one, other)
    return few or rules.choose(_all_recent(tx, now, max_age_days), one, other)


def _recent(tx: Tx, pair: tuple[str, str], now: datetime, max_age_days: int) -> list[Rate]:
    """Rates that touch either currency and are neither too old nor of later."""
    rows = tx.all(
        "select id, base, quote, rate, source, at, entered_by, created_at from rates"
        " where at > %(since)s and at <= %(now)s"
        " and (base = any(%(pair)s) or quote = any(%(pair)s))"
        " order by at desc limit %(limit)s",
        {"pair": list(pair), "now": now, "since": now - timedelta(days=max_age_days),
         "limit": _ROWS_LOOKED_AT},
    )  # fmt: skip
    return [Rate(**row) for row in rows]


def _all_recent(tx: Tx, now: datetime, max_age_days: int) -> list[Rate]:
    """The newest rate of every pair that is neither too old nor of later nor derived."""
    rows = tx.all(
        "select distinct on (base, quote) id, base, quote, rate, source, at, entered_by,"
        " created_at from rates where at > %(since)s and at <= %(now)s"
        " and not starts_with(source, %(cross)s)"
        " order by base, quote, at desc, created_at desc, id desc",
        {"now": now, "since": now - timedelta(days=max_age_days), "cross": CROSS},
    )
    return [Rate(**row) for row in rows]


def _stored(
    tx: Tx, found: list[Rate], one: str, other: str, now: datetime, max_age_days: int
) -> Rate:
    """The one rate of a pair; a derived one is stored, named by those that it stands on, once."""
    value = Decimal(0)
    if found:
        base, quote, value = rules.derive(found, one, other)
    if not found or value > rules.MOST_DERIVED:
        raise NoRate(
            f"No rate between {one.upper()} and {other.upper()} of the last {max_age_days} days.",
            base=one, quote=other,
        )  # fmt: skip
    if len(found) == 1:
        return found[0]
    parts = sorted(rate.id for rate in found)
    if len(found) == 2:
        via = next(iter({found[0].base, found[0].quote} - {one}))
        source = f"{CROSS} {via} {parts[0].hex} {parts[1].hex}"
    else:
        name = hashlib.sha256(b"".join(part.bytes for part in parts)).hexdigest()
        source = f"{CROSS} {len(parts)} {name}"
    return _store(tx, (base, quote), value, source, min(r.at for r in found), now, None)


def _store(
    tx: Tx, pair: tuple[str, str], value: Decimal, source: str, at: datetime, now: datetime,
    by: str | None, rate_id: UUID | None = None,
) -> Rate:  # fmt: skip
    """Write a rate, or find the one of the same pair, source and instant."""
    values: dict[str, Any] = {
        "id": rate_id or ids.new_catalog(), "base": pair[0], "quote": pair[1], "rate": value,
        "source": source, "at": at, "by": by, "now": now,
    }  # fmt: skip
    tx.run(
        "insert into rates (id, base, quote, rate, source, at, entered_by, created_at)"
        " values (%(id)s, %(base)s, %(quote)s, %(rate)s, %(source)s, %(at)s, %(by)s, %(now)s)"
        " on conflict (base, quote, source, at) do nothing",
        values,
    )
    row = tx.one(
        "select id, base, quote, rate, source, at, entered_by, created_at from rates"
        " where base = %(base)s and quote = %(quote)s and source = %(source)s and at = %(at)s",
        values,
    )
    assert row is not None
    return Rate(**row)


def _store_file(
    tx: Tx, part: list[tuple[date, str, Decimal]], now: datetime, by: str | None
) -> int:
    stored = tx.run(
        "insert into rates (id, base, quote, rate, source, at, entered_by, created_at)"
        " select n.id, 'eur', n.quote, n.rate, 'ecb', n.at, %(by)s, %(now)s"
        " from unnest(%(ids)s::uuid[], %(quotes)s::text[], %(rates)s::numeric[],"
        "  %(ats)s::timestamptz[]) as n (id, quote, rate, at)"
        " on conflict (base, quote, source, at) do nothing",
        {
            "by": by, "now": now, "ids": [ids.new_catalog() for _ in part],
            "quotes": [currency for _, currency, _ in part],
            "rates": [rate for _, _, rate in part],
            "ats": [datetime.combine(day, time(), UTC) for day, _, _ in part],
        },
    )  # fmt: skip
    if stored:
        days = [day.isoformat() for day, _, _ in part]
        about = {"stored": stored, "first": min(days), "last": max(days)}
        trail.record(tx, now, "rates.imported", "ecb", about, actor=by)
    return stored
