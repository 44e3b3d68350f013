"""The application is asked before a customer is made. S4.31"""

from __future__ import annotations

import asyncio
import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from http_support import OWN_KEY, Client, problem_of
from receiver import receiving

from paydesk.errors import CustomerRefused, Misconfigured, NotFound, Unavailable
from paydesk.flows import customers, user_validator
from paydesk.http.app import create_app


def asking(env: Any, told: str, **more: Any) -> Any:
    return replace(env, settings=replace(env.settings, user_validator=told, **more))


def allows_known(customer: dict[str, Any]) -> Any:
    if customer["external_id"].startswith("broken"):
        raise RuntimeError("the users' table is away")
    return "Sign up first." if customer["email"] is None else customer["external_id"] == "known"


async def allows_later(customer: dict[str, Any]) -> bool:
    return customer["external_id"] == "known"


FREE = threading.Event()


def hangs(customer: dict[str, Any]) -> bool:
    return FREE.wait(60)


async def hangs_later(customer: dict[str, Any]) -> bool:
    await asyncio.sleep(60)
    return True


NOT_CALLABLE = 7


def test_a_url_is_asked_once_and_only_before_the_making(env, receiver):  # S4.31
    told = asking(env, f"{receiver.url}/users/check")
    made = customers.ensure(told, "user_1", email="a@example.com", metadata={"plan": "pro"})
    assert customers.ensure(told, "user_1").uuid == made.uuid
    [got] = receiver.got
    assert (got.method, json.loads(got.body)) == ("POST", {
        "external_id": "user_1", "email": "a@example.com", "name": None,
        "metadata": {"plan": "pro"},
    })  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [(404, b"", "refuses"), (403, b'{"reason": "Closed account."}', "Closed account."),
     (200, b'{"allowed": false, "reason": "Not yet."}', "Not yet."),
     (200, b'{"allowed": null}', "refuses"), (410, b"[]", "refuses")],
)  # fmt: skip
def test_a_refusal_makes_no_customer_and_counts_for_a_while(env, receiver, status, body, why):
    told = asking(env, receiver.url)
    receiver.answer = lambda got: (status, body)
    for _ in range(3):
        with pytest.raises(CustomerRefused, match=why):
            customers.ensure(told, "user_1")
    assert len(receiver.got) == 1
    with pytest.raises(NotFound):
        customers.ensure(env, "user_1", create=False)


@pytest.mark.parametrize(("status", "body"), [(200, b""), (204, b""), (200, b'{"allowed": true}')])
def test_a_success_is_a_welcome(env, receiver, status, body):
    receiver.answer = lambda got: (status, body)
    assert customers.ensure(asking(env, receiver.url), "user_1").external_id == "user_1"


def test_an_application_that_does_not_answer_refuses_or_allows_as_the_setting_says(env, receiver):
    receiver.answer = lambda got: (500, b"")
    with receiving() as gone:
        nobody = gone.url
    for url in (receiver.url, nobody, "https://10.0.0.1/", "http://hooks.example.com/"):  # I36
        with pytest.raises(Unavailable):
            customers.ensure(asking(env, url), "user_1")
        with pytest.raises(NotFound):
            customers.ensure(env, "user_1", create=False)
    open_ = asking(env, receiver.url, user_validator_fallback="allow")
    assert customers.ensure(open_, "user_1").external_id == "user_1"


def test_a_callable_is_asked(env):
    told = asking(env, f"{__name__}:allows_known")
    assert customers.ensure(told, "known", email="a@example.com").external_id == "known"
    with pytest.raises(CustomerRefused):
        customers.ensure(told, "unknown", email="a@example.com")
    with pytest.raises(CustomerRefused, match="Sign up first"):
        customers.ensure(told, "known_2")
    with pytest.raises(Unavailable):
        customers.ensure(told, "broken_1", email="a@example.com")
    later = asking(env, f"{__name__}.allows_later")
    with pytest.raises(CustomerRefused):
        customers.ensure(later, "another")


@pytest.mark.parametrize("name", ["hangs", "hangs_later"])
def test_a_callable_that_hangs_is_no_answer_and_is_not_waited_for(env, monkeypatch, name):
    FREE.clear()
    monkeypatch.setattr(user_validator, "_TIMEOUT_S", 0.05)
    told = asking(env, f"{__name__}:{name}")
    with pytest.raises(Unavailable):
        customers.ensure(told, "user_1")
    open_ = asking(env, f"{__name__}:{name}", user_validator_fallback="allow")
    assert customers.ensure(open_, "user_1").external_id == "user_1"
    FREE.set()


def test_few_callables_hang_at_once_and_the_others_are_answered_at_once(env, monkeypatch):
    monkeypatch.setattr(user_validator, "_calls", threading.BoundedSemaphore(1))
    told = asking(env, f"{__name__}:allows_later")
    with user_validator._calls, pytest.raises(Unavailable):
        customers.ensure(told, "known")
    assert customers.ensure(told, "known").external_id == "known"


@pytest.mark.parametrize("name", ["no.such.module:check", f"{__name__}:NOT_CALLABLE", "nonsense"])
def test_a_name_that_cannot_be_loaded_is_told_as_a_wrong_setting(env, name):
    with pytest.raises(Misconfigured):
        customers.ensure(asking(env, name), "user_1")


def test_over_http_a_refused_customer_is_403(env, receiver):
    receiver.answer = lambda got: (404, b"")
    with Client(create_app(asking(env, receiver.url)), f"Bearer {OWN_KEY}") as http:
        answer = http.post("/v1/customers", json={"external_id": "user_1"})
        problem_of(answer, 403, "customer_refused")
