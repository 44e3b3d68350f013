"""The switches over HTTP (`/_sim/config`, `reset`, `deliver`, `stats`) and the actions behind."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from . import api, background, backstage, billing_triggers, delivery, shapes, tampering, triggers
from .engine import Call, Simulator
from .errors import StripeError
from .objects import webhook_endpoints
from .store import Transaction

assert tampering.__doc__ and billing_triggers.__doc__  # importing them registers what they have
DELIVER_FIELDS = {"events", "types", "again", "order", "seed"}


def register(sim: Simulator) -> None:
    """Register the endpoints of the configuration; blocks until it is stored."""

    def work(call: Call) -> None:
        webhook_endpoints.register_configured(call, sim.config.webhooks)

    sim.store.call(sim.work(work))


def reset(sim: Simulator) -> None:
    """Forget every object and every switch, in memory only; raises ValueError with a file."""
    if sim.store.path != ":memory:":
        raise ValueError("only a simulator in memory can be reset; delete its file instead")
    sim.store.clear()
    sim.switches.__init__()
    sim.counts.clear()
    register(sim)


def change(sim: Simulator, changes: dict[str, Any]) -> dict[str, Any]:
    """Set switches and let what they make due happen; raises ValueError for a wrong one."""
    was_suspended = sim.switches.suspended
    sim.switches.change(changes)
    if was_suspended and not sim.switches.suspended:
        sim.store.call(sim.work(lambda call: delivery.deliver(call)))
    if "clock_offset_s" in changes:
        while sim.store.call(sim.work(background.run_due)):
            pass
    sim.wake()
    return sim.switches.shown()


def act(sim: Simulator, name: str, given: dict[str, Any], base_url: str) -> dict[str, Any]:
    """Do one of the actions of backstage.py; ValueError or StripeError where it cannot be done."""
    unit = sim.work(lambda call: backstage.run(call, name, given), base_url=base_url)
    return sim.store.call(unit)


def stats(sim: Simulator) -> dict[str, Any]:
    """Counts of calls, faults, objects by kind and deliveries by state."""

    def read(tx: Transaction) -> dict[str, Any]:
        kinds = tx.sql.execute("select kind, count(*) from objects group by kind").fetchall()
        states = tx.sql.execute("select state, count(*) from deliveries group by state").fetchall()
        return {"objects": dict(kinds), "deliveries": dict(states)}

    return {
        **sim.store.call(read), "counts": dict(sim.counts), "api_version": shapes.version(),
        "now": sim.now(),
    }


class Control:
    """The endpoints; they have no key, for the simulator listens on this machine alone."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim

    async def config(self, request: Request) -> Response:
        if request.method == "GET":
            return JSONResponse(self.sim.switches.shown())
        return await self._run(request, lambda body: change(self.sim, body))

    async def reset(self, request: Request) -> Response:
        def work(body: dict[str, Any]) -> dict[str, Any]:
            reset(self.sim)
            return {"reset": True}

        return await self._run(request, work)

    async def deliver(self, request: Request) -> Response:
        def work(body: dict[str, Any]) -> dict[str, Any]:
            _check_deliver(body)
            count = self.sim.store.call(
                self.sim.work(lambda call: delivery.deliver(call, **body))
            )
            return {"deliveries": count}

        return await self._run(request, work)

    async def act(self, request: Request) -> Response:
        """`POST /_sim/{action}`: see backstage.py and tampering.py."""
        name, base_url = request.path_params["action"], api.base_url(self.sim, request)

        def work(body: dict[str, Any]) -> dict[str, Any]:
            return act(self.sim, name, body, base_url)

        return await self._run(request, work)

    async def trigger(self, request: Request) -> Response:
        """`POST /_sim/trigger`: see triggers.py."""
        base_url = api.base_url(self.sim, request)

        def work(body: dict[str, Any]) -> dict[str, Any]:
            events = triggers.trigger(self.sim, base_url, **{"type": "", **body})
            return {"object": "list", "data": events}

        return await self._run(request, work)

    async def triggers(self, request: Request) -> Response:
        return JSONResponse({"types": triggers.known()})

    async def stats(self, request: Request) -> Response:
        return JSONResponse(await asyncio.to_thread(stats, self.sim))

    async def _run(self, request: Request, work: Any) -> Response:
        """Read a JSON object, do the work off the event loop, answer 400 where it is wrong."""
        try:
            text = await api.read_body(request)
            body = json.loads(text or b"{}")
            if not isinstance(body, dict):
                raise ValueError("the body is a JSON object")
            return JSONResponse(await asyncio.to_thread(work, body))
        except (ValueError, TypeError, StripeError, RecursionError) as error:
            return JSONResponse({"error": {"message": str(error)}}, 400)


def _check_deliver(body: dict[str, Any]) -> None:
    if not set(body) <= DELIVER_FIELDS:
        raise ValueError(f"deliver takes {', '.join(sorted(DELIVER_FIELDS))}")
    for name in ("events", "types"):
        value = body.get(name)
        if value is not None and not (
            isinstance(value, list) and all(isinstance(item, str) for item in value)
        ):
            raise ValueError(f"{name} is a list of texts")
    if body.get("order", "created") not in ("created", "reversed", "shuffled"):
        raise ValueError("order is created, reversed or shuffled")
    if not isinstance(body.get("again", False), bool):
        raise ValueError("again is true or false")
    if not isinstance(body.get("seed"), int | None):
        raise ValueError("seed is a whole number")
