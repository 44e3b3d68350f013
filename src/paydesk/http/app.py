"""The application: middleware, routes and what they share, over one Env."""

from __future__ import annotations

import importlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import anyio
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Route, WebSocketRoute

from paydesk import __version__
from paydesk.http import compat, hot, live, openapi, problems, v1, webhooks
from paydesk.http.auth import Gatekeeper
from paydesk.http.batches import Batcher, Bridge
from paydesk.http.edge import Edge, Gate
from paydesk.http.health import health
from paydesk.http.limits import Limiter
from paydesk.http.live import Feeds
from paydesk.http.reference import reference

if TYPE_CHECKING:
    from paydesk.env import Env

#: Threads for work that waits for the database; provider calls have their own.
THREADS = 40
EXPOSED = ["Request-Id", "RateLimit", "RateLimit-Policy", "Retry-After", "Location",
           "Idempotent-Replayed"]  # fmt: skip


def create_app(env: Env, *, with_worker: bool = False) -> FastAPI:
    """The whole service over this environment, which the caller closes after it.

    `with_worker` runs the sweeps and the publisher in this process too. Stopping the application
    ends live feeds, finishes requests and stops what it started.
    """
    app = FastAPI(
        title="Paydesk", version=__version__, openapi_url=None, docs_url=None, redoc_url=None,
        redirect_slashes=False, lifespan=partial(_lifespan, with_worker=with_worker),
    )  # fmt: skip
    _equip(app, env)
    add_routes(app)
    problems.install(app)
    settings = env.settings
    app.add_middleware(Gate, env=env, gatekeeper=app.state.gatekeeper, limiter=app.state.limiter)
    origins = [o.strip() for o in settings.cors_origins.split(",") if o.strip()]
    if origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["*"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
            expose_headers=EXPOSED,
        )  # fmt: skip
    app.add_middleware(Edge, env=env)
    return app


def add_routes(app: FastAPI) -> None:
    """All routes, the hot ones first. They carry whole paths, so nothing is included or mounted."""
    routes = app.router.routes
    routes.extend(hot.ROUTES)
    routes.extend(webhooks.ROUTES)
    routes.append(Route(live.STREAM_PATH, live.stream, methods=["GET"]))
    routes.extend(WebSocketRoute(path, live.websocket) for path in live.WEBSOCKET_PATHS)
    for router in (health, *v1.routers(), *compat.routers()):
        routes.extend(router.routes)
    if (pages := _pages()) is not None:
        routes.extend(pages.routes)
    routes.extend(reference.routes)
    app.openapi = partial(openapi.document, app)  # type: ignore[method-assign]


def document() -> dict[str, Any]:
    """The OpenAPI document without an environment: `paydesk openapi` prints it."""
    app = FastAPI(title="Paydesk", openapi_url=None, docs_url=None, redoc_url=None)
    add_routes(app)
    return openapi.document(app)


def _pages() -> Any:
    """The browser pages, where this installation has them."""
    try:
        return importlib.import_module("paydesk.pages").router
    except (ModuleNotFoundError, AttributeError):
        return None


def _equip(app: FastAPI, env: Env) -> None:
    state = app.state
    state.env = env
    state.gatekeeper = Gatekeeper(env)
    state.limiter = Limiter(env)
    state.bridge = Bridge()
    state.balances = Batcher[UUID, int]("balances", partial(hot.read_balances, env))
    state.inboxes = webhooks.Inboxes(env)
    state.feeds = Feeds(env)
    state.threads = anyio.CapacityLimiter(THREADS)
    state.provider_threads = anyio.CapacityLimiter(env.settings.provider_concurrency)


@asynccontextmanager
async def _lifespan(app: FastAPI, *, with_worker: bool) -> AsyncIterator[None]:
    worker = None
    if with_worker:
        from paydesk.worker import Worker

        worker = Worker(app.state.env)
        worker.start()
    app.state.inboxes.takers.start()
    try:
        yield
    finally:
        app.state.feeds.stop()
        await anyio.to_thread.run_sync(partial(_stop, app, worker))


def _stop(app: FastAPI, worker: Any) -> None:
    if worker is not None:
        worker.stop()
    app.state.feeds.close()
    app.state.balances.close()
    app.state.inboxes.close()
    app.state.limiter.close()
