"""Spans as an operator's collector gets them: over OTLP, from the SDK, of one purchase."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from http_support import Client
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from paydesk import telemetry, worker
from paydesk.flows import events
from paydesk.http.app import create_app


class Collector(BaseHTTPRequestHandler):
    """Takes `POST /v1/traces` as a collector does."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        assert self.path == "/v1/traces"
        self.server.taken.append(ExportTraceServiceRequest.FromString(body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""


class Traced:
    """Everything that the collector took, as plain rows."""

    def __init__(self, server: Any, provider: TracerProvider) -> None:
        self.server, self.provider = server, provider

    def spans(self) -> list[Any]:
        assert self.provider.force_flush()
        return [
            SimpleNamespace(
                name=one.name, kind=one.kind, trace=one.trace_id, id=one.span_id,
                parent=one.parent_span_id, status=one.status.code,
                told={a.key: a.value.string_value or a.value.int_value for a in one.attributes},
                seconds=(one.end_time_unix_nano - one.start_time_unix_nano) / 1e9,
            )
            for taken in self.server.taken for resource in taken.resource_spans
            for scope in resource.scope_spans for one in scope.spans
        ]  # fmt: skip


@pytest.fixture
def traced(monkeypatch) -> Iterator[Traced]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.taken = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    provider = TracerProvider(resource=Resource.create({"service.name": "desk"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(
        endpoint=f"http://127.0.0.1:{server.server_port}/v1/traces", timeout=10,
    )))  # fmt: skip
    # In our own module alone: others in this process trace with the same API.
    monkeypatch.setattr(telemetry, "trace", SimpleNamespace(
        get_tracer_provider=lambda: provider,
        get_tracer=lambda name, version: provider.get_tracer(name, version)))
    yield Traced(server, provider)
    provider.shutdown()
    server.shutdown()
    server.server_close()
    thread.join(60)


CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SERVER, CLIENT, CONSUMER = 2, 3, 5


def _heard(http: Client, one: Any) -> bool:
    path = "/v1/webhooks/stripe"
    return http.as_nobody().post(path, content=one.body, headers=one.headers).is_success


def test_one_purchase_is_one_story_at_the_collector(traced, refunding):  # S1.60
    desk = refunding.desk
    with Client(create_app(refunding.env)) as http:
        user = http.as_user("user_123")
        made = user.post("/v1/checkouts", json={"pack": "creator"},
                         headers={"traceparent": CALLER}).json()  # fmt: skip
        session = desk.all("select session_ref from payments")[0]["session_ref"]
        desk.sim.pay(session)
        for one in desk.sim.deliveries(about=session):
            assert _heard(http, one)
        assert user.get(f"/v1/checkouts/{made['id']}").json()["status"] == "complete"
        assert user.get("/v1/payments/pay_0344QCT8RQJ5T9R7VHA8PSE1H4").status_code == 404
    spans = traced.spans()
    by_name = {one.name: one for one in spans}
    asked, call = by_name["POST /v1/checkouts"], by_name["stripe create_checkout"]
    assert asked.kind == SERVER and asked.trace.hex() == CALLER.split("-")[1]
    assert asked.parent.hex() == CALLER.split("-")[2]
    assert asked.told["http.response.status_code"] == 201
    assert call.kind == CLIENT and (call.trace, call.parent) == (asked.trace, asked.id)
    assert call.told == {"paydesk.provider": "stripe", "paydesk.operation": "create_checkout"}
    assert 0 < call.seconds <= asked.seconds
    applied = by_name["webhook apply"]
    assert applied.kind == CONSUMER and applied.told["paydesk.provider"] == "stripe"
    missing = by_name["GET /v1/payments/{payment}"]
    assert missing.told["http.response.status_code"] == 404 and missing.status != 2
    text = json.dumps([[one.name, one.told] for one in spans], default=str)
    for secret in ("user_123", made["id"], session, "999", "9.99", "whsec", "Bearer"):
        assert secret not in text


def test_a_provider_that_fails_is_an_error_at_the_collector(traced, refunding):
    refunding.sim.fault("500", "/v1/checkout/sessions*", times=9)
    with Client(create_app(refunding.env)) as http:
        http.as_user("user_123").post("/v1/checkouts", json={"pack": "creator"})
    failed = [one for one in traced.spans() if one.name == "stripe create_checkout"]
    assert failed and failed[0].status == 2 and failed[0].told["error.type"]


def test_a_sweep_that_did_something_is_a_span_and_an_empty_round_is_none(traced, refunding):
    refunding.bought()
    rounds = []

    def publish(env: Any) -> int:
        rounds.append(events.publish(env))
        return rounds[-1]

    one = worker.Worker(refunding.env, [("publisher", publish, 0.01)])
    one.start()
    until = time.monotonic() + 60
    while rounds[-3:] != [0, 0, 0] and time.monotonic() < until:
        time.sleep(0.01)
    assert one.stop()
    found = [s for s in traced.spans() if s.name == "sweep publisher"]
    assert len(found) == sum(1 for n in rounds if n) >= 1
    assert found[0].told == {"paydesk.sweep": "publisher"} and found[0].seconds > 0
