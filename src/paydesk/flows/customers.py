"""Customers: made on first use, one winner under concurrency, found by either of their ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import BEGINNING, Head, Tx
from paydesk.env import Env
from paydesk.errors import Conflict, InvalidRequest, NotFound
from paydesk.flows import events, provider_customers, user_validator
from paydesk.rules import fields

#: The customer of an external id never changes: kept an hour to bound the memory, not the age.
_KEEP_S = 3600.0


@dataclass(frozen=True, slots=True)
class Customer:
    """Who pays. `uuid` is the key of all that is theirs, `external_id` the application's own id."""

    uuid: UUID
    external_id: str
    email: str | None
    name: str | None
    owner_uuid: UUID
    organization_uuid: UUID | None
    metadata: dict[str, str]
    clock_id: UUID | None
    created_at: datetime
    updated_at: datetime

    @property
    def id(self) -> str:
        return ids.show("customer", self.uuid)

    @property
    def owner_id(self) -> str:
        """The customer whose credits these are; itself unless set."""
        return ids.show("customer", self.owner_uuid)

    @property
    def organization_id(self) -> str | None:
        return ids.show("customer", self.organization_uuid) if self.organization_uuid else None

    def __repr__(self) -> str:
        return f"<Customer {self.id} {self.external_id!r}>"


class _TagTaken(Exception):
    """The random tag drawn for a new customer belongs to another one."""


def ensure(
    env: Env,
    ref: str | UUID | Customer,
    *,
    email: str | None = None,
    name: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    create: bool = True,
    clock: UUID | None = None,
) -> Customer:
    """The customer of our own id (`cus_…` or its UUID) or of the application's, made if absent.

    An unknown id of ours is never made: NotFound, as for an unknown external id when `create` is
    False. E-mail, name and metadata are only for the making; `update` changes them. `clock`: the
    one that a new customer stands on, for good; Conflict where an old one stands on another.
    """
    if isinstance(ref, Customer):
        return ref
    if isinstance(ref, UUID) or ids.looks_like_customer(ref):
        return get(env, ref)
    external_id = external(ref)
    with env.db.read() as tx:
        found = _by_external(tx, external_id)
    if found is None and create:
        made = (fields.email(email), fields.optional_text(name, "name", most=255),
                fields.metadata(metadata))  # fmt: skip
        user_validator.check(env, external_id, *made)
        found = _create(env, external_id, *made, clock=clock or env.hooks.clock_id)
    if found is None:
        raise NotFound(f"No such customer: {external_id[:64]!r}.")
    if clock is not None and found.clock_id != clock:
        raise Conflict("The customer is here already, and does not stand on this clock.")
    return found


def ensure_imported(env: Env, external_id: str) -> UUID:
    """The customer of an application's id that an old table names, made if absent.

    The application is not asked: that it knew this customer stands in its own table.
    """
    name = external(external_id)
    with env.db.read() as tx:
        found = _by_external(tx, name)
    return (found or _create(env, name, None, None, {})).uuid


def is_here(env: Env, external_id: str) -> bool:
    """Whether there is a customer of this external id."""
    with env.db.read() as tx:
        return _by_external(tx, external(external_id)) is not None


def resolve(env: Env, ref: str | UUID | Customer, *, create: bool = True) -> UUID:
    """Only the customer's UUID, from memory where it is known: for hot paths.

    Our own id is taken at its word: one that names nobody finds no head to lock.
    """
    if isinstance(ref, Customer):
        return ref.uuid
    if isinstance(ref, UUID):
        return ref
    if ids.looks_like_customer(ref):
        return ids.parse("customer", ref)
    known = env.cache.peek(f"customer:{ref}")
    if known is not None:
        return known
    uuid = ensure(env, ref, create=create).uuid
    env.cache.keep(f"customer:{ref}", uuid, ttl_s=_KEEP_S)
    return uuid


def external(value: Any) -> str:
    """A text that may be an external id. Raises InvalidRequest for one of our ids' shape."""
    text = fields.text(value, "customer", most=255)
    if ids.looks_like_customer(text):
        raise InvalidRequest("An external id may not look like our own (cus_…).", param="customer")
    return text


def get(env: Env, ref: str | UUID) -> Customer:
    """An existing customer by either id. Raises NotFound."""
    if isinstance(ref, str) and not ids.looks_like_customer(ref):
        return ensure(env, ref, create=False)
    uuid = ref if isinstance(ref, UUID) else ids.parse("customer", ref)
    with env.db.read() as tx:
        found = by_uuid(tx, uuid)
    if found is None:
        raise NotFound(f"No such customer: {str(ref)[:64]!r}.")
    return found


def by_uuid(tx: Tx, uuid: UUID) -> Customer | None:
    row = tx.one(
        "select customer_id, external_id, email, name, owner_id, organization_id, metadata,"
        " clock_id, created_at, updated_at from customers where customer_id = %(uuid)s",
        {"uuid": uuid},
    )
    return _customer(row) if row else None


def list_(
    env: Env, *, limit: int = 20, starting_after: str | None = None, q: str | None = None
) -> list[Customer]:
    """Customers, newest first. `q` matches an external id or e-mail exactly, else the beginning."""
    last = get(env, starting_after) if starting_after else None
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, external_id, email, name, owner_id, organization_id, metadata,"
            " clock_id, created_at, updated_at from customers"
            " where (%(at)s::timestamptz is null or (created_at, customer_id) < (%(at)s, %(id)s))"
            " and (%(q)s::text is null or starts_with(external_id, %(q)s)"
            " or starts_with(email, %(q)s))"
            " order by created_at desc, customer_id desc limit %(limit)s",
            {"at": last.created_at if last else None, "id": last.uuid if last else None,
             "q": q or None, "limit": limit},
        )  # fmt: skip
    return [_customer(row) for row in rows]


_KEEP: Any = object()


def update(
    env: Env,
    ref: str | UUID | Customer,
    *,
    email: str | None = _KEEP,
    name: str | None = _KEEP,
    owner: str | UUID | Customer = _KEEP,
    organization: str | UUID | Customer | None = _KEEP,
    metadata: Mapping[str, Any] = _KEEP,
    cause: Mapping[str, Any] | None = None,
) -> Customer:
    """Change what is given, leave the rest. `metadata` replaces what was there. Providers are
    told of another e-mail or name after the commit."""
    changes: dict[str, Any] = {}
    if email is not _KEEP:
        changes["email"] = fields.email(email)
    if name is not _KEEP:
        changes["name"] = fields.optional_text(name, "name", most=255)
    if owner is not _KEEP:
        changes["owner_id"] = ensure(env, owner, create=False).uuid
    if organization is not _KEEP:
        changes["organization_id"] = organization and ensure(env, organization).uuid
    if metadata is not _KEEP:
        changes["metadata"] = fields.metadata(metadata)
    customer_id = ensure(env, ref, create=False).uuid
    with env.db.transaction(customer_id) as tx:
        before = by_uuid(tx, customer_id)
        assert before is not None, "a head without a customer"
        row = tx.one(
            "update customers set email = %(email)s, name = %(name)s, owner_id = %(owner_id)s,"
            " organization_id = %(organization_id)s, metadata = %(metadata)s"
            " where customer_id = %(customer_id)s"
            " returning customer_id, external_id, email, name, owner_id, organization_id, metadata,"
            " clock_id, created_at, updated_at",
            {"email": before.email, "name": before.name, "owner_id": before.owner_uuid,
             "organization_id": before.organization_uuid, "metadata": before.metadata,
             "customer_id": customer_id, **changes},
        )  # fmt: skip
        assert row is not None
        if changes:
            events.emit(tx, customer_id, "customer.updated", customer_id,
                        {"changed": sorted(changes)}, cause, at=env.now())  # fmt: skip
    after = _customer(row)
    if (after.email, after.name) != (before.email, before.name):
        provider_customers.tell(env, after)
    return after


def _create(
    env: Env, external_id: str, email: str | None, name: str | None, metadata: dict[str, str],
    clock: UUID | None = None,
) -> Customer:  # fmt: skip
    while True:
        try:
            return _insert(env, external_id, email, name, metadata, clock)
        except _TagTaken:
            continue


def _insert(
    env: Env, external_id: str, email: str | None, name: str | None, metadata: dict[str, str],
    clock: UUID | None,
) -> Customer:  # fmt: skip
    """Claim the external id, then write head and customer; the loser waits, gets the winner's."""
    customer_id = ids.new_customer(clocked=clock is not None)
    with env.db.transaction() as tx:
        won = tx.run(
            "insert into customer_refs (external_id, customer_id)"
            " values (%(external_id)s, %(customer_id)s) on conflict (external_id) do nothing",
            {"external_id": external_id, "customer_id": customer_id},
        )
        if not won:
            found = _by_external(tx, external_id)
            assert found is not None, "a reference without a customer"
            return found
        head = tx.run(
            "insert into heads (customer_id, clock_id) values (%(customer_id)s, %(clock)s)"
            " on conflict do nothing",
            {"customer_id": customer_id, "clock": clock},
        )
        if not head:
            raise _TagTaken
        now = env.now() if clock is None else _stand_on(tx, customer_id, clock)
        tx.heads[customer_id] = Head(
            customer_id, 0, BEGINNING, clock, clock_at=None if clock is None else now
        )
        row = tx.one(
            "insert into customers (customer_id, external_id, email, name, owner_id, metadata,"
            " clock_id, created_at) values (%(customer_id)s, %(external_id)s, %(email)s, %(name)s,"
            " %(customer_id)s, %(metadata)s, %(clock)s, %(now)s)"
            " returning customer_id, external_id, email, name, owner_id, organization_id, metadata,"
            " clock_id, created_at, updated_at",
            {"customer_id": customer_id, "external_id": external_id, "email": email, "name": name,
             "metadata": metadata, "clock": clock, "now": now},
        )  # fmt: skip
        assert row is not None
        events.emit(tx, customer_id, "customer.created", customer_id,
                    {"external_id": external_id}, at=now)  # fmt: skip
    return _customer(row)


def _stand_on(tx: Tx, customer_id: UUID, clock: UUID) -> datetime:
    """Write down who stands on a clock; answers where it stands. Raises NotFound."""
    now = tx.value(
        "select now_at from clocks where id = %(id)s and deleted_at is null for share",
        {"id": clock},
    )
    if now is None:
        raise NotFound(f"No such clock: {ids.show('clock', clock)}.")
    tx.run(
        "insert into clock_customers (clock_id, customer_id) values (%(clock)s, %(customer_id)s)",
        {"clock": clock, "customer_id": customer_id},
    )
    return now


def _by_external(tx: Tx, external_id: str) -> Customer | None:
    """Two statements: the reference and the customer may live on different nodes."""
    customer_id = tx.value(
        "select customer_id from customer_refs where external_id = %(external_id)s",
        {"external_id": external_id},
    )
    return by_uuid(tx, customer_id) if customer_id is not None else None


def _customer(row: Mapping[str, Any]) -> Customer:
    return Customer(
        uuid=row["customer_id"],
        external_id=row["external_id"],
        email=row["email"],
        name=row["name"],
        owner_uuid=row["owner_id"],
        organization_uuid=row["organization_id"],
        metadata=row["metadata"],
        clock_id=row["clock_id"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )
