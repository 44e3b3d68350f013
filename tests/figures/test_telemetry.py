"""Spans and metrics: named by the conventions, with no customer and no amount among them."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from http_support import Client

from paydesk import telemetry
from paydesk.flows import events, figures_desk, rollups
from paydesk.http import metrics
from paydesk.http.app import create_app
from paydesk.worker import SWEEPS

ROOT = Path(__file__).resolve().parents[2]


class Recorder:
    """What an SDK is to the API: a tracer and a meter that keep everything."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.counts: list[tuple[str, Any, dict[str, Any]]] = []
        self.gauges: dict[str, Any] = {}

    # A tracer
    def get_tracer(self, *_: Any) -> Recorder:
        return self

    def start_span(self, name: str, attributes: Any = None, **_: Any) -> Any:
        kept = SimpleNamespace(name=name, attributes=dict(attributes or {}), status=None)
        kept.set_attributes = kept.attributes.update
        kept.set_attribute = lambda key, value: kept.attributes.update({key: value})
        kept.update_name = lambda new: setattr(kept, "name", new)
        kept.set_status = lambda status: setattr(kept, "status", status.status_code.name)
        kept.end = lambda *_: None
        self.spans.append(kept)
        return kept

    @contextmanager
    def start_as_current_span(self, name: str, attributes: Any = None, **more: Any):
        yield self.start_span(name, attributes)

    # A meter
    def get_meter(self, *_: Any) -> Recorder:
        return self

    def create_counter(self, name: str, **_: Any) -> Any:
        return SimpleNamespace(add=lambda by, told: self.counts.append((name, by, told)))

    def create_histogram(self, name: str, **_: Any) -> Any:
        return SimpleNamespace(record=lambda value, told: self.counts.append((name, value, told)))

    def create_observable_gauge(self, name: str, callbacks: Any, **_: Any) -> None:
        self.gauges[name] = callbacks[0]


@pytest.fixture
def recorder(monkeypatch):
    pytest.importorskip("opentelemetry")
    made = Recorder()
    monkeypatch.setattr(telemetry, "_made", {})
    api = telemetry.metrics
    # In our own module alone: others in this process trace with the same API.
    monkeypatch.setattr(telemetry, "trace", SimpleNamespace(
        get_tracer_provider=lambda: made, get_tracer=made.get_tracer))
    monkeypatch.setattr(telemetry, "metrics", SimpleNamespace(
        get_meter_provider=lambda: made, get_meter=made.get_meter, Observation=api.Observation))
    return made


def test_without_an_sdk_nothing_is_recorded():
    assert not telemetry.is_on() and not telemetry.is_counting()
    with telemetry.span("nothing", paydesk_provider="stripe") as tell:
        tell(error_type="Fault")
    telemetry.count("paydesk.payment", 1)


def test_a_purchase_leaves_spans_without_customers_and_amounts(recorder, refunding):  # S1.60
    view = refunding.bought()
    with Client(create_app(refunding.env)) as http:
        assert http.as_key().get(f"/v1/payments/{view.payment.id}").status_code == 200
        assert http.as_key().get("/v1/payments/pay_0344QCT8RQJ5T9R7VHA8PSE1H4").status_code == 404
    names = {one.name for one in recorder.spans}
    assert {"stripe create_checkout", "webhook apply", "GET /v1/payments/{payment}"} <= names
    text = json.dumps([[one.name, one.attributes] for one in recorder.spans], default=str)
    for secret in (str(view.customer_id), str(view.payment.id), "user_1", "999", "9.99"):
        assert secret not in text
    known = {"http.request.method", "http.route", "http.response.status_code", "error.type",
             "paydesk.provider", "paydesk.operation", "paydesk.group.kind", "paydesk.group.size",
             "paydesk.sweep"}  # fmt: skip
    assert {key for one in recorder.spans for key in one.attributes} <= known


def test_a_failing_call_is_an_error_without_its_text(recorder):
    with pytest.raises(ValueError), telemetry.span("work"):
        raise ValueError("card 4242 of maya")
    [one] = recorder.spans
    assert one.attributes == {"error.type": "ValueError"} and one.status == "ERROR"


def test_payments_are_counted_once_by_what_became_of_them(recorder, refunding):
    refunding.bought()
    for _ in range(2):
        while events.publish(refunding.env):
            pass
        rollups.mark(refunding.env)
    told = {one[2]["paydesk.status"]: (one[1], one[2]) for one in recorder.counts
            if one[0] == "paydesk.payment"}  # fmt: skip
    assert told["succeeded"] == (1, {"paydesk.provider": "stripe", "paydesk.currency": "usd",
                                     "paydesk.status": "succeeded"})  # fmt: skip


def test_gauges_are_read_from_the_database(recorder, refunding):
    refunding.bought()
    figures_desk.observe(refunding.env)
    read = {name: {tuple(o.attributes.values()): o.value for o in callback(None)}
            for name, callback in recorder.gauges.items()}  # fmt: skip
    assert read["paydesk.outbox.pending"] == {(): 1}
    assert read["paydesk.ledger.imbalance"] == {("CREDIT",): 0, ("usd",): 0}
    assert all(re.fullmatch(r"paydesk(\.[a-z]+)+", name) for name in read)


def test_prometheus_tells_refunds_disputes_and_the_age_of_every_sweep(refunding, monkeypatch):
    from paydesk import worker

    monkeypatch.setattr(metrics, "_looked_at", float("-inf"))
    worker.beat(refunding.env, "figures")
    view = refunding.bought()
    refunding.desk.sim.dispute(refunding.desk.payment(view).payment_ref)
    for one in refunding.sim.deliveries():
        refunding.desk.receive(one)
    text = metrics.render(refunding.env).decode()
    assert 'paydesk_disputes_open{state="needs_response"} 1.0' in text
    assert 'paydesk_sweep_age_seconds{sweep="figures"} 0.0' in text
    assert 'paydesk_ledger_imbalance_minor_units{asset="usd"} 0.0' in text
    assert 'paydesk_provider_up{provider="stripe"} 1.0' in text


# What the page of alerts says ---------------------------------------------------------------------


def test_every_alert_names_metrics_that_exist_and_says_what_to_do(env, monkeypatch):  # S1.60
    import yaml

    monkeypatch.setattr(metrics, "_looked_at", float("-inf"))
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    known = set(re.findall(r"^# TYPE (\S+)", metrics.render(env).decode(), re.MULTILINE))
    [block] = re.findall(r"```yaml\n(groups:.*?)```", page, re.DOTALL)
    rules = [rule for group in yaml.safe_load(block)["groups"] for rule in group["rules"]]
    assert len(rules) >= 12
    for rule in rules:
        names = set(re.findall(r"\b(?:paydesk|http_server)_\w+", rule["expr"]))
        assert names
        for name in names:
            assert re.sub(r"_(bucket|count|sum)$", "", name) in known, (rule["alert"], name)
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert f"### {rule['alert']}\n" in page, rule["alert"]


def test_the_page_names_every_sweep_and_every_figure_for_prometheus(env):
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    text = metrics.render(env).decode()
    ours = {name for name in re.findall(r"^# TYPE (paydesk_\S+)", text, re.MULTILINE)
            if not name.endswith("_created")}  # fmt: skip
    assert [name for name in sorted(ours) if f"`{name}`" not in page] == []
    assert [name for name, _, _ in SWEEPS if f"`{name}`" not in page] == []
