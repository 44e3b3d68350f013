"""Refunds as providers tell of them: one door for webhooks, questions and reconciliation.

Facts only accumulate: each is laid down once, in whatever order and however often it is heard.
A refund made in the provider's dashboard is recorded like one of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk import crash, ids
from paydesk.db.errors import UnknownCustomer
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import Conflict, NotFound, NotSupported
from paydesk.flows import charges, dispute_books, heads, refund_books, refund_views
from paydesk.flows.refund_views import RefundView, Row
from paydesk.flows.sweeps import WAIT_S, one_row
from paydesk.providers.base import ProviderEvent, RemoteRefund
from paydesk.rules.refunds import STATE_OF_REMOTE
from paydesk.settings import Settings
from paydesk.tracker.models import PAID_STATES
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

Key = tuple[UUID, UUID]

#: A refund that stays pending at its provider is asked about this often.
ASK_AFTER = timedelta(hours=1)


def apply_event(
    env: Env, *, provider: str, account: str, owner: Key, event: ProviderEvent, path: str,
    wait_s: float | None = None,
) -> None:  # fmt: skip
    """An event is a hint: ask the provider, then add the missing facts.

    One that names no refund is about all refunds of its payment. Raises Conflict where it cannot
    be laid down yet, and what the provider raises.
    """
    if event.ref:
        found = [env.providers.call(provider, "fetch_refund", event.ref)]
    elif whole := event.payment_ref or event.charge_ref:
        found = env.providers.call(provider, "list_refunds", whole)
    else:
        raise Conflict("The event names neither a refund nor a payment.")
    crash.at("apply_after_fetch")
    for remote in found:
        apply_remote(env, provider, account, remote, owner, path, wait_s=wait_s)


def apply_remote(
    env: Env, provider: str, account: str, remote: RemoteRefund, owner: Key, path: str, *,
    wait_s: float | None = None, actor: str | None = None,
) -> RefundView | None:  # fmt: skip
    """Lay a refund as its provider shows it onto ours; a stale or repeated one changes nothing.

    `owner`: (customer, payment). One that we did not begin is recorded with its goods, beyond
    the captured money as a loss. None: there is nothing to record. Raises Conflict where it is
    not this payment's, or the payment's money is not recorded yet.
    """
    _catch_up(env, owner, remote, path, wait_s)
    try:
        with env.db.transaction(owner[0], wait_s=wait_s) as tx:
            now = heads.decide(tx, env.now(), owner[0])
            payment = _read(tx, owner)
            _check_owner(tx, payment, provider, account, remote)
            row = _known(tx, payment, remote)
            if row is not None:
                lay(tx, now, row, remote, env.settings)
            else:
                cause = {"path": path, **({"actor": actor} if actor else {})}
                row = _record(tx, now, payment, remote, env.settings, cause)
            crash.at("apply_before_commit")
            found = refund_views.view(tx, owner[0], row.id) if row else None
    except UnknownCustomer:
        raise _missing(owner) from None
    crash.at("apply_after_commit")
    return found


def lay(tx: Tx, now: datetime, row: Row, remote: RemoteRefund, settings: Settings) -> None:
    """Lay a provider's word onto our row; the head is locked. Only what is new moves anything:
    failed is final, and only a failure comes after success."""
    if row.provider_ref is None:
        refund_books.name(tx, row, remote.id)
    if (remote.amount.minor, remote.amount.currency) != (row.amount_minor, row.currency):
        refund_books.flag(tx, now, (row.customer_id, row.payment_id), "refund_mismatch")
    told = STATE_OF_REMOTE[remote.status]
    if row.state == "pending" and told == "succeeded":
        key = (row.customer_id, row.payment_id)
        refund_books.pay(tx, now, row, refund_books.payment_of(tx, key))
    elif row.state in ("pending", "succeeded") and told == "failed":
        code = remote.error_code or remote.status
        refund_books.reverse(tx, now, row, settings, code=code, message=None)


def ask_pending(env: Env, limit: int = 50) -> int:
    """Sweep: ask providers about refunds that stay pending. Answers how many were asked about."""
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, id from refunds where state = 'pending' and clock_id is null"
            " and updated_at <= %(until)s and provider_ref is not null"
            " order by updated_at limit %(limit)s",
            {"until": env.now() - ASK_AFTER, "limit": limit},
        )
    asked = 0
    for one in rows:
        with one_row("refunds", one["id"]):
            refresh(env, one["customer_id"], one["id"], "sweep", wait_s=WAIT_S)
            asked += 1
    return asked


def refresh(
    env: Env, customer_id: UUID, refund_id: UUID, path: str, *, wait_s: float | None = None
) -> RefundView:
    """Ask the provider how a refund stands and record it."""
    with env.db.transaction(customer_id, wait_s=wait_s) as tx:
        row = refund_views.row(tx, customer_id, refund_id)
        # Whatever comes of it, it was asked about now; updated_at says so.
        tx.run(
            "update refunds set state = state where customer_id = %(customer_id)s and id = %(id)s",
            {"customer_id": customer_id, "id": refund_id},
        )
    if row.provider_ref is not None and "refund" in env.providers[row.provider].can:
        remote = env.providers.call(row.provider, "fetch_refund", row.provider_ref)
        owner = (customer_id, row.payment_id)
        apply_remote(env, row.provider, row.provider_account, remote, owner, path, wait_s=wait_s)
    return refund_views.get(env, customer_id, refund_id)


def _catch_up(
    env: Env, owner: Key, remote: RemoteRefund, path: str, wait_s: float | None
) -> None:
    """What is refunded was captured: where we know of too little, the provider is asked first."""
    with env.db.read() as tx:
        payment = _read(tx, owner)
        if payment.state in PAID_STATES:
            is_known = _known(tx, payment, remote) is not None
            if is_known or remote.amount.minor <= refund_views.left(tx, payment):
                return
    with suppress(NotSupported):
        charges.refresh(env, *owner, path, ref=remote.payment_ref, wait_s=wait_s)


def _check_owner(
    tx: Tx, payment: ServicePayment, provider: str, account: str, remote: RemoteRefund
) -> None:
    if (provider, account) != (payment.provider, payment.provider_account):
        raise Conflict("The refund is of another provider or account than its payment.")
    if remote.payment_id is not None and remote.payment_id != ids.show("payment", payment.key[1]):
        raise Conflict("The refund names another payment.")
    if remote.payment_ref is None or remote.payment_ref == payment.provider_payment_id:
        return
    row = tx.one(
        "select customer_id, object_id from provider_refs where provider = %(provider)s"
        " and account = %(account)s and ref = %(ref)s",
        {"provider": provider, "account": account, "ref": remote.payment_ref},
    )
    if row is None or (row["customer_id"], row["object_id"]) != payment.key:
        raise Conflict("The refund is of another payment.")


def _known(tx: Tx, payment: ServicePayment, remote: RemoteRefund) -> Row | None:
    """Our row of a refund at the provider: by its reference, else by the id that we sent along.

    One that had failed before the provider had named it is over: what shows now is another.
    """
    rows = refund_views.rows_of_payment(tx, payment.key)
    for row in rows:
        if row.provider_ref == remote.id:
            return row
    for row in rows:
        if ids.show("refund", row.id) == remote.refund_id:
            is_free = row.provider_ref is None and row.state == "pending"
            return row if is_free else None
    return None


def _record(
    tx: Tx, now: datetime, payment: ServicePayment, remote: RemoteRefund, settings: Settings,
    cause: Mapping[str, Any],
) -> Row | None:  # fmt: skip
    """A refund that we did not begin. What was canceled never moved anything."""
    if payment.state not in PAID_STATES:
        raise Conflict("The refunded payment's money is not recorded yet.")
    told = STATE_OF_REMOTE[remote.status]
    if remote.status == "canceled":
        return None
    amount = remote.amount
    if amount.currency == payment.currency:
        cover = refund_views.left(tx, payment)
    else:
        cover = max(0, sum(one.amount for one in
                           dispute_books.standing(tx, payment, amount.currency)))  # fmt: skip
    covered = min(amount.minor, cover)
    row = refund_books.insert(
        tx, now, payment, amount=amount, state="pending" if told == "succeeded" else told,
        origin="provider", reason=remote.reason, loss_minor=amount.minor - covered,
        metadata={"refund_id": remote.refund_id} if remote.refund_id else {},
        error_code=remote.error_code, charge_ref=remote.payment_ref,
        request_key=ids.request_key(
            "refund", payment.provider, payment.provider_account, remote.id
        ),
        request_hash=b"",
    )
    refund_books.name(tx, row, remote.id)
    if told == "failed":
        return row
    refund_books.begin(tx, now, row, settings, is_fact=True, cause=cause)
    if told == "succeeded":
        refund_books.pay(tx, now, row, refund_books.payment_of(tx, payment.key))
    return row


def _read(tx: Tx, owner: Key) -> ServicePayment:
    found = JoinedStore(tx.conn).get_many([owner])[0]
    if found is None:
        raise _missing(owner)
    return found


def _missing(owner: Key) -> NotFound:
    return NotFound(f"No such payment: {ids.show('payment', owner[1])}.")
