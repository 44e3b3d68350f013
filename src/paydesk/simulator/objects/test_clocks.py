"""Test clocks: the time of the customers that belong to one stands still until it is advanced.

An advance is answered at once and done in the background, in steps that each do what is due next:
a process that dies in between goes on with the step it had not done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .. import errors, ids, periods
from ..engine import SUBSCRIPTION_OVER, Call, operation
from ..errors import StripeError
from . import listing

LIFETIME_S = 7 * periods.DAY_S
#: How many things that are due an advance does in one transaction.
STEPS = 40
#: How long a period may be that two of may pass at once, by its word.
LONGEST_ADVANCE_S = 2 * 366 * periods.DAY_S
#: Customers of one clock.
MOST_CUSTOMERS = 3
KIND = "test_helpers.test_clock"
URL = "/v1/test_helpers/test_clocks"
ADVANCING = "Test clock advancement underway - cannot perform modifications."

#: Does what is due for one object, by the kind of object: (call, object) -> None.
DUE: dict[str, Callable[[Call, dict[str, Any]], None]] = {}


@contextmanager
def time_of(call: Call, item: dict[str, Any], *, changing: bool = True) -> Iterator[None]:
    """Do what is inside at the time of the object's clock, if it has one.

    Nothing of a clock that is being advanced can be changed meanwhile.
    """
    clock = call.tx.get(item.get("test_clock") or "", KIND)
    if clock is None:
        yield
        return
    if changing and clock["status"] == "advancing":
        raise StripeError(ADVANCING, status=429, code="lock_timeout")
    with call.at(clock["frozen_time"]):
        yield


def of_new_customer(call: Call, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Make a customer of the clock that the call names."""
    clock = call.find(KIND, call.params["test_clock"], "test_clock", 400)
    if len(customers_of(call, clock)) >= MOST_CUSTOMERS:
        raise StripeError(
            f"A test clock has at most {MOST_CUSTOMERS} customers. Make another test clock.",
            param="test_clock",
        )
    with time_of(call, {"test_clock": clock["id"]}):
        return make()


@operation("POST /v1/test_helpers/test_clocks")
def create(call: Call) -> dict[str, Any]:
    if call.params.get("customer"):
        raise errors.not_simulated("clocks of customers that exist", "customer")
    clock = {
        "id": ids.new(KIND),
        "object": KIND,
        "created": call.now,
        "deletes_after": call.now + LIFETIME_S,
        "frozen_time": call.params["frozen_time"],
        "livemode": False,
        "name": call.params.get("name"),
        "status": "ready",
        "status_details": {},
    }
    _keep(call, clock)
    call.emit(f"{KIND}.created", clock)
    return clock


def _keep(call: Call, clock: dict[str, Any]) -> None:
    busy = clock["status"] == "advancing"
    call.save(clock, due_at=0 if busy else clock["deletes_after"])


@operation("GET /v1/test_helpers/test_clocks/{test_clock}")
def retrieve(call: Call) -> dict[str, Any]:
    return _found(call)


def _found(call: Call) -> dict[str, Any]:
    return call.find(KIND, call.path["test_clock"], "test_clock")


@operation("GET /v1/test_helpers/test_clocks")
def list_all(call: Call) -> dict[str, Any]:
    return listing.page(call, KIND, URL)


@operation("POST /v1/test_helpers/test_clocks/{test_clock}/advance")
def advance(call: Call) -> dict[str, Any]:
    """Begin to move a clock; background.py and `run_due` go on with it."""
    clock, target = _found(call), call.params["frozen_time"]
    if clock["status"] == "advancing":
        raise StripeError(ADVANCING, status=429, code="lock_timeout")
    if target <= clock["frozen_time"]:
        raise StripeError(
            "The frozen time of a test clock can only be moved forward: it must be after "
            f"{clock['frozen_time']}.",
            param="frozen_time",
        )
    if target > latest(call, clock):
        raise StripeError(
            "You cannot advance a test clock by more than two intervals of the shortest "
            "subscription on it, or by more than two years where there is none. Advance it in "
            "several steps.",
            param="frozen_time",
        )
    clock |= {
        "status": "advancing",
        "status_details": {"advancing": {"target_frozen_time": target}},
    }
    _keep(call, clock)
    call.emit(f"{KIND}.advancing", clock)
    call.sim.hurry()
    return clock


def customers_of(call: Call, clock: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for one in call.tx.scan("customer") if one["test_clock"] == clock["id"]]


def latest(call: Call, clock: dict[str, Any]) -> int:
    """The latest time it may be advanced to at once."""
    start, ends = clock["frozen_time"], []
    for customer in customers_of(call, clock):
        for subscription in call.tx.scan("subscription", link=("customer", customer["id"])):
            if subscription["status"] not in SUBSCRIPTION_OVER:
                rhythm = subscription["items"]["data"][0]["price"]["recurring"]
                ends.append(periods.boundary(
                    start, rhythm["interval"], rhythm["interval_count"], 2
                ))  # fmt: skip
    return min(ends, default=start + LONGEST_ADVANCE_S)


def go_on(call: Call, clock: dict[str, Any]) -> None:
    """A part of an advance: what is due next, in order; at the end the clock is ready.

    A clock that is not being advanced has outlived its days, and is deleted.
    """
    if clock["status"] != "advancing":
        if clock["deletes_after"] <= call.now:
            remove(call, clock)
        else:
            _keep(call, clock)
        return
    target = clock["status_details"]["advancing"]["target_frozen_time"]
    for _ in range(STEPS):
        due = call.tx.next_on_clock(clock["id"], target)
        if due is None:
            clock |= {"frozen_time": target, "status": "ready", "status_details": {}}
            _keep(call, clock)
            call.emit(f"{KIND}.ready", clock)
            return
        clock["frozen_time"] = max(clock["frozen_time"], due[1])
        _keep(call, clock)
        item = call.tx.get(due[0])
        with call.at(clock["frozen_time"]):
            if item is not None:
                DUE[item["object"]](call, item)
            call.finish()


@operation("DELETE /v1/test_helpers/test_clocks/{test_clock}")
def delete(call: Call) -> dict[str, Any]:
    clock = _found(call)
    if clock["status"] == "advancing":
        raise StripeError(ADVANCING, status=429, code="lock_timeout")
    return remove(call, clock)


def remove(call: Call, clock: dict[str, Any]) -> dict[str, Any]:
    """Delete a clock with its customers; what runs for them is canceled."""
    for customer in customers_of(call, clock):
        REMOVE_CUSTOMER[0](call, customer)
    call.emit(f"{KIND}.deleted", clock)
    call.tx.remove(clock["id"])
    return {"id": clock["id"], "object": KIND, "deleted": True}


#: How a customer is deleted; customers.py puts it here, for it stands on this file.
REMOVE_CUSTOMER: list[Callable[[Call, dict[str, Any]], Any]] = []
