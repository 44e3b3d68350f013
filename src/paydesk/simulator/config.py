"""Settings of the simulator and the switches that make trouble."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any

#: Seconds until each further delivery attempt after a failed one.
BACKOFF_S = (1.0, 5.0, 30.0, 120.0, 600.0, 3600.0, 3600.0 * 6)
FAULT_KINDS = ("429", "500", "500_after", "slow", "timeout_after", "drop_after", "drop_before")
MAX_DUPLICATES = 100
#: What Stripe advises after a decline.
ADVICE = ("confirm_card_data", "do_not_try_again", "try_again_later")
_DIGITS = re.compile(r"[0-9]{2}\Z")
#: What becomes of a subscription whose invoice could not be charged at the last attempt.
AFTER_RETRIES = ("cancel", "unpaid", "past_due")
_VERSION = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}(\.[a-z]+)?\Z")


@dataclass(frozen=True)
class Webhook:
    """A webhook endpoint given by configuration: registered again at each start."""

    url: str
    secret: str
    enabled_events: tuple[str, ...] = ("*",)
    #: The API version whose shapes it gets; None is the newest, or that of `event_version`.
    api_version: str | None = None


@dataclass
class Config:
    """How a simulator is set up.

    `secret_key` None takes any `sk_test_` key. `base_url` is what links point at; where it is
    empty, the address each request came to. `clock` gives Unix seconds.
    """

    db: str = ":memory:"
    secret_key: str | None = None
    webhooks: tuple[Webhook, ...] = ()
    base_url: str = ""
    merchant: str = "Sandbox shop"
    clock: Callable[[], float] = time.time
    delivery_timeout_s: float = 10.0


@dataclass
class Fault:
    """Trouble for the next `times` calls that match method and path (`*` matches anything)."""

    kind: str
    path: str = "*"
    method: str = "*"
    times: int = 1
    seconds: float = 30.0


@dataclass
class Switches:
    """What `POST /_sim/config` changes; docs/simulator.md explains each."""

    delay_s: float = 0.0
    duplicates: int = 0
    reorder_window_s: float = 0.0
    lose_fraction: float = 0.0
    lose_next: int = 0
    suspended: bool = False
    muted_types: list[str] = field(default_factory=list)
    backoff_s: list[float] = field(default_factory=lambda: list(BACKOFF_S))
    delivery_timeout_s: float | None = None
    concurrency: int = 8
    event_version: str | None = None
    clock_offset_s: int = 0
    rate_limit: int = 0
    retry_days: list[float] = field(default_factory=lambda: [3.0, 5.0, 7.0])
    after_retries: str = "cancel"
    advice_code: str | None = None
    network_advice_code: str | None = None
    faults: list[Fault] = field(default_factory=list)

    def change(self, changes: dict[str, Any]) -> None:
        """Set the named switches; raises ValueError and changes nothing when one is wrong."""
        known = {item.name for item in fields(self)}
        checked: dict[str, Any] = {}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"there is no switch {name}; there are {', '.join(sorted(known))}")
            checked[name] = _check_switch(name, value)
        for name, value in checked.items():
            setattr(self, name, value)

    def shown(self) -> dict[str, Any]:
        return asdict(self)


def _check_switch(name: str, value: Any) -> Any:
    if name == "faults":
        return [_fault(item) for item in _list(name, value)]
    if name == "backoff_s":
        return [_number(name, item) for item in _list(name, value)]
    if name == "retry_days":
        return [_number(name, item) for item in _list(name, value)]
    if name == "after_retries":
        if value not in AFTER_RETRIES:
            raise ValueError(f"after_retries is one of {', '.join(AFTER_RETRIES)}")
        return value
    if name == "advice_code":
        if value not in (None, *ADVICE):
            raise ValueError(f"advice_code is null or one of {', '.join(ADVICE)}")
        return value
    if name == "network_advice_code":
        if value is not None and not (isinstance(value, str) and _DIGITS.match(value)):
            raise ValueError("network_advice_code is null or two digits such as 03")
        return value
    if name == "muted_types":
        if not all(isinstance(item, str) for item in _list(name, value)):
            raise ValueError("muted_types is a list of event types such as charge.*")
        return list(value)
    if name == "suspended":
        if not isinstance(value, bool):
            raise ValueError("suspended is true or false")
        return value
    if name == "event_version":
        if value is not None and not (isinstance(value, str) and _VERSION.match(value)):
            raise ValueError("event_version is a version such as 2023-10-16, or null")
        return value
    if name == "delivery_timeout_s" and value is None:
        return None
    number = _number(name, value)
    if name == "lose_fraction" and number > 1:
        raise ValueError("lose_fraction lies between 0 and 1")
    if name in ("duplicates", "lose_next", "concurrency", "clock_offset_s", "rate_limit"):
        if number != int(number):
            raise ValueError(f"{name} is a whole number")
        if name == "duplicates" and number > MAX_DUPLICATES:
            raise ValueError(f"duplicates is at most {MAX_DUPLICATES}")
        return max(int(number), 1) if name == "concurrency" else int(number)
    return number


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{name} is a list")
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e10:
        raise ValueError(f"{name} is a number that is not negative")
    return float(value)


def _fault(value: Any) -> Fault:
    known = {item.name for item in fields(Fault)}
    if not isinstance(value, dict) or not set(value) <= known:
        raise ValueError(f"a fault is an object of {', '.join(sorted(known))}")
    fault = Fault(**value)
    if fault.kind not in FAULT_KINDS:
        raise ValueError(f"a fault's kind is one of {', '.join(FAULT_KINDS)}")
    if isinstance(fault.times, bool) or not isinstance(fault.times, int) or fault.times < 1:
        raise ValueError("a fault's times is a whole number from 1 on")
    fault.seconds = _number("seconds", fault.seconds)
    return fault
