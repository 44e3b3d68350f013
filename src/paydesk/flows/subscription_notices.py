"""What is told of a subscription ahead of time: a long period that renews, a card that will have
expired by then. Each is told once for a period; a card once for itself and the period."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, LiteralString
from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.flows import (
    clock_sources,
    heads,
    invoice_views,
    ledger,
    plans,
    subscription_trials,
    tax_rates,
)
from paydesk.flows import subscription_bills as bills
from paydesk.flows import subscription_steps as steps
from paydesk.flows.clock_sources import Due
from paydesk.flows.events import NewEvent, emit_many
from paydesk.flows.subscription_steps import Sub
from paydesk.flows.sweeps import SET_BACK, WAIT_S, each, one_row
from paydesk.rules import invoices as rules
from paydesk.settings import Settings

#: When a card is over: as `methods.ends_at` has it.
_EXPIRES: LiteralString = """ (make_timestamptz(m.exp_year, m.exp_month, 1, 0, 0, 0, 'UTC')
    at time zone 'UTC' + interval '1 month' + interval '12 hours') at time zone 'UTC'"""
#: A period of three months or longer: who pays each month knows when.
_LONG: LiteralString = """ (v.interval_unit = 'year' or (v.interval_unit = 'month'
    and v.interval_count >= 3) or (v.interval_unit = 'week' and v.interval_count >= 12)
    or (v.interval_unit = 'day' and v.interval_count >= 84))"""
_MARK: LiteralString = "floor(extract(epoch from t.period_end) * 1000000)::bigint::text"
_ROWS: LiteralString = """ join plan_versions v on v.plan_id = t.plan_id
    and v.version = t.plan_version
    left join payment_methods m on m.customer_id = t.customer_id and m.detached_at is null
    and (m.id = t.method_id or (t.method_id is null and m.is_default))"""
_STANDS: LiteralString = """ t.runner = 'paydesk' and t.cancel_at is null and t.price_minor > 0"""
_RENEWS: LiteralString = (
    " (t.state = 'active' and %(tells_renewal)s and coalesce(t.told ->> 'renewal', '') <> MARK"
    " and LONG and t.period_end - %(renewal_days)s <= UNTIL)"
)
_CARD: LiteralString = (
    " (t.state in ('active', 'trialing') and %(tells_card)s and m.exp_year is not null"
    " and strpos(coalesce(t.told ->> 'card', ''), m.id::text || ':' || MARK) = 0"
    " and EXPIRES <= t.period_end and t.period_end - %(card_days)s <= UNTIL)"
)


def _filled(text: LiteralString, until: LiteralString) -> LiteralString:
    return (
        text.replace("UNTIL", until).replace("MARK", _MARK).replace("LONG", _LONG)
        .replace("EXPIRES", _EXPIRES)
    )  # fmt: skip


# When it is looked at next, `%(longest)s` before that instant: the first of the notices that may
# still have to be told of this period.
_NEXT: LiteralString = """ case when STANDS and t.period_end > %(now)s then least(
    case when t.state = 'active' and %(tells_renewal)s and LONG
        and coalesce(t.told ->> 'renewal', '') <> MARK
        then t.period_end - %(renewal_days)s + %(longest)s else 'infinity' end,
    case when t.state in ('active', 'trialing') and %(tells_card)s and m.exp_year is not null
        and strpos(coalesce(t.told ->> 'card', ''), m.id::text || ':' || MARK) = 0
        and EXPIRES <= t.period_end
        then t.period_end - %(card_days)s + %(longest)s else 'infinity' end)
    else 'infinity' end"""
_DUE: LiteralString = _filled(
    "select t.notice_at, t.customer_id, t.id,"
    " coalesce(STANDS and t.period_end > %(now)s and (RENEWS or CARD), false) as tells"
    " from subscriptions t ROWS where t.clock_id is null and t.notice_at < 'infinity'"
    " and t.notice_at <= %(now)s::timestamptz + %(longest)s"
    " and (t.notice_at, t.customer_id, t.id)"
    "  > (%(notice_at)s::timestamptz, %(customer_id)s::uuid, %(id)s::uuid)"
    " order by t.notice_at, t.customer_id, t.id limit %(limit)s"
    .replace("ROWS", _ROWS).replace("STANDS", _STANDS).replace("RENEWS", _RENEWS)
    .replace("CARD", _CARD), "%(now)s",
)  # fmt: skip
_PUT_OFF: LiteralString = _filled(
    "update subscriptions u set notice_at = x.next from (select t.customer_id, t.id, NEXT as next"
    " from unnest(%(customers)s::uuid[], %(ids)s::uuid[]) as k(c, i)"
    " join subscriptions t on t.customer_id = k.c and t.id = k.i ROWS"
    " where not coalesce(STANDS and t.period_end > %(now)s and (RENEWS or CARD), false)) x"
    " where u.customer_id = x.customer_id and u.id = x.id and u.notice_at <> x.next"
    .replace("NEXT", _NEXT).replace("ROWS", _ROWS).replace("STANDS", _STANDS)
    .replace("RENEWS", _RENEWS).replace("CARD", _CARD), "%(now)s",
)  # fmt: skip
_CLOCKED: LiteralString = _filled(
    "select t.period_end - greatest(case when RENEWS then %(renewal_days)s else interval '0' end,"
    " case when CARD then %(card_days)s else interval '0' end) as due_at, t.customer_id, t.id"
    " from clock_customers k join subscriptions t using (customer_id) ROWS"
    " where k.clock_id = %(clock_id)s and t.due_at < 'infinity' and t.period_end > (select"
    "  c.now_at from clocks c where c.id = %(clock_id)s) and STANDS and (RENEWS or CARD)"
    .replace("ROWS", _ROWS).replace("STANDS", _STANDS)
    .replace("RENEWS", _RENEWS).replace("CARD", _CARD), "%(until)s",
)  # fmt: skip


_LOOK_AGAIN: LiteralString = (
    "with part as materialized (select customer_id, id from subscriptions"
    " where clock_id is null and runner = 'paydesk' and cancel_at is null"
    " and state in ('trialing', 'active')"
    " and period_end > %(now)s and (customer_id, id) > (%(customer_id)s::uuid, %(id)s::uuid)"
    " order by customer_id, id limit %(limit)s for no key update),"
    " anew as (update subscriptions s set notice_at = s.period_end from part p"
    "  where s.customer_id = p.customer_id and s.id = p.id)"
    " select customer_id, id from part order by customer_id desc, id desc limit 1"
)

#: Before every row.
_FIRST: dict[str, Any] = {"notice_at": "-infinity", "customer_id": UUID(int=0), "id": UUID(int=0)}
#: Rows that nothing is told of yet, put off in one transaction.
AT_ONCE = 100
#: So many are looked at anew in one transaction, after the settings changed.
ANEW = 1_000


def _values(settings: Settings) -> dict[str, Any]:
    renewal, card = settings.renewal_notice_days, settings.card_notice_days
    return {
        "renewal_days": timedelta(days=renewal), "card_days": timedelta(days=card),
        "tells_renewal": renewal > 0, "tells_card": card > 0,
    }  # fmt: skip


def _told(settings: Settings) -> dict[str, Any]:
    values = _values(settings)
    return {**values, "longest": max(values["renewal_days"], values["card_days"])}


def tell_due(env: Env, limit: int = 100) -> int:
    """Sweep: tell of renewals and expiring cards whose day has come; answers of how many. A row is
    looked at when one of them may have to be told, and put off until the next may. Rows that fail
    are set back, and the round goes on behind them."""
    values, now = _told(env.settings), env.now()
    if not values["longest"]:
        return 0
    _begin_anew(env)
    done, rows = 0, [_FIRST]
    while rows and done < limit:
        last = {name: rows[-1][name] for name in _FIRST}
        with env.db.read() as tx:
            rows = tx.all(_DUE, {**values, **last, "now": now, "limit": limit})
        _put_off(env, [row for row in rows if not row["tells"]])
        due = [row for row in rows if row["tells"]]
        done += each("billing_notices", due, partial(tell, env), partial(_set_back, env))
    return done


def _begin_anew(env: Env) -> None:
    """Where the settings are others than those by which rows were put off, all are looked at again:
    an earlier notice is not missed. Part by part; whoever dies leaves it to the next round. No head
    is locked: an instant to look at a row is no state of it, and is written from the row itself."""
    now, days = env.now(), (env.settings.renewal_notice_days, env.settings.card_notice_days)
    with env.db.read() as tx:
        row = tx.one("select renewal_days, card_days from notice_terms")
    if row is not None and (row["renewal_days"], row["card_days"]) == days:
        return
    last: dict[str, Any] | None = {"customer_id": UUID(int=0), "id": UUID(int=0)}
    while last is not None:
        with env.db.transaction() as tx:
            last = tx.one(_LOOK_AGAIN, {**last, "now": now, "limit": ANEW})
    with env.db.transaction() as tx:
        tx.run(
            "insert into notice_terms (renewal_days, card_days, set_at)"
            " values (%(renewal)s, %(card)s, %(now)s) on conflict (is_only) do update set"
            " renewal_days = excluded.renewal_days, card_days = excluded.card_days,"
            " set_at = excluded.set_at",
            {"renewal": days[0], "card": days[1], "now": now},
        )


def _put_off(env: Env, rows: Sequence[Mapping[str, Any]]) -> None:
    """Look again when something may have to be told of them. The heads are locked, so that no
    change of a plan or a method is missed; who is busy is looked at in the next round."""
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        whose = {row["customer_id"] for row in part}
        with one_row("billing_notices", part[0]["id"]), env.db.transaction() as tx:
            tx.lock(*whose, free_only=True)
            _write_next(tx, env, [(row["customer_id"], row["id"]) for row in part
                                  if row["customer_id"] in tx.heads])  # fmt: skip


def _write_next(tx: Tx, env: Env, keys: Sequence[tuple[UUID, UUID]]) -> None:
    tx.run(_PUT_OFF, {**_told(env.settings), "now": env.now(), "customers": [k[0] for k in keys],
                      "ids": [k[1] for k in keys]})  # fmt: skip


def _set_back(env: Env, customer_id: UUID, sub_id: UUID) -> None:
    at = env.now() + SET_BACK + _told(env.settings)["longest"]
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        tx.run(
            "update subscriptions set notice_at = %(at)s where customer_id = %(customer_id)s"
            " and id = %(id)s and notice_at < 'infinity'",
            {"customer_id": customer_id, "id": sub_id, "at": at},
        )


def tell(env: Env, customer_id: UUID, sub_id: UUID) -> int:
    """Tell of one subscription what is to be told of it by now; answers how many notices."""
    with env.db.transaction(customer_id, wait_s=WAIT_S) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        row = tx.one(_ONE, {**_values(env.settings), "now": now, "customer_id": customer_id,
                            "id": sub_id})  # fmt: skip
        if row is None or not (row["renews"] or row["card"]):
            _write_next(tx, env, [(customer_id, sub_id)])
            return 0
        sub = steps.read(tx, customer_id, sub_id)
        if row["renews"]:
            sub.told = {**sub.told, "renewal": row["mark"]}
            steps.tell(tx, now, sub, "renewal_upcoming", **upcoming(tx, now, sub, env.settings))
        if row["card"]:
            told = [one for one in sub.told.get("card", "").split() if one.endswith(row["mark"])]
            sub.told = {**sub.told, "card": " ".join([*told, f"{row['method_id']}:{row['mark']}"])}
            _tell_card(tx, now, sub, row)
        steps.save(tx, now, sub)
        _write_next(tx, env, [(customer_id, sub_id)])
    return int(row["renews"]) + int(row["card"])


_ONE: LiteralString = _filled(
    "select RENEWS as renews, coalesce(CARD, false) as card, MARK as mark, m.id as method_id,"
    " m.brand, m.last4, m.exp_month, m.exp_year from subscriptions t ROWS"
    " where t.customer_id = %(customer_id)s and t.id = %(id)s and STANDS and t.period_end > %(now)s"
    .replace("ROWS", _ROWS).replace("STANDS", _STANDS)
    .replace("RENEWS", _RENEWS).replace("CARD", _CARD), "%(now)s",
)  # fmt: skip


def _tell_card(tx: Tx, now: datetime, sub: Sub, card: Mapping[str, Any]) -> None:
    key, _ = steps.plan_words(tx, sub.plan_id)
    data = {
        "brand": card["brand"], "last4": card["last4"], "exp_month": card["exp_month"],
        "exp_year": card["exp_year"], "plan": key, "quantity": sub.quantity,
        "currency": sub.currency, "subscription_id": str(sub.id),
        "period_end": sub.period_end.isoformat(),
    }  # fmt: skip
    emit_many(tx, [NewEvent(customer_id=sub.customer_id, type="payment_method.expiring",
                            subject_id=card["method_id"], data=data, at=now)])  # fmt: skip


def upcoming(tx: Tx, now: datetime, sub: Sub, settings: Settings) -> dict[str, Any]:
    """What the next period will cost as things stand: `total` with taxes, `due` of it after the
    customer's balance, and whether there is a method to charge."""
    after = replace(sub)
    before = steps.terms(tx, sub)
    if sub.next is not None and "invoice" not in sub.next:
        after.plan_id, after.plan_version = UUID(sub.next["plan_id"]), sub.next["plan_version"]
        after.quantity = sub.next["quantity"]
    told = steps.terms(tx, after)
    if sub.next is not None and "invoice" not in sub.next:
        after.price_minor = plans.price(told, sub.currency).minor
        if steps.begins_anew(before, told):
            subscription_trials.count_on(after, told)
    if sub.state == "trialing":  # It may have been changed since its periods were laid out.
        subscription_trials.count_on(after, told)
    start, end = steps.bounds(after, told, sub.period + 1)
    lines = rules.discounted(
        [bills.period_item(tx, after, told, start, end)], bills.use_discount(tx, after)
    )
    country = invoice_views.buyer(tx, sub.customer_id, {}).get("country") or ""
    held = {told.product: tax_rates.find(tx, country, told.product, now)}
    total = rules.summed(rules.taxed(lines, held, rounding=settings.tax_rounding)).total
    stands = ledger.balances(tx, [sub.customer_id], "balance", sub.currency)[sub.customer_id]
    return {
        "total": total, "due": max(0, total - max(0, stands)),
        "has_method": steps.has_method(tx, sub),
    }  # fmt: skip


clock_sources.register(
    Due(name="billing_notices", rank=20, step=tell, values=_values, find=_CLOCKED)
)
