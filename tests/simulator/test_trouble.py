"""Switches that make trouble: time-outs after success, refusals, slowness, broken connections."""

import time

import httpx
import pytest
import stripe
from simulator_support import make_client, session_params

from paydesk.simulator import faults


def test_a_time_out_after_success_leaves_the_object_behind(sandbox):
    sandbox.fault("timeout_after", "/v1/checkout/sessions", method="POST", seconds=5)
    client = make_client(sandbox, timeout=0.5)
    with pytest.raises(stripe.APIConnectionError):
        client.v1.checkout.sessions.create(session_params(), {"idempotency_key": "order-1"})
    assert len(sandbox.objects("checkout.session")) == 1
    again = client.v1.checkout.sessions.create(session_params(), {"idempotency_key": "order-1"})
    assert [one["id"] for one in sandbox.objects("checkout.session")] == [again.id]


@pytest.mark.parametrize(("kind", "made"), [("drop_after", 1), ("drop_before", 0)])
def test_a_broken_connection_after_or_before_the_work(sandbox, kind, made):
    sandbox.fault(kind, "/v1/customers")
    with pytest.raises(stripe.APIConnectionError):
        make_client(sandbox).v1.customers.create()
    assert len(sandbox.objects("customer")) == made


@pytest.mark.parametrize(("kind", "made"), [("500", 0), ("500_after", 1)])
def test_a_failing_server_before_or_after_the_work(sandbox, kind, made):
    sandbox.fault(kind, "/v1/customers")
    with pytest.raises(stripe.APIError):
        make_client(sandbox).v1.customers.create()
    assert len(sandbox.objects("customer")) == made


def test_too_many_requests(sandbox, client):
    sandbox.fault("429", "/v1/*", times=2)
    for _ in range(2):
        with pytest.raises(stripe.RateLimitError):
            client.v1.customers.list()
    assert client.v1.customers.list().data == []


def test_more_calls_than_allowed_in_a_second(sandbox, client, monkeypatch):
    now = 1000.0
    monkeypatch.setattr(faults, "monotonic", lambda: now)
    sandbox.config(rate_limit=2)
    for _ in range(2):
        client.v1.customers.list()
    for _ in range(3):
        with pytest.raises(stripe.RateLimitError):
            client.v1.customers.list()
    now += 1.0
    assert client.v1.customers.list().data == []


def test_the_sdk_gets_over_trouble_by_itself_and_makes_one_object(sandbox):
    sandbox.config(faults=[
        {"kind": "500", "path": "/v1/customers"}, {"kind": "drop_after", "path": "/v1/customers"},
        {"kind": "429", "path": "/v1/products", "times": 9},
    ])
    customer = make_client(sandbox, retries=5).v1.customers.create()
    assert [one["id"] for one in sandbox.objects("customer")] == [customer.id]


def test_a_slow_answer(sandbox, client):
    sandbox.fault("slow", "/v1/customers", method="GET", seconds=0.3)
    client.v1.customers.create()
    start = time.monotonic()
    client.v1.customers.list()
    assert time.monotonic() - start >= 0.3


def test_faults_reach_the_hosted_page_but_never_the_switches(sandbox):
    sandbox.fault("500", "*", times=2)
    assert httpx.get(f"{sandbox.url}/_sim/stats").status_code == 200
    assert httpx.get(f"{sandbox.url}/c/pay/cs_test_x").status_code == 500
    assert httpx.get(f"{sandbox.url}/c/pay/cs_test_x").status_code == 500
    assert httpx.get(f"{sandbox.url}/c/pay/cs_test_x").status_code == 404
    assert sandbox.stats()["counts"]["fault_500"] == 2


def test_switches_are_read_set_and_reset_over_http(sandbox):
    url = f"{sandbox.url}/_sim/config"
    changed = httpx.post(url, json={"delay_s": 2, "duplicates": 1}).json()
    assert (changed["delay_s"], changed["duplicates"]) == (2, 1)
    assert httpx.get(url).json() == changed
    sandbox.request("POST", "/v1/customers")
    assert httpx.post(f"{sandbox.url}/_sim/reset").json() == {"reset": True}
    assert httpx.get(url).json()["delay_s"] == 0
    assert sandbox.objects("customer") == []


@pytest.mark.parametrize(
    "body",
    [
        {"delay": 1}, {"delay_s": -1}, {"delay_s": "1"}, {"delay_s": True}, {"lose_fraction": 2},
        {"duplicates": 1.5}, {"duplicates": 101}, {"suspended": 1}, {"backoff_s": 5},
        {"event_version": 5}, {"faults": [{"kind": "rain"}]}, {"faults": [{"path": "*"}]},
        {"faults": [{"kind": "500", "times": 0}]}, {"faults": [{"kind": "500", "color": 1}]},
        {"faults": {}}, [], "x",
    ],
)
def test_a_wrong_switch_is_refused_and_changes_nothing(sandbox, body):
    before = sandbox.config()
    answer = httpx.post(f"{sandbox.url}/_sim/config", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert sandbox.config() == before


@pytest.mark.parametrize(
    "body", [{"order": "sideways"}, {"events": "evt_1"}, {"types": [1]}, {"again": 1},
             {"seed": "x"}, {"all": True}],
)
def test_a_wrong_delivery_is_refused(sandbox, body):
    assert httpx.post(f"{sandbox.url}/_sim/deliver", json=body).status_code == 400


def test_a_simulator_with_a_file_is_not_reset(tmp_path):
    from paydesk.simulator.testing import running_simulator

    with running_simulator(db=str(tmp_path / "simulator.db")) as kept:
        kept.request("POST", "/v1/customers")
        assert httpx.post(f"{kept.url}/_sim/reset").status_code == 400
        assert len(kept.objects("customer")) == 1
