"""What every subscription was at any time: a row whenever its state, plan, seats or what it brings
in a month changes.

Written where a subscription is written, in the same transaction; never changed. Figures of
recurring revenue are made of it, and the doctor counts it again from the subscriptions themselves.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, LiteralString

from paydesk.flows import plans
from paydesk.rules import recurring

if TYPE_CHECKING:
    from paydesk.db.postgres import Tx
    from paydesk.flows.subscription_steps import Sub

#: (state, plan, its version, seats, currency, what it brings in a month).
Standing = tuple[Any, ...]


def standing(sub: Sub) -> Standing:
    """What a row of the history says of it."""
    return (sub.state, sub.plan_id, sub.plan_version, sub.quantity, sub.currency,
            sub.monthly_minor)  # fmt: skip


def held(tx: Tx, sub: Sub) -> dict[str, Any] | None:
    """What its code takes off, where the code is for the plan that it runs with."""
    names = (sub.discount or {}).get("plans")
    if names is None:
        return sub.discount
    key = tx.value("select key from plans where id = %(id)s", {"id": sub.plan_id})
    return sub.discount if key in names else None


def record(tx: Tx, now: datetime, sub: Sub, before: Standing | None) -> None:
    """Reckon what it brings in a month, and add a row where it stands otherwise than `before`
    (None: it is new). The head is locked; the caller writes `sub`."""
    sub.monthly_minor = _monthly(tx, sub)
    stands = standing(sub)
    if stands == before:
        return
    was = before[-1] if before is not None else 0
    if was and before is not None and before[-2] != sub.currency:
        # Revenue of one currency never becomes that of another.
        nothing = (*before[:-1], 0)
        _add(tx, now, sub, nothing, before, was)
        before, was = nothing, 0
    _add(tx, now, sub, stands, before, was)


def _add(
    tx: Tx, now: datetime, sub: Sub, stands: Standing, before: Standing | None, was: int
) -> None:
    state, plan_id, version, quantity, currency, monthly = stands
    was_state, was_plan, _, was_quantity, was_currency, _ = before or (None,) * 6
    told = tx.one(
        "select coalesce((select max(number) from subscription_history"
        "  where customer_id = %(customer_id)s), 0) as number,"
        " coalesce((select sum(monthly_minor) from subscriptions"
        "  where customer_id = %(customer_id)s and currency = %(currency)s"
        "  and id <> %(id)s), 0)::bigint as others,"
        " exists (select from subscription_history where customer_id = %(customer_id)s"
        "  and currency = %(currency)s and monthly_minor > 0) as had",
        {"customer_id": sub.customer_id, "id": sub.id, "currency": currency},
    )
    assert told is not None
    tx.run(
        "insert into subscription_history (customer_id, number, subscription_id, changed_at,"
        " state, plan_id, plan_version, quantity, currency, monthly_minor, was_minor, was_state,"
        " was_plan_id, was_quantity, was_currency, movement)"
        " values (%(customer_id)s, %(number)s, %(id)s, %(now)s, %(state)s, %(plan_id)s,"
        " %(version)s, %(quantity)s, %(currency)s, %(monthly)s, %(was)s, %(was_state)s,"
        " %(was_plan)s, %(was_quantity)s, %(was_currency)s, %(movement)s)",
        {
            "customer_id": sub.customer_id, "number": told["number"] + 1, "id": sub.id,
            "now": now, "state": state, "plan_id": plan_id, "version": version,
            "quantity": quantity, "currency": currency, "monthly": monthly, "was": was,
            "was_state": was_state, "was_plan": was_plan, "was_quantity": was_quantity,
            "was_currency": was_currency,
            "movement": recurring.movement(
                told["others"] + was, told["others"] + monthly, told["had"]
            ),
        },
    )  # fmt: skip


def _monthly(tx: Tx, sub: Sub) -> int:
    """What it brings in a month: nothing before its first invoice is paid."""
    if sub.state not in recurring.COUNTED:
        return 0
    told = plans.terms(tx, sub.plan_id, sub.plan_version)
    price = recurring.net(sub.price_minor * sub.quantity, held(tx, sub))
    worth = recurring.monthly(price, told.interval_unit, told.interval_count)
    if worth and not sub.monthly_minor and not _is_paid(tx, sub):
        return 0
    return worth


def _is_paid(tx: Tx, sub: Sub) -> bool:
    """Whether anything was paid for it, or nothing was due for a period. Of one that a provider
    bills the provider says so."""
    if sub.runner == "provider" and sub.state == "active":
        return True
    return bool(tx.value(
        "select exists (select from invoices where customer_id = %(customer_id)s"
        " and subscription_id = %(id)s and state = 'paid'"
        " and (cycle is not null or total_minor > 0))",
        {"customer_id": sub.customer_id, "id": sub.id},
    ))  # fmt: skip


# What the doctor proves ------------------------------------------------------------------------

#: (name, promise, table, query for culprits).
CHECKS: tuple[tuple[str, str, str, LiteralString], ...] = (
    (
        "subscriptions_stand_as_told", "the last row of a subscription's history is how it stands",
        "subscriptions",
        "select s.customer_id, s.id, s.state, h.state as told, s.monthly_minor,"
        " h.monthly_minor as told_minor from subscriptions s left join ("
        "  select distinct on (customer_id, subscription_id) * from subscription_history"
        "  order by customer_id, subscription_id, number desc) h"
        "  on h.customer_id = s.customer_id and h.subscription_id = s.id"
        " where (s.state, s.plan_id, s.plan_version, s.quantity, s.currency, s.monthly_minor)"
        "  is distinct from (h.state, h.plan_id, h.plan_version, h.quantity, h.currency,"
        "  h.monthly_minor) limit 4",
    ),
    (
        "recurring_revenue_adds_up", "recurring revenue is the sum of its named changes",
        "subscriptions",
        "select customer_id, number, was_minor, last, movement, before, after from ("
        " select *, coalesce(lag(monthly_minor) over (partition by customer_id, subscription_id,"
        "   currency order by number), 0) as last,"
        "  (was_state, was_plan_id, was_quantity, was_currency) is not distinct from"
        "   (lag(state) over its, lag(plan_id) over its, lag(quantity) over its,"
        "   lag(currency) over its) as follows,"
        "  row_number() over (partition by customer_id order by number) as nth,"
        "  coalesce(max(monthly_minor) over (mine rows between unbounded preceding and 1"
        "   preceding), 0) > 0 as had,"
        "  sum(monthly_minor - was_minor) over mine as after,"
        "  sum(monthly_minor - was_minor) over mine - monthly_minor + was_minor as before"
        " from subscription_history"
        " window mine as (partition by customer_id, currency order by number),"
        "  its as (partition by customer_id, subscription_id order by number)) h"
        " where not follows or was_minor <> last or nth <> number or movement is distinct from case"
        "  when before = after then null"
        "  when before = 0 then case when had then 'reactivation' else 'new' end"
        "  when after = 0 then 'churned'"
        "  when after > before then 'expansion' else 'contraction' end limit 4",
    ),
    (
        "recurring_revenue_is_the_price", "what a subscription brings in a month is its price",
        "subscriptions",
        # As `recurring.monthly` and `recurring.net` reckon it.
        "select s.customer_id, s.id, s.state, s.monthly_minor, w.worth from subscriptions s"
        " join plan_versions v on v.plan_id = s.plan_id and v.version = s.plan_version"
        " join plans k on k.id = s.plan_id"
        " cross join lateral (select s.price_minor::numeric * s.quantity as full_minor) p"
        " cross join lateral (select case when s.discount ->> 'left' is not null"
        "  and not (s.discount ->> 'duration' = 'repeating'"
        "   and coalesce((s.discount ->> 'runs')::boolean, false)) then 0"
        "  when not (s.discount -> 'plans') @> to_jsonb(k.key) then 0"
        "  when (s.discount ->> 'percent')::int > 0"
        "   then div(2 * p.full_minor * (s.discount ->> 'percent')::int + 100, 200)"
        "  else coalesce((s.discount ->> 'minor')::bigint, 0) end as off_minor) o"
        " cross join lateral (select case v.interval_unit when 'week' then 52"
        "   when 'day' then 365 else 1 end as times,"
        "  case v.interval_unit when 'month' then 1 else 12 end * v.interval_count as parts) m"
        " cross join lateral (select div(2 * (p.full_minor - least(o.off_minor, p.full_minor))"
        "   * m.times + m.parts, 2 * m.parts) as worth,"
        "  exists (select from invoices i where i.customer_id = s.customer_id"
        "   and i.subscription_id = s.id and i.state = 'paid'"
        "   and (i.cycle is not null or i.total_minor > 0)) as is_paid) w"
        " where s.monthly_minor <> case when s.state not in ('active', 'past_due') then 0"
        "  when s.runner = 'provider' then"
        "   case when s.state = 'active' or s.monthly_minor > 0 then w.worth else 0 end"
        "  when w.is_paid then w.worth else 0 end limit 4",
    ),
)
