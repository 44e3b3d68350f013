"""What happens by itself as time passes: sessions and holds end, refunds finish, clocks move."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from .engine import Call, Simulator
from .objects import checkout, confirmation, disputes, refunds, test_clocks

log = logging.getLogger("paydesk.simulator")

PERIOD_S = 1.0


def run_due(call: Call) -> int:
    """Do everything whose time has come; returns how many objects changed."""
    items = call.tx.due(call.now)
    for item in items:
        _run_one(call, item)
    return len(items)


def _run_one(call: Call, item: dict[str, Any]) -> None:
    kind = item["object"]
    if kind in test_clocks.DUE:
        _bill(call, item)
    elif kind == test_clocks.KIND:
        test_clocks.go_on(call, item)
    elif kind == "checkout.session" and item["status"] == "open":
        checkout.expire(call, item)
    elif kind == "payment_intent" and item["status"] == "requires_capture":
        confirmation.cancel(call, item, "automatic")
    elif kind == "dispute":
        disputes.run_out(call, item)
    elif kind == "refund" and "_outcome" in item:
        refunds.finish_pending(call, item)
    else:
        call.save(item)


def _bill(call: Call, item: dict[str, Any]) -> None:
    """What is due of a subscription or an invoice, as of the time at which it was due."""
    due_at, current = call.tx.due_of(item["id"]), call.tx.get(item["id"])
    if current is not None and due_at is not None and due_at <= call.now:
        with call.at(due_at):
            test_clocks.DUE[item["object"]](call, current)
            call.finish()


async def run(sim: Simulator) -> None:
    """Look every second, and at once where there is something to do, until cancelled."""
    awake, loop = asyncio.Event(), asyncio.get_running_loop()

    def look() -> None:
        with contextlib.suppress(RuntimeError):  # the loop may be closed already
            loop.call_soon_threadsafe(awake.set)

    sim.look = look
    try:
        while True:
            awake.clear()
            try:
                while await asyncio.wrap_future(sim.store.submit(sim.work(run_due))):
                    pass
            except Exception:
                log.exception("the timer could not do its work")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(awake.wait(), PERIOD_S)
    finally:
        sim.look = lambda: None
