"""Changes of a subscription: plan and seats, now or at the period's end; canceling and its undoing.

A change that costs something takes effect when it is paid: until then, and where the payment
fails, everything stays as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from paydesk import causes, crash, ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    PaymentFailed,
    PaymentInFlight,
    PaymentMethodNotUsable,
    PreviewOutdated,
)
from paydesk.flows import (
    access,
    credit_notes,
    dunning,
    heads,
    invoice_books,
    invoices,
    memberships,
    methods,
    payments,
    provider_calls,
    renewals,
    subscription_pending,
    subscription_refunds,
    subscription_trials,
)
from paydesk.flows import provider_billing_changes as there
from paydesk.flows import subscription_bills as bills
from paydesk.flows import subscription_charges as charges
from paydesk.flows import subscription_steps as steps
from paydesk.flows.invoice_books import InvoiceRow
from paydesk.flows.subscription_charges import ChangePreview, Weighed
from paydesk.flows.subscription_steps import Sub
from paydesk.flows.subscription_views import SubscriptionView, get
from paydesk.rules import fields
from paydesk.rules import subscriptions as rules
from paydesk.settings import Settings

__all__ = [
    "ChangePreview", "cancel", "change", "failed", "paid", "preview", "reactivate", "set_method",
]  # fmt: skip

#: In these nothing runs until the period's end: canceled, it ends at once.
_AT_ONCE = ("incomplete", "unpaid", "paused")


def preview(
    env: Env, customer_id: UUID, sub_id: UUID, *, plan: Any = None, quantity: int | None = None,
    at: str | None = None,
) -> ChangePreview:  # fmt: skip
    """What a change would cost. Nothing changes. Raises as `change`."""
    if there.runs(env, customer_id, sub_id):
        return there.preview(env, customer_id, sub_id, plan=plan, quantity=quantity, at=at)
    with env.db.read() as tx:
        sub = steps.read(tx, customer_id, sub_id)
        now = heads.now(env, customer_id, tx)
        return charges.weigh(env, tx, now, sub, plan=plan, quantity=quantity, at=at).preview


def change(
    env: Env, customer_id: UUID, sub_id: UUID, *, plan: Any = None, quantity: int | None = None,
    at: str | None = None, expect: ChangePreview | str | None = None,
    request_key: UUID | None = None, return_url: str | None = None,
) -> SubscriptionView:  # fmt: skip
    """Change plan or seats: now (`at`), at the period's end, or as the plan has it.

    `expect`: a preview of the last hour, or its token; where the figures moved since, it is
    refused. What it costs is charged at once, and the change takes effect with the payment; where
    a bank asks its holder first, the answer's `payment` has the page to open (`action_url`), which
    leads back to `return_url`. Until it is paid a change to the running plan takes it back. What
    is given back goes to the customer's balance. Raises NotFound, InvalidRequest, Conflict,
    PreviewOutdated, PaymentInFlight, PaymentMethodNotUsable, PaymentFailed (nothing changed),
    ProviderUnavailable and OutcomeUnknown.
    """
    key = request_key or uuid4()
    if there.runs(env, customer_id, sub_id):
        return there.change(env, customer_id, sub_id, plan=plan, quantity=quantity, at=at,
                            expect=expect, key=key)  # fmt: skip
    return_url = fields.optional_text(return_url, "return_url", most=2048)
    with env.db.read() as tx:
        before = steps.read(tx, customer_id, sub_id)
        is_new = not _was_done(tx, before, key)
    is_back = subscription_pending.was_asked(before, key)
    stands = get(env, customer_id, sub_id)
    if is_back or (is_new and subscription_pending.takes_back(stands, plan, quantity)):
        return subscription_pending.take_back(env, customer_id, sub_id, plan, quantity, key)
    dunning.learn_method(env, customer_id)
    renewals.catch_up(env, customer_id, sub_id)
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        sub = steps.read(tx, customer_id, sub_id)
        call = None
        if not _was_done(tx, sub, key):
            call = _change(env, tx, now, sub, plan, quantity, at, expect, key, return_url)
        crash.at("change_before_commit")
    crash.at("change_after_commit")
    if call is not None:
        with contextlib.suppress(PaymentFailed):  # It stands on the payment.
            provider_calls.run(env, call)
        _raise_failed(env, call)
    return get(env, customer_id, sub_id)


def _was_done(tx: Tx, sub: Sub, key: UUID) -> bool:
    """Whether this very request was carried out, or is under way. Raises PaymentFailed, as it did
    then, where its payment came to nothing: another request may ask anew."""
    invoice_key = ids.request_key("subscription", str(sub.id), "change", str(key))
    row = invoice_books.same(tx, sub.customer_id, invoice_key, None, None)
    if row is None:
        return sub.told.get("changed") == str(key)
    if row.state == "void":
        last = invoice_books.last_payment(tx, row)
        raise PaymentFailed(
            (last and last["error_message"]) or "It was not paid: nothing changed.",
            provider_code=last and last["error_code"],
            payment_id=ids.show("payment", last["id"]) if last else None,
        )
    return True


def _raise_failed(env: Env, call: provider_calls.Call) -> None:
    assert call.payment_id is not None
    found = payments.get(env, call.customer_id, call.payment_id)
    if found.state == "failed":
        raise PaymentFailed(
            found.error_message or "The charge failed: nothing changed.",
            payment_id=ids.show("payment", found.id), provider_code=found.error_code,
        )  # fmt: skip


def _change(
    env: Env, tx: Tx, now: datetime, sub: Sub, plan: Any, quantity: int | None, at: str | None,
    expect: ChangePreview | str | None, key: UUID, return_url: str | None,
) -> provider_calls.Call | None:  # fmt: skip
    if sub.next is not None and "invoice" in sub.next:
        row = invoice_books.find(tx, sub.customer_id, UUID(sub.next["invoice"]))
        if row is not None and row.state == "open":
            raise PaymentInFlight(
                "Another change waits for its payment: finish it, or take it back first.",
                invoice=ids.show("invoice", row.id),
            )
        steps.drop_next(tx, now, sub)
    moment = _moment(now, sub, expect)
    found = charges.weigh(env, tx, now, sub, plan=plan, quantity=quantity, at=at, moment=moment)
    if expect is not None and found.preview.token != _token(expect):
        raise PreviewOutdated("The change would cost another sum now: preview it anew.")
    sub.told = {**sub.told, "changed": str(key)}
    if found.when == "period_end":
        sub.next = _next(found)
        steps.tell(tx, now, sub, "updated", changed=["next"], plan_next=found.plan.key,
                   quantity_next=found.quantity)  # fmt: skip
        steps.save(tx, now, sub)
        return None
    if not found.items and not found.restart:
        waited, stood = sub.next, (sub.plan_id, sub.plan_version, sub.quantity)
        sub.next = None
        _apply(tx, now, sub, _next(found), None, env.settings, key)
        if waited and stood == (sub.plan_id, sub.plan_version, sub.quantity):
            steps.tell(tx, now, sub, "updated", changed=["next"])  # It is taken back.
        steps.save(tx, now, sub)
        return None
    return _bill(env, tx, now, sub, found, moment or now, key, return_url)


def _moment(now: datetime, sub: Sub, expect: ChangePreview | str | None) -> datetime | None:
    """The instant that the preview was reckoned for. Raises PreviewOutdated."""
    if expect is None:
        return None
    moment = charges.instant_of(_token(expect))
    if not max(now - charges.PREVIEW_LIFE, sub.period_start) <= moment <= now:
        raise PreviewOutdated("The preview is too old: preview the change anew.")
    return moment


def _token(expect: ChangePreview | str) -> str:
    return expect.token if isinstance(expect, ChangePreview) else str(expect)


def _next(found: Weighed) -> dict[str, Any]:
    return {
        "plan_id": str(found.plan.uuid), "plan_version": found.terms.version,
        "plan": found.plan.key, "quantity": found.quantity,
    }  # fmt: skip


def _bill(
    env: Env, tx: Tx, now: datetime, sub: Sub, found: Weighed, moment: datetime, key: UUID,
    return_url: str | None,
) -> provider_calls.Call | None:  # fmt: skip
    """Write what it costs or gives back, and the call that charges it. What costs nothing now
    takes effect at once.

    Credits that the change gives money back for are taken now: they cannot be spent while the
    payment is under way. They come back where it fails.
    """
    invoice_key = ids.request_key("subscription", str(sub.id), "change", str(key))
    # One that waits for the period's end is there again where this one comes to nothing.
    waiting = sub.next if sub.next and "key" not in sub.next else None
    sub.next = {
        **_next(found), "key": str(invoice_key), "at": moment.isoformat(),
        "restart": [one.isoformat() for one in found.period] if found.restart else None,
        "credits_given": found.credits_given,
        "taken": memberships.take_back(tx, now, sub, found.credits_back,
                                       steps.payment_of_period(tx, sub), env.settings),
        "before": [str(sub.plan_id), sub.plan_version, sub.quantity, sub.period],
        "waiting": waiting,
    }  # fmt: skip
    steps.save(tx, now, sub)
    row = bills.bill(
        env, tx, now, sub, "subscription_update", found.items, key=("change", str(key)),
        cycle=sub.period + 1 if found.restart else None,
        # Of a period that is over and not renewed yet nothing is left.
        period=found.period if found.restart else (min(moment, found.period[1]), found.period[1]),
    )  # fmt: skip
    fresh = steps.read(tx, *sub.key)
    fresh.latest_invoice_id = row.id
    call = None
    if row.state == "open":
        assert fresh.next is not None
        fresh.next = {**fresh.next, "invoice": str(row.id)}
        steps.save(tx, now, fresh)
        call = bills.charge(
            env, tx, now, fresh, row, off_session=False, return_url=return_url
        )
        if call is None:
            raise PaymentMethodNotUsable("There is no method to charge.", param="method")
    else:
        steps.save(tx, now, fresh)
    return call


# With the payment ------------------------------------------------------------------------------


def paid(
    tx: Tx, now: datetime, sub: Sub, row: InvoiceRow, payment_id: UUID | None, settings: Settings
) -> None:
    """The invoice of a change is paid: it takes effect. The caller saves `sub`.

    Where it comes too late, after the change was dropped or what it was reckoned from is over,
    nothing changes, and all that was paid is put on the customer's balance.
    """
    wanted = sub.next
    is_this = wanted is not None and wanted.get("key") == str(row.request_key)
    stands = [str(sub.plan_id), sub.plan_version, sub.quantity, sub.period]
    if wanted is None or not is_this or wanted["before"] != stands:
        if row.period_start is None:  # Lines that were written by hand, and no change.
            return
        if is_this:
            steps.drop_next(tx, now, sub)
        credit_notes.to_balance(tx, now, row, "change_came_too_late")
        steps.tell(tx, now, sub, "updated", changed=["balance"], reason="change_came_too_late",
                   invoice=ids.show("invoice", row.id))  # fmt: skip
        return
    sub.next = None
    _apply(tx, now, sub, wanted, payment_id, settings, row.id)


def _apply(
    tx: Tx, now: datetime, sub: Sub, wanted: dict[str, Any], payment_id: UUID | None,
    settings: Settings, key: UUID,
) -> None:  # fmt: skip
    was, _ = steps.plan_words(tx, sub.plan_id)
    seats, version = sub.quantity, (str(sub.plan_id), sub.plan_version)
    before = steps.terms(tx, sub)
    sub.plan_id, sub.plan_version = UUID(wanted["plan_id"]), wanted["plan_version"]
    sub.quantity = wanted["quantity"]
    told = steps.terms(tx, sub)
    sub.price_minor = told.prices[sub.currency].minor
    if wanted.get("restart"):
        start, end = (datetime.fromisoformat(one) for one in wanted["restart"])
        if sub.cancel_at is not None:  # It ends with what is paid for now.
            sub.cancel_at = end
        sub.period += 1
        sub.anchor, sub.anchor_period, sub.credits_month = start, sub.period, 0
        sub.period_start, sub.period_end = start, end
        if told.billing == "calendar":
            sub.anchor, sub.anchor_period = end, sub.period + 1
        bills.use_discount(tx, sub)  # It is one more period of a code that is counted.
    elif steps.begins_anew(before, told):  # With the next period.
        subscription_trials.count_on(sub, told)
    changed = [name for name, differs in (
        ("plan", version[0] != wanted["plan_id"]), ("terms", version[1] != wanted["plan_version"]),
        ("quantity", seats != wanted["quantity"]), ("period", bool(wanted.get("restart"))),
    ) if differs]  # fmt: skip
    if {"plan", "terms", "period"} & set(changed):
        source = payment_id or steps.payment_of_period(tx, sub)
        access.revoke_source(tx, now, sub.customer_id, sub.id, "cancellation")
        steps.give_access(tx, now, sub, told, steps.until_of(told, sub.period_end), source)
    if wanted.get("credits_given"):
        memberships.grant(
            tx, now, sub, told, wanted["credits_given"], sub.credits_month, payment_id,
            ids.request_key("change", str(sub.id), str(key)), settings,
        )  # fmt: skip
    if changed:
        steps.tell(tx, now, sub, "updated", changed=changed, plan_was=was, quantity_was=seats)


def failed(tx: Tx, now: datetime, sub: Sub, row: InvoiceRow) -> None:
    """The charge of a change failed: nothing changes, and nothing is owed. The caller saves."""
    if sub.next is not None and sub.next.get("invoice") == str(row.id):
        steps.drop_next(tx, now, sub)
    if row.state == "open":
        invoices.close(tx, now, row)


# Canceling -------------------------------------------------------------------------------------


def cancel(
    env: Env, customer_id: UUID, sub_id: UUID, *, at: str = "period_end",
    reason: str | None = None, refund: str | None = None, by: str | None = None,
    persons: Sequence[str] | None = None,
) -> SubscriptionView:  # fmt: skip
    """End it at the period's end, or now: then what it opens is shut at once. Safe to repeat.

    `refund` with `now`: "unused" gives back what was paid for the rest of the period, with its
    taxes and a credit note, to the payer; `persons` is who is behind the name `by`, where another
    one has to agree to it. Raises NotFound, InvalidRequest, Conflict (it is over),
    and what a refund raises.
    """
    if at not in charges.WHEN:
        raise InvalidRequest("at is 'now' or 'period_end'.", param="at")
    if refund not in (None, "unused") or (refund and at != "now"):
        raise InvalidRequest("refund is 'unused', with at 'now'.", param="refund")
    reason = fields.optional_text(reason, "reason", most=255)
    if there.runs(env, customer_id, sub_id):
        return there.cancel(env, customer_id, sub_id, at=at, reason=reason, refund=refund,
                            by=by or causes.actor("desk"), persons=persons)  # fmt: skip
    with env.db.read() as tx:
        before = steps.read(tx, customer_id, sub_id).state
    if (at == "now" or before in _AT_ONCE) and before not in rules.ENDED:
        subscription_pending.end_payments(env, customer_id, sub_id)
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        sub = steps.read(tx, customer_id, sub_id)
        if sub.state in rules.ENDED:
            if at == "now" or sub.cancel_reason == reason or before not in rules.ENDED:
                return get(env, customer_id, sub_id)
            raise Conflict(f"This subscription is {sub.state} already.")
        who = by or causes.actor("desk")
        back = subscription_refunds.begin(env, tx, now, sub, who, persons) if refund else []
        if at == "now" or sub.state in _AT_ONCE:
            _cancel_now(tx, now, sub, reason)
        elif sub.cancel_at is None:
            sub.cancel_at, sub.canceled_at = sub.period_end, now
            sub.cancel_reason = reason
            steps.tell(tx, now, sub, "updated", changed=["cancel_at"], reason=reason,
                       cancel_at=sub.cancel_at.isoformat())  # fmt: skip
        steps.save(tx, now, sub)
        crash.at("refund_before_commit")
    crash.at("refund_after_commit")
    subscription_refunds.finish(env, back)
    if sub.cancel_at is not None and sub.cancel_at <= now:
        renewals.catch_up(env, customer_id, sub_id)  # It ends with what was billed last.
    return get(env, customer_id, sub_id)


def _cancel_now(tx: Tx, now: datetime, sub: Sub, reason: str | None) -> None:
    sub.cancel_reason = reason
    dunning.end_open(tx, now, sub)
    steps.end(tx, now, sub, "canceled", reason or "requested")


def reactivate(env: Env, customer_id: UUID, sub_id: UUID) -> SubscriptionView:
    """Take a cancellation at the period's end back, before it comes. Safe to repeat.

    Raises NotFound, Conflict (it is over).
    """
    if there.runs(env, customer_id, sub_id):
        return there.reactivate(env, customer_id, sub_id)
    renewals.catch_up(env, customer_id, sub_id)
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        sub = steps.read(tx, customer_id, sub_id)
        if sub.state in rules.ENDED:
            raise Conflict(f"This subscription is {sub.state}: subscribe anew.")
        if sub.cancel_at is not None:
            sub.cancel_at = sub.canceled_at = sub.cancel_reason = None
            steps.tell(tx, now, sub, "updated", changed=["cancel_at"])
            steps.save(tx, now, sub)
    return get(env, customer_id, sub_id)


def set_method(
    env: Env, customer_id: UUID, sub_id: UUID, method: str | UUID | None
) -> SubscriptionView:
    """Charge this method from now on (None: whichever is the default); what is owed is tried with
    it at once. Raises NotFound, PaymentMethodNotUsable, Conflict (it is over)."""
    if there.runs(env, customer_id, sub_id):
        return there.set_method(env, customer_id, sub_id, method)
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        sub = steps.read(tx, customer_id, sub_id)
        if sub.state in rules.ENDED:
            raise Conflict(f"This subscription is {sub.state} already.")
        chosen = None
        if method is not None:
            chosen = methods.for_charge(tx, customer_id, method, now)["id"]
        if sub.method_id != chosen:
            sub.method_id = chosen
            steps.tell(tx, now, sub, "updated", changed=["method"])
            steps.save(tx, now, sub)
            if chosen is not None:
                dunning.new_method(tx, now, customer_id, chosen)
    return get(env, customer_id, sub_id)


def find(env: Env, customer_id: UUID | None, ref: Any) -> tuple[UUID, UUID]:
    """(customer, id) of a subscription by its id, or the view. Raises NotFound."""
    sub_id = getattr(ref, "id", ref)
    sub_id = ids.parse("subscription", sub_id) if isinstance(sub_id, str) else sub_id
    whose = ids.customer_of(sub_id)
    if customer_id not in (None, whose):
        raise NotFound(f"No such subscription: {str(ref)[:64]!r}.")
    return whose, sub_id
