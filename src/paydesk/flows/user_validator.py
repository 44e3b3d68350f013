"""Asks the application whether a customer may be made: a URL, or a callable of its own."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import importlib
import inspect
import json
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from paydesk import __version__
from paydesk.env import Env
from paydesk.errors import AddressRefused, CustomerRefused, Misconfigured, PaydeskError, Unavailable
from paydesk.logger import get_logger
from paydesk.outgoing import Answer, Unreachable, guard_of

log = get_logger(__name__)

_TIMEOUT_S = 5.0
#: How long an answer counts in this process.
_ALLOWED_S, _REFUSED_S = 60.0, 30.0
#: What an application answers about a user it does not want.
_REFUSALS = frozenset({403, 404, 410, 422})
#: Calls of the callable under way in this process, those that hang among them.
_calls = threading.BoundedSemaphore(16)


class _NoAnswer(Exception):
    """The application could not be asked."""


def check(
    env: Env, external_id: str, email: str | None, name: str | None,
    metadata: Mapping[str, str],
) -> None:  # fmt: skip
    """Ask before a customer is made. Raises CustomerRefused; Unavailable when the application
    does not answer and PAYDESK_USER_VALIDATOR_FALLBACK is `refuse`."""
    told = env.settings.user_validator
    if not told:
        return
    key = f"user_validator:{external_id}"
    why = env.cache.peek(key)
    if why is None:
        customer = {
            "external_id": external_id, "email": email, "name": name, "metadata": dict(metadata),
        }  # fmt: skip
        try:
            is_url = told.startswith(("https://", "http://"))
            why = _by_url(env, told, customer) if is_url else _by_callable(told, customer)
        except _NoAnswer as exc:
            log.warning("the user validator does not answer", error=str(exc))
            if env.settings.user_validator_fallback == "allow":
                return
            raise Unavailable(
                "The application could not be asked about this customer; nothing happened."
            ) from exc
        env.cache.keep(key, why, ttl_s=_REFUSED_S if why else _ALLOWED_S)
    if why:
        raise CustomerRefused(why)


def _by_url(env: Env, url: str, customer: dict[str, Any]) -> str:
    """Why not; empty when the customer is welcome."""
    headers = {"Content-Type": "application/json", "User-Agent": f"Paydesk/{__version__}"}
    body = json.dumps(customer, ensure_ascii=False).encode()
    try:
        found = guard_of(env.settings).request(
            "POST", url, body=body, headers=headers, timeout_s=_TIMEOUT_S, max_bytes=4096
        )
    except (Unreachable, AddressRefused) as exc:
        raise _NoAnswer(str(exc)) from exc
    if found.status in _REFUSALS:
        return _reason(found)
    if not 200 <= found.status < 300:
        raise _NoAnswer(f"It answered {found.status}.")
    return "" if _members(found).get("allowed", True) is True else _reason(found)


def _reason(found: Answer) -> str:
    said = _members(found).get("reason")
    return said[:200] if isinstance(said, str) and said else CustomerRefused.title


def _members(found: Answer) -> dict[str, Any]:
    try:
        told = json.loads(found.body)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _by_callable(name: str, customer: dict[str, Any]) -> str:
    """The callable answers True, False, or a text that says why not."""
    validate = _loaded(name)
    try:
        found = _in_time(validate, customer)
    except (PaydeskError, _NoAnswer):
        raise
    except Exception as exc:  # The application's code: whatever it raises is no answer.
        raise _NoAnswer(f"{type(exc).__name__}: {exc}") from exc
    if isinstance(found, str):
        return found[:200] or CustomerRefused.title
    return "" if found is True else CustomerRefused.title


def _in_time(validate: Callable[[dict[str, Any]], Any], customer: dict[str, Any]) -> Any:
    """What the callable answers, in a thread of its own: one that hangs is not waited for. No
    more than a few may hang at once; further customers have no answer then, at once."""
    if not _calls.acquire(blocking=False):
        raise _NoAnswer("The callable has not answered others yet.")
    answer: Future[Any] = Future()

    def call() -> None:
        try:
            found = validate(customer)
            answer.set_result(asyncio.run(_awaited(found)) if inspect.isawaitable(found) else found)
        except BaseException as exc:  # It is raised again where the answer is waited for.
            answer.set_exception(exc)
        finally:
            _calls.release()

    told = contextvars.copy_context()
    thread = threading.Thread(target=told.run, args=(call,), name="user-validator", daemon=True)
    try:
        thread.start()
    except RuntimeError as exc:  # There are no more threads: nobody else gives the place back.
        _calls.release()
        raise _NoAnswer(f"The callable could not be called: {exc}.") from exc
    try:
        return answer.result(_TIMEOUT_S)
    except FutureTimeout as exc:
        if answer.done():  # The callable's own time-out.
            raise
        raise _NoAnswer(f"The callable did not answer within {_TIMEOUT_S:.0f} s.") from exc


async def _awaited(found: Any) -> Any:
    return await asyncio.wait_for(found, _TIMEOUT_S)


@functools.cache
def _loaded(name: str) -> Callable[[dict[str, Any]], Any]:
    module, colon, attribute = name.partition(":")
    if not colon:
        module, _, attribute = name.rpartition(".")
    try:
        found = functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
    except (ImportError, AttributeError, ValueError) as exc:
        raise Misconfigured(
            f"PAYDESK_USER_VALIDATOR is {name[:100]!r}, which cannot be loaded: {exc}",
            param="PAYDESK_USER_VALIDATOR",
        ) from exc
    if not callable(found):
        raise Misconfigured(f"{name[:100]!r} is not callable.", param="PAYDESK_USER_VALIDATOR")
    return found
