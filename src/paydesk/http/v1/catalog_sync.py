"""v1: the catalogue at a provider: push ours, see what differs, take theirs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from paydesk.errors import InvalidRequest
from paydesk.flows import catalog_sync
from paydesk.flows.catalog_sync import Change, Drift
from paydesk.http.fields import Strict, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.models import Out

catalog_v1 = router("catalog")


class SyncIn(Strict):
    """`adopt`: a product's id there, or its key, to be taken from there instead of a push."""

    provider: str = Field(default="stripe", min_length=1, max_length=64)
    dry_run: bool = False
    adopt: str | None = Field(default=None, min_length=1, max_length=255)


class ChangeOut(Out):
    object: str = "catalog_change"
    kind: str
    key: str
    local: str
    product: str | None
    actions: list[str] = Field(
        description="create, update, restore, archive, price, link or adopt"
    )
    error: str | None = Field(description="Why the provider refused")


class SyncOut(Out):
    object: str = "catalog_sync"
    livemode: bool
    provider: str
    dry_run: bool
    changes: list[ChangeOut]
    unchanged: int
    failed: int


class DriftOut(Out):
    object: str = "catalog_drift"
    type: str = Field(
        description="only_there, only_here, name, description, price, currency, active, archived"
        " or metadata"
    )
    kind: str
    key: str | None
    local: str | None
    product: str | None
    ours: Any
    theirs: Any
    changed: str = Field(description="here or there, since the last push")
    reason: str | None = Field(description="Why a product that only they have cannot be adopted")


class DriftsOut(Out):
    object: str = "catalog_drifts"
    livemode: bool
    provider: str
    data: list[DriftOut]


def _change(one: Change) -> dict[str, Any]:
    return {"object": "catalog_change", "kind": one.kind, "key": one.key, "local": one.id,
            "product": one.product, "actions": list(one.actions), "error": one.error}  # fmt: skip


def _drift(one: Drift) -> dict[str, Any]:
    return {"object": "catalog_drift", "type": one.type, "kind": one.kind, "key": one.key,
            "local": one.id, "product": one.product, "ours": one.ours, "theirs": one.theirs,
            "changed": one.changed, "reason": one.reason}  # fmt: skip


@catalog_v1.post(
    "/v1/catalog/sync", response_model=None, summary="Push the catalogue to a provider",
    responses={200: {"model": SyncOut}}, **cell("admin"),
)  # fmt: skip
def sync_catalog(request: Request, body: SyncIn) -> Response:
    """Packs and items become products and prices there; a second time changes nothing."""
    env = env_of(request)
    if body.adopt is not None and body.dry_run:
        raise InvalidRequest("adopt has no dry run: see what differs.", param="dry_run")

    def work() -> Response:
        shape: dict[str, Any] = {"object": "catalog_sync", "livemode": env.settings.live,
                                 "provider": body.provider, "dry_run": body.dry_run}  # fmt: skip
        if body.adopt is not None:
            change = catalog_sync.adopt(env, body.adopt, body.provider)
            return reply({**shape, "changes": [_change(change)], "unchanged": 0, "failed": 0})
        done = catalog_sync.sync(env, body.provider, dry_run=body.dry_run)
        return reply({
            **shape, "changes": [_change(one) for one in done.changes],
            "unchanged": done.unchanged, "failed": done.failed,
        })  # fmt: skip

    return once(env, attempt_of(request, who_of(request), moves_money=False), None, work)


@catalog_v1.get(
    "/v1/catalog/drift", response_model=None, summary="Compare a provider's catalogue with ours",
    responses={200: {"model": DriftsOut}}, **cell("admin", "finance"),
)  # fmt: skip
def catalog_drift(
    request: Request, provider: Annotated[str, Query(max_length=64)] = "stripe"
) -> Response:
    """Read from the provider now."""
    env = env_of(request)
    found = catalog_sync.drift(env, provider)
    return reply({"object": "catalog_drifts", "livemode": env.settings.live,
                  "provider": provider, "data": [_drift(one) for one in found]})  # fmt: skip
