"""Commands on subscriptions that the provider runs: they are given there, and what comes back is
laid down here. Prorations are the provider's."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk import crash, ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import (
    Conflict,
    InvalidRequest,
    InvalidTransition,
    NotSupported,
    PreviewOutdated,
)
from paydesk.flows import (
    heads,
    methods,
    plans,
    provider_billing,
    provider_calls,
)
from paydesk.flows import provider_billing_refunds as give_back
from paydesk.flows import provider_prices as prices
from paydesk.flows import subscription_steps as steps
from paydesk.flows.plans import Plan
from paydesk.flows.subscription_charges import (
    CHANGEABLE,
    EPOCH,
    MICROSECOND,
    PREVIEW_LIFE,
    WHEN,
    ChangeLine,
    ChangePreview,
    instant_of,
)
from paydesk.flows.subscription_steps import Sub
from paydesk.flows.subscription_views import SubscriptionView, get
from paydesk.providers.billing import RemoteInvoice
from paydesk.rules import fields, periods, proration
from paydesk.rules import subscriptions as rules
from paydesk.rules.money import Money
from paydesk.rules.plans import Terms

SECOND = timedelta(seconds=1)

#: Whether a command is still to be given, looked at under the customer's lock; it raises where it
#: cannot be.
Check = Callable[[Tx, datetime, Sub], bool]


def runs(env: Env, customer_id: UUID, sub_id: UUID) -> bool:
    """Whether the provider runs it. Raises NotFound."""
    with env.db.read() as tx:
        return steps.read(tx, customer_id, sub_id).runner == "provider"


def _command(
    env: Env, customer_id: UUID, sub_id: UUID, op: str, told: Mapping[str, Any], check: Check,
    key: UUID | None = None, back: Mapping[str, Any] | None = None,
) -> SubscriptionView:  # fmt: skip
    """Write the command, give it, and lay down what came of it. With a `key` once. `back`: what
    is refunded with it.

    Raises PaymentFailed where the provider refused it: nothing changed.
    """
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        sub = steps.read(tx, customer_id, sub_id)
        call, known = None, _of_key(tx, sub, key)
        if known is None and check(tx, now, sub):
            if sub.provider_ref is None:
                raise Conflict("This subscription has not begun at its provider.")
            call = provider_calls.intend(
                tx, now, customer_id=customer_id, call_id=ids.new_owned(customer_id),
                action="billing", subject_id=sub.id, clock_id=sub.clock_id,
                request={"provider": sub.provider, "op": op, "ref": sub.provider_ref,
                         "told": dict(told), "key": str(key) if key else None,
                         **({"back": dict(back)} if back else {})},
            )  # fmt: skip
        crash.at("change_before_commit")
    crash.at("change_after_commit")
    if call is not None:
        provider_calls.run(env, call)
    elif known is not None:
        provider_calls.resume(env, customer_id, known)
    return get(env, customer_id, sub_id)


def _of_key(tx: Tx, sub: Sub, key: UUID | None) -> UUID | None:
    return key and tx.value(
        "select id from provider_calls where customer_id = %(customer_id)s"
        " and subject_id = %(id)s and request->>'key' = %(key)s limit 1",
        {"customer_id": sub.customer_id, "id": sub.id, "key": str(key)},
    )


# Ending ----------------------------------------------------------------------------------------


def cancel(
    env: Env, customer_id: UUID, sub_id: UUID, *, at: str, reason: str | None,
    refund: str | None = None, by: str = "desk", persons: Sequence[str] | None = None,
) -> SubscriptionView:  # fmt: skip
    """End it there, now or at the period's end. Safe to repeat. `refund`: give what is unused of
    the running period's payment back to the payer, once it is over."""
    with env.db.read() as tx:
        sub = steps.read(tx, customer_id, sub_id)
        back = give_back.unused(env, tx, sub, by, persons) if refund else None
    if sub.state == "incomplete" and sub.provider_ref is None:
        provider_billing.lapse(env, customer_id, sub_id)
        return get(env, customer_id, sub_id)
    is_now = at == "now" or sub.state in ("incomplete", "unpaid") or (
        sub.state == "paused" and not sub.told.get("held"))  # fmt: skip
    is_dated = sub.cancel_at is not None and sub.cancel_at > sub.period_end

    def check(tx: Tx, now: datetime, sub: Sub) -> bool:
        if sub.state in rules.ENDED:
            if is_now or sub.cancel_reason == reason:
                return False
            raise Conflict(f"This subscription is {sub.state} already.")
        return is_now or sub.cancel_at is None or sub.cancel_at > sub.period_end

    op = "cancel" if is_now else "cancel_at_end"
    told = {"reason": reason, "is_dated": is_dated}
    found = _command(env, customer_id, sub_id, op, told, check, back=back)
    if back is not None:
        give_back.finish(env, customer_id, sub_id, back)
    return found


def reactivate(env: Env, customer_id: UUID, sub_id: UUID) -> SubscriptionView:
    """Take a cancellation at the period's end, or at a date, back. Safe to repeat."""
    with env.db.read() as tx:
        sub = steps.read(tx, customer_id, sub_id)
    is_dated = False
    if sub.cancel_at is not None and sub.provider_ref is not None:
        remote = env.providers.call(sub.provider, "fetch_subscription", sub.provider_ref)
        is_dated = remote.cancel_at is not None and not remote.cancels_at_end

    def check(tx: Tx, now: datetime, sub: Sub) -> bool:
        if sub.state in rules.ENDED:
            raise Conflict(f"This subscription is {sub.state}: subscribe anew.")
        return sub.cancel_at is not None

    return _command(env, customer_id, sub_id, "reactivate", {"is_dated": is_dated}, check)


# Pausing ---------------------------------------------------------------------------------------


def pause(
    env: Env, customer_id: UUID, sub_id: UUID, *, resume_at: datetime | None
) -> SubscriptionView:
    """Collect nothing for now: its periods run on there, their invoices are void, and nothing is
    open here. Safe to repeat."""

    def check(tx: Tx, now: datetime, sub: Sub) -> bool:
        if resume_at is not None and resume_at <= now:
            raise InvalidRequest("resume_at lies in the past.", param="resume_at")
        if sub.state == "trialing":
            raise InvalidRequest("A trial cannot be paused: it can be canceled.",
                                 param="subscription")  # fmt: skip
        if sub.state != "paused" and not rules.may(sub.state, "paused"):
            raise InvalidTransition(f"A subscription that is {sub.state} cannot be paused.",
                                    state=sub.state, event="paused")  # fmt: skip
        return sub.state != "paused" or sub.resume_at != resume_at

    told = {"resumes_at": int(resume_at.timestamp()) if resume_at else None}
    return _command(env, customer_id, sub_id, "hold", told, check)


def resume(env: Env, customer_id: UUID, sub_id: UUID) -> SubscriptionView:
    """Collect again. What was paid for is open again until its period's end; the next period is
    paid for as usual. Safe to repeat."""
    with env.db.read() as tx:
        sub = steps.read(tx, customer_id, sub_id)
    is_stopped = False
    if sub.state == "paused" and sub.provider_ref is not None:
        remote = env.providers.call(sub.provider, "fetch_subscription", sub.provider_ref)
        is_stopped = remote.state == "paused"  # For lack of a method, at its trial's end.

    def check(tx: Tx, now: datetime, sub: Sub) -> bool:
        if sub.state == "active":
            return False
        rules.move(sub.state, "resumed")
        return True

    return _command(env, customer_id, sub_id, "release", {"is_stopped": is_stopped}, check)


def set_method(
    env: Env, customer_id: UUID, sub_id: UUID, method: str | UUID | None
) -> SubscriptionView:
    """Charge this method from now on; None: whichever is the customer's default there."""
    chosen: dict[str, Any] = {}
    with env.db.read() as tx:
        before = steps.read(tx, customer_id, sub_id)
        again = _again(tx, before)
        if method is not None:
            chosen = methods.for_charge(tx, customer_id, method, heads.now(env, customer_id, tx))
    if method is not None and chosen["provider"] != before.provider:
        raise InvalidRequest(f"This method is {chosen['provider']}'s.", param="method")

    def check(tx: Tx, now: datetime, sub: Sub) -> bool:
        if sub.state in rules.ENDED:
            raise Conflict(f"This subscription is {sub.state} already.")
        if _again(tx, sub) != again:
            raise Conflict("The subscription has changed meanwhile: look again.")
        return True

    told = {"method": chosen.get("ref"), **({"again": again} if again else {})}
    found = _command(env, customer_id, sub_id, "method", told, check)
    if method is None and found.method_id is not None:
        with env.db.transaction(customer_id) as tx:
            now = heads.decide(tx, env.now(), customer_id)
            sub = steps.read(tx, customer_id, sub_id)
            sub.method_id = None
            steps.save(tx, now, sub)
        found = get(env, customer_id, sub_id)
    return found


# Changing --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A change as the provider is to make it. `op`: `change` now, `schedule` at the period's end,
    `drop` what waits for that."""

    sub: Sub
    plan: Plan
    quantity: int
    price: Money
    op: str
    told: dict[str, Any]


def preview(
    env: Env, customer_id: UUID, sub_id: UUID, *, plan: Any, quantity: int | None, at: str | None
) -> ChangePreview:
    """What the provider would bill for a change. Nothing changes."""
    with env.db.read() as tx:
        now = heads.now(env, customer_id, tx)
    wanted = _weigh(env, customer_id, sub_id, plan, quantity, at, now.replace(microsecond=0))
    return _preview(env, wanted)


def change(
    env: Env, customer_id: UUID, sub_id: UUID, *, plan: Any, quantity: int | None,
    at: str | None, expect: ChangePreview | str | None, key: UUID,
) -> SubscriptionView:  # fmt: skip
    """Change plan or seats there. Now: what it costs is charged at once, and where that fails
    nothing changes; with `expect` for the preview's very instant. At the period's end: it waits
    there, in the place of what waited before. A change to what runs takes back what waits. Raises
    PreviewOutdated, PaymentFailed, Conflict, InvalidRequest."""
    with env.db.read() as tx:
        now = heads.now(env, customer_id, tx)
        known = _of_key(tx, steps.read(tx, customer_id, sub_id), key)
    if known is not None:
        provider_calls.resume(env, customer_id, known)
        return get(env, customer_id, sub_id)
    moment = now.replace(microsecond=0)
    if expect is not None:
        token = expect.token if isinstance(expect, ChangePreview) else str(expect)
        moment = _moment(token, now)
        wanted = _weigh(env, customer_id, sub_id, plan, quantity, at, moment)
        if _preview(env, wanted).token != token:
            raise PreviewOutdated("The change would cost another sum now: preview it anew.")
    else:
        wanted = _weigh(env, customer_id, sub_id, plan, quantity, at, moment)

    def check(tx: Tx, now: datetime, sub: Sub) -> bool:
        _check_changeable(sub)
        if sub.version != wanted.sub.version:
            raise Conflict("The subscription has changed meanwhile: look again.")
        return True

    return _command(env, customer_id, sub_id, wanted.op, wanted.told, check, key)


def drop(
    env: Env, customer_id: UUID, sub_id: UUID, is_meant: Callable[[Sub], bool], key: UUID | None
) -> SubscriptionView:
    """Take back what waits for the period's end, where it `is_meant`. Safe to repeat."""

    def check(tx: Tx, now: datetime, sub: Sub) -> bool:
        return sub.next is not None and is_meant(sub)

    return _command(env, customer_id, sub_id, "drop", {}, check, key)


def _again(tx: Tx, sub: Sub) -> dict[str, Any] | None:
    """What waits for the period's end, as it is asked for anew."""
    if sub.next is None or "next_price" not in sub.told:
        return None
    told = plans.terms(tx, UUID(sub.next["plan_id"]), sub.next["plan_version"])
    return _later(sub, told, sub.told["next_price"], sub.next["quantity"])


def _later(sub: Sub, told: Terms, price: str, quantity: int) -> dict[str, Any]:
    """A change at the period's end, for a period at least: then it stays as it is."""
    until = periods.boundary(sub.period_end, told.interval_unit, told.interval_count, 1)
    return {
        "item": sub.told["item"], "price": price, "quantity": quantity,
        "at": int(sub.period_end.timestamp()), "until": int(until.timestamp()),
    }  # fmt: skip


def _check_changeable(sub: Sub) -> None:
    if sub.state not in CHANGEABLE:
        raise Conflict(f"A subscription that is {sub.state} cannot be changed.")


def _weigh(
    env: Env, customer_id: UUID, sub_id: UUID, plan: Any, quantity: int | None, at: str | None,
    moment: datetime,
) -> _Wanted:  # fmt: skip
    """What is asked of the provider. Raises where it cannot be."""
    if at is not None and at not in WHEN:
        raise InvalidRequest("at is 'now' or 'period_end'.", param="at")
    with env.db.read() as tx:
        sub = steps.read(tx, customer_id, sub_id)
        _check_changeable(sub)
        before = plans.plan_in(tx, sub.plan_id)
        running = steps.terms(tx, sub)
        after = before if plan is None else plans.plan_in(tx, plan, active_only=True)
    if after.family != before.family:
        raise InvalidRequest("A plan of another family is subscribed to beside.", param="plan")
    if after.terms.billing == "calendar" and plan is not None:
        raise NotSupported("The provider's page knows no calendar billing.", param="plan")
    seats = fields.whole(sub.quantity if quantity is None else quantity, "quantity",
                         least=after.terms.least_quantity,
                         most=after.terms.most_quantity)  # fmt: skip
    price, op = Money(sub.price_minor, sub.currency, minor=True), ""
    if plan is not None and (after.uuid, after.version) != (sub.plan_id, sub.plan_version):
        price = plans.price(after.terms, sub.currency)
        price_ref = prices.ensure(env, sub.provider, after, price)
    elif seats == sub.quantity and sub.next is None:
        raise InvalidRequest("Nothing would change.", param="plan")
    else:
        price_ref, op = sub.told["price"], "drop" if seats == sub.quantity else ""
    told = after.terms if plan is not None else running
    is_up = proration.is_upgrade(
        sub.price_minor * sub.quantity, (running.interval_unit, running.interval_count),
        price.minor * seats, (told.interval_unit, told.interval_count),
    )
    when = at or (running.upgrade_when if is_up else running.downgrade_when)
    if when == "period_end" and sub.state != "trialing" and not op:
        if sub.cancel_at is not None:
            raise Conflict("It is to end: take that back first, and change it then.")
        later = _later(sub, told, price_ref, seats)
        return _Wanted(sub, after, seats, price, "schedule", later)
    policy = told.upgrade if is_up else told.downgrade
    is_inside = sub.period_start <= moment < sub.period_end
    return _Wanted(sub, after, seats, price, op or "change", {
        "item": sub.told["item"], "price": price_ref, "quantity": seats,
        "proration": "none" if policy == "none" else "always_invoice",
        "at": int(moment.timestamp()) if is_inside else None,
    })  # fmt: skip


def _preview(env: Env, wanted: _Wanted) -> ChangePreview:
    sub = wanted.sub
    assert sub.provider_ref is not None, "it has begun there"
    if wanted.op != "change":
        return _shown(wanted, None)
    found: RemoteInvoice = env.providers.call(
        sub.provider, "preview_subscription", sub.provider_ref, wanted.told
    )
    # Without prorations Stripe shows the next period's invoice: nothing of it is due now.
    is_now = wanted.told["proration"] != "none" and found.reason != "subscription_cycle"
    is_now = is_now and any(one.kind != "recurring" or one.period is None
                            or one.period[0] < sub.period_end for one in found.lines)  # fmt: skip
    return _shown(wanted, found if is_now else None)


def _shown(wanted: _Wanted, found: RemoteInvoice | None) -> ChangePreview:
    """`found`: what is billed now."""
    sub = wanted.sub
    lines, total, due = (found.lines, found.total, found.due) if found else ((), 0, 0)
    starts = [one.period for one in lines if one.kind == "recurring" and one.period]
    next_at = max(one[1] for one in starts) if starts else sub.period_end

    def money(minor: int) -> Money:
        return Money(minor, sub.currency, minor=True)

    is_later = wanted.op == "schedule"
    at = None if is_later else wanted.told["at"]
    moment = datetime.fromtimestamp(at, UTC) if at else EPOCH
    shown = [[one.kind, one.amount_minor] for one in lines]
    said = [wanted.plan.key, wanted.plan.version, wanted.quantity, shown, total, due]
    if wanted.op != "change":
        said += [wanted.op, wanted.price.minor, wanted.told["at"]]
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:32]
    return ChangePreview(
        subscription_id=sub.id, plan=wanted.plan.key, quantity=wanted.quantity,
        when="period_end" if is_later else "now",
        lines=tuple(ChangeLine(
            kind=one.kind, description=one.description, amount=money(one.amount_minor),
            period=one.period, why={"rule": f"as {sub.provider} says", "price": one.price},
        ) for one in lines),
        total=money(total), credit=money(max(0, -total)), due_now=money(due), next_at=next_at,
        next_amount=Money(wanted.price.minor * wanted.quantity, wanted.price.currency, minor=True),
        credits_back=0, credits_given=0, at=moment,
        token=f"{(moment - EPOCH) // MICROSECOND}.{digest}",
    )  # fmt: skip


def _moment(token: str, now: datetime) -> datetime:
    """The instant that the preview was made for. Raises InvalidRequest, PreviewOutdated."""
    moment = instant_of(token)
    if moment > EPOCH and not now - PREVIEW_LIFE <= moment <= now + SECOND:
        raise PreviewOutdated("The preview is too old: preview the change anew.")
    return moment
