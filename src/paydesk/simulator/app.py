"""The simulator as a Starlette application."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from . import background, control, delivery, ids
from .api import Api
from .config import Config
from .engine import Simulator, encode
from .errors import StripeError
from .faults import Faults
from .invoice_page import InvoicePages
from .pages import Pages

log = logging.getLogger("paydesk.simulator")

API_METHODS = ["GET", "POST", "DELETE", "PUT", "PATCH"]


def create_app(config: Config | None = None, sim: Simulator | None = None) -> Starlette:
    """The application; its Simulator is `app.state.sim`.

    A Simulator handed in stays the caller's to close; one made here is closed at shutdown.
    """
    own = sim is None
    simulator = sim or Simulator(config or Config())
    if own:
        control.register(simulator)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        worker = delivery.Worker(simulator)
        tasks = [
            asyncio.create_task(worker.run()),
            asyncio.create_task(background.run(simulator)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if own:
                await asyncio.to_thread(simulator.store.close)

    api, pages, switches = Api(simulator), Pages(simulator), control.Control(simulator)
    invoices = InvoicePages(pages)

    async def call_api(request: Request) -> Response:
        return await api(request)

    app = Starlette(
        lifespan=lifespan,
        middleware=[Middleware(Faults, sim=simulator)],
        exception_handlers={Exception: _failed},
        routes=[
            Route("/", pages.home, methods=["GET"]),
            Route("/v1/files/{file}/contents", api.contents, methods=["GET"]),
            Route("/v1/{rest:path}", call_api, methods=API_METHODS),
            Route("/v2/{rest:path}", call_api, methods=API_METHODS),
            Route("/c/pay/{session_id}", pages.checkout, methods=["GET", "POST"]),
            Route("/i/{invoice}", invoices.page, methods=["GET", "POST"]),
            Route("/i/{invoice}/pdf", invoices.pdf, methods=["GET"]),
            Route("/3d_secure/{intent}", pages.three_d_secure, methods=["GET", "POST"]),
            Route("/static/{name}", pages.static, methods=["GET"]),
            Route("/_sim/config", switches.config, methods=["GET", "POST"]),
            Route("/_sim/reset", switches.reset, methods=["POST"]),
            Route("/_sim/deliver", switches.deliver, methods=["POST"]),
            Route("/_sim/stats", switches.stats, methods=["GET"]),
            Route("/_sim/trigger", switches.triggers, methods=["GET"]),
            Route("/_sim/trigger", switches.trigger, methods=["POST"]),
            Route("/_sim/{action}", switches.act, methods=["POST"]),
        ],
    )
    app.state.sim = simulator
    return app


async def _failed(request: Request, error: Exception) -> Response:
    """A fault of the simulator itself: Stripe's 500 with the place in the log."""
    request_id = ids.new("request")
    log.error("%s %s failed (%s)", request.method, request.url.path, request_id, exc_info=error)
    body = StripeError("The simulator failed; see its log.", status=500, type="api_error")
    return Response(
        encode(body.body(request_id)), 500, headers={"Request-Id": request_id},
        media_type="application/json",
    )
