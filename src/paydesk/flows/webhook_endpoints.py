"""Endpoints of applications for our webhooks: addresses, filters, secrets that roll over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from paydesk import ids, signing
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import Conflict, InvalidRequest, NotFound
from paydesk.flows import trail
from paydesk.flows.event_types import TYPES
from paydesk.outgoing import guard_of
from paydesk.rules import fields

#: How long a replaced secret still signs beside the new one.
OVERLAP = timedelta(hours=24)
MOST_ENDPOINTS = 100
_PURPOSE = "webhook endpoint"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint without its secrets. `state`: enabled, paused (events wait), disabled (by us,
    events are not kept for it) or deleted. `failing_since`: nothing got through since then."""

    id: UUID
    url: str
    description: str | None
    events: list[str]
    state: str
    disabled_reason: str | None
    disabled_at: datetime | None
    failing_since: datetime | None
    previous_until: datetime | None
    metadata: dict[str, str]
    created_at: datetime
    updated_at: datetime

    def wants(self, type: str) -> bool:
        """Whether a type of event passes the filter."""
        return passes(self.events, type)


def passes(filters: Iterable[str], type: str) -> bool:
    """Whether one of the filters names a type of event or its family."""
    return any(
        one in ("*", type) or (one.endswith(".*") and type.startswith(one[:-1]))
        for one in filters
    )


def create(
    env: Env,
    url: str,
    *,
    events: Iterable[str] = ("*",),
    description: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> tuple[Endpoint, str]:
    """A new endpoint and its secret, which is shown this once. Raises AddressRefused."""
    guard_of(env.settings).target(url)
    secret = signing.new_secret()
    values = {
        "id": ids.new_catalog(), "url": url, "events": checked(events),
        "description": fields.optional_text(description, "description", most=255),
        "metadata": fields.metadata(metadata), "now": env.now(),
        "secret": signing.seal(env.settings, _PURPOSE, secret), "most": MOST_ENDPOINTS,
    }  # fmt: skip
    with env.db.transaction() as tx:
        row = tx.one(
            "insert into webhook_endpoints (id, url, description, events, state, secret, metadata,"
            " created_at) select %(id)s, %(url)s, %(description)s, %(events)s, 'enabled',"
            " %(secret)s, %(metadata)s, %(now)s where (select count(*) from webhook_endpoints"
            " where state <> 'deleted') < %(most)s"
            " returning id, url, description, events, state, disabled_reason, disabled_at,"
            " failing_since, previous_until, metadata, created_at, updated_at",
            values,
        )
        if row is not None:
            _record(tx, env, row["id"], "created", {"url": url, "events": values["events"]})
    if row is None:
        raise Conflict(f"There are {MOST_ENDPOINTS} endpoints already; delete one first.")
    return Endpoint(**row), secret


def checked(events: Iterable[str]) -> list[str]:
    """Filters in order, each once: `*`, a type of event, or a family such as `payment.*`."""
    found = list(dict.fromkeys(events))
    if not 1 <= len(found) <= 100:
        raise InvalidRequest("Name 1 to 100 types of events.", param="events")
    for one in found:
        is_family = one.endswith(".*") and any(t.startswith(one[:-1]) for t in TYPES)
        if one != "*" and one not in TYPES and not is_family:
            raise InvalidRequest(f"{one[:64]!r} is no type of event.", param="events")
    return found


def get(env: Env, endpoint_id: UUID) -> Endpoint:
    """One endpoint. Raises NotFound, also for a deleted one."""
    with env.db.read() as tx:
        found = by_id(tx, endpoint_id)
    if found is None or found.state == "deleted":
        raise NotFound(f"No such endpoint: {ids.show('endpoint', endpoint_id)!r}.")
    return found


def by_id(tx: Tx, endpoint_id: UUID) -> Endpoint | None:
    row = tx.one(
        "select id, url, description, events, state, disabled_reason, disabled_at, failing_since,"
        " previous_until, metadata, created_at, updated_at from webhook_endpoints"
        " where id = %(id)s",
        {"id": endpoint_id},
    )
    return Endpoint(**row) if row else None


def list_(env: Env, limit: int = 100, after: UUID | None = None) -> list[Endpoint]:
    """Endpoints, newest first, without deleted ones."""
    with env.db.read() as tx:
        rows = tx.all(
            "select id, url, description, events, state, disabled_reason, disabled_at,"
            " failing_since, previous_until, metadata, created_at, updated_at"
            " from webhook_endpoints where state <> 'deleted'"
            " and (%(after)s::uuid is null or id < %(after)s) order by id desc limit %(limit)s",
            {"after": after, "limit": limit},
        )
    return [Endpoint(**row) for row in rows]


def receiving(tx: Tx) -> list[Endpoint]:
    """Endpoints for which events are kept: the enabled and the paused ones."""
    rows = tx.all(
        "select id, url, description, events, state, disabled_reason, disabled_at, failing_since,"
        " previous_until, metadata, created_at, updated_at from webhook_endpoints"
        " where state in ('enabled', 'paused') order by id limit %(most)s",
        {"most": MOST_ENDPOINTS},
    )
    return [Endpoint(**row) for row in rows]


_KEEP: Any = object()


def update(
    env: Env,
    endpoint_id: UUID,
    *,
    url: str = _KEEP,
    events: Iterable[str] = _KEEP,
    description: str | None = _KEEP,
    metadata: Mapping[str, Any] = _KEEP,
) -> Endpoint:
    """Change what is given; deliveries that wait go to the new address."""
    before = get(env, endpoint_id)
    values: dict[str, Any] = {
        "id": endpoint_id, "url": before.url, "events": before.events,
        "description": before.description, "metadata": before.metadata,
    }  # fmt: skip
    if url is not _KEEP:
        guard_of(env.settings).target(url)
        values["url"] = url
    if events is not _KEEP:
        values["events"] = checked(events)
    if description is not _KEEP:
        values["description"] = fields.optional_text(description, "description", most=255)
    if metadata is not _KEEP:
        values["metadata"] = fields.metadata(metadata)
    with env.db.transaction() as tx:
        tx.run(
            "update webhook_endpoints set url = %(url)s, events = %(events)s,"
            " description = %(description)s, metadata = %(metadata)s where id = %(id)s",
            values,
        )
        _record(tx, env, endpoint_id, "updated", {"url": values["url"], "events": values["events"]})
    return get(env, endpoint_id)


def pause(env: Env, endpoint_id: UUID) -> Endpoint:
    """Send nothing for now; events wait until `resume`. Pausing again changes nothing."""
    return _become(env, endpoint_id, "paused")


def resume(env: Env, endpoint_id: UUID) -> Endpoint:
    """Send again, what waits first; also what we disabled ourselves."""
    return _become(env, endpoint_id, "enabled")


def delete(env: Env, endpoint_id: UUID) -> Endpoint:
    """End an endpoint for good. Its history is kept as long as that of others."""
    return _become(env, endpoint_id, "deleted")


def _become(env: Env, endpoint_id: UUID, state: str) -> Endpoint:
    get(env, endpoint_id)
    with env.db.transaction() as tx:
        tx.run(
            "update webhook_endpoints set state = %(state)s, disabled_reason = null,"
            " disabled_at = null, failing_since = null where id = %(id)s and state <> 'deleted'",
            {"id": endpoint_id, "state": state},
        )
        _record(tx, env, endpoint_id, state, {})
        found = by_id(tx, endpoint_id)
    assert found is not None
    return found


def _record(tx: Tx, env: Env, endpoint_id: UUID, what: str, data: dict[str, Any]) -> None:
    """Who may read events matters as much as who may write them."""
    subject = ids.show("endpoint", endpoint_id)
    trail.record(tx, env.now(), f"webhook_endpoint.{what}", subject, data)


def rotate(env: Env, endpoint_id: UUID, *, overlap: timedelta = OVERLAP) -> tuple[Endpoint, str]:
    """A new secret, shown this once. For `overlap` the former one signs as well, so that receivers
    change over without losing anything; with none it ends now."""
    if not timedelta(0) <= overlap <= timedelta(days=7):
        raise InvalidRequest("The overlap is 0 seconds to 7 days.", param="overlap_s")
    get(env, endpoint_id)
    secret = signing.new_secret()
    with env.db.transaction() as tx:
        row = tx.one(
            "update webhook_endpoints set secret = %(sealed)s,"
            " previous_secret = case when %(is_kept)s then secret end,"
            " previous_until = case when %(is_kept)s then %(until)s::timestamptz end"
            " where id = %(id)s and state <> 'deleted'"
            " returning id, url, description, events, state, disabled_reason, disabled_at,"
            " failing_since, previous_until, metadata, created_at, updated_at",
            {"id": endpoint_id, "sealed": signing.seal(env.settings, _PURPOSE, secret),
             "is_kept": overlap > timedelta(0), "until": env.now() + overlap},
        )  # fmt: skip
        if row is not None:
            _record(tx, env, endpoint_id, "rotated", {"overlap_s": int(overlap.total_seconds())})
    if row is None:
        raise NotFound(f"No such endpoint: {ids.show('endpoint', endpoint_id)!r}.")
    return Endpoint(**row), secret


def secrets_of(env: Env, endpoint_id: UUID) -> list[str]:
    """The secrets that sign now, the newest first. Raises Misconfigured when none can be opened."""
    with env.db.read() as tx:
        row = tx.one(
            "select secret, previous_secret, previous_until from webhook_endpoints"
            " where id = %(id)s",
            {"id": endpoint_id},
        )
    assert row is not None, "an endpoint without a row"
    sealed = [bytes(row["secret"])]
    if row["previous_until"] is not None and row["previous_until"] > env.now():
        sealed.append(bytes(row["previous_secret"]))
    return [signing.unseal(env.settings, _PURPOSE, one) for one in sealed]


def note_success(tx: Tx, endpoint_id: UUID) -> None:
    tx.run(
        "update webhook_endpoints set failing_since = null"
        " where id = %(id)s and failing_since is not null",
        {"id": endpoint_id},
    )


def note_failure(tx: Tx, env: Env, endpoint_id: UUID, *, is_gone: bool) -> str | None:
    """Keep since when nothing gets through; the reason when that now disables the endpoint."""
    now = env.now()
    tx.run(
        "update webhook_endpoints set failing_since = %(now)s"
        " where id = %(id)s and failing_since is null",
        {"id": endpoint_id, "now": now},
    )
    return tx.value(
        "update webhook_endpoints set state = 'disabled', disabled_at = %(now)s,"
        " disabled_reason = case when %(is_gone)s then 'gone' else 'failing' end"
        " where id = %(id)s and state = 'enabled'"
        " and (%(is_gone)s or failing_since <= %(before)s) returning disabled_reason",
        {"id": endpoint_id, "now": now, "is_gone": is_gone,
         "before": now - timedelta(days=env.settings.webhook_disable_days)},
    )  # fmt: skip
