"""One page of a provider's books beside ours: whose each object is, and how it differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.errors import NotFound
from paydesk.flows.charges import Claim
from paydesk.providers.base import Charge, Listed, RemoteDispute, RemoteRefund
from paydesk.rules import reconciliation as rules
from paydesk.rules.money import Money
from paydesk.rules.payments import is_ours, owner_in_metadata
from paydesk.rules.reconciliation import Differs
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

Key = tuple[UUID, UUID]

#: The provider's word for a page -> the kind of drift that it can show.
KIND_OF_BOOK = {"charge": "payment", "refund": "refund", "dispute": "dispute", "fee": "fee"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An object of the provider's and what we know of it. `is_foreign`: another program's.
    `is_new_fee`: nothing differs, but a fee that nobody told us of comes with it."""

    kind: str
    ref: str
    value: Any
    refs: tuple[str, ...]
    owner: Key | None = None
    payment: ServicePayment | None = None
    object_id: UUID | None = None
    ours: Mapping[str, Any] | None = None
    theirs: Mapping[str, Any]
    differs: Differs | None = None
    is_foreign: bool = False
    is_new_fee: bool = False


def compare(tx: Tx, provider: str, account: str, page: Sequence[Listed]) -> list[Item]:
    """Lay a page beside our books; a handful of statements, however long the page is."""
    owners = _owners(tx, provider, account, page)
    keys = list(dict.fromkeys(key for key in owners if key))
    payments = {p.key: p for p in JoinedStore(tx.conn).get_many(keys) if p is not None}
    by_kind: dict[str, list[tuple[Listed, Key | None]]] = {}
    for one, owner in zip(page, owners, strict=True):
        by_kind.setdefault(one.kind, []).append((one, owner))
    found: list[Item] = []
    for kind, rows in by_kind.items():
        side = _SIDES[kind](tx, provider, account, rows, payments)
        found += [_item(one, owner, payments, side.get(one.ref)) for one, owner in rows]
    return found


def _item(
    one: Listed, owner: Key | None, payments: Mapping[Key, ServicePayment],
    side: Mapping[str, Any] | None,
) -> Item:  # fmt: skip
    kind, value = KIND_OF_BOOK[one.kind], one.value
    payment = payments.get(owner) if owner else None
    ours = dict(side) if side else None
    object_id = ours.pop("id", None) if ours else None
    theirs = _theirs(value)
    common: dict[str, Any] = {
        "kind": kind, "ref": one.ref, "value": value, "refs": _refs(one), "owner": owner,
        "payment": payment, "object_id": object_id, "ours": ours, "theirs": theirs,
    }  # fmt: skip
    if payment is None:
        # Our own id on it, and no such payment: our books have lost it.
        claimed = is_ours(getattr(value, "payment_id", None)) or owner is not None
        if not claimed or kind == "fee":
            return Item(**common, is_foreign=not claimed)
        differs = _COMPARE[kind](None, theirs)
        return Item(**common, differs=differs and Differs(differs.type, False))
    if kind == "fee":
        # Money that is not recorded yet shows as a payment, with its fee.
        is_new = ours is not None and ours["amount"] is None
        return Item(**common, differs=rules.fee(ours, theirs) if ours else None, is_new_fee=is_new)
    is_new_fee = bool(kind == "payment" and value.fee and ours and not ours.get("has_fee"))
    return Item(**common, differs=_COMPARE[kind](ours, theirs), is_new_fee=is_new_fee)


def _owners(
    tx: Tx, provider: str, account: str, page: Sequence[Listed]
) -> list[Key | None]:
    """(customer, payment) of each object: by our ids in its metadata, else by its references."""
    named = [_named(one.value) for one in page]
    wanted = sorted({ref for one, owner in zip(page, named, strict=True) if owner is None
                     for ref in (*_refs(one), one.payment_ref) if ref})  # fmt: skip
    rows = tx.all(
        "select r.ref, r.customer_id, r.object_id from unnest(%(refs)s::text[]) as k(ref)"
        " cross join lateral (select ref, customer_id, object_id from provider_refs"
        "  where provider = %(provider)s and account = %(account)s and ref = k.ref limit 1) r",
        {"refs": wanted, "provider": provider, "account": account},
    )
    known = {row["ref"]: (row["customer_id"], row["object_id"]) for row in rows}
    return [
        owner or next((known[ref] for ref in (one.payment_ref, *_refs(one)) if ref in known), None)
        for one, owner in zip(page, named, strict=True)
    ]


def _named(value: Any) -> Key | None:
    return owner_in_metadata(
        getattr(value, "payment_id", None), getattr(value, "customer_id", None)
    )


def _refs(one: Listed) -> tuple[str, ...]:
    if isinstance(one.value, Charge):
        told = (one.ref, one.value.ref, one.value.payment_ref, one.value.session_ref)
        return tuple(dict.fromkeys(ref for ref in told if ref))
    return (one.ref,)


def _theirs(value: Any) -> dict[str, Any]:
    """The provider's side, as it is compared and kept."""
    if isinstance(value, Money):
        return {"amount": value.minor, "currency": value.currency}
    amount = value.amount
    found = {"status": value.status, "amount": amount.minor if amount else None,
             "currency": amount.currency if amount else None}  # fmt: skip
    if isinstance(value, RemoteDispute):
        found |= {"withdrawn": _minor(value.withdrawn, amount),
                  "reinstated": _minor(value.reinstated, amount),
                  "fee": value.fee.minor if value.fee else None}  # fmt: skip
    return found


def _minor(part: Money | None, amount: Money) -> int:
    if part is None or not part.minor:
        return 0
    return part.minor if part.currency == amount.currency else amount.minor


# Our side -----------------------------------------------------------------------------------------


def _our_payments(
    tx: Tx, provider: str, account: str, rows: Sequence[tuple[Listed, Key | None]],
    payments: Mapping[Key, ServicePayment],
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """Whether this very capture, and its fee, are posted, and what as."""
    claims = {one.ref: claim_of(payments[owner], one.value) for one, owner in rows
              if owner and owner in payments}  # fmt: skip
    keys = [(c.customer_id, key) for c in claims.values() for key in (c.fact_key, c.fee_key)]
    posted = {(row["customer_id"], row["request_key"]): row for row in tx.all(
        "select t.customer_id, t.request_key, t.amount, t.asset"
        " from unnest(%(customers)s::uuid[], %(keys)s::uuid[]) as k(c, key)"
        " cross join lateral (select customer_id, request_key, amount, asset from transfers"
        "  where customer_id = k.c and request_key = k.key limit 1) t",
        {"customers": [k[0] for k in keys], "keys": [k[1] for k in keys]},
    )}  # fmt: skip
    found = {}
    for ref, claim in claims.items():
        payment, entry = payments[claim.key], posted.get((claim.customer_id, claim.fact_key))
        found[ref] = {
            "id": payment.key[1], "status": payment.state, "posted": entry is not None,
            "amount": entry["amount"] if entry else payment.captured_cents,
            "currency": entry["asset"] if entry else payment.currency,
            "has_fee": (claim.customer_id, claim.fee_key) in posted,
            "is_ours": payment.provider_payment_id in (None, *claim.refs),
        }
    return found


def claim_of(payment: ServicePayment, charge: Charge, path: str = "reconciliation") -> Claim:
    """What the books say of a payment, as the same door takes it that webhooks come through."""
    return Claim(
        customer_id=payment.customer_id, payment_id=payment.key[1], provider=payment.provider,
        account=payment.provider_account, charge=charge, path=path, proof=True,
        version=payment.version,
    )  # fmt: skip


def _our_refunds(
    tx: Tx, provider: str, account: str, rows: Sequence[tuple[Listed, Key | None]],
    payments: Mapping[Key, ServicePayment],
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """By the provider's id, else by ours where the refund carries it."""
    wanted = [(one.ref, owner[0], _own_refund(one.value)) for one, owner in rows if owner]
    return {row.pop("told"): row for row in tx.all(
        "select k.told, r.* from unnest(%(refs)s::text[], %(customers)s::uuid[], %(ids)s::uuid[])"
        "  as k(told, c, i)"
        " cross join lateral (select id, state as status, amount_minor as amount, currency"
        "  from refunds where customer_id = k.c and (id = k.i or (provider = %(provider)s"
        "   and provider_account = %(account)s and provider_ref = k.told)) limit 1) r",
        {"refs": [w[0] for w in wanted], "customers": [w[1] for w in wanted],
         "ids": [w[2] for w in wanted], "provider": provider, "account": account},
    )}  # fmt: skip


def _own_refund(value: RemoteRefund) -> UUID | None:
    try:
        return ids.parse("refund", value.refund_id) if value.refund_id else None
    except NotFound:
        return None


def _our_disputes(
    tx: Tx, provider: str, account: str, rows: Sequence[tuple[Listed, Key | None]],
    payments: Mapping[Key, ServicePayment],
) -> dict[str, dict[str, Any]]:  # fmt: skip
    wanted = [(one.ref, owner[0]) for one, owner in rows if owner]
    return {row.pop("told"): row for row in tx.all(
        "select k.told, d.* from unnest(%(refs)s::text[], %(customers)s::uuid[]) as k(told, c)"
        " cross join lateral (select id, state as status, amount_minor as amount, currency,"
        "  withdrawn_minor as withdrawn, reinstated_minor as reinstated, fee_minor as fee"
        "  from disputes where customer_id = k.c and provider = %(provider)s"
        "  and provider_account = %(account)s and ref = k.told limit 1) d",
        {"refs": [w[0] for w in wanted], "customers": [w[1] for w in wanted],
         "provider": provider, "account": account},
    )}  # fmt: skip


def _our_fees(
    tx: Tx, provider: str, account: str, rows: Sequence[tuple[Listed, Key | None]],
    payments: Mapping[Key, ServicePayment],
) -> dict[str, dict[str, Any]]:  # fmt: skip
    """A fee in another currency than the payment stands in the books alone: nothing to compare."""
    found = {}
    for one, owner in rows:
        payment = payments.get(owner) if owner else None
        if payment and payment.captured_cents and one.value.currency == payment.currency:
            found[one.ref] = {"id": payment.key[1], "amount": payment.fee_minor,
                              "currency": payment.currency}  # fmt: skip
    return found


_SIDES = {
    "charge": _our_payments, "refund": _our_refunds, "dispute": _our_disputes, "fee": _our_fees,
}  # fmt: skip
_COMPARE: dict[str, Any] = {
    "payment": rules.payment, "refund": rules.refund, "dispute": rules.dispute,
}  # fmt: skip


# What of ours they do not have --------------------------------------------------------------------

#: Ours of a window that the provider did not list, by kind, oldest first.
_UNSEEN = {
    "payment": (
        "select customer_id, id, id as payment_id, coalesce(provider_payment_ref, session_ref)"
        " as ref, state as status, captured_minor as amount, currency, created_at from payments p"
        " where provider = %(provider)s and provider_account = %(account)s"
        " and created_at >= %(since)s and created_at < %(until)s and captured_minor > 0"
        " and (created_at, id) > (%(at)s, %(id)s)"
        " and not exists (select from reconciliation_refs r where r.reconciliation_id = %(run)s"
        "  and r.kind = 'payment' and r.ref in (p.provider_payment_ref, p.session_ref))"
        " order by created_at, id limit %(limit)s"
    ),
    "refund": (
        "select customer_id, id, payment_id, provider_ref as ref, state as status,"
        " amount_minor as amount, currency, created_at from refunds p"
        " where provider = %(provider)s and provider_account = %(account)s"
        " and created_at >= %(since)s and created_at < %(until)s and provider_ref is not null"
        " and state in ('pending', 'succeeded') and (created_at, id) > (%(at)s, %(id)s)"
        " and not exists (select from reconciliation_refs r where r.reconciliation_id = %(run)s"
        "  and r.kind = 'refund' and r.ref = p.provider_ref)"
        " order by created_at, id limit %(limit)s"
    ),
    "dispute": (
        "select customer_id, id, payment_id, ref, state as status, amount_minor as amount,"
        " currency, created_at from disputes p"
        " where provider = %(provider)s and provider_account = %(account)s"
        " and created_at >= %(since)s and created_at < %(until)s"
        " and (created_at, id) > (%(at)s, %(id)s)"
        " and not exists (select from reconciliation_refs r where r.reconciliation_id = %(run)s"
        "  and r.kind = 'dispute' and r.ref = p.ref)"
        " order by created_at, id limit %(limit)s"
    ),
}


def unseen(tx: Tx, kind: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Ours that the provider did not list in this run."""
    return tx.all(_UNSEEN[kind], values)


def how_many(tx: Tx, kind: str, values: Mapping[str, Any]) -> int:
    """How many of ours there are in the window: what a progress bar counts up to."""
    count = {
        "payment": "select count(*) from payments where captured_minor > 0 and",
        "refund": "select count(*) from refunds where provider_ref is not null and",
        "dispute": "select count(*) from disputes where",
    }.get(kind, "select count(*) from payments where fee_minor is not null and")
    return tx.value(
        count + " provider = %(provider)s and provider_account = %(account)s"
        " and created_at >= %(since)s and created_at < %(until)s", values,
    )  # fmt: skip
