"""Is the desk alive, is it ready: for those who watch over it."""

from __future__ import annotations

import shutil
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from starlette.requests import Request
from starlette.responses import Response

from paydesk import __version__
from paydesk.db import migrate
from paydesk.errors import PaydeskError
from paydesk.http import fields, metrics
from paydesk.http.auth import STAFF
from paydesk.http.fields import reply
from paydesk.http.routes import PUBLIC, cell, env_of, router
from paydesk.http.v1.models import Out

if TYPE_CHECKING:
    from paydesk.env import Env

health = router("health")

#: Less free space than this where the embedded database lives is a reason to send no more work.
LEAST_FREE_BYTES = 256 * 1024 * 1024
#: A worker that was not heard for so long is missed.
HEARTBEAT_AGE = timedelta(seconds=60)


class Live(Out):
    status: str


class Ready(Out):
    status: str
    service: str
    version: str
    timestamp: str
    checks: dict[str, str]


@health.get(
    "/health/live", response_model=None, summary="Alive?", responses={200: {"model": Live}},
    **cell(PUBLIC),
)  # fmt: skip
async def live(request: Request) -> Response:
    """200 as long as the process answers at all."""
    return reply({"status": "ok"})


@health.get(
    "/health/ready", response_model=None, summary="Ready for work?",
    responses={200: {"model": Ready}, 503: {"model": Ready}}, **cell(PUBLIC),
)  # fmt: skip
def ready(request: Request) -> Response:
    """Database, migrations, worker and disk. 503 when work should go elsewhere.

    A worker that is not heard makes the answer `degraded` and leaves it at 200: payments are
    still taken, only sweeps wait.
    """
    return _answer(env_of(request))


@health.get(
    "/api/health", response_model=None, summary="Health, as the learning family has it",
    responses={200: {"model": Ready}, 503: {"model": Ready}}, **cell(PUBLIC),
)  # fmt: skip
def api_health(request: Request) -> Response:
    return _answer(env_of(request))


@health.get(
    "/metrics", response_model=None, summary="Figures for Prometheus",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}, **cell(*STAFF),
)  # fmt: skip
def show_metrics(request: Request) -> Response:
    return Response(metrics.render(env_of(request)), media_type=metrics.CONTENT_TYPE)


def _answer(env: Env) -> Response:
    checks = check(env)
    bad = any(checks[name] not in ("ok", "unknown") for name in ("database", "migrations", "disk"))
    status = "unavailable" if bad else "ok" if checks["worker"] == "ok" else "degraded"
    body = {
        "status": status, "service": env.settings.service_name, "version": __version__,
        "timestamp": fields.instant(env.now()), "checks": checks,
    }  # fmt: skip
    return reply(body, 503 if bad else 200)


def check(env: Env) -> dict[str, str]:
    """Each part and how it is, in a word."""
    found = {"database": "ok", "migrations": "ok", "worker": "ok", "disk": _disk(env)}
    try:
        with env.db.read() as tx:
            applied = {row["name"] for row in tx.all("select name from schema_migrations")}
            if not applied >= _packaged():
                found["migrations"] = "pending"
            latest = tx.value("select max(beat_at) from heartbeats")
            if latest is None or env.now() - latest > HEARTBEAT_AGE:
                found["worker"] = "silent"
    except psycopg.errors.UndefinedTable:
        found |= {"migrations": "pending", "worker": "unknown"}
    except PaydeskError:
        found |= {"database": "unreachable", "migrations": "unknown", "worker": "unknown"}
    return found


@cache
def _packaged() -> frozenset[str]:
    """Names of the SQL files that this code was written for."""
    return frozenset(script.name for script in migrate.packaged())


def _disk(env: Env) -> str:
    folder = Path(env.settings.data_dir)
    try:
        free = shutil.disk_usage(folder if folder.exists() else folder.resolve().anchor).free
    except OSError:
        return "unknown"
    return "ok" if free >= LEAST_FREE_BYTES else "nearly full"
