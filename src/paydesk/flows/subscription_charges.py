"""What a running period was charged, and what a change of it would cost: preview and change ask
the same function."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any
from uuid import UUID

from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import Conflict, InvalidRequest
from paydesk.flows import (
    invoice_views,
    ledger,
    memberships,
    plans,
    subscription_history,
    tax_rates,
)
from paydesk.flows import subscription_bills as bills
from paydesk.flows import subscription_steps as steps
from paydesk.flows.plans import Plan
from paydesk.flows.subscription_steps import Sub
from paydesk.rules import fields, periods, proration
from paydesk.rules import invoices as invoice_rules
from paydesk.rules.invoices import NewItem
from paydesk.rules.money import Money
from paydesk.rules.plans import Terms
from paydesk.rules.refunds import LIVE_STATES

WHEN = ("now", "period_end")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
#: So long a preview holds: what expects it is reckoned for the preview's instant.
PREVIEW_LIFE = timedelta(hours=1)
#: States in which a plan may be changed; what is owed is paid first.
CHANGEABLE = frozenset({"active", "trialing"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeLine:
    """A line that a change would have. `amount` is below zero for what is credited."""

    kind: str
    description: str
    amount: Money
    period: tuple[datetime, datetime] | None
    why: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePreview:
    """What a change would cost. `total` is the lines' sum with taxes; `due_now` what is charged at
    once, after the customer's balance; `credit` what is put on that balance. `at` is the instant
    it was reckoned for, `next_at` when the next period is billed, for `next_amount` before taxes.
    `credits_back` and `credits_given` are membership credits. `token` stands for all of it."""

    subscription_id: UUID
    plan: str
    quantity: int
    when: str
    lines: tuple[ChangeLine, ...]
    total: Money
    credit: Money
    due_now: Money
    next_at: datetime
    next_amount: Money
    credits_back: int
    credits_given: int
    at: datetime
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A change as it would be made. `restart`: the cycle begins anew."""

    plan: Plan
    terms: Terms
    quantity: int
    price_minor: int
    when: str
    restart: bool
    period: tuple[datetime, datetime]
    items: tuple[NewItem, ...]
    credits_back: int
    credits_given: int
    preview: ChangePreview


@dataclass(frozen=True, slots=True, kw_only=True)
class Charged:
    """What pays for the running time: the last charge of it. `paid_minor` is after discounts,
    `credited_minor` what was credited or refunded of it since. `is_cycle`: it is the whole period's
    own, and no change's within it."""

    item_id: UUID
    invoice_id: UUID
    payment_id: UUID | None
    paid_minor: int
    credited_minor: int
    is_discounted: bool
    start: datetime
    end: datetime
    is_cycle: bool
    charged_at: datetime


#: The invoices that paid for the running time: the period's, those of its changes (`running`), and
#: those whose charges they credited, where the cycle began anew (`bought` has all of them).
BOUGHT = """
    with recursive running (id) as (
        select v.id from invoices v where v.customer_id = %(customer_id)s
        and v.subscription_id = %(id)s and v.state = 'paid'
        and (v.cycle = %(cycle)s or (v.reason = 'subscription_update' and v.finalized_at >= (
            select f.finalized_at from invoices f where f.customer_id = %(customer_id)s
            and f.subscription_id = %(id)s and f.cycle = %(cycle)s)))
    ), bought (id) as (
        select r.id from running r
        union
        select i.invoice_id from bought b
        join invoice_items c on c.customer_id = %(customer_id)s and c.invoice_id = b.id
        and c.kind = 'proration_credit'
        join invoice_items i on i.customer_id = c.customer_id and i.id = c.of_item
    )
"""
_CHARGES = """
    select i.id, i.invoice_id, v.payment_id, i.amount_minor, i.period_start, i.period_end, i.why,
        v.finalized_at, v.total_minor, v.subtotal_minor, v.discount_minor,
        coalesce((select sum(d.amount_minor) from invoice_items d
            where d.customer_id = %(customer_id)s and d.of_item = i.id
            and d.kind = 'discount'), 0)::bigint as discount,
        coalesce((select -sum(c.amount_minor) from invoice_items c join invoices w
            on w.customer_id = c.customer_id and w.id = c.invoice_id
            where c.customer_id = %(customer_id)s and c.of_item = i.id
            and c.kind = 'proration_credit' and w.state = 'paid'), 0)::bigint as credited,
        v.credited_minor, v.runner, v.cycle, back.refunded, back.held,
        coalesce((select sum(r.amount_minor) from credit_notes n join refunds r
            on r.customer_id = n.customer_id and r.id = n.refund_id
            where n.customer_id = %(customer_id)s and n.invoice_id = v.id
            and n.state = 'issued' and r.state = any(%(live)s)), 0)::bigint as noted,
        coalesce((select sum((l.line ->> 'amount')::bigint) from credit_notes n
            cross join lateral jsonb_array_elements(n.items) l (line)
            join invoice_items f on f.customer_id = n.customer_id
            and f.id = (l.line ->> 'item')::uuid and f.kind in ('one_off', 'adjustment')
            where n.customer_id = %(customer_id)s and n.invoice_id = v.id
            and n.state = 'issued'), 0)::bigint as elsewhere
    from bought b join invoices v on v.customer_id = %(customer_id)s and v.id = b.id
    join invoice_items i on i.customer_id = v.customer_id and i.invoice_id = v.id
    cross join lateral (
        select coalesce(sum(p.refunded_minor), 0)::bigint as refunded, coalesce(sum((
            select sum(greatest(d.withdrawn_minor - d.reinstated_minor - d.loss_minor, 0))
            from disputes d where d.customer_id = p.customer_id and d.payment_id = p.id
            and d.currency = p.currency)), 0)::bigint as held
        from payments p where p.customer_id = %(customer_id)s and (p.id = v.payment_id
            or (v.runner <> 'paydesk' and p.purpose = 'invoice'
                and p.terms -> 'goods' ->> 'invoice' = v.id::text))
    ) back
    where v.state = 'paid'
    and i.kind in ('recurring', 'proration_charge') and i.period_end > i.period_start
    order by v.id in (select r.id from running r) desc,
        v.finalized_at desc, v.id desc, i.position desc limit 100
"""


def charged(tx: Tx, sub: Sub) -> Charged | None:
    """The charge that pays for the running time; None where nothing was paid for it."""
    found = tx.all(
        BOUGHT + _CHARGES, {"customer_id": sub.customer_id, "id": sub.id, "cycle": sub.period,
                            "live": sorted(LIVE_STATES)},
    )  # fmt: skip
    if not found:
        return None
    row, paid = found[0], _paid(found[0])
    gone = row["credited"] + _gone(row)
    # What changes credited of the charges before it paid for this one: of that, what was given
    # back to the payer beside it is missing here.
    gone += sum(
        min(one["credited"], max(0, one["credited"] + _gone(one) - _paid(one)))
        for one in found[1:]
    )
    return Charged(
        item_id=row["id"], invoice_id=row["invoice_id"], payment_id=row["payment_id"],
        paid_minor=paid, credited_minor=min(paid, gone),
        is_discounted=bool(row["discount"]) or "promo" in row["why"], start=row["period_start"],
        end=row["period_end"], is_cycle=row["cycle"] == sub.period and row["runner"] == "paydesk",
        charged_at=row["finalized_at"],
    )  # fmt: skip


def _paid(row: Mapping[str, Any]) -> int:
    return max(0, row["amount_minor"] + row["discount"])


def _gone(row: Mapping[str, Any]) -> int:
    """What of a charge's invoice went back by notes, refunds and disputes, without the taxes that
    came on top of it. What notes say of lines that are no plan's is theirs; all else counts
    against the plan's first."""
    total = row["total_minor"]
    if total <= 0:
        return 0
    if row["runner"] == "paydesk":  # Of refunds those that no note counts.
        back = row["credited_minor"] + max(0, row["refunded"] - row["noted"])
    else:
        back = max(row["credited_minor"], row["refunded"])
    net = row["subtotal_minor"] - abs(row["discount_minor"])
    net = net if 0 < net < total else total
    # Notes may say more of other lines than those came to.
    others = max(0, total - invoice_rules.half_up(Fraction(_paid(row) * total, net)))
    back = max(0, back - min(row["elsewhere"], others))
    return invoice_rules.half_up(Fraction(min(back + row["held"], total) * net, total))


def whole_period(sub: Sub, told: Terms) -> tuple[datetime, datetime]:
    """The period that the running time is a part of, of a short first one the whole one. Pauses
    move it as they moved its end, and make it no longer: a part of it costs the same part."""
    stood = steps.stood_in(sub)
    if sub.period_end == sub.anchor and sub.period < sub.anchor_period and (
        told.billing == "calendar"
    ):
        start, end = periods.period(
            sub.anchor - stood, told.interval_unit, told.interval_count, -1, sub.zone
        )
        if sub.period_start >= start:
            return start + stood, end + stood
    return sub.period_start + stood, sub.period_end


def old_side(tx: Tx, sub: Sub, told: Terms, paid: Charged | None) -> proration.Side:
    """The running plan as it is left."""
    _, name = steps.plan_words(tx, sub.plan_id)
    shared: dict[str, Any] = {
        "plan": name, "unit_minor": sub.price_minor, "quantity": sub.quantity,
        "period": whole_period(sub, told),
    }  # fmt: skip
    if paid is None:
        return proration.Side(**shared)
    given = left = 0
    total = None
    if told.credits:
        given, left = memberships.given_in(tx, sub, paid.charged_at)
        total = given + told.credits * sub.quantity * _later(sub, told)
    # A pause moves the time that was paid for: it ends where the period does. The period's own is
    # all of it, also where it began later than its invoice says, after it stood unpaid.
    since = sub.period_end - (paid.end - paid.start)
    if paid.is_cycle:
        since = sub.period_start + steps.stood_in(sub)
    return proration.Side(
        **shared, paid_minor=paid.paid_minor, credited_minor=paid.credited_minor,
        since=since, item=paid.item_id,
        credits_given=given, credits_left=left, credits_total=total,
    )  # fmt: skip


def _later(sub: Sub, told: Terms) -> int:
    """Allocations of the running period that are still to come."""
    count, number = 0, sub.credits_month
    while steps.allotment(sub, told, number)[1] < sub.period_end and count < 200:
        count, number = count + 1, number + 1
    return count


# A change --------------------------------------------------------------------------------------


def weigh(
    env: Env, tx: Tx, now: datetime, sub: Sub, *, plan: Any = None, quantity: int | None = None,
    at: str | None = None, moment: datetime | None = None,
) -> Weighed:  # fmt: skip
    """What this change is and costs, at `moment` (now). Nothing is written.

    Raises NotFound, InvalidRequest (nothing changes, seats, currency), Conflict (its state).
    """
    if sub.state not in CHANGEABLE:
        raise Conflict(f"A subscription that is {sub.state} cannot be changed.")
    if at is not None and at not in WHEN:
        raise InvalidRequest("at is 'now' or 'period_end'.", param="at")
    wanted = plans.plan_in(tx, plan if plan is not None else sub.plan_id,
                           active_only=plan is not None)  # fmt: skip
    if wanted.family != sub.family:
        raise InvalidRequest(
            f"{wanted.key} is of another family: subscribe to it instead.", param="plan"
        )
    is_same = plan is None or wanted.uuid == sub.plan_id
    told = steps.terms(tx, sub) if plan is None else wanted.terms
    seats = fields.whole(sub.quantity if quantity is None else quantity, "quantity",
                         least=told.least_quantity, most=told.most_quantity)  # fmt: skip
    price = plans.price(told, sub.currency).minor
    changes = (wanted.uuid, told.version, seats) != (sub.plan_id, sub.plan_version, sub.quantity)
    if not changes and sub.next is None:
        raise InvalidRequest("Nothing would change.", param="quantity" if is_same else "plan")
    before = steps.terms(tx, sub)
    intervals = [(one.interval_unit, one.interval_count) for one in (before, told)]
    is_up = proration.is_upgrade(
        sub.price_minor * sub.quantity, intervals[0], price * seats, intervals[1]
    )
    when = at or (before.upgrade_when if is_up else before.downgrade_when)
    if sub.state == "trialing" or not changes:
        when = "now"
    moment, policy = moment or now, before.upgrade if is_up else before.downgrade
    restart = when == "now" and sub.state == "active" and (intervals[0] != intervals[1] or (
        steps.begins_anew(before, told) and policy != "none"))  # fmt: skip
    span = sub.period_start, sub.period_end
    if restart:  # No time is left out between the cycles where the desk is behind.
        span = _first(min(moment, sub.period_end), told, sub.zone)
    if when == "period_end" or sub.state == "trialing" or not changes:
        result = proration.Result((), 0, 0, 0)
    else:
        result = _prorate(tx, sub, before, wanted, told, price, seats, moment, policy,
                          span if restart else None)  # fmt: skip
    items = _items(result, sub, wanted, told)
    shown = _preview(env, tx, now, sub, wanted.key, seats, when, items, result, moment, span,
                     price)  # fmt: skip
    return Weighed(
        plan=wanted, terms=told, quantity=seats, price_minor=price, when=when, restart=restart,
        period=span, items=items, credits_back=result.credits_back,
        credits_given=result.credits_given, preview=shown,
    )  # fmt: skip


def _first(start: datetime, told: Terms, zone: str) -> tuple[datetime, datetime]:
    """The first period of a cycle that begins anew: by the calendar a short one."""
    if told.billing == "calendar":
        return start, periods.calendar_anchor(start, told.interval_unit, zone)
    return start, periods.boundary(start, told.interval_unit, told.interval_count, 1, zone)


def _prorate(
    tx: Tx, sub: Sub, before: Terms, plan: Plan, told: Terms, price: int, seats: int,
    moment: datetime, policy: str, fresh: tuple[datetime, datetime] | None,
) -> proration.Result:  # fmt: skip
    paid = charged(tx, sub)
    old = old_side(tx, sub, before, paid)
    discount = _discount(tx, replace(sub, plan_id=plan.uuid), paid, is_new=fresh is not None)
    whole = None
    if fresh and told.billing == "calendar":
        whole = periods.period(fresh[1], told.interval_unit, told.interval_count, -1, sub.zone)
    new = proration.Side(
        plan=plan.name, unit_minor=price, quantity=seats, period=fresh or whole_period(sub, before),
        credits_given=told.credits * seats, discount=discount,
        allotment=_short(fresh, whole, sub.zone) if fresh else _allotment(sub, before, told),
    )  # fmt: skip
    return proration.change(old, new, moment, policy=policy, zone=sub.zone, fresh_whole=whole,
                            restart=fresh is not None, fresh_period=fresh)  # fmt: skip


def _short(
    fresh: tuple[datetime, datetime], whole: tuple[datetime, datetime] | None, zone: str
) -> tuple[datetime, datetime] | None:
    """The time of one allotment of credits that a short first period has only a part of; None
    where it has all of it."""
    if whole is None:
        return None
    start = max(whole[0], periods.boundary(fresh[1], "month", 1, -1, zone))
    return (start, fresh[1]) if start < fresh[0] else None


def _discount(
    tx: Tx, sub: Sub, paid: Charged | None, *, is_new: bool
) -> proration.Discount | None:
    """What the code takes off a charge of this plan: for the rest of a period that it was used
    for, or for a new one, where it has one left. None where it is for other plans."""
    kept = subscription_history.held(tx, sub) or {}
    left = kept.get("left", 0)
    if left is not None:
        was_used = kept.get("runs", paid is not None and paid.is_discounted)
        if not (left > 0 if is_new else was_used):
            return None
    return proration.Discount(
        percent_micros=kept["percent"] * 10_000 if kept.get("percent") else 0,
        minor=kept.get("minor") or 0,
    )


def _allotment(sub: Sub, before: Terms, told: Terms) -> tuple[datetime, datetime] | None:
    """The running time of credits within a period that has several such times."""
    if not told.credits or steps.allotment(sub, before, 0)[1] >= sub.period_end:
        return None
    return steps.allotment(sub, before, sub.credits_month)


def _items(
    result: proration.Result, sub: Sub, plan: Plan, told: Terms
) -> tuple[NewItem, ...]:
    """Lines as the invoice has them. A discount bears the name of its code, as on every invoice,
    and names its charge, which has the same place in both lists."""
    found = []
    for line in result.lines:
        if line.kind == "discount":
            found.append(_carried(line, sub, told))
            continue
        is_old = line.kind == "proration_credit"
        found.append(
            NewItem(
                kind=line.kind, description=proration.describe(line),
                amount_minor=line.amount_minor, quantity=line.quantity, unit_minor=line.unit_minor,
                period=line.period, of=line.of,
                plan=(sub.plan_id, sub.plan_version) if is_old else (plan.uuid, told.version),
                product=told.product, why=line.why,
            )
        )  # fmt: skip
    return tuple(found)


def _carried(line: proration.Line, sub: Sub, told: Terms) -> NewItem:
    """What the subscription's code takes off the charge of a change."""
    code = bills.discount_of(sub.discount or {})
    return NewItem(
        kind="discount", description=code.description, amount_minor=line.amount_minor, of=line.of,
        period=line.period, product=told.product,
        why={**line.why, **code.why, "discount_minor": -line.amount_minor},
    )


def _preview(
    env: Env, tx: Tx, now: datetime, sub: Sub, key: str, seats: int, when: str,
    items: tuple[NewItem, ...], result: proration.Result, moment: datetime,
    span: tuple[datetime, datetime], price: int,
) -> ChangePreview:  # fmt: skip
    """The figures, with taxes and balance as the invoice would have them."""

    def money(minor: int) -> Money:
        return Money(minor, sub.currency, minor=True)

    country = invoice_views.buyer(tx, sub.customer_id, {}).get("country") or ""
    held = tax_rates.of_lines(tx, sub.customer_id, items, country, now)
    whole = invoice_rules.taxed(items, held, rounding=env.settings.tax_rounding)
    total = invoice_rules.summed(whole).total
    stands = ledger.balances(tx, [sub.customer_id], "balance", sub.currency)[sub.customer_id]
    due = bills.chargeable(max(0, total - max(0, stands)), sub.currency)
    figures = [str(sub.id), sub.period, key, seats, when, price, total, due,
               [[one.kind, one.amount_minor] for one in whole],
               result.credits_back, result.credits_given]  # fmt: skip
    digest = hashlib.sha256(json.dumps(figures).encode()).hexdigest()[:32]
    micros = (moment - EPOCH) // MICROSECOND
    return ChangePreview(
        subscription_id=sub.id, plan=key, quantity=seats, when=when,
        lines=tuple(
            ChangeLine(kind=one.kind, description=one.description, amount=money(one.amount_minor),
                       period=one.period, why=one.why)
            for one in whole
        ),
        total=money(total), credit=money(max(0, -total)), due_now=money(due),
        next_at=span[1], next_amount=money(price * seats), credits_back=result.credits_back,
        credits_given=result.credits_given, at=moment, token=f"{micros}.{digest}",
    )  # fmt: skip


def instant_of(token: str) -> datetime:
    """The instant that a preview was reckoned for, from its token. Raises InvalidRequest."""
    head = token.partition(".")[0]
    if not (head.isascii() and head.isdigit() and len(head) < 18):
        raise InvalidRequest("expect is the token of a preview.", param="expect")
    return EPOCH + int(head) * MICROSECOND
