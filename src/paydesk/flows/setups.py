"""Setups: saving a method in the payer's browser or on a page of the provider, for later use."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from paydesk import crash, ids
from paydesk.db.postgres import Tx, jsonb
from paydesk.env import Env
from paydesk.errors import NotFound, NotSupported, PaydeskError, PaymentFailed
from paydesk.flows import heads, methods, provider_calls
from paydesk.flows.events import NewEvent, emit_many
from paydesk.flows.sweeps import one_row
from paydesk.providers.base import Order, ProviderEvent, RemoteMethod, RemoteSetup
from paydesk.rules import fields
from paydesk.rules.money import Money

#: A setup that nobody finishes is given up after a day, as the provider's page is.
LIFE = timedelta(days=1)
OPEN = ("pending", "requires_action")
_ONE = (
    "select customer_id, id, provider, provider_account, ref, state, method_id, url, make_default,"
    " error_code, error_message, metadata, request_hash, expires_at, created_at, updated_at"
    " from setups where customer_id = %(customer_id)s and id = %(id)s"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSetup:
    """How a method is to be saved.

    `hosted`: on a page of the provider (`url`), which leads back to `success_url` or
    `cancel_url`. Otherwise in the browser with `client_secret`; with `token`, at once.
    """

    customer_id: UUID
    provider: str | None = None
    hosted: bool = False
    token: str | None = None
    success_url: str | None = None
    cancel_url: str | None = None
    make_default: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    request_key: UUID | None = None
    request_hash: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupView:
    """A setup. `client_secret` is the provider's for its own script, kept nowhere here and only
    in the answer to its start; `url` a page to open."""

    id: UUID
    customer_id: UUID
    provider: str
    ref: str | None
    state: str
    url: str | None
    client_secret: str | None
    method_id: UUID | None
    make_default: bool
    error_code: str | None
    error_message: str | None
    metadata: dict[str, Any]
    expires_at: datetime | None
    created_at: datetime

    def __repr__(self) -> str:
        return f"<Setup {ids.show('setup', self.id)} {self.state}>"


def start(env: Env, what: StartSetup) -> SetupView:
    """Begin saving a method, or go on with what this `request_key` began.

    Raises NotSupported, PaymentFailed (the provider refuses), ProviderUnavailable,
    OutcomeUnknown, IdempotencyKeyReused, IdempotencyInProgress.
    """
    name = what.provider or env.providers.default
    if "setup" not in env.providers[name].can:
        raise NotSupported(f"{name} saves no methods.")
    for param in ("success_url", "cancel_url"):
        fields.optional_text(getattr(what, param), param, most=2048)
    token = methods.checked_token(what.token) if what.token is not None else None
    told = {
        "provider": name, "hosted": what.hosted, "token": token, "success": what.success_url,
        "cancel": what.cancel_url, "default": what.make_default,
    }  # fmt: skip
    setup_id = begin(
        env, what.customer_id, provider=name, op="setup", told=told,
        make_default=what.make_default, metadata=fields.metadata(what.metadata),
        request_key=what.request_key or uuid4(), request_hash=what.request_hash,
    )  # fmt: skip
    found = verify(env, what.customer_id, setup_id)
    if found.state == "failed":
        raise PaymentFailed(found.error_message or "The method could not be saved.",
                            provider_code=found.error_code)  # fmt: skip
    return found


def begin(
    env: Env, customer_id: UUID, *, provider: str, op: str, told: Mapping[str, Any],
    make_default: bool, metadata: Mapping[str, str], request_key: UUID,
    request_hash: bytes | None,
) -> UUID:  # fmt: skip
    """Write the setup and its call, and make the call; a repeat goes on with both."""
    said = json.dumps([op, dict(told), dict(metadata)], sort_keys=True)
    digest = request_hash or hashlib.sha256(said.encode("utf-8", "surrogatepass")).digest()
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        known = methods.check_hash(_by_key(tx, customer_id, request_key), digest)
        call = None
        if known is None:
            setup_id = ids.new_owned(customer_id)
            clock_id = tx.heads[customer_id].clock_id
            tx.run(
                "insert into setups (customer_id, id, provider, provider_account, state,"
                " make_default, metadata, request_key, request_hash, expires_at, clock_id,"
                " created_at) values (%(customer_id)s, %(id)s, %(provider)s, %(account)s,"
                " 'pending', %(make_default)s, %(metadata)s, %(key)s, %(hash)s, %(expires_at)s,"
                " %(clock_id)s, %(now)s)",
                {
                    "customer_id": customer_id, "id": setup_id, "provider": provider,
                    "account": env.providers[provider].account, "make_default": make_default,
                    "metadata": jsonb(dict(metadata)), "key": request_key, "hash": digest,
                    "expires_at": now + LIFE, "clock_id": clock_id, "now": now,
                },
            )  # fmt: skip
            request = _request(env, customer_id, setup_id, provider, op, told)
            call = provider_calls.intend(
                tx, now, customer_id=customer_id, call_id=ids.new_owned(customer_id),
                action="setup", request=request, subject_id=setup_id, clock_id=clock_id,
            )  # fmt: skip
    crash.at("checkout_after_intend")
    if call is not None:
        with contextlib.suppress(PaymentFailed):  # It stands on the setup.
            provider_calls.run(env, call)
        return setup_id
    assert known is not None
    with env.db.read() as tx:
        made = tx.one(
            "select id from provider_calls where customer_id = %(customer_id)s"
            " and subject_id = %(id)s and action = 'setup' order by created_at limit 1",
            {"customer_id": customer_id, "id": known},
        )
    if made is not None:
        with contextlib.suppress(PaymentFailed):
            provider_calls.resume(env, customer_id, made["id"])
    return known


def _request(
    env: Env, customer_id: UUID, setup_id: UUID, provider: str, op: str, told: Mapping[str, Any]
) -> dict[str, Any]:
    if op == "attach":
        return {"op": op, **told}
    shown, whose = ids.show("setup", setup_id), ids.show("customer", customer_id)
    back = told["success"] or env.settings.base_url
    order = Order(
        id=shown, customer=whose, key="", description="",
        amount=Money(0, env.settings.default_currency, minor=True),
        success_url=back, cancel_url=(told["cancel"] or back) if told["hosted"] else "",
        metadata={"setup_id": shown, "customer_id": whose},
    )  # fmt: skip
    return {"provider": provider, "op": op, "token": told["token"],
            **provider_calls.order_json(order)}  # fmt: skip


def _by_key(tx: Tx, customer_id: UUID, key: UUID) -> dict[str, Any] | None:
    return tx.one(
        "select id, request_hash from setups"
        " where customer_id = %(customer_id)s and request_key = %(key)s",
        {"customer_id": customer_id, "key": key},
    )


def read(tx: Tx, customer_id: UUID, setup_id: UUID) -> dict[str, Any]:
    """The row of a setup. Raises NotFound."""
    row = tx.one(_ONE, {"customer_id": customer_id, "id": setup_id})
    if row is None:
        raise NotFound(f"No such setup: {ids.show('setup', setup_id)}.")
    return row


def get(env: Env, customer_id: UUID | None, ref: str | UUID) -> SetupView:
    """A setup as it stands here. Raises NotFound."""
    setup_id = ids.parse("setup", ref) if isinstance(ref, str) else ref
    whose = ids.customer_of(setup_id)
    if customer_id not in (None, whose):
        raise NotFound(f"No such setup: {str(ref)[:64]!r}.")
    with env.db.read() as tx:
        return _view(read(tx, whose, setup_id))


def _view(row: Mapping[str, Any]) -> SetupView:
    kept = {k: row[k] for k in SetupView.__slots__ if k in row}
    return SetupView(**kept, client_secret=None)


def verify(
    env: Env, customer_id: UUID | None, ref: str | UUID, *, wait_s: float | None = None
) -> SetupView:
    """Ask the provider how a setup stands and record it; answers it with its client secret.

    Raises NotFound and what the provider raises.
    """
    before = get(env, customer_id, ref)
    if before.ref is None or before.state not in OPEN:
        return before
    remote = env.providers.call(before.provider, "fetch_setup", before.ref)
    crash.at("apply_after_fetch")
    record(env, before.customer_id, before.id, remote, wait_s=wait_s)
    after = get(env, customer_id, before.id)
    open_ = after.state in OPEN
    return replace(after, client_secret=remote.client_secret if open_ else None,
                   url=(remote.url or after.url) if open_ else None)  # fmt: skip


def record(
    env: Env, customer_id: UUID, setup_id: UUID, remote: RemoteSetup,
    *, wait_s: float | None = None,
) -> None:  # fmt: skip
    """Lay what a provider says of a setup onto it; what is finished stays so."""
    call = None
    with env.db.transaction(customer_id, wait_s=wait_s) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        row = read(tx, customer_id, setup_id)
        if row["state"] == "succeeded" or (row["state"] not in OPEN
                                           and remote.status != "succeeded"):  # fmt: skip
            return
        if remote.status == "succeeded" and remote.method is not None:
            call = finish(tx, now, customer_id, setup_id, remote.method,
                          account=row["provider_account"])  # fmt: skip
        elif remote.status == "failed" and row["url"] is None:
            fail(tx, now, customer_id, setup_id, remote.error_code or "setup_failed",
                 remote.error_message or "The method could not be saved.")  # fmt: skip
        else:
            state = remote.status if remote.status in (*OPEN, "canceled") else "pending"
            _advance(tx, now, row, state, url=remote.url, error_code=remote.error_code,
                     error_message=remote.error_message)  # fmt: skip
    crash.at("apply_after_commit")
    if call is not None:
        from paydesk.flows import setup_calls

        setup_calls.run_quietly(env, call)


def record_method(env: Env, customer_id: UUID, setup_id: UUID, method: RemoteMethod) -> None:
    """A method that was found to be attached by this setup."""
    record(env, customer_id, setup_id, RemoteSetup(id="", status="succeeded", method=method))


# Steps inside a transaction --------------------------------------------------------------------


def attach(
    tx: Tx, now: datetime, customer_id: UUID, setup_id: UUID, provider: str, remote: RemoteSetup
) -> None:
    """The provider made the setup: remember it, so that its events find ours."""
    row = read(tx, customer_id, setup_id)
    tx.run(
        "insert into provider_refs (provider, account, ref, customer_id, object_id)"
        " values (%(provider)s, %(account)s, %(ref)s, %(customer_id)s, %(id)s)"
        " on conflict do nothing",
        {"provider": provider, "account": row["provider_account"], "ref": remote.id,
         "customer_id": customer_id, "id": setup_id},
    )  # fmt: skip
    tx.run(
        "update setups set ref = %(ref)s, url = %(url)s"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": customer_id, "id": setup_id, "ref": remote.id, "url": remote.url},
    )


def finish(
    tx: Tx, now: datetime, customer_id: UUID, setup_id: UUID, method: RemoteMethod, *, account: str
) -> provider_calls.Call | None:
    """The method is saved. Answers the call that tells the provider of a new default, if any."""
    row = read(tx, customer_id, setup_id)
    saved = methods.save(tx, now, customer_id, row["provider"], account, [method],
                         metadata=row["metadata"], revive=True)[method.id]  # fmt: skip
    _advance(tx, now, row, "succeeded", method_id=saved)
    if row["metadata"].get("subscription_id"):
        from paydesk.flows import subscription_hooks

        subscription_hooks.method_saved(tx, now, customer_id, row)
    if not row["make_default"]:
        return None
    methods.make_default(tx, now, customer_id, saved)
    if row["ref"] is None:  # Attaching has told the provider itself.
        return None
    return provider_calls.intend(
        tx, now, customer_id=customer_id, call_id=ids.new_owned(customer_id), action="setup",
        request={"provider": row["provider"], "op": "default", "ref": method.id},
        subject_id=saved, clock_id=tx.heads[customer_id].clock_id,
    )  # fmt: skip


def fail(
    tx: Tx, now: datetime, customer_id: UUID, setup_id: UUID, code: str, message: str
) -> None:
    """No method was saved, and none will be by this setup."""
    row = read(tx, customer_id, setup_id)
    if row["state"] in OPEN:
        _advance(tx, now, row, "failed", error_code=code[:255], error_message=message[:500])


def _advance(
    tx: Tx, now: datetime, row: Mapping[str, Any], state: str, *, method_id: UUID | None = None,
    url: str | None = None, error_code: str | None = None, error_message: str | None = None,
) -> None:  # fmt: skip
    tx.run(
        "update setups set state = %(state)s, method_id = coalesce(%(method_id)s, method_id),"
        " url = coalesce(%(url)s, url), error_code = %(code)s, error_message = %(message)s"
        " where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": row["customer_id"], "id": row["id"], "state": state,
         "method_id": method_id, "url": url, "code": error_code, "message": error_message},
    )  # fmt: skip
    if state != row["state"] and state not in OPEN:
        data = {"method": ids.show("method", method_id) if method_id else None,
                "error_code": error_code}  # fmt: skip
        emit_many(tx, [
            NewEvent(customer_id=row["customer_id"], type=f"setup.{state}", subject_id=row["id"],
                     data={k: v for k, v in data.items() if v is not None}, at=now)
        ])  # fmt: skip


# News ------------------------------------------------------------------------------------------


def apply_event(
    env: Env, *, provider: str, account: str, owner: tuple[UUID, UUID], event: ProviderEvent,
    path: str, wait_s: float,
) -> None:  # fmt: skip
    """A provider says that a setup changed: it is asked how it stands.

    The event of a setup whose making is not recorded yet waits until it is.
    """
    before = get(env, owner[0], owner[1])
    if before.ref is None and before.state in OPEN:
        raise NotFound("The setup is being made.")
    verify(env, owner[0], owner[1], wait_s=wait_s)


def expire_due(env: Env, limit: int = 20) -> int:
    """Sweep: setups that nobody finished are asked about once more and given up."""
    with env.db.read() as tx:
        rows = tx.all(
            "select customer_id, id from setups where clock_id is null"
            " and state in ('pending', 'requires_action') and expires_at <= %(now)s"
            " order by expires_at limit %(limit)s",
            {"now": env.now(), "limit": limit},
        )
    ended = 0
    for one in rows:
        with one_row("setups", one["id"]):
            give_up(env, one["customer_id"], one["id"])
            ended += 1
    return ended


def give_up(env: Env, customer_id: UUID, setup_id: UUID) -> None:
    """A setup whose time is over: asked about once more, then canceled."""
    with contextlib.suppress(PaydeskError):
        verify(env, customer_id, setup_id)
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        row = read(tx, customer_id, setup_id)
        if row["state"] in OPEN:
            _advance(tx, now, row, "canceled", error_code="expired")
