"""v1: reconciliations: a provider's books beside ours, and what differs."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.flows import reconcile
from paydesk.flows.reconcile import Drift, Reconciliation
from paydesk.http import fields
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.dispute_models import DriftOut, ReconciliationIn, ReconciliationOut
from paydesk.http.v1.models import page_of

reconciliations_v1 = router("reconciliations")

WHO = ("admin", "finance")
#: What an object of ours is called, by the drift's kind.
_SUBJECTS = {"payment": "payment", "refund": "refund", "dispute": "dispute", "fee": "payment"}


def reconciliation_shape(one: Reconciliation, livemode: bool) -> dict[str, Any]:
    return {
        "id": ids.show("reconciliation", one.id),
        "object": "reconciliation",
        "livemode": livemode,
        "provider": one.provider,
        "account": one.account,
        "status": one.state,
        "fix": not one.is_dry,
        "since": fields.instant(one.since),
        "until": fields.instant(one.until),
        "counts": one.counts,
        "drifts": [
            {"kind": kind, "type": type, "status": state, "count": n}
            for (kind, type, state), n in sorted(one.drifts.items())
        ],
        "has_drift": one.has_drift,
        "started_by": one.started_by,
        "created_at": fields.instant(one.started_at),
        "ended_at": fields.instant(one.ended_at),
    }


def drift_shape(one: Drift) -> dict[str, Any]:
    known = one.object_id is not None and one.customer_id is not None
    return {
        "id": f"{one.kind}:{one.ref}",
        "object": "drift",
        "kind": one.kind,
        "reference": one.ref,
        "type": one.type,
        "status": one.state,
        "customer": fields.shown("customer", one.customer_id),
        "subject": fields.shown(_SUBJECTS[one.kind], one.object_id) if known else None,
        "ours": one.ours,
        "theirs": one.theirs,
        "error": one.error,
        "fixed_by": one.fixed_by,
        "fixed_at": fields.instant(one.fixed_at),
        "created_at": fields.instant(one.created_at),
    }


@reconciliations_v1.post(
    "/v1/reconciliations", status_code=201, response_model=None, summary="Compare the books",
    responses={201: {"model": ReconciliationOut}}, **cell(*WHO),
)  # fmt: skip
def start_reconciliation(request: Request, body: ReconciliationIn) -> Response:
    """A worker does it; look at its status. Without `fix` nothing changes."""
    env, who = env_of(request), who_of(request)

    def work() -> Response:
        made = reconcile.start(
            env, body.provider, body.since, body.until, fix=body.fix, by=who.caller,
            for_worker=True,
        )  # fmt: skip
        shown = reconciliation_shape(made, env.settings.live)
        return reply(shown, 201, {"Location": f"/v1/reconciliations/{shown['id']}"})

    return once(env, attempt_of(request, who, moves_money=False), None, work)


@reconciliations_v1.get(
    "/v1/reconciliations", response_model=None, summary="List reconciliations",
    responses={200: {"model": page_of(ReconciliationOut)}}, **cell(*WHO),
)  # fmt: skip
def list_reconciliations(
    request: Request,
    provider: Annotated[str | None, Query(max_length=64)] = None,
    status: Annotated[str | None, Query(max_length=40)] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first."""
    env = env_of(request)
    found = reconcile.list_(
        env, limit=limit + 1, provider=provider, state=status,
        after=None if starting_after is None else ids.parse("reconciliation", starting_after),
    )  # fmt: skip
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: reconciliation_shape(one, live)))


@reconciliations_v1.get(
    "/v1/reconciliations/{reconciliation}", response_model=None, summary="Get a reconciliation",
    responses={200: {"model": ReconciliationOut}}, **cell(*WHO),
)  # fmt: skip
def get_reconciliation(request: Request, reconciliation: str) -> Response:
    env = env_of(request)
    found = reconcile.get(env, ids.parse("reconciliation", reconciliation))
    return reply(reconciliation_shape(found, env.settings.live))


@reconciliations_v1.get(
    "/v1/reconciliations/{reconciliation}/drifts", response_model=None, summary="List drift",
    responses={200: {"model": page_of(DriftOut)}}, **cell(*WHO),
)  # fmt: skip
def list_drifts(
    request: Request,
    reconciliation: str,
    kind: Annotated[str | None, Query(max_length=40)] = None,
    type: Annotated[str | None, Query(max_length=40)] = None,
    status: Annotated[str | None, Query(max_length=40)] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: Annotated[str | None, Query(max_length=300)] = None,
) -> Response:
    """By kind and the provider's reference."""
    env = env_of(request)
    run = reconcile.get(env, ids.parse("reconciliation", reconciliation))
    mark = None
    if starting_after is not None:
        before, _, ref = starting_after.partition(":")
        mark = (before, ref)
    found = reconcile.drifts(
        env, run.id, kind=kind, type=type, state=status, limit=limit + 1, after=mark
    )
    return reply(fields.page(found, limit, drift_shape))


@reconciliations_v1.post(
    "/v1/reconciliations/{reconciliation}/stop", response_model=None,
    summary="Stop a reconciliation", responses={200: {"model": ReconciliationOut}}, **cell(*WHO),
)  # fmt: skip
def stop_reconciliation(request: Request, reconciliation: str) -> Response:
    """It ends where it stands; what it found stays."""
    env = env_of(request)
    run = reconcile.get(env, ids.parse("reconciliation", reconciliation))
    return reply(reconciliation_shape(reconcile.stop(env, run.id), env.settings.live))
