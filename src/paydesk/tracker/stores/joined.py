"""The payments table of the Paydesk service, inside a transaction that the caller has open."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row, scalar_row
from psycopg.types.json import Jsonb

from ..exceptions import DuplicatePayment, PaymentNotFound
from ..models import STATUS_OF, CentsOrZero, Instant, PaymentRecord, Text
from .base import PaymentStore

Key = tuple[UUID, UUID]


class ServicePayment(PaymentRecord):
    """A payment of the service: a PaymentRecord and the columns that only the service has.

    `user_id` is the text of `customer_id`. `amount_cents`, `captured_cents` and
    `refunded_cents` are the columns `asked_minor`, `captured_minor` and `refunded_minor`,
    `terms` is what it buys, as it was priced. `session_id` is `session_ref`,
    `provider_payment_id` is `provider_payment_ref`, `credit_transaction_id` is `credit_txn_id`.
    """

    customer_id: UUID
    provider_account: Text = ""
    purpose: Text = "credits"
    payable: Text | None = None
    checkout_id: UUID | None = None
    handle: Text
    method: Text | None = None
    description: Text | None = None
    reference: Text | None = None
    review: Text | None = None
    failed_at: Instant | None = None
    canceled_at: Instant | None = None
    discount_minor: CentsOrZero = 0
    price_minor: CentsOrZero
    promo_id: UUID | None = None
    livemode: bool = False
    payment_type: Text | None = None
    service_id: UUID | None = None
    terms: dict[str, Any] | None = None
    method_id: UUID | None = None
    method_detail: dict[str, Any] | None = None
    country: Text | None = None
    usd_minor: int | None = None
    rate_id: UUID | None = None
    fee_minor: int | None = None
    disputed: bool = False
    risk_score: int | None = None
    deleted_at: Instant | None = None
    request_key: UUID
    request_hash: bytes
    clock_id: UUID | None = None

    @property
    def key(self) -> Key:
        """(customer_id, id), the primary key."""
        return self.customer_id, _uuid(self.id)


@lru_cache(maxsize=4_096)
def _uuid(text: str) -> UUID:
    """A payment's key is asked for many times while it is at hand."""
    return UUID(text)


#: Each column: the field it keeps, and the type of its array.
COLUMNS: dict[str, tuple[str, sql.SQL]] = {
    "customer_id": ("customer_id", sql.SQL("uuid[]")),
    "id": ("id", sql.SQL("uuid[]")),
    "version": ("version", sql.SQL("int[]")),
    "state": ("state", sql.SQL("text[]")),
    "provider": ("provider", sql.SQL("text[]")),
    "provider_account": ("provider_account", sql.SQL("text[]")),
    "currency": ("currency", sql.SQL("text[]")),
    "asked_minor": ("amount_cents", sql.SQL("bigint[]")),
    "captured_minor": ("captured_cents", sql.SQL("bigint[]")),
    "refunded_minor": ("refunded_cents", sql.SQL("bigint[]")),
    "credits_to_add": ("credits_to_add", sql.SQL("bigint[]")),
    "package_id": ("package_id", sql.SQL("text[]")),
    "package_name": ("package_name", sql.SQL("text[]")),
    "purpose": ("purpose", sql.SQL("text[]")),
    "payable": ("payable", sql.SQL("text[]")),
    "checkout_id": ("checkout_id", sql.SQL("uuid[]")),
    "session_ref": ("session_id", sql.SQL("text[]")),
    "provider_payment_ref": ("provider_payment_id", sql.SQL("text[]")),
    "handle": ("handle", sql.SQL("text[]")),
    "method": ("method", sql.SQL("text[]")),
    "description": ("description", sql.SQL("text[]")),
    "reference": ("reference", sql.SQL("text[]")),
    "review": ("review", sql.SQL("text[]")),
    "credits_added_at": ("credits_added_at", sql.SQL("timestamptz[]")),
    "credit_txn_id": ("credit_transaction_id", sql.SQL("uuid[]")),
    "completed_at": ("completed_at", sql.SQL("timestamptz[]")),
    "failed_at": ("failed_at", sql.SQL("timestamptz[]")),
    "canceled_at": ("canceled_at", sql.SQL("timestamptz[]")),
    "expires_at": ("expires_at", sql.SQL("timestamptz[]")),
    "error_code": ("error_code", sql.SQL("text[]")),
    "error_message": ("error_message", sql.SQL("text[]")),
    "metadata": ("metadata", sql.SQL("jsonb[]")),
    "discount_minor": ("discount_minor", sql.SQL("bigint[]")),
    "price_minor": ("price_minor", sql.SQL("bigint[]")),
    "promo_id": ("promo_id", sql.SQL("uuid[]")),
    "livemode": ("livemode", sql.SQL("boolean[]")),
    "payment_type": ("payment_type", sql.SQL("text[]")),
    "service_id": ("service_id", sql.SQL("uuid[]")),
    "terms": ("terms", sql.SQL("jsonb[]")),
    "method_id": ("method_id", sql.SQL("uuid[]")),
    "method_detail": ("method_detail", sql.SQL("jsonb[]")),
    "country": ("country", sql.SQL("text[]")),
    "usd_minor": ("usd_minor", sql.SQL("bigint[]")),
    "rate_id": ("rate_id", sql.SQL("uuid[]")),
    "fee_minor": ("fee_minor", sql.SQL("bigint[]")),
    "disputed": ("disputed", sql.SQL("boolean[]")),
    "risk_score": ("risk_score", sql.SQL("smallint[]")),
    "deleted_at": ("deleted_at", sql.SQL("timestamptz[]")),
    "request_key": ("request_key", sql.SQL("uuid[]")),
    "request_hash": ("request_hash", sql.SQL("bytea[]")),
    "clock_id": ("clock_id", sql.SQL("uuid[]")),
    "created_at": ("created_at", sql.SQL("timestamptz[]")),
    "updated_at": ("updated_at", sql.SQL("timestamptz[]")),
}
_JSON = frozenset({"metadata", "terms", "method_detail"})
#: What a payment has for a column.
_FIELDS = {column: attrgetter(field) for column, (field, _) in COLUMNS.items()}
#: Never written again after the insert.
FIXED = frozenset({"customer_id", "id", "created_at"})
CHANGEABLE = tuple(name for name in COLUMNS if name not in FIXED)

_FILTERS: dict[str, sql.SQL] = {
    "states": sql.SQL("state = any(%(states)s)"),
    "method": sql.SQL("method = %(method)s"),
    "currency": sql.SQL("currency = %(currency)s"),
    "purpose": sql.SQL("purpose = %(purpose)s"),
    "reference": sql.SQL("reference = %(reference)s"),
    "created_from": sql.SQL("created_at >= %(created_from)s"),
    "created_to": sql.SQL("created_at < %(created_to)s"),
    "expires_before": sql.SQL("expires_at <= %(expires_before)s"),
    "after": sql.SQL("id < %(after)s"),
    "before": sql.SQL("id > %(before)s"),
}
_OF_CUSTOMER = sql.SQL("customer_id = %(customer_id)s")


class JoinedStore(PaymentStore):
    """`payments` on a connection whose transaction is the caller's: opens, commits nothing.

    The caller has locked the heads of the customers it changes. Methods that look for one
    payment need `customer_id`; another customer's payment is then a missing one.
    A DuplicatePayment leaves the transaction aborted, as PostgreSQL does: use a savepoint to
    go on.

    Look-ups and updates are planned each time (`prepare=False`): a plan kept from when the
    table was empty reads the whole table after it has grown.
    """

    keeps_status_history = False

    def __init__(
        self, connection: psycopg.Connection[Any], customer_id: UUID | None = None
    ) -> None:
        self._connection = connection
        self._customer_id = customer_id

    def create(self, payment: PaymentRecord) -> ServicePayment:
        return self.create_many([_of_service(payment)])[0]

    def create_many(self, payments: Sequence[ServicePayment]) -> list[ServicePayment]:
        """Insert all in one statement. Raises DuplicatePayment with the constraint's name."""
        if payments:
            with _translating():
                self._connection.execute(_insert_sql(), _arrays(payments, tuple(COLUMNS)))
        return [*payments]

    def get_by_id(self, payment_id: str | UUID) -> ServicePayment | None:
        try:
            value = payment_id if isinstance(payment_id, UUID) else UUID(payment_id)
        except ValueError:
            return None
        return self.get_many([(self._customer(), value)])[0]

    def get_many(self, keys: Sequence[Key]) -> list[ServicePayment | None]:
        """The payments of these (customer_id, id), in order, None for each that is missing."""
        query = """
            select p.* from unnest(%(customer_ids)s::uuid[], %(ids)s::uuid[]) as k(customer_id, id)
            cross join lateral (
                select * from payments
                where customer_id = k.customer_id and id = k.id limit 1
            ) p
        """
        values = {"customer_ids": [key[0] for key in keys], "ids": [key[1] for key in keys]}
        found = {payment.key: payment for payment in self._fetch(query, values)}
        return [found.get(key) for key in keys]

    def get_by_session_id(self, session_id: str) -> ServicePayment | None:
        query = """
            select * from payments
            where customer_id = %(customer_id)s and session_ref = %(session_ref)s
            order by id desc limit 1
        """
        values = {"customer_id": self._customer(), "session_ref": session_id}
        return next(iter(self._fetch(query, values)), None)

    def update(self, payment: PaymentRecord) -> ServicePayment:
        changed = _of_service(payment)
        if not self._write([changed], [None], CHANGEABLE):
            raise PaymentNotFound(f"no payment {payment.id}")
        return changed

    def compare_and_set(self, payment: PaymentRecord, expect_version: int) -> bool:
        return bool(self._write([_of_service(payment)], [expect_version], CHANGEABLE))

    def update_many(self, pairs: Sequence[tuple[ServicePayment, ServicePayment]]) -> list[bool]:
        """One update for all pairs (old, new), each payment once; writes what differs only."""
        if len({new.key for _, new in pairs}) != len(pairs):
            raise ValueError("each payment may be changed once in an update")
        changed = tuple(
            column
            for column in CHANGEABLE
            if any(of(old) != of(new) for of in (_FIELDS[column],) for old, new in pairs)
        )
        if not changed:
            return [True for _ in pairs]
        written = self._write([new for _, new in pairs], [old.version for old, _ in pairs], changed)
        return [new.key in written for _, new in pairs]

    def list(
        self,
        *,
        user_id: str | None = None,
        customer_id: UUID | None = None,
        statuses: Collection[str] | None = None,
        states: Collection[str] | None = None,
        limit: int = 100,
        offset: int = 0,
        **filters: Any,
    ) -> list[ServicePayment]:
        """One customer's payments, newest first (by id, which grows with time).

        Filters: states or statuses (words of the tracker), method, currency, purpose, reference,
        created_from (inclusive), created_to (exclusive), expires_before (inclusive), and the
        cursors after and before (ids: older than, newer than; `before` gives the nearest ones).
        """
        values = self._filter_values(user_id, customer_id, statuses, states, filters)
        order = sql.SQL("asc" if "before" in values else "desc")
        query = sql.SQL(
            "select * from payments where {where} order by id {order}"
            " limit %(limit)s offset %(offset)s"
        ).format(where=_where(values), order=order)
        found = self._fetch(query, {**values, "limit": limit, "offset": offset})
        return found[::-1] if "before" in values else found

    def count(
        self,
        *,
        user_id: str | None = None,
        customer_id: UUID | None = None,
        statuses: Collection[str] | None = None,
        states: Collection[str] | None = None,
        **filters: Any,
    ) -> int:
        values = self._filter_values(user_id, customer_id, statuses, states, filters)
        query = sql.SQL("select count(*) from payments where {where}").format(where=_where(values))
        with self._connection.cursor(row_factory=scalar_row) as cursor:
            return cursor.execute(query, values).fetchone() or 0

    def _filter_values(
        self,
        user_id: str | None,
        customer_id: UUID | None,
        statuses: Collection[str] | None,
        states: Collection[str] | None,
        filters: dict[str, Any],
    ) -> dict[str, Any]:
        unknown = filters.keys() - _FILTERS.keys()
        if unknown:
            raise TypeError(f"payments cannot be listed by {', '.join(sorted(unknown))}")
        if statuses is not None:
            meant = {state for state, word in STATUS_OF.items() if word in statuses}
            states = meant if states is None else meant & set(states)
        owner = customer_id or (UUID(user_id) if user_id else self._customer())
        values = {**filters, "states": None if states is None else sorted(states)}
        given = {name: value for name, value in values.items() if value is not None}
        return {"customer_id": owner, **given}

    def _customer(self) -> UUID:
        if self._customer_id is None:
            raise TypeError("this store was made without customer_id; use get_many or pass it")
        return self._customer_id

    def _fetch(self, query: Any, values: dict[str, Any]) -> list[ServicePayment]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(query, values, prepare=False).fetchall()
            return [_from_row(row) for row in rows]

    def _write(
        self,
        payments: Sequence[ServicePayment],
        expect: Sequence[int | None],
        columns: tuple[str, ...],
    ) -> set[Key]:
        values = _arrays(payments, ("customer_id", "id", *columns))
        with _translating(), self._connection.cursor(row_factory=dict_row) as cursor:
            arrays = {**values, "expect": [*expect]}
            rows = cursor.execute(_update_sql(columns), arrays, prepare=False)
            return {(row["customer_id"], row["id"]) for row in rows}


@lru_cache(maxsize=1)
def _insert_sql() -> bytes:
    names = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    arrays = sql.SQL(", ").join(map(_array, COLUMNS))
    return (
        sql.SQL("insert into payments ({names}) select * from unnest({arrays})")
        .format(names=names, arrays=arrays)
        .as_bytes()
    )


@lru_cache(maxsize=256)
def _update_sql(columns: tuple[str, ...]) -> bytes:
    """Few sets of columns occur: the text is made once for each."""
    every = ("customer_id", "id", *columns)
    return (
        sql.SQL(
            "update payments p set {assignments}"
            " from unnest({arrays}, %(expect)s::int[]) as n({names}, expect_version)"
            " where p.customer_id = n.customer_id and p.id = n.id"
            " and p.version = coalesce(n.expect_version, p.version)"
            " returning p.customer_id, p.id"
        )
        .format(
            assignments=sql.SQL(", ").join(
                sql.SQL("{0} = n.{0}").format(sql.Identifier(name)) for name in columns
            ),
            arrays=sql.SQL(", ").join(map(_array, every)),
            names=sql.SQL(", ").join(map(sql.Identifier, every)),
        )
        .as_bytes()
    )


def _array(column: str) -> sql.Composed:
    return sql.SQL("{}::{}").format(sql.Placeholder(column), COLUMNS[column][1])


def _where(values: dict[str, Any]) -> sql.Composed:
    return sql.SQL(" and ").join(
        [_OF_CUSTOMER, *(_FILTERS[name] for name in values if name != "customer_id")]
    )


def _arrays(payments: Sequence[ServicePayment], columns: tuple[str, ...]) -> dict[str, Any]:
    return {column: _values(payments, column) for column in columns}


def _values(payments: Sequence[ServicePayment], column: str) -> list[Any]:
    found = list(map(_FIELDS[column], payments))
    write: Callable[[Any], Any] | None = None
    if column in _JSON:
        write = Jsonb
    elif column in ("id", "credit_txn_id"):
        write = _uuid
    return found if write is None else [None if one is None else write(one) for one in found]


def _from_row(row: dict[str, Any]) -> ServicePayment:
    """The table's constraints have checked the row: it is not validated a second time."""
    values = {field: row[column] for column, (field, _) in COLUMNS.items()}
    values["id"] = str(row["id"])
    values["user_id"] = str(row["customer_id"])
    values["credit_transaction_id"] = row["credit_txn_id"] and str(row["credit_txn_id"])
    values["credits_added"] = row["credits_added_at"] is not None
    if row["currency"] == "usd":
        values["amount_usd"] = Decimal(row["asked_minor"]).scaleb(-2)
    return _made(values)


def _made(values: dict[str, Any]) -> ServicePayment:
    """What `model_construct` makes of values that are fit, which looks at each field by itself."""
    payment, whole = ServicePayment.__new__(ServicePayment), {**_DEFAULTS, **values}
    for name, value in (
        ("__dict__", {field: whole[field] for field in _ORDER}),
        ("__pydantic_fields_set__", set(values)),
        ("__pydantic_extra__", None), ("__pydantic_private__", None),
    ):
        object.__setattr__(payment, name, value)
    return payment


_ORDER = tuple(ServicePayment.model_fields)
#: What a payment has in fields that are no columns.
_DEFAULTS = {
    name: one.get_default(call_default_factory=True)
    for name, one in ServicePayment.model_fields.items()
    if not one.is_required() and name not in {field for field, _ in COLUMNS.values()}
}


def _of_service(payment: PaymentRecord) -> ServicePayment:
    if not isinstance(payment, ServicePayment):
        raise TypeError("the service's table keeps ServicePayment records")
    return payment


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.UniqueViolation as exc:
        name = exc.diag.constraint_name
        raise DuplicatePayment(f"already recorded ({name})", constraint=name) from exc
