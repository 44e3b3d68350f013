"""What a provider says of a subscription that it bills, laid onto ours: terms, times and state.

Steps inside the caller's transaction, which holds the customer's head. Whatever is laid down
twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.errors import NotFound
from paydesk.flows import (
    access,
    methods,
    provider_billing_next,
    provider_customers,
    subscription_promos,
)
from paydesk.flows import provider_billing_items as items
from paydesk.flows import provider_prices as prices
from paydesk.flows import subscription_steps as steps
from paydesk.flows.subscription_steps import Sub
from paydesk.logger import get_logger
from paydesk.providers.billing import RemoteInvoice, RemoteSubscription
from paydesk.rules import subscriptions as rules

log = get_logger(__name__)

#: A subscription is looked at again after so long, whatever was heard of it.
LOOK_EVERY = timedelta(days=1)
#: So long after a period's end its renewal has been charged.
LOOK_AFTER_END = timedelta(minutes=90)
#: A trial that will be charged stays open so long past its end: a draft waits for an hour first.
DRAFT = timedelta(hours=2)
#: In these it gives what the plan gives.
GIVING = frozenset({"trialing", "active", "past_due"})


# Whose it is -----------------------------------------------------------------------------------


def owner_of(
    tx: Tx, provider: str, account: str, *, ref: str | None, provider_customer: str | None,
    subscription_id: str | None, customer_id: str | None,
) -> UUID | None:  # fmt: skip
    """Whose subscription it is: by our ids in its metadata, by itself, or by who pays for it."""
    if subscription_id is not None:
        return ids.customer_of(ids.parse("subscription", subscription_id))
    for one in (ref, provider_customer):
        row = one and tx.one(
            "select customer_id from provider_refs where provider = %(provider)s"
            " and account = %(account)s and ref = %(ref)s",
            {"provider": provider, "account": account, "ref": one},
        )
        if row:
            return row["customer_id"]
    try:
        named = ids.parse("customer", customer_id or "")
    except NotFound:
        return None
    row = tx.one("select customer_id from heads where customer_id = %(id)s", {"id": named})
    return row["customer_id"] if row else None


def find(
    tx: Tx, customer_id: UUID, provider: str, account: str, ref: str,
    subscription_id: str | None = None,
) -> Sub | None:  # fmt: skip
    """Ours of the provider's `ref`, or the one that its metadata name."""
    sub_id = named(tx, customer_id, provider, account, ref)
    if sub_id is None and subscription_id is not None:
        sub_id = ids.parse("subscription", subscription_id)
    if sub_id is None:
        return None
    try:
        found = steps.read(tx, customer_id, sub_id)
    except NotFound:
        return None
    # A copy that somebody made there carries the first one's metadata.
    is_other = found.provider_ref is not None and found.provider_ref != ref
    return None if found.runner != "provider" or is_other else found


def named(
    tx: Tx, customer_id: UUID, provider: str, account: str, ref: str
) -> UUID | None:
    """Our id of what the provider names so."""
    return tx.value(
        "select object_id from provider_refs where provider = %(provider)s"
        " and account = %(account)s and ref = %(ref)s and customer_id = %(customer_id)s",
        {"provider": provider, "account": account, "ref": ref, "customer_id": customer_id},
    )


def take_up(
    tx: Tx, now: datetime, provider: str, account: str, customer_id: UUID,
    remote: RemoteSubscription,
) -> Sub:  # fmt: skip
    """Write one that was begun there. Raises NotFound where its price stands for no plan."""
    sold = sold_by(tx, provider, account, remote)
    key = ids.request_key("provider-subscription", provider, account, remote.id)
    sub = Sub(
        customer_id=customer_id, id=ids.new_owned(customer_id), state="incomplete",
        runner="provider", plan_id=sold.plan_id, plan_version=sold.version, family=sold.family,
        quantity=sold.item.quantity, currency=remote.currency,
        price_minor=sold.item.unit.minor if sold.item.unit else 0, anchor=remote.period_start,
        period_start=remote.period_start, period_end=remote.period_end, provider=provider,
        provider_account=account, provider_ref=remote.id, told={"way": "there"},
        metadata=_own_words(remote.metadata), request_key=key, request_hash=key.bytes,
        clock_id=tx.heads[customer_id].clock_id, created_at=remote.created_at,
    )  # fmt: skip
    steps.write(tx, sub)
    steps.tell(tx, now, sub, "created")
    return sub


def sold_by(
    tx: Tx, provider: str, account: str, remote: RemoteSubscription
) -> prices.Sold:
    """What one that was begun there sells. Raises NotFound where its price stands for no plan."""
    sold = prices.sold(tx, provider, account, remote.items)
    if sold is None:
        names = ", ".join(one.price for one in remote.items)
        raise NotFound(f"No plan is known that {names} would be the price of.", param="plan")
    return sold


def _own_words(metadata: Mapping[str, str]) -> dict[str, str]:
    hidden = ("customer_id", "subscription_id")
    return {k[:40]: v[:500] for k, v in list(metadata.items())[:40] if k not in hidden}


def attach(tx: Tx, sub: Sub, remote: RemoteSubscription) -> None:
    """Remember the provider's names for it and for who pays: their events lead here."""
    if sub.provider_ref is None:
        sub.provider_ref = remote.id
        tx.run(
            "update subscriptions set provider_ref = %(ref)s"
            " where customer_id = %(customer_id)s and id = %(id)s",
            {"customer_id": sub.customer_id, "id": sub.id, "ref": remote.id},
        )
    name_it(tx, sub, remote.id, sub.id)
    if remote.schedule is not None:
        name_it(tx, sub, remote.schedule, sub.id)
    provider_customers.keep(
        tx, [(sub.customer_id, sub.provider, sub.provider_account, remote.provider_customer)]
    )


def name_it(tx: Tx, sub: Sub, ref: str, object_id: UUID) -> None:
    tx.run(
        "insert into provider_refs (provider, account, ref, customer_id, object_id)"
        " values (%(provider)s, %(account)s, %(ref)s, %(customer_id)s, %(id)s)"
        " on conflict do nothing",
        {"provider": sub.provider, "account": sub.provider_account, "ref": ref,
         "customer_id": sub.customer_id, "id": object_id},
    )  # fmt: skip


# Periods ---------------------------------------------------------------------------------------


def number_periods(
    tx: Tx, sub: Sub, remote: RemoteSubscription | None, invoices: Iterable[RemoteInvoice]
) -> dict[datetime, int]:
    """The number of each period by its start, as far as it was ever heard of, in their order. One
    that is heard of late has the number that was left for it."""
    rows = tx.all(
        "select case when period_end <= created_at then period_end else period_start end as start,"
        " cycle from invoices where customer_id = %(customer_id)s"
        " and subscription_id = %(id)s and cycle is not null",
        {"customer_id": sub.customer_id, "id": sub.id},
    )
    known = {row["start"]: row["cycle"] for row in rows}
    if "seen" in sub.told:
        known.setdefault(sub.period_start, sub.period)
    heard = {items.begins(one) for one in invoices if one.period and items.is_period(one)}
    if remote is not None and remote.state != "incomplete":
        heard.add(remote.period_start)
    for start in sorted(heard - known.keys()):
        before = max((known[one] for one in known if one < start), default=-1)
        is_free = before + 1 not in known.values()
        known[start] = before + 1 if is_free else max(known.values()) + 1
    return known


# Laying it down ----------------------------------------------------------------------------------


def lay(
    tx: Tx, now: datetime, sub: Sub, remote: RemoteSubscription,
    numbers: Mapping[datetime, int], told_at: datetime | None = None,
) -> None:  # fmt: skip
    """Make ours what the provider says; the caller saves it. `told_at`: it was not asked for, but
    carried by an event of that instant, before which nothing is taken back."""
    if told_at is not None and not _is_news(sub, remote, told_at):
        return
    before = replace(sub)
    changed = _terms(tx, now, sub, remote)
    _times(tx, sub, remote, numbers)
    other = provider_billing_next.lay(tx, sub, remote)
    if other and not {"plan", "terms", "quantity"} & set(changed):
        changed.append("next")
    if before.cancel_at != sub.cancel_at:
        changed.append("cancel_at")
    sub.told = {**sub.told, "seen": True}
    if told_at is not None:
        sub.told["told_at"] = told_at.isoformat()
    if remote.state != "incomplete":
        sub.told.pop("page", None)
    _move(tx, now, sub, remote)
    if changed and before.state == sub.state and "seen" in before.told:
        was, _ = steps.plan_words(tx, before.plan_id)
        steps.tell(tx, now, sub, "updated", changed=changed,
                   plan_was=was if "plan" in changed else None, **_planned(sub, changed),
                   cancel_at=sub.cancel_at.isoformat() if sub.cancel_at else None)  # fmt: skip
    if sub.state == "trialing" and before.state != "trialing":
        _note_trial(tx, now, sub)
    _tell_trial_end(tx, now, sub)


def _planned(sub: Sub, changed: list[str]) -> dict[str, Any]:
    if "next" not in changed or sub.next is None:
        return {}
    each, quantity = sub.told.get("next_minor"), sub.next["quantity"]
    return {"plan_next": sub.next["plan"], "quantity_next": quantity,
            "amount_next": None if each is None else each * quantity}  # fmt: skip


def _is_news(sub: Sub, remote: RemoteSubscription, told_at: datetime) -> bool:
    last = sub.told.get("told_at")
    if last is not None and datetime.fromisoformat(last) > told_at:
        return False
    return remote.state != "incomplete" or sub.state == "incomplete"


def _terms(tx: Tx, now: datetime, sub: Sub, remote: RemoteSubscription) -> list[str]:
    """Plan, seats and price; answers what changed of them."""
    found = items.candidates(sub, remote)
    sold = prices.sold(tx, sub.provider, sub.provider_account, found)
    if sold is None:
        # It is billed all the same: the money counts, and a person is told of the price.
        log.warning("a price stands for no plan", subscription=str(sub.id),
                    price=found[0].price)  # fmt: skip
        sub.told = {**sub.told, "strange_price": found[0].price}
        return []
    prices.keep(tx, sub.provider, sub.provider_account, sold)
    sub.told.pop("strange_price", None)
    sub.told = {**sub.told, "item": sold.item.id, "price": sold.item.price}
    changed = []
    if sub.plan_id != sold.plan_id:
        changed.append("plan")
        if "seen" in sub.told:
            access.revoke_source(tx, now, sub.customer_id, sub.id, "cancellation")
    elif sub.plan_version != sold.version:
        changed.append("terms")
    if sub.quantity != sold.item.quantity:
        changed.append("quantity")
    sub.plan_id, sub.plan_version = sold.plan_id, sold.version
    sub.quantity, sub.currency = sold.item.quantity, remote.currency
    if sold.item.unit is not None:
        sub.price_minor = sold.item.unit.minor
    if changed:
        _set_family(tx, sub, sold.family)
    return changed


def _times(
    tx: Tx, sub: Sub, remote: RemoteSubscription, numbers: Mapping[datetime, int]
) -> None:
    number = numbers.get(remote.period_start, sub.period)
    if (number, remote.period_start) != (sub.period, sub.period_start) or "seen" not in sub.told:
        sub.credits_month = 0
    sub.period, sub.anchor_period = number, number
    sub.period_start, sub.period_end = remote.period_start, remote.period_end
    sub.anchor = remote.period_start
    if remote.trial_start is not None and remote.trial_end is not None:
        sub.trial_start, sub.trial_end = remote.trial_start, remote.trial_end
    is_over = remote.state in rules.ENDED
    sub.cancel_at = None if is_over else remote.cancel_at
    sub.canceled_at = remote.canceled_at
    sub.cancel_reason = remote.cancel_reason
    sub.resume_at = remote.resumes_at if remote.is_held and not is_over else None
    sub.told = {**sub.told, "held": remote.is_held, "has_method": remote.method is not None,
                "needs_method": remote.needs_method, "sent": remote.is_sent}  # fmt: skip
    if remote.method is not None:
        saved = methods.find(tx, sub.customer_id, remote.method)
        sub.method_id = saved["id"] if saved else None


def state_of(remote: RemoteSubscription) -> str:
    """Its state in our words: what is not collected for now is paused."""
    if remote.is_held and remote.state in ("active", "past_due"):
        return "paused"
    return remote.state


def _move(tx: Tx, now: datetime, sub: Sub, remote: RemoteSubscription) -> None:
    before, after = sub.state, state_of(remote)
    if before == "canceled" or after == before:
        return
    if after in rules.LIVE and before not in rules.LIVE:
        _set_family(tx, sub, None)
        subscription_promos.confirm(tx, sub)
    sub.state = after
    sub.paused_at = now if after == "paused" else None
    if after in rules.ENDED:
        sub.ended_at, sub.next = remote.ended_at or now, None
        sub.end_reason = remote.end_reason or sub.cancel_reason or (
            "not_paid" if after == "expired" else "requested")
    else:
        sub.ended_at = sub.end_reason = None
    if after == "expired":
        subscription_promos.release(tx, sub, now)
    if after not in GIVING:
        access.revoke_source(tx, now, sub.customer_id, sub.id, "cancellation")
    type = _type(before, after)
    if type is not None:
        steps.tell(tx, now, sub, type, was=before, reason=sub.end_reason)
    if "beside" in sub.told and before not in rules.LIVE:
        steps.tell(tx, now, sub, "doubled", beside=sub.told["beside"])


def _type(before: str, after: str) -> str | None:
    """What is told of a change of state."""
    if before in ("incomplete", "expired") and after in GIVING:
        return "activated" if after != "past_due" else "past_due"
    if before == "paused" and after in GIVING:
        return "resumed"
    if after == "active":
        return "recovered" if before in ("past_due", "unpaid") else None
    return {"trialing": "updated", "incomplete": None}.get(after, after)


# One of a family -------------------------------------------------------------------------------


def _set_family(tx: Tx, sub: Sub, family: str | None) -> None:
    """The plan's family, where no other lives in it. The provider may say that a second one runs:
    that one stands beside it, under a name of its own, and is flagged."""
    if family is None:
        family = tx.value("select family from plans where id = %(id)s", {"id": sub.plan_id})
    assert family is not None, "a plan has a family"
    other = tx.value(
        "select id from subscriptions where customer_id = %(customer_id)s"
        " and family = %(family)s and state = any(%(live)s) and id <> %(id)s limit 1",
        {"customer_id": sub.customer_id, "family": family, "live": sorted(rules.LIVE),
         "id": sub.id},
    )  # fmt: skip
    sub.told.pop("beside", None)
    if other is not None:
        shown = ids.show("subscription", sub.id)
        sub.told = {**sub.told, "beside": ids.show("subscription", other)}
        family = f"{family[:60]}+{shown}"
    if family != sub.family:
        sub.family = family
        tx.run(
            "update subscriptions set family = %(family)s"
            " where customer_id = %(customer_id)s and id = %(id)s",
            {"customer_id": sub.customer_id, "id": sub.id, "family": family},
        )


def come_home(tx: Tx, sub: Sub) -> None:
    """One that stood beside another takes its family's place when that is free."""
    if "beside" in sub.told and sub.state in rules.LIVE:
        _set_family(tx, sub, None)


# Trials, access, the next look -----------------------------------------------------------------


def _note_trial(tx: Tx, now: datetime, sub: Sub) -> None:
    """A customer's trial of a family counts, whoever gave it."""
    if sub.trial_start is None or sub.trial_end is None:
        return
    family = tx.value("select family from plans where id = %(id)s", {"id": sub.plan_id})
    tx.run(
        "insert into trials (customer_id, family, subscription_id, days, created_at)"
        " values (%(customer_id)s, %(family)s, %(id)s, %(days)s, %(now)s) on conflict do nothing",
        {"customer_id": sub.customer_id, "family": family, "id": sub.id, "now": now,
         "days": max(1, (sub.trial_end - sub.trial_start).days)},
    )  # fmt: skip


def _tell_trial_end(tx: Tx, now: datetime, sub: Sub) -> None:
    if sub.state != "trialing" or sub.trial_end is None or "trial" in sub.told:
        return
    if sub.trial_end - rules.TRIAL_NOTICE <= now < sub.trial_end:
        sub.told = {**sub.told, "trial": now.isoformat()}
        steps.tell(tx, now, sub, "trial_will_end", trial_end=sub.trial_end.isoformat())


def open_access(
    tx: Tx, now: datetime, sub: Sub, latest: str | None = None, *, is_asked: bool = False,
    is_draft: bool = False,
) -> None:  # fmt: skip
    """Open what the plan opens for the last period that was paid for, or the trial, once; and for
    the running one where nothing of it is owed. `latest` is what the provider billed last, where
    it was asked; `is_draft`: what bills the running period is not final yet. What was opened for
    nothing is shut where an invoice of the period is there by now, and is not paid."""
    if sub.state not in GIVING:
        return
    told = steps.terms(tx, sub)
    until, payment_id = _paid_until(tx, sub, told.grace_days)
    if _is_unpaid(tx, sub):
        access.revoke_source(tx, now, sub.customer_id, sub.id, "cancellation",
                             unpaid=(sub.period_start, until or sub.period_start))  # fmt: skip
    grace = timedelta(days=told.grace_days)
    free = _free_until(tx, sub, latest, grace, is_draft=is_draft) if is_asked else None
    if free is not None and (until is None or free > until):
        until, payment_id = free, None
    if until is None or until <= now:
        return
    missing = [one for one in told.grants if not _has_grant(tx, sub, one, until)]
    if missing:
        wanted = replace(told, grants=tuple(missing))
        steps.give_access(tx, now, sub, wanted, until, payment_id)


def _paid_until(tx: Tx, sub: Sub, grace_days: int) -> tuple[datetime | None, UUID | None]:
    rows = tx.all(
        "select id, period_end, payment_id from invoices where customer_id = %(customer_id)s"
        " and subscription_id = %(id)s and cycle is not null and state = 'paid'"
        " order by period_end desc limit 12",
        {"customer_id": sub.customer_id, "id": sub.id},
    )
    row = next((one for one in rows if not is_trials_own(tx, sub, one["id"])), None)
    grace = timedelta(days=grace_days)
    until, payment_id = None, None
    if row is not None:
        until, payment_id = row["period_end"] + grace, row["payment_id"]
    if sub.state == "trialing" and sub.trial_end is not None:
        tried = sub.trial_end + _past_trial(sub, grace)
        until = max(until or tried, tried)
    return until, payment_id


def _is_unpaid(tx: Tx, sub: Sub) -> bool:
    """Whether the invoice of the running period is there and not paid. One that was sent is waited
    for as long as it is open."""
    states = ["uncollectible", "void", *([] if sub.told.get("sent") else ["open"])]
    return bool(tx.value(
        "select exists (select from invoices where customer_id = %(customer_id)s"
        " and subscription_id = %(id)s and cycle = %(cycle)s and state = any(%(states)s))",
        {"customer_id": sub.customer_id, "id": sub.id, "cycle": sub.period, "states": states},
    ))  # fmt: skip


def _free_until(
    tx: Tx, sub: Sub, latest: str | None, grace: timedelta, *, is_draft: bool
) -> datetime | None:
    """How long one that is active is open though no payment of its running period came: a time
    before the first billing date, and what is billed when it was used. One that was sent is waited
    for until it is due; a draft, what was void and what was not paid open nothing."""
    if sub.state != "active":
        return None
    keys = {
        "customer_id": sub.customer_id, "id": sub.id, "start": sub.period_start,
        "provider": sub.provider, "account": sub.provider_account, "latest": latest,
    }  # fmt: skip
    owed = tx.all(
        "select state, due_at from invoices where customer_id = %(customer_id)s"
        " and subscription_id = %(id)s and (state in ('open', 'uncollectible')"
        "  or (state = 'void' and cycle is not null))"
        " and greatest(period_start, created_at) >= %(start)s", keys,
    )  # fmt: skip
    if owed and (not sub.told.get("sent") or {row["state"] for row in owed} != {"open"}):
        return None
    if owed:
        return min([sub.period_end, *(row["due_at"] for row in owed if row["due_at"])]) + grace
    is_final = not is_draft and (latest is None or tx.value(
        "select exists (select from provider_refs r join invoices i"
        " on i.customer_id = r.customer_id and i.id = r.object_id"
        " where r.provider = %(provider)s and r.account = %(account)s and r.ref = %(latest)s"
        " and r.customer_id = %(customer_id)s)", keys,
    ))  # fmt: skip
    if is_final:
        return sub.period_end + grace
    return sub.period_start + DRAFT + grace if sub.told.get("sent") else None


def _past_trial(sub: Sub, grace: timedelta) -> timedelta:
    """How long past a trial's end its first payment is waited for: the card may be known to the
    provider alone, as the subscription's or as the customer's default."""
    if sub.method_id or sub.told.get("has_method"):
        return max(grace, DRAFT)
    return timedelta(0) if sub.told.get("needs_method") else DRAFT


def is_trials_own(tx: Tx, sub: Sub, invoice_id: UUID) -> bool:
    """Whether it is a trial's: its periods cost nothing, and begin before the trial's end, wherever
    that was moved since. So is the time before the first billing date of what has a price."""
    return bool(tx.value(
        "select exists (select from invoices i where i.customer_id = %(customer_id)s"
        " and i.id = %(invoice)s and (i.period_start < %(trial_end)s or %(price)s > 0)"
        " and not exists ("
        "  select from invoice_items l where l.customer_id = i.customer_id"
        "  and l.invoice_id = i.id and l.kind = 'recurring' and l.amount_minor <> 0))",
        {"customer_id": sub.customer_id, "invoice": invoice_id, "trial_end": sub.trial_end,
         "price": sub.price_minor},
    ))  # fmt: skip


def _has_grant(tx: Tx, sub: Sub, one: Mapping[str, Any], until: datetime) -> bool:
    """Whether it is open so long already, or was taken away with the money."""
    return bool(tx.value(
        "select exists (select 1 from access_grants g where g.customer_id = %(customer_id)s"
        " and g.source_id = %(id)s and g.resource_type = %(type)s and g.resource_id = %(resource)s"
        " and g.expires_at >= %(until)s and not exists (select 1 from access_revocations r"
        "  where r.customer_id = g.customer_id and r.grant_id = g.id"
        "  and r.reinstated_at is null and r.cause = 'cancellation'))"
        " or exists (select 1 from access_grants g join access_revocations r"
        "  on r.customer_id = g.customer_id and r.grant_id = g.id"
        "  where g.customer_id = %(customer_id)s and g.source_id = %(id)s"
        "  and g.resource_type = %(type)s and g.resource_id = %(resource)s"
        "  and g.expires_at >= %(until)s and r.reinstated_at is null"
        "  and r.cause <> 'cancellation')",
        {"customer_id": sub.customer_id, "id": sub.id, "type": one["type"],
         "resource": one["id"], "until": until},
    ))  # fmt: skip


def look_again(tx: Tx, sub: Sub, real_now: datetime) -> None:
    """When it is looked at there without being asked to: soon after a period's end, and each day.
    One that is over once more, for what is still paid or refused of its invoices."""
    at: datetime | None = real_now + LOOK_EVERY
    if sub.state in rules.ENDED:
        at = None if sub.told.get("looked") else real_now + LOOK_EVERY
        sub.told = {**sub.told, "looked": True}
    elif sub.state != "incomplete" and sub.period_end + LOOK_AFTER_END > real_now:
        assert at is not None
        at = min(at, sub.period_end + LOOK_AFTER_END)
    tx.run(
        "update subscriptions set look_at = %(at)s"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": sub.customer_id, "id": sub.id, "at": at},
    )
