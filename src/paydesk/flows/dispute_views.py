"""Disputes as they are read: one, lists of them, and what they hold back of a payment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import InvalidRequest, NotFound
from paydesk.rules.disputes import OPEN_STATES, STATES
from paydesk.rules.money import Money

Key = tuple[UUID, UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileView:
    """A file of evidence. `ref` is its id at the provider, None until it has arrived there."""

    id: UUID
    field: str
    name: str
    content_type: str
    size: int
    ref: str | None
    uploaded_by: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeView:
    """A dispute. `withdrawn` and `reinstated` only grow; `loss` is what of the difference no
    captured money covered; `fee` is what the provider keeps for it."""

    id: UUID
    customer_id: UUID
    payment_id: UUID
    provider: str
    provider_account: str
    ref: str
    state: str
    amount: Money
    withdrawn: Money
    reinstated: Money
    fee: Money
    loss: Money
    reason: str
    due_at: datetime | None
    evidence: dict[str, str]
    files: tuple[FileView, ...]
    submissions: int
    submitted_at: datetime | None
    warned_at: datetime | None
    opened_at: datetime
    closed_at: datetime | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime

    @property
    def key(self) -> Key:
        return self.customer_id, self.id

    def takes_evidence(self, now: datetime) -> bool:
        """Whether the bank still reads what is submitted."""
        return (
            self.state in OPEN_STATES and not self.submissions
            and (self.due_at is None or now < self.due_at)
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Dispute {ids.show('dispute', self.id)} {self.state} {self.amount}>"


_VIEWS = (
    "select d.* from unnest(%(customers)s::uuid[], %(ids)s::uuid[]) as k(c, i)"
    " cross join lateral (select customer_id, id, payment_id, provider, provider_account,"
    "  ref, state, amount_minor, currency, reason, due_at, withdrawn_minor, reinstated_minor,"
    "  fee_minor, loss_minor, evidence, submitted_at, submissions, warned_at, opened_at, closed_at,"
    "  metadata, created_at, updated_at"
    " from disputes where customer_id = k.c and id = k.i limit 1) d"
)


def get(env: Env, customer_id: UUID | None, ref: str | UUID) -> DisputeView:
    """A dispute by our id or the provider's. Raises NotFound; another customer's is missing."""
    with env.db.read() as tx:
        return view(tx, *find(env, tx, ref, customer_id))


def find(env: Env, tx: Tx, ref: str | UUID, customer_id: UUID | None = None) -> Key:
    """(customer, dispute) that a reference stands for. Raises NotFound."""
    key = _look_up(env, tx, ref)
    if key is None or (customer_id is not None and key[0] != customer_id):
        raise NotFound(f"No such dispute: {str(ref)[:64]!r}.")
    return key


def _look_up(env: Env, tx: Tx, ref: str | UUID) -> Key | None:
    try:
        owned = ref if isinstance(ref, UUID) else ids.parse("dispute", ref)
        return ids.customer_of(owned), owned
    except NotFound:
        pass
    assert isinstance(ref, str)
    if not ref.isprintable() or len(ref) > 255:
        return None
    for name, provider in env.providers.items():
        row = tx.one(
            "select d.customer_id, d.id from provider_refs r cross join lateral ("
            " select customer_id, id from disputes where customer_id = r.customer_id"
            " and provider = r.provider and provider_account = r.account and ref = r.ref limit 1"
            ") d where r.provider = %(provider)s and r.account = %(account)s and r.ref = %(ref)s",
            {"provider": name, "account": provider.account, "ref": ref},
        )
        if row:
            return row["customer_id"], row["id"]
    return None


def view(tx: Tx, customer_id: UUID, dispute_id: UUID) -> DisputeView:
    """One dispute as it stands in this transaction. Raises NotFound."""
    found = views(tx, [(customer_id, dispute_id)])
    if not found:
        raise NotFound(f"No such dispute: {ids.show('dispute', dispute_id)}.")
    return found[0]


def views(tx: Tx, keys: Sequence[Key]) -> list[DisputeView]:
    """The disputes of these keys, in order; missing ones are left out. Two statements."""
    if not keys:
        return []
    values = {"customers": [k[0] for k in keys], "ids": [k[1] for k in keys]}
    rows = tx.all(_VIEWS, values)
    files: dict[Key, list[FileView]] = {}
    for row in tx.all(
        "select f.* from unnest(%(customers)s::uuid[], %(ids)s::uuid[]) as k(c, i)"
        " cross join lateral (select customer_id, dispute_id, id, evidence_field as field, name,"
        "  content_type, size, ref, uploaded_by, created_at from dispute_files"
        "  where customer_id = k.c and dispute_id = k.i order by created_at, id limit 100) f",
        values,
    ):
        key = row.pop("customer_id"), row.pop("dispute_id")
        files.setdefault(key, []).append(FileView(**row))
    made = {key: _view(row, files.get(key, [])) for row in rows
            if (key := (row["customer_id"], row["id"]))}  # fmt: skip
    return [made[key] for key in keys if key in made]


def _view(row: Mapping[str, Any], files: Sequence[FileView]) -> DisputeView:
    told = dict(row)
    currency = told.pop("currency")
    for name in ("amount", "withdrawn", "reinstated", "fee", "loss"):
        told[name] = Money(told.pop(f"{name}_minor"), currency, minor=True)
    return DisputeView(**told, files=tuple(files))


def list_(
    env: Env,
    customer_id: UUID | None = None,
    *,
    limit: int = 20,
    after: UUID | None = None,
    before: UUID | None = None,
    payment_id: UUID | None = None,
    status: str | None = None,
    is_open: bool | None = None,
    due_before: datetime | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
) -> list[DisputeView]:
    """Disputes, newest first: one customer's, or everybody's. `after` and `before`: dispute ids.

    `is_open`: those that take evidence, by their state. Raises InvalidRequest for a status that
    does not exist.
    """
    if status is not None and status not in STATES:
        raise InvalidRequest(f"A status is one of {', '.join(STATES)}.", param="status")
    values: dict[str, Any] = {
        "customer_id": customer_id, "limit": limit, "payment_id": payment_id, "state": status,
        "is_open": is_open, "open": list(OPEN_STATES), "due_before": due_before,
        "from": created_from, "to": created_to, "cursor": None, "cursor_at": None,
    }  # fmt: skip
    with env.db.read() as tx:
        if (mark := after or before) is not None:
            found = view(tx, ids.customer_of(mark), mark)
            values |= {"cursor": mark, "cursor_at": found.created_at}
        rows = tx.all(_PAGES[customer_id is not None, before is not None], values)
        keys = [(row["customer_id"], row["id"]) for row in rows]
        return views(tx, keys[::-1] if before is not None else keys)


_FILTERS = """
      and (%(payment_id)s::uuid is null or payment_id = %(payment_id)s)
      and (%(state)s::text is null or state = %(state)s)
      and (%(is_open)s::boolean is null or (state = any(%(open)s)) = %(is_open)s)
      and (%(due_before)s::timestamptz is null or due_at < %(due_before)s)
      and (%(from)s::timestamptz is null or created_at >= %(from)s)
      and (%(to)s::timestamptz is null or created_at < %(to)s)
"""
_OLDER = _FILTERS + """
      and (%(cursor)s::uuid is null or (created_at, id) < (%(cursor_at)s, %(cursor)s))
    order by created_at desc, id desc limit %(limit)s
"""
_NEWER = _FILTERS + """
      and (created_at, id) > (%(cursor_at)s, %(cursor)s)
    order by created_at, id limit %(limit)s
"""
_EVERYBODYS = "select customer_id, id from disputes where true"
_ONES = "select customer_id, id from disputes where customer_id = %(customer_id)s"
#: (of one customer, newer than the cursor) -> the statement.
_PAGES = {
    (False, False): _EVERYBODYS + _OLDER,
    (False, True): _EVERYBODYS + _NEWER,
    (True, False): _ONES + _OLDER,
    (True, True): _ONES + _NEWER,
}


def held(tx: Tx, customer_id: UUID, payment_id: UUID, currency: str) -> int:
    """Minor units of a payment's captured money that its disputes have taken: no refund may give
    them back as well."""
    return tx.value(
        "select coalesce(sum(withdrawn_minor - reinstated_minor - loss_minor), 0)::bigint"
        " from disputes where customer_id = %(customer_id)s and payment_id = %(payment_id)s"
        " and currency = %(currency)s",
        {"customer_id": customer_id, "payment_id": payment_id, "currency": currency},
    )
