"""v1: clocks that are moved by hand, where no real money moves."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from paydesk.flows import clocks
from paydesk.flows.clocks import ClockView
from paydesk.http import fields
from paydesk.http.auth import STAFF
from paydesk.http.fields import DEFAULT_LIMIT, Instant, Limit, Strict, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.models import Object, page_of
from paydesk.rules.durations import duration

clocks_v1 = router("clocks")

_By = Annotated[str, Field(min_length=2, max_length=64, examples=["31d"])]


class ClockIn(Strict):
    """It stands at `now`, by default the present, until it is advanced."""

    now: Instant | None = None
    name: Annotated[str, Field(min_length=1, max_length=255)] | None = None


class AdvanceIn(Strict):
    """`to` an instant, or `by` a length of time: `31d`, `12h`, `1d12h`."""

    to: Instant | None = None
    by: _By | None = None


class ClockOut(Object):
    object: Literal["clock"]
    name: str
    now: str
    status: Literal["ready", "advancing", "failed", "deleted"]
    advancing_to: str | None
    error: str | None
    customers: int


def clock_shape(one: ClockView) -> dict[str, Any]:
    return {
        "id": one.id,
        "object": "clock",
        "livemode": False,
        "name": one.name,
        "now": fields.instant(one.now),
        "status": one.state,
        "advancing_to": fields.instant(one.advancing_to),
        "error": one.error,
        "customers": one.customers,
        "created_at": fields.instant(one.created_at),
    }


@clocks_v1.post(
    "/v1/clocks", status_code=201, response_model=None, summary="Make a clock",
    responses={201: {"model": ClockOut}}, **cell("admin", "service"),
)  # fmt: skip
def make_clock(request: Request, body: ClockIn) -> Response:
    """For customers that are made with its id as `clock`. With a live key it is refused."""
    env = env_of(request)

    def work() -> Response:
        one = clocks.create(env, at=body.now, name=body.name or "")
        return reply(clock_shape(one), 201, {"Location": f"/v1/clocks/{one.id}"})

    return once(env, attempt_of(request, who_of(request), moves_money=False), None, work)


@clocks_v1.get(
    "/v1/clocks", response_model=None, summary="List clocks",
    responses={200: {"model": page_of(ClockOut)}}, **cell(*STAFF),
)  # fmt: skip
def list_clocks(
    request: Request, limit: Limit = DEFAULT_LIMIT, starting_after: str | None = None
) -> Response:
    """Newest first."""
    found = clocks.list_(env_of(request), limit=limit + 1, after=starting_after)
    return reply(fields.page(found, limit, clock_shape))


@clocks_v1.get(
    "/v1/clocks/{clock}", response_model=None, summary="Get a clock",
    responses={200: {"model": ClockOut}}, **cell(*STAFF),
)  # fmt: skip
def get_clock(request: Request, clock: str) -> Response:
    """How it stands: `ready` when what was due is done."""
    return reply(clock_shape(clocks.get(env_of(request), clock)))


@clocks_v1.post(
    "/v1/clocks/{clock}/advance", status_code=202, response_model=None, summary="Advance a clock",
    responses={202: {"model": ClockOut}}, **cell("admin", "service"),
)  # fmt: skip
def advance_clock(request: Request, clock: str, body: AdvanceIn) -> Response:
    """In the background: it is `advancing`, and `ready` when what fell due on the way is done.
    Never back."""
    env = env_of(request)
    by = None if body.by is None else duration(body.by)

    def work() -> Response:
        return reply(clock_shape(clocks.begin(env, clock, body.to, by=by)), 202)

    return once(env, attempt_of(request, who_of(request), moves_money=False), None, work)


@clocks_v1.delete(
    "/v1/clocks/{clock}", response_model=None, summary="Delete a clock",
    responses={200: {"model": ClockOut}}, **cell("admin", "service"),
)  # fmt: skip
def delete_clock(request: Request, clock: str) -> Response:
    """It is never moved again; its customers stay as they are."""
    return reply(clock_shape(clocks.delete(env_of(request), clock)))
