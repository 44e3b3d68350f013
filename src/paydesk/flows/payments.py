"""Payments as they are read: one by any of its ids, lists, pages and sums."""

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
from paydesk.flows import subscription_payments
from paydesk.flows.subscription_payments import PaidFor
from paydesk.rules.money import Money
from paydesk.rules.payments import HANDLE_PREFIX, OPEN_STATES, payment_of_handle
from paydesk.tracker.models import PAID_STATES, STATE_OF, STATUS_OF
from paydesk.tracker.stores.joined import JoinedStore, ServicePayment

Key = tuple[UUID, UUID]

#: Lists with page numbers count no further than this.
MOST_COUNTED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FulfillmentView:
    """Whether the goods were handed over, who did it, and what stands in the way."""

    purpose: str
    state: str
    path: str
    txn_id: UUID | None = None
    error_code: str | None = None
    error: str | None = None
    tries: int = 0
    done_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentView:
    """A payment. `state` is our word, `status` the credits family's; amounts are Money.

    `terms` is what it buys, as it was priced, where that is not credits. `usd_minor` is its worth
    in US cents on the day it was made, by the rate of `rate_id` where one was needed; `fee_minor`
    what the provider kept. None: not known. `paid_for` is the plan and the time of a
    subscription's invoice; `description` says them in words.
    """

    id: UUID
    customer_id: UUID
    checkout_id: UUID | None
    handle: str
    state: str
    status: str
    amount: Money
    captured: Money
    refunded: Money
    refundable: Money
    price: Money
    discount: Money
    credits: int
    credits_added: bool
    credits_added_at: datetime | None
    credit_txn_id: UUID | None
    provider: str
    method: str | None
    session_ref: str | None
    payment_ref: str | None
    package_id: str | None
    package_name: str | None
    promo_id: UUID | None
    purpose: str
    description: str | None
    reference: str | None
    review: str | None
    error_code: str | None
    error_message: str | None
    metadata: dict[str, Any]
    livemode: bool
    fulfillment: FulfillmentView | None
    provider_response: dict[str, Any] | None = None
    payment_url: str | None = None
    payment_url_expires_at: datetime | None = None
    action_url: str | None = None
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    expires_at: datetime | None
    failed_at: datetime | None = None
    canceled_at: datetime | None = None
    deleted_at: datetime | None = None
    refunded_at: datetime | None = None
    refund_reason: str | None = None
    payment_type: str | None = None
    service_id: UUID | None = None
    terms: dict[str, Any] | None = None
    method_id: UUID | None = None
    method_detail: dict[str, Any] | None = None
    country: str | None = None
    usd_minor: int | None = None
    rate_id: UUID | None = None
    fee_minor: int | None = None
    disputed: bool = False
    paid_for: PaidFor | None = None
    risk_score: int | None = None

    @property
    def usd(self) -> Money | None:
        """What it was worth in US dollars when it was made."""
        return None if self.usd_minor is None else Money(self.usd_minor, "usd", minor=True)

    @property
    def fee(self) -> Money | None:
        """What the provider kept of it, once that is known."""
        return None if self.fee_minor is None else Money(self.fee_minor, self.currency, minor=True)

    @property
    def goods(self) -> dict[str, Any]:
        """What is handed over, where it is not credits; empty otherwise."""
        return (self.terms or {}).get("goods") or {}

    @property
    def item(self) -> str | None:
        """The key of the item or service that it is for."""
        return self.goods.get("key")

    @property
    def purchase_id(self) -> UUID | None:
        """The purchase that it is for."""
        return UUID(self.goods["purchase"]) if "purchase" in self.goods else None

    @property
    def currency(self) -> str:
        return self.amount.currency

    @property
    def wallet(self) -> str | None:
        """apple_pay or google_pay, where the card came through one."""
        return (self.method_detail or {}).get("wallet")

    @property
    def failure_reason(self) -> str | None:
        """Why it failed, in the provider's words."""
        return self.error_message or self.error_code

    @property
    def in_review(self) -> bool:
        return self.review is not None

    @property
    def paid(self) -> bool:
        return self.state in PAID_STATES

    def __repr__(self) -> str:
        return f"<Payment {ids.show('payment', self.id)} {self.state} {self.amount}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """A customer's payments in sums; money by currency, captured and not given back. Payments from
    a wallet spend nothing more: their money was counted when the wallet was filled.

    `spent_usd`: all of it at the rates stored with the payments; those without one are missing.
    """

    total_payments: int
    by_status: dict[str, int]
    credits_purchased: int
    spent: dict[str, Money]
    spent_usd: Money
    last_payment_at: datetime | None


def get(env: Env, customer_id: UUID | None, ref: str | UUID) -> PaymentView:
    """The payment of any of our ids, a uuid, a handle, a ledger transaction or a provider's ref.

    `customer_id`: whose it must be; another's answers NotFound, as one that does not exist.
    """
    with env.db.read() as tx:
        return view(tx, *find(env, tx, ref, customer_id))


def find(env: Env, tx: Tx, ref: str | UUID, customer_id: UUID | None = None) -> Key:
    """(customer, payment) that a reference stands for. Raises NotFound."""
    key = _look_up(env, tx, ref, customer_id)
    if key is None or (customer_id is not None and key[0] != customer_id):
        raise NotFound(f"No such payment: {str(ref)[:64]!r}.")
    return key


def _look_up(env: Env, tx: Tx, ref: str | UUID, customer_id: UUID | None) -> Key | None:
    found = _own(env, tx, ref)
    if found is not None and customer_id in (None, found[0]):
        return found
    # A payment that was brought over keeps the numbers that it had. Another's is looked for as
    # long as one that does not exist.
    row = tx.one(
        "select customer_id, object_id from provider_refs where provider = 'self'"
        " and account = 'imported' and ref = %(ref)s",
        {"ref": str(ref)[:255].replace("\x00", "")},
    )
    return (row["customer_id"], row["object_id"]) if row else None


def _own(env: Env, tx: Tx, ref: str | UUID) -> Key | None:
    if isinstance(ref, UUID):
        return _of_uuid(tx, ref)
    if ref.startswith(HANDLE_PREFIX):
        try:
            return _of_uuid(tx, payment_of_handle(ref))
        except NotFound:
            return None
    for kind in ("payment", "checkout", "transfer"):
        try:
            owned = ids.parse(kind, ref)
        except NotFound:
            continue
        return _of_uuid(tx, owned)
    if not ref.isprintable() or len(ref) > 255:
        return None
    for name, provider in env.providers.items():
        row = tx.one(
            "select customer_id, object_id from provider_refs"
            " where provider = %(provider)s and account = %(account)s and ref = %(ref)s",
            {"provider": name, "account": provider.account, "ref": ref},
        )
        if row:
            return row["customer_id"], row["object_id"]
    return None


def _of_uuid(tx: Tx, value: UUID) -> Key | None:
    """A bare uuid may be a payment, a checkout, or a transaction of one."""
    customer_id = ids.customer_of(value)
    row = tx.one(
        "select coalesce("
        " (select id from payments where customer_id = %(customer_id)s and id = %(id)s),"
        " (select payment_id from checkouts where customer_id = %(customer_id)s and id = %(id)s),"
        " (select p.id from transfers t join payments p"
        "   on p.customer_id = t.customer_id and p.id = t.subject_id"
        "   where t.customer_id = %(customer_id)s and t.id = %(id)s),"
        " (select b.payment_id from transfers t join batches b"
        "   on b.customer_id = t.customer_id and b.id = t.subject_id"
        "   where t.customer_id = %(customer_id)s and t.id = %(id)s),"
        " (select f.payment_id from fulfillments f where f.customer_id = %(customer_id)s"
        "   and f.txn_id = %(id)s limit 1)) as id",
        {"customer_id": customer_id, "id": value},
    )
    return (customer_id, row["id"]) if row and row["id"] else None


def view(tx: Tx, customer_id: UUID, payment_id: UUID) -> PaymentView:
    """One payment as it stands in this transaction. Raises NotFound."""
    found = views(tx, [(customer_id, payment_id)])
    if not found:
        raise NotFound(f"No such payment: {ids.show('payment', payment_id)}.")
    return found[0]


def views(tx: Tx, keys: Sequence[Key]) -> list[PaymentView]:
    """The payments of these keys, in order; missing ones are left out. Three statements,
    one more where money went back, and one more for subscriptions' invoices."""
    if not keys:
        return []
    found = JoinedStore(tx.conn).get_many(keys)
    rows = tx.all(
        "select f.* from unnest(%(customers)s::uuid[], %(payments)s::uuid[]) as k(c, p)"
        " cross join lateral (select customer_id, payment_id, purpose, state, path, txn_id,"
        "  error_code, error, tries, done_at from fulfillments"
        "  where customer_id = k.c and payment_id = k.p order by purpose limit 1) f",
        {"customers": [k[0] for k in keys], "payments": [k[1] for k in keys]},
    )
    goods = {(r.pop("customer_id"), r.pop("payment_id")): FulfillmentView(**r) for r in rows}
    tries = tx.all(
        "select a.* from unnest(%(customers)s::uuid[], %(payments)s::uuid[]) as k(c, p)"
        " cross join lateral (select customer_id, payment_id, url, action_url, response,"
        "  expires_at from attempts where customer_id = k.c and payment_id = k.p"
        "  and call_id is not null order by created_at desc, id desc limit 1) a",
        {"customers": [k[0] for k in keys], "payments": [k[1] for k in keys]},
    )
    last = {(r["customer_id"], r["payment_id"]): r for r in tries}
    back = _gone_back(tx, [p for p in found if p is not None and (p.refunded_cents or p.disputed)])
    plans = subscription_payments.of_payments(
        tx, [one.key for one in found if one is not None and one.purpose == "invoice"]
    )
    return [_view(one, goods.get(one.key), last.get(one.key, {}), back.get(one.key, {}),
                  plans.get(one.key))
            for one in found if one is not None]  # fmt: skip


def _gone_back(tx: Tx, paid: Sequence[ServicePayment]) -> dict[Key, dict[str, Any]]:
    """Of payments of which something went back: when and why last, and what disputes hold."""
    if not paid:
        return {}
    rows = tx.all(
        "select k.c, k.p, r.at, r.reason, r.lost, d.held"
        " from unnest(%(customers)s::uuid[], %(payments)s::uuid[], %(currencies)s::text[])"
        "  as k(c, p, currency)"
        " cross join lateral (select max(coalesce(succeeded_at, created_at)) as at,"
        "  (array_agg(reason order by created_at desc) filter (where reason is not null))[1]"
        "   as reason, coalesce(sum(loss_minor), 0)::bigint as lost from refunds"
        "  where customer_id = k.c and payment_id = k.p and currency = k.currency"
        "  and state in ('pending', 'succeeded')) r"
        " cross join lateral (select coalesce(sum(greatest(withdrawn_minor - reinstated_minor"
        "  - loss_minor, 0)), 0)::bigint as held from disputes where customer_id = k.c"
        "  and payment_id = k.p and currency = k.currency) d",
        {
            "customers": [p.customer_id for p in paid], "payments": [p.key[1] for p in paid],
            "currencies": [p.currency for p in paid],
        },
    )  # fmt: skip
    return {(row["c"], row["p"]): row for row in rows}


def _view(
    one: ServicePayment, goods: FulfillmentView | None, last: Mapping[str, Any],
    back: Mapping[str, Any], plan: PaidFor | None,
) -> PaymentView:  # fmt: skip
    def money(minor: int) -> Money:
        return Money(minor, one.currency, minor=True)

    assert one.created_at is not None and one.updated_at is not None
    is_open = one.state in OPEN_STATES
    left = one.captured_cents - one.refunded_cents + back.get("lost", 0) - back.get("held", 0)
    txn = one.credit_transaction_id
    return PaymentView(
        id=one.key[1], customer_id=one.customer_id, checkout_id=one.checkout_id,
        handle=one.handle, state=one.state, status=one.status, amount=money(one.amount_cents),
        captured=money(one.captured_cents), refunded=money(one.refunded_cents),
        refundable=money(max(0, left)), refunded_at=back.get("at"),
        refund_reason=back.get("reason"),
        price=money(one.price_minor), discount=money(one.discount_minor),
        credits=one.credits_to_add, credits_added=one.credits_added_at is not None,
        credits_added_at=one.credits_added_at, credit_txn_id=UUID(txn) if txn else None,
        provider=one.provider, method=one.method, session_ref=one.session_id,
        payment_ref=one.provider_payment_id, package_id=one.package_id,
        package_name=one.package_name, promo_id=one.promo_id, purpose=one.purpose,
        description=plan.text if plan else one.description, paid_for=plan,
        reference=one.reference, review=one.review,
        error_code=one.error_code, error_message=one.error_message, metadata=one.metadata,
        provider_response=last.get("response"), payment_url=last.get("url") if is_open else None,
        payment_url_expires_at=last.get("expires_at") if is_open and last.get("url") else None,
        action_url=last.get("action_url") if is_open else None,
        livemode=one.livemode, fulfillment=goods, created_at=one.created_at,
        updated_at=one.updated_at, completed_at=one.completed_at, expires_at=one.expires_at,
        failed_at=one.failed_at, canceled_at=one.canceled_at, deleted_at=one.deleted_at,
        payment_type=one.payment_type, service_id=one.service_id, terms=one.terms,
        method_id=one.method_id, method_detail=one.method_detail, country=one.country,
        usd_minor=one.usd_minor, rate_id=one.rate_id, fee_minor=one.fee_minor,
        disputed=one.disputed, risk_score=one.risk_score,
    )  # fmt: skip


def list_(
    env: Env,
    customer_id: UUID | None = None,
    *,
    limit: int = 20,
    after: UUID | None = None,
    before: UUID | None = None,
    status: str | None = None,
    method: str | None = None,
    currency: str | None = None,
    reference: str | None = None,
    review: bool | None = None,
    created_from: datetime | None = None,
    created_to: datetime | None = None,
    provider: str | None = None,
    purpose: str | None = None,
    amount_from: int | None = None,
    amount_to: int | None = None,
    q: str | None = None,
    deleted: bool = False,
    states: Sequence[str] | None = None,
    payment_type: str | None = None,
    service_id: UUID | None = None,
    disputed: bool | None = None,
    offset: int = 0,
) -> list[PaymentView]:
    """Payments, newest first: one customer's, or everybody's.

    `after` and `before` are payment ids: older than, newer than. `status` takes every alias.
    `amount_from` and `amount_to` are minor units, both ends included. `q`: a payment's id, handle
    or reference, or a customer's e-mail or external id. `deleted`: those that were hidden too.
    `states`: our own words, in place of `status`.
    """
    values = {
        "customer_id": customer_id, "limit": limit, "offset": offset, "method": method,
        "currency": currency, "reference": reference, "review": review,
        "states": states_of(status) if states is None else list(states),
        "from": created_from, "to": created_to,
        "provider": provider, "purpose": purpose, "least": amount_from, "most": amount_to,
        "deleted": deleted, "cursor": None, "cursor_at": None, "back": before is not None,
        "q": q, "q_id": None, "q_customers": None,
        "type": payment_type, "service_id": service_id, "disputed": disputed,
    }  # fmt: skip
    with env.db.read() as tx:
        if q is not None:
            values |= _search(env, tx, q, customer_id)
        if (mark := after or before) is not None:
            found = view(tx, ids.customer_of(mark), mark)
            if customer_id is not None and found.customer_id != customer_id:
                raise NotFound(f"No such payment: {ids.show('payment', mark)}.")
            values |= {"cursor": mark, "cursor_at": found.created_at}
        rows = tx.all(_PAGES[customer_id is not None, values["back"]], values)
        keys = [(row["customer_id"], row["id"]) for row in rows]
        return views(tx, keys[::-1] if values["back"] else keys)


_FILTERS = """
      and (%(states)s::text[] is null or state = any(%(states)s))
      and (%(method)s::text is null or method = %(method)s)
      and (%(currency)s::text is null or currency = %(currency)s)
      and (%(reference)s::text is null or reference = %(reference)s)
      and (%(review)s::boolean is null or (review is not null) = %(review)s)
      and (%(from)s::timestamptz is null or created_at >= %(from)s)
      and (%(to)s::timestamptz is null or created_at < %(to)s)
      and (%(provider)s::text is null or provider = %(provider)s)
      and (%(purpose)s::text is null or purpose = %(purpose)s)
      and (%(least)s::bigint is null or asked_minor >= %(least)s)
      and (%(most)s::bigint is null or asked_minor <= %(most)s)
      and (%(deleted)s or deleted_at is null)
      and (%(type)s::text is null or payment_type = %(type)s)
      and (%(service_id)s::uuid is null or service_id = %(service_id)s)
      and (%(disputed)s::boolean is null or disputed = %(disputed)s)
      and (%(q)s::text is null or id = %(q_id)s or reference = %(q)s
        or customer_id = any(%(q_customers)s::uuid[]))
"""
_OLDER = _FILTERS + """
      and (%(cursor)s::uuid is null or (created_at, id) < (%(cursor_at)s, %(cursor)s))
    order by created_at desc, id desc limit %(limit)s offset %(offset)s
"""
_NEWER = _FILTERS + """
      and (created_at, id) > (%(cursor_at)s, %(cursor)s)
    order by created_at, id limit %(limit)s offset %(offset)s
"""
_EVERYBODYS = "select customer_id, id from payments where true"
_ONES = "select customer_id, id from payments where customer_id = %(customer_id)s"
#: (of one customer, newer than the cursor) -> the statement.
_PAGES = {
    (False, False): _EVERYBODYS + _OLDER,
    (False, True): _EVERYBODYS + _NEWER,
    (True, False): _ONES + _OLDER,
    (True, True): _ONES + _NEWER,
}


def count(
    env: Env, customer_id: UUID | None = None, *, states: Sequence[str] | None = None,
    method: str | None = None, provider: str | None = None, currency: str | None = None,
    purpose: str | None = None, created_from: datetime | None = None,
    created_to: datetime | None = None,
) -> int:  # fmt: skip
    """How many payments a list without a cursor has, up to MOST_COUNTED."""
    values = {
        "customer_id": customer_id, "states": None if states is None else list(states),
        "method": method, "provider": provider, "currency": currency, "purpose": purpose,
        "from": created_from, "to": created_to, "reference": None, "review": None, "least": None,
        "most": None, "deleted": False, "q": None, "q_id": None, "q_customers": None,
        "type": None, "service_id": None, "disputed": None, "limit": MOST_COUNTED,
    }  # fmt: skip
    which = _ONES if customer_id is not None else _EVERYBODYS
    with env.db.read() as tx:
        return len(tx.all(which + _FILTERS + " limit %(limit)s", values))


def _search(env: Env, tx: Tx, q: str, customer_id: UUID | None) -> dict[str, Any]:
    """What a searched text stands for: a payment, customers."""
    text = q.strip()
    if not text or "\0" in text or len(text) > 320:
        raise InvalidRequest("q must have 1 to 320 characters.", param="q")
    try:
        found = _look_up(env, tx, text, customer_id)
    except NotFound:
        found = None
    customers = tx.all(
        "select customer_id as id from customers where lower(email) = lower(%(q)s)"
        " union select customer_id from customer_refs where external_id = %(q)s limit 100",
        {"q": text},
    ) if customer_id is None else []  # fmt: skip
    return {"q": text, "q_id": found[1] if found else None,
            "q_customers": [row["id"] for row in customers]}  # fmt: skip


def states_of(status: str | None) -> list[str] | None:
    """The states that a filter's word means; every document's word is understood."""
    if status is None:
        return None
    word = status.lower()
    if word not in STATE_OF:
        known = ", ".join(STATE_OF)
        raise InvalidRequest(f"{status[:40]!r} is none of {known}.", param="status")
    if word in STATUS_OF:
        return [word] if STATUS_OF[word] != word else [s for s, w in STATUS_OF.items() if w == word]
    return [s for s, w in STATUS_OF.items() if w == STATUS_OF[STATE_OF[word]]]


def history(
    env: Env, customer_id: UUID, *, page: int = 1, page_size: int = 20, status: str | None = None,
    states: Sequence[str] | None = None,
) -> tuple[list[PaymentView], int]:  # fmt: skip
    """One numbered page of a customer's payments, newest first, and how many there are in all.
    `states` says what `status` says where the words are others."""
    wanted = states_of(status) if states is None else list(states)
    with env.db.read() as tx:
        total = tx.value(
            "select count(*) from payments where customer_id = %(customer_id)s"
            " and (%(states)s::text[] is null or state = any(%(states)s)) and deleted_at is null",
            {"customer_id": customer_id, "states": wanted},
        )
    found = list_(
        env, customer_id, limit=page_size, offset=(page - 1) * page_size, states=wanted
    )
    return found, total


def stats(env: Env, customer_id: UUID) -> Stats:
    """A customer's payments in sums."""
    with env.db.read() as tx:
        rows = tx.all(
            "select state, currency, count(*) as n, max(created_at) as last_at,"
            " coalesce(sum(captured_minor - refunded_minor) filter (where provider <> 'wallet'),"
            "  0)::bigint as spent,"
            " coalesce(sum(case when currency = 'usd' then captured_minor - refunded_minor else"
            "  round((captured_minor - refunded_minor)::numeric * usd_minor / asked_minor) end)"
            "  filter (where provider <> 'wallet'), 0)::bigint as usd,"
            " coalesce(sum(credits_to_add) filter (where credits_added_at is not null), 0)::bigint"
            "  as credits"
            " from payments where customer_id = %(customer_id)s and deleted_at is null"
            " group by state, currency",
            {"customer_id": customer_id},
        )
    by_status: dict[str, int] = {}
    spent: dict[str, Money] = {}
    for row in rows:
        word = STATUS_OF[row["state"]]
        by_status[word] = by_status.get(word, 0) + row["n"]
        more = Money(row["spent"], row["currency"], minor=True)
        spent[more.currency] = spent[more.currency] + more if more.currency in spent else more
    return Stats(
        total_payments=sum(by_status.values()),
        by_status=by_status,
        credits_purchased=sum(row["credits"] for row in rows),
        spent={code: money for code, money in spent.items() if money},
        spent_usd=Money(sum(row["usd"] for row in rows), "usd", minor=True),
        last_payment_at=max((row["last_at"] for row in rows), default=None),
    )
