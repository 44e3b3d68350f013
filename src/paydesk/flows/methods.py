"""Saved ways to pay: a provider's token and what people recognize it by, never more."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from paydesk import ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.env import Env
from paydesk.errors import (
    CardNumberRefused,
    IdempotencyKeyReused,
    InvalidRequest,
    NotFound,
    NotSupported,
    PaymentFailed,
    PaymentMethodNotUsable,
)
from paydesk.flows import heads, provider_calls, provider_customers
from paydesk.flows.events import NewEvent, emit_many
from paydesk.providers.base import ProviderEvent, RemoteMethod
from paydesk.rules import fields

#: A card is shown as expiring this long before its last day.
SOON = timedelta(days=30)
MOST_METHODS = 200
_ONES = (
    "select customer_id, id, provider, provider_account, ref, kind, brand, last4, exp_month,"
    " exp_year, country, wallet, fingerprint, is_default, metadata, detached_at, created_at,"
    " updated_at from payment_methods where customer_id = %(customer_id)s"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodView:
    """A saved method. `ref` is the provider's id of it; `expired` and `expires_soon` are as of
    the moment it was read."""

    id: UUID
    customer_id: UUID
    provider: str
    ref: str
    kind: str
    brand: str | None
    last4: str | None
    exp_month: int | None
    exp_year: int | None
    country: str | None
    wallet: str | None
    is_default: bool
    expired: bool
    expires_soon: bool
    metadata: dict[str, Any]
    detached_at: datetime | None
    created_at: datetime
    updated_at: datetime

    def __repr__(self) -> str:
        return f"<PaymentMethod {ids.show('method', self.id)} {self.brand} …{self.last4}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class AddMethod:
    """A method that the provider's own form has made a token of."""

    customer_id: UUID
    token: str
    provider: str | None = None
    make_default: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    request_key: UUID | None = None
    request_hash: bytes | None = None


def add(env: Env, what: AddMethod) -> MethodView:
    """Attach a token to the customer, or answer what this `request_key` attached.

    Raises CardNumberRefused, NotSupported, PaymentFailed (the bank refuses to save it),
    ProviderUnavailable, OutcomeUnknown, IdempotencyKeyReused, IdempotencyInProgress.
    """
    from paydesk.flows import setups

    token = checked_token(what.token)
    name = what.provider or env.providers.default
    if "methods" not in env.providers[name].can:
        raise NotSupported(f"{name} keeps no methods.")
    told = {"provider": name, "token": token, "default": what.make_default}
    setup_id = setups.begin(
        env, what.customer_id, provider=name, op="attach", told=told,
        make_default=what.make_default, metadata=fields.metadata(what.metadata),
        request_key=what.request_key or uuid4(), request_hash=what.request_hash,
    )  # fmt: skip
    with env.db.read() as tx:
        row = setups.read(tx, what.customer_id, setup_id)
    if row["method_id"] is None:
        raise PaymentFailed(row["error_message"] or "The method could not be saved.",
                            provider_code=row["error_code"])  # fmt: skip
    return get(env, what.customer_id, row["method_id"])


def checked_token(token: Any) -> str:
    """A provider's token as it is; digits that look like a card's are refused unread."""
    text = fields.text(token, "token", most=255)
    if sum(c.isdigit() for c in text) >= 12 and not any(c.isalpha() for c in text):
        raise CardNumberRefused("Card numbers are for the provider's own form only.", param="token")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise InvalidRequest("token is no provider's token.", param="token")
    return text


def get(env: Env, customer_id: UUID, ref: str | UUID, *, detached: bool = True) -> MethodView:
    """One method by our id or the provider's. Raises NotFound."""
    with env.db.read() as tx:
        row = find(tx, customer_id, ref)
    if row is None or (row["detached_at"] is not None and not detached):
        raise _missing(ref)
    return _view(row, heads.now(env, customer_id))


def list_(
    env: Env, customer_id: UUID, *, refresh: bool = False, detached: bool = False
) -> list[MethodView]:
    """The customer's methods, the default first, then the newest.

    `refresh`: every provider that keeps some is asked before. Raises what the provider raises.
    """
    if refresh:
        for name in known_providers(env, customer_id):
            sync(env, customer_id, name)
    with env.db.read() as tx:
        rows = tx.all(
            _ONES + " and (detached_at is null or %(detached)s)"
            " order by (is_default and detached_at is null) desc, created_at desc, id desc"
            " limit %(limit)s",
            {"customer_id": customer_id, "detached": detached, "limit": MOST_METHODS},
        )
    now = heads.now(env, customer_id)
    return [_view(row, now) for row in rows]


def remove(env: Env, customer_id: UUID, ref: str | UUID) -> MethodView:
    """Take a method away, here at once, at its provider by a call that is repeated until done.

    Raises NotFound. One that is gone already answers as it is.
    """
    call = None
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        row = find(tx, customer_id, ref)
        if row is None:
            raise _missing(ref)
        if row["detached_at"] is None:
            _detach(tx, now, [row])
            if "methods" in env.providers[row["provider"]].can:
                call = _intend(tx, now, row, "detach")
    if call is not None:
        _run_quietly(env, call)
    return get(env, customer_id, row["id"])


def set_default(env: Env, customer_id: UUID, ref: str | UUID) -> MethodView:
    """Make this the one method that is used when nothing else is said. Raises NotFound,
    PaymentMethodNotUsable."""
    call = None
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        row = find(tx, customer_id, ref)
        if row is None:
            raise _missing(ref)
        _check_usable(row, now)
        if not row["is_default"]:
            make_default(tx, now, customer_id, row["id"])
            if "methods" in env.providers[row["provider"]].can:
                call = _intend(tx, now, row, "default")
    if call is not None:
        _run_quietly(env, call)
    return get(env, customer_id, row["id"])


def for_charge(tx: Tx, customer_id: UUID, ref: str | UUID | None, now: datetime) -> dict[str, Any]:
    """The row of the method to charge, the default one where none is named.

    Raises NotFound for one that is not saved, PaymentMethodNotUsable for one that is gone or
    expired.
    """
    if ref is None:
        row = tx.one(
            _ONES + " and is_default and detached_at is null",
            {"customer_id": customer_id},
        )
        if row is None:
            raise PaymentMethodNotUsable("This customer has no default method.", param="method")
    else:
        row = find(tx, customer_id, ref)
        if row is None:
            raise _missing(ref)
    _check_usable(row, now)
    return row


def find(tx: Tx, customer_id: UUID, ref: str | UUID) -> dict[str, Any] | None:
    """A method's row, by the provider's id or by ours: both begin with `pm_`."""
    value: UUID | None = ref if isinstance(ref, UUID) else None
    if value is None:
        try:
            value = ids.parse("method", str(ref))
        except NotFound:
            value = None
    return tx.one(
        _ONES + " and (id = %(id)s::uuid or ref = %(ref)s)"
        " order by detached_at is null desc, created_at desc limit 1",
        {"customer_id": customer_id, "id": value, "ref": str(ref)[:255]},
    )


def _missing(ref: str | UUID) -> NotFound:
    return NotFound(f"No such payment method: {str(ref)[:64]!r}.", param="method")


def _check_usable(row: Mapping[str, Any], now: datetime) -> None:
    if row["detached_at"] is not None:
        raise PaymentMethodNotUsable("This method was removed.", param="method")
    ends = ends_at(row["exp_month"], row["exp_year"])
    if ends is not None and ends <= now:
        raise PaymentMethodNotUsable("This card has expired.", param="method")


def ends_at(month: int | None, year: int | None) -> datetime | None:
    """The instant a card expires: after the last day of its month, by the westernmost clock."""
    if month is None or year is None:
        return None
    last = calendar.monthrange(year, month)[1]
    return datetime(year, month, last, tzinfo=UTC) + timedelta(days=1, hours=12)


def _view(row: Mapping[str, Any], now: datetime) -> MethodView:
    ends = ends_at(row["exp_month"], row["exp_year"])
    told = {k: v for k, v in row.items() if k not in ("provider_account", "fingerprint")}
    told["is_default"] = row["is_default"] and row["detached_at"] is None
    return MethodView(
        **told,
        expired=ends is not None and ends <= now,
        expires_soon=ends is not None and now < ends <= now + SOON,
    )


# Steps inside a transaction --------------------------------------------------------------------


def save(
    tx: Tx, now: datetime, customer_id: UUID, provider: str, account: str,
    found: Sequence[RemoteMethod], *, metadata: Mapping[str, str] | None = None,
    revive: bool = False,
) -> dict[str, UUID]:  # fmt: skip
    """Write methods as the provider shows them; answers our ids by theirs. The head is locked.

    One that was removed here stays so, unless `revive`. The first one becomes the default.
    """
    if not found:
        return {}
    before = {row["ref"]: row for row in _rows(tx, customer_id, provider, account)}
    events, answer = [], {}
    for one in found:
        old = before.get(one.id)
        if old is None or (revive and old["detached_at"] is not None):
            answer[one.id] = _write(tx, now, customer_id, provider, account, one, old, metadata)
            events.append(_event(customer_id, answer[one.id], "added", one, now))
            continue
        answer[one.id] = old["id"]
        if old["detached_at"] is None and _shown(one) != {k: old[k] for k in _shown(one)}:
            _write(tx, now, customer_id, provider, account, one, old, metadata)
            events.append(_event(customer_id, old["id"], "updated", one, now))
    emit_many(tx, events)
    for event in events:
        if event.type == "payment_method.added":
            _try_again(tx, now, customer_id, event.subject_id)
    return answer


def _try_again(tx: Tx, now: datetime, customer_id: UUID, method_id: UUID) -> None:
    """What subscriptions owe is tried with a new method at once, and refills go on with it."""
    from paydesk.flows import dunning, refills

    dunning.new_method(tx, now, customer_id, method_id)
    refills.new_method(tx, now, customer_id, method_id)


def _rows(tx: Tx, customer_id: UUID, provider: str, account: str) -> list[dict[str, Any]]:
    return tx.all(
        _ONES + " and provider = %(provider)s and provider_account = %(account)s",
        {"customer_id": customer_id, "provider": provider, "account": account},
    )


def _shown(one: RemoteMethod) -> dict[str, Any]:
    last4 = one.last4 or ""  # Whatever else a provider may put there is shown to nobody.
    return {
        "kind": one.kind, "brand": one.brand,
        "last4": last4 if re.fullmatch("[0-9A-Za-z]{1,4}", last4) else None,
        "exp_month": one.exp_month, "exp_year": one.exp_year, "country": one.country,
        "wallet": one.wallet,
    }  # fmt: skip


def _write(
    tx: Tx, now: datetime, customer_id: UUID, provider: str, account: str, one: RemoteMethod,
    old: Mapping[str, Any] | None, metadata: Mapping[str, str] | None,
) -> UUID:  # fmt: skip
    method_id = old["id"] if old else ids.new_owned(customer_id)
    tx.run(
        "insert into payment_methods as m (customer_id, id, provider, provider_account, ref, kind,"
        " brand, last4, exp_month, exp_year, country, wallet, fingerprint, is_default, metadata,"
        " created_at) select %(customer_id)s, %(id)s, %(provider)s, %(account)s, %(ref)s, %(kind)s,"
        " %(brand)s, %(last4)s, %(exp_month)s, %(exp_year)s, %(country)s, %(wallet)s,"
        " %(fingerprint)s, not exists (select 1 from payment_methods"
        "  where customer_id = %(customer_id)s and is_default and detached_at is null),"
        " %(metadata)s, %(now)s"
        " on conflict (customer_id, provider, provider_account, ref) do update set"
        "  kind = excluded.kind, brand = excluded.brand, last4 = excluded.last4,"
        "  exp_month = excluded.exp_month, exp_year = excluded.exp_year,"
        "  country = excluded.country, wallet = excluded.wallet,"
        "  fingerprint = excluded.fingerprint,"
        "  is_default = excluded.is_default or (m.is_default and m.detached_at is null),"
        "  detached_at = null",
        {
            "customer_id": customer_id,
            "id": method_id,
            "provider": provider,
            "account": account,
            "ref": one.id,
            **_shown(one),
            "fingerprint": one.fingerprint,
            "metadata": jsonb(dict(metadata or {})),
            "now": now,
        },
    )
    tx.run(
        "insert into provider_refs (provider, account, ref, customer_id, object_id)"
        " values (%(provider)s, %(account)s, %(ref)s, %(customer_id)s, %(id)s)"
        " on conflict do nothing",
        {"provider": provider, "account": account, "ref": one.id, "customer_id": customer_id,
         "id": method_id},
    )  # fmt: skip
    return method_id


def make_default(tx: Tx, now: datetime, customer_id: UUID, method_id: UUID) -> None:
    """This one and no other. The head is locked."""
    values = {"customer_id": customer_id, "id": method_id}
    tx.run(
        "update payment_methods set is_default = false where customer_id = %(customer_id)s"
        " and is_default and id <> %(id)s",
        values,
    )
    changed = tx.run(
        "update payment_methods set is_default = true where customer_id = %(customer_id)s"
        " and id = %(id)s and detached_at is null and not is_default",
        values,
    )
    if changed:
        emit_many(tx, [_event(customer_id, method_id, "default", None, now)])
        _try_again(tx, now, customer_id, method_id)


def _detach(tx: Tx, now: datetime, rows: Sequence[Mapping[str, Any]]) -> None:
    """Removed methods are used no more; the newest of the others becomes the default."""
    if not rows:
        return
    customer_id = rows[0]["customer_id"]
    tx.run(
        "update payment_methods set detached_at = %(now)s, is_default = false"
        " where customer_id = %(customer_id)s and id = any(%(ids)s) and detached_at is null",
        {"customer_id": customer_id, "ids": [row["id"] for row in rows], "now": now},
    )
    emit_many(tx, [_event(customer_id, row["id"], "removed", None, now) for row in rows])
    if any(row["is_default"] for row in rows):
        heir = tx.one(
            "select id from payment_methods where customer_id = %(customer_id)s"
            " and detached_at is null order by created_at desc, id desc limit 1",
            {"customer_id": customer_id},
        )
        if heir is not None:
            make_default(tx, now, customer_id, heir["id"])


def _event(
    customer_id: UUID, method_id: UUID, word: str, one: RemoteMethod | None, now: datetime
) -> NewEvent:
    shown = {"kind": one.kind, "brand": one.brand, "last4": one.last4} if one else {}
    return NewEvent(
        customer_id=customer_id,
        type=f"payment_method.{word}",
        subject_id=method_id,
        data={k: v for k, v in shown.items() if v is not None},
        at=now,
    )


# With the provider -----------------------------------------------------------------------------


def known_providers(env: Env, customer_id: UUID) -> list[str]:
    """Those that keep methods and know this customer."""
    with env.db.read() as tx:
        rows = tx.all(
            "select provider, account from provider_customers"
            " where customer_id = %(customer_id)s order by provider",
            {"customer_id": customer_id},
        )
    return [
        row["provider"] for row in rows
        if row["provider"] in env.providers and "methods" in env.providers[row["provider"]].can
        and env.providers[row["provider"]].account == row["account"]
    ]  # fmt: skip


def sync(env: Env, customer_id: UUID, name: str, *, wait_s: float | None = None) -> bool:
    """Lay what the provider keeps for this customer over ours; False, and nothing laid, where a
    change of our own is under way. Raises Busy and what the provider raises."""
    provider = env.providers[name]
    with env.db.read() as tx:
        whose = provider_customers.ref_of(tx, customer_id, name, provider.account)
        asked_at = _last_call(tx, customer_id)
    if whose is None:
        return True
    found, default = env.providers.call(name, "list_methods", whose)
    with env.db.transaction(customer_id, wait_s=wait_s) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        if _last_call(tx, customer_id) != asked_at or is_busy(tx, customer_id):
            return False  # Ours tells the provider more than this does us.
        saved = save(tx, now, customer_id, name, provider.account, found)
        rows = _rows(tx, customer_id, name, provider.account)
        gone = [row for row in rows if row["detached_at"] is None and row["ref"] not in saved]
        _detach(tx, now, gone)
        if default in saved:
            make_default(tx, now, customer_id, saved[default])
    return True


def _last_call(tx: Tx, customer_id: UUID) -> Any:
    return tx.value(
        "select max(created_at) from provider_calls"
        " where customer_id = %(customer_id)s and action = 'setup'",
        {"customer_id": customer_id},
    )


def is_busy(tx: Tx, customer_id: UUID) -> bool:
    """Whether a change of the customer's methods is on its way to a provider."""
    return bool(
        tx.value(
            "select exists (select 1 from provider_calls where customer_id = %(customer_id)s"
            " and action = 'setup' and state in ('intended', 'unknown')"
            " and request ->> 'op' <> 'setup')",
            {"customer_id": customer_id},
        )
    )


def apply_event(
    env: Env, *, provider: str, account: str, owner: tuple[UUID, UUID], event: ProviderEvent,
    path: str, wait_s: float,
) -> None:  # fmt: skip
    """A provider says that a customer's methods changed: they are read from it anew."""
    sync(env, owner[0], provider, wait_s=wait_s)


def _intend(tx: Tx, now: datetime, row: Mapping[str, Any], op: str) -> provider_calls.Call:
    customer_id = row["customer_id"]
    return provider_calls.intend(
        tx, now, customer_id=customer_id, call_id=ids.new_owned(customer_id), action="setup",
        request={"provider": row["provider"], "op": op, "ref": row["ref"],
                 "account": row["provider_account"]},
        subject_id=row["id"], clock_id=tx.heads[customer_id].clock_id,
    )  # fmt: skip


def _run_quietly(env: Env, call: provider_calls.Call) -> None:
    from paydesk.flows import setup_calls

    setup_calls.run_quietly(env, call)


def check_hash(row: Mapping[str, Any] | None, digest: bytes) -> UUID | None:
    """The id of what a request key made. Raises IdempotencyKeyReused for another request."""
    if row is None:
        return None
    if bytes(row["request_hash"]) != digest:
        raise IdempotencyKeyReused("This Idempotency-Key was used with another request.")
    return row["id"]
