"""A provider's own clocks: what it runs for customers of a clock moves when that is moved.

A customer of a clock who subscribes at the provider stands there on one of its test clocks, at
most three on each. On the way of an advance the provider goes first, then the desk, then what
changed there is looked at. What is meant is written before the provider is asked, and whoever
dies in between comes to the same clock and the same customer again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk import crash, ids
from paydesk.env import Env
from paydesk.errors import Conflict, ProviderRefused, ProviderUnavailable
from paydesk.flows import clock_sources, provider_customers
from paydesk.flows import provider_billing_books as books
from paydesk.flows import provider_billing_events as news
from paydesk.logger import get_logger
from paydesk.providers.circuit import SlowDown
from paydesk.rules import subscriptions as rules

log = get_logger(__name__)

#: So many customers stand on one clock of a provider.
MOST_CUSTOMERS = 3
#: So long one step of the provider's clock is waited for.
PATIENCE_S = 120.0
#: Pauses between looks at a clock that is on its way: the first, and the longest.
_PAUSES_S = (0.02, 2.0)
#: A step that is refused is halved down to this.
LEAST_STEP_S = 3600


# Who stands on it ------------------------------------------------------------------------------


def payer(env: Env, customer_id: UUID, provider: str) -> str:
    """The provider's id of our customer for what it bills: on one of its clocks where ours stands
    on one. Never in a transaction.

    Raises Conflict where he was made there before without one and has saved methods, and what the
    provider raises.
    """
    known = env.providers[provider]
    clock_id = None
    if "clocks" in known.can and not known.livemode and ids.may_have_clock(customer_id):
        with env.db.read() as tx:
            clock_id = tx.value(
                "select clock_id from heads where customer_id = %(customer_id)s",
                {"customer_id": customer_id},
            )
    if clock_id is None:
        return provider_customers.ensure(env, customer_id, provider)
    _check_new(env, customer_id, provider, known.account)
    for _ in range(2):
        seat = _seat(env, clock_id, customer_id, provider, known.account)
        ref = _made(env, seat)
        with env.db.read() as tx:
            now = tx.value("select now_at from clocks where id = %(id)s", {"id": clock_id})
        if _bring(env, {**seat, "ref": ref}, now):  # False where it is gone: a new one is made.
            return provider_customers.ensure(env, customer_id, provider, test_clock=ref)
    raise ProviderUnavailable(f"{provider} keeps no clock.")


def _seat(
    env: Env, clock_id: UUID, customer_id: UUID, provider: str, account: str
) -> dict[str, Any]:
    """The row of the provider's clock on which a customer stands; a place is taken first."""
    keys = {"clock_id": clock_id, "provider": provider, "account": account,
            "customer_id": customer_id, "most": MOST_CUSTOMERS}  # fmt: skip
    with env.db.transaction(customer_id) as tx:
        now = tx.value("select now_at from clocks where id = %(clock_id)s for no key update", keys)
        row = tx.one(
            "select * from provider_clocks where clock_id = %(clock_id)s"
            " and provider = %(provider)s and account = %(account)s and gone_at is null"
            " and %(customer_id)s = any(customers)", keys,
        )  # fmt: skip
        if row is not None:
            return row
        row = tx.one(
            "update provider_clocks set customers = customers || %(customer_id)s::uuid"
            " where clock_id = %(clock_id)s and provider = %(provider)s and account = %(account)s"
            " and number = (select min(number) from provider_clocks where clock_id = %(clock_id)s"
            "  and provider = %(provider)s and account = %(account)s and gone_at is null"
            "  and cardinality(customers) < %(most)s) returning *", keys,
        )  # fmt: skip
        if row is not None:
            return row
        made = tx.one(
            "insert into provider_clocks (clock_id, provider, account, number, customers,"
            " began_at, now_at) select %(clock_id)s, %(provider)s, %(account)s,"
            " coalesce(max(number), 0) + 1, array[%(customer_id)s::uuid], %(at)s, %(at)s"
            " from provider_clocks where clock_id = %(clock_id)s and provider = %(provider)s"
            " and account = %(account)s returning *",
            {**keys, "at": now.replace(microsecond=0)},
        )
    assert made is not None
    return made


def _check_new(env: Env, customer_id: UUID, provider: str, account: str) -> None:
    """One whom the provider has in everybody's time gets another customer there; what he saved
    would stay behind. It is asked: a card of a checkout may be known there alone."""
    with env.db.read() as tx:
        ref = tx.value(
            "select ref from provider_customers where customer_id = %(customer_id)s"
            " and provider = %(provider)s and account = %(account)s and test_clock is null",
            {"customer_id": customer_id, "provider": provider, "account": account},
        )
    if ref is None or "methods" not in env.providers[provider].can:
        return
    if env.providers.call(provider, "list_methods", ref)[0]:
        raise Conflict(
            "The provider puts only new customers on a clock, and this one has saved methods there:"
            " begin what it runs before a method is saved, or with another customer."
        )


def _made(env: Env, row: dict[str, Any]) -> str:
    """The provider's id of its clock, made there where it is not yet."""
    if row["ref"] is not None:
        return row["ref"]
    name = f"{ids.show('clock', row['clock_id'])}-{row['number']}"
    made = env.providers.call(
        row["provider"], "make_clock", row["began_at"], name, f"{name}-{row['account']}"
    )
    crash.at("provider_clock_made")
    with env.db.transaction() as tx:
        tx.run(
            "update provider_clocks set ref = %(ref)s where clock_id = %(clock_id)s"
            " and provider = %(provider)s and account = %(account)s and number = %(number)s",
            {**row, "ref": made.id},
        )
    return made.id


# Moving ----------------------------------------------------------------------------------------


def bring(env: Env, clock_id: UUID, to: datetime) -> bool:
    """Move the provider's clocks to an instant where something runs on them; answers whether one
    was behind. What moved there is then to be looked at.

    Raises what the provider raises; the same call goes on from there.
    """
    with env.db.read() as tx:
        rows = tx.all(
            "select p.* from provider_clocks p where p.clock_id = %(clock_id)s"
            " and p.ref is not null and p.gone_at is null and p.now_at < %(to)s"
            " and exists (select from subscriptions s where s.customer_id = any(p.customers)"
            "  and s.provider = p.provider and s.provider_account = p.account"
            "  and s.runner = 'provider' and s.state <> all(%(ended)s))"
            " order by p.provider, p.account, p.number",
            {"clock_id": clock_id, "to": to.replace(microsecond=0), "ended": sorted(rules.ENDED)},
        )
    done = 0
    for row in rows:
        known = env.providers.get(row["provider"])
        if known is None or known.livemode or known.account != row["account"]:
            continue
        _bring(env, row, to)
        done += 1
    return done > 0


def _bring(env: Env, row: dict[str, Any], to: datetime) -> bool:
    """Move one of them in as many steps as the provider allows; False where it is gone there."""
    try:
        at = _walk(env, row["provider"], row["ref"], to.replace(microsecond=0))
    except ProviderRefused as exc:
        if not _is_missing(exc):
            raise
        _gone(env, row)
        return False
    crash.at("provider_clock_moved")
    with env.db.transaction() as tx:
        tx.run(
            "update provider_clocks set now_at = greatest(now_at, %(at)s)"
            " where clock_id = %(clock_id)s and provider = %(provider)s"
            " and account = %(account)s and number = %(number)s and now_at < %(at)s",
            {**row, "at": at},
        )
    return True


def _walk(env: Env, provider: str, ref: str, to: datetime) -> datetime:
    """Ask, move, wait: until it stands at `to` or later. It is asked first, so that a move whose
    answer was lost is not made twice."""
    step, seen = timedelta.max, None
    pause, until = _PAUSES_S[0], time.monotonic() + PATIENCE_S
    while True:
        found = env.providers.call(provider, "fetch_clock", ref)
        if found.state == "failed":
            raise Conflict(f"{provider} could not move its clock {ref}.")
        if found.state == "ready":
            if found.at >= to:
                return found.at
            if found.at != seen:
                seen, pause, until = found.at, _PAUSES_S[0], time.monotonic() + PATIENCE_S
            left = to - found.at
            try:
                env.providers.call(
                    provider, "move_clock", ref, found.at + min(left, step)
                )
                continue
            except SlowDown:
                pass
            except ProviderRefused:  # Too far at once for what runs on it.
                step = timedelta(seconds=int(min(left, step).total_seconds()) // 2)
                if step.total_seconds() < LEAST_STEP_S:
                    raise
                continue
        if time.monotonic() > until:
            raise ProviderUnavailable(f"{provider} is still moving its clock: advance again.")
        time.sleep(pause)
        pause = min(pause * 2, _PAUSES_S[1])


def _is_missing(exc: ProviderRefused) -> bool:
    return exc.extra.get("provider_code") == "resource_missing"


def _gone(env: Env, row: dict[str, Any]) -> None:
    """The provider keeps its clocks for some weeks, and throws its customers away with them."""
    log.warning("a provider has a clock no more", provider=row["provider"], ref=row["ref"])
    with env.db.transaction() as tx:
        tx.run(
            "update provider_clocks set gone_at = %(now)s where clock_id = %(clock_id)s"
            " and provider = %(provider)s and account = %(account)s and number = %(number)s",
            {**row, "now": env.now()},
        )
    for customer_id in row["customers"]:
        with env.db.transaction(customer_id) as tx:
            tx.run(
                "delete from provider_customers where customer_id = %(customer_id)s"
                " and provider = %(provider)s and account = %(account)s and test_clock = %(ref)s",
                {**row, "customer_id": customer_id},
            )


def look(env: Env, clock_id: UUID, tried: Callable[[Callable[[], Any]], Any]) -> None:
    """Ask how everything stands that runs on the provider's clocks, and lay it down. `tried` does
    each, and again where others keep it from being done for a moment."""
    with env.db.read() as tx:
        rows = tx.all(
            "select s.customer_id, s.id from provider_clocks p join subscriptions s"
            " on s.customer_id = any(p.customers) and s.provider = p.provider"
            " and s.provider_account = p.account and s.runner = 'provider'"
            " where p.clock_id = %(clock_id)s and p.ref is not null and p.gone_at is null"
            " and s.look_at is not null"
            " order by s.customer_id, s.id",
            {"clock_id": clock_id},
        )
    for row in rows:
        try:
            tried(lambda row=row: news.look(env, row["customer_id"], row["id"]))
        except ProviderRefused as exc:
            if not _is_missing(exc):
                raise  # Else it went away with its clock, which is found out when that is moved.


# When the provider has to be looked at: soon after a period's end, as in real time, also where
# its new period was seen before the payment; before a
# trial's; at a date that is set; and each day while a payment is tried again.
clock_sources.register(clock_sources.Due(
    name="provider_billing", rank=1, step=news.look,
    find="select x.due_at, x.customer_id, x.id from (select s.customer_id, s.id, (select min(v.at)"
    "  from (values (s.period_start + %(look_after)s), (s.period_end + %(look_after)s),"
    "   (s.trial_end - %(trial_notice)s), (s.cancel_at), (s.resume_at),"
    "   (case when s.state = 'past_due' then c.now_at + interval '1 day' end)) v(at)"
    "   where v.at > c.now_at) as due_at"
    "  from clock_customers k join clocks c on c.id = k.clock_id"
    "  join provider_clocks p on p.clock_id = k.clock_id and k.customer_id = any(p.customers)"
    "   and p.ref is not null and p.gone_at is null"
    "  join subscriptions s on s.customer_id = k.customer_id and s.provider = p.provider"
    "   and s.provider_account = p.account and s.runner = 'provider'"
    "   and s.provider_ref is not null and s.state <> all(%(ended)s)"
    "  where k.clock_id = %(clock_id)s) x where x.due_at <= %(until)s",
    values=lambda _: {"look_after": books.LOOK_AFTER_END, "ended": sorted(rules.ENDED),
                      "trial_notice": rules.TRIAL_NOTICE},
))  # fmt: skip
