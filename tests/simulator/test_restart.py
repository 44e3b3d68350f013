"""Restarts: objects, replays and deliveries outlive the process; a parent's end ends it."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import stripe
from simulator_support import card_form, session_params, wait_for

from paydesk.simulator.testing import SECRET_KEY, running_simulator

SOURCE = str(Path(__file__).resolve().parents[2] / "src")
SECRET = "whsec_of_the_shop"


class Process:
    """`python -m paydesk.simulator` as a child of this test."""

    def __init__(self, *arguments: str, fds: tuple[int, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "paydesk.simulator", *arguments], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=fds,
            env={**os.environ, "PYTHONPATH": SOURCE},
        )
        line = self.process.stdout.readline()
        assert line.startswith("simulator: http"), line + self.process.stderr.read()
        self.url = line.split()[1]
        wait_for(self.answers)

    def answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/_sim/stats", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def client(self) -> stripe.StripeClient:
        return stripe.StripeClient(SECRET_KEY, base_addresses={"api": self.url})

    def end(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(60)

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait(60)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            pipe.close()


def test_objects_and_replays_survive_a_restart(tmp_path):
    file = str(tmp_path / "simulator.db")
    with running_simulator(db=file) as first:
        made = first.request("POST", "/v1/checkout/sessions", session_params(),
                             idempotency_key="order-1")
        first.pay(made["id"])
    with running_simulator(db=file) as second:
        assert second.get(made["id"])["payment_status"] == "paid"
        assert len(second.events()) == 5
        replayed = second.request("POST", "/v1/checkout/sessions", session_params(),
                                  idempotency_key="order-1")
        assert replayed["id"] == made["id"]
        assert len(second.objects("checkout.session")) == 1


def test_links_point_at_the_address_of_the_present_start(tmp_path):
    file = str(tmp_path / "simulator.db")
    with running_simulator(db=file) as first:
        made = first.request("POST", "/v1/checkout/sessions", session_params())
    with running_simulator(db=file) as second:
        assert second.get(made["id"])["url"].startswith(second.url)


def test_deliveries_go_on_after_a_restart(tmp_path, receiver):
    file = str(tmp_path / "simulator.db")
    with running_simulator(webhook_url=receiver.url, secret=SECRET, db=file) as first:
        first.config(delay_s=0.5)
        first.request("POST", "/v1/customers")
    assert receiver.received == []
    with running_simulator(webhook_url=receiver.url, secret=SECRET, db=file) as second:
        second.wait_until_delivered()
    assert receiver.types == ["customer.created"]


def test_the_configured_endpoint_is_registered_again_not_twice(tmp_path, receiver):
    file = str(tmp_path / "simulator.db")
    for secret in (SECRET, SECRET, "whsec_new"):
        with running_simulator(webhook_url=receiver.url, secret=secret, db=file) as sandbox:
            assert len(sandbox.objects("webhook_endpoint")) == 1
            sandbox.request("POST", "/v1/customers")
            sandbox.wait_until_delivered()
    headers, body = receiver.received[-1]
    signed = next(v for k, v in headers.items() if k.lower() == "stripe-signature")
    assert stripe.Webhook.construct_event(body, signed, "whsec_new")
    with running_simulator(db=file) as sandbox:
        assert sandbox.objects("webhook_endpoint") == []


def test_nothing_acknowledged_is_lost_when_the_process_is_killed(tmp_path):
    file = str(tmp_path / "simulator.db")
    arguments = ("--port", "0", "--db", file, "--secret-key", SECRET_KEY)
    acknowledged = []
    for _ in range(2):
        with Process(*arguments) as process:
            client = process.client()
            for _ in range(10):
                session = client.v1.checkout.sessions.create(session_params())
                httpx.post(f"{process.url}/c/pay/{session.id}", data=card_form())
                acknowledged.append(session.id)
            process.end(signal.SIGKILL)
    with running_simulator(db=file) as sandbox:
        assert {one["id"] for one in sandbox.objects("checkout.session")} == set(acknowledged)
        paid = [one["payment_status"] for one in sandbox.objects("checkout.session")]
        assert paid == ["paid"] * len(acknowledged)
        assert len(sandbox.events("charge.succeeded")) == len(acknowledged)


def test_a_delivery_under_way_at_a_kill_is_sent_again(tmp_path, receiver):
    arguments = ("--port", "0", "--db", str(tmp_path / "simulator.db"),
                 "--webhook", f"{receiver.url}={SECRET}")
    receiver.busy = threading.Event()  # the shop has the event in its hands and does not answer
    with Process(*arguments) as process:
        process.client().v1.customers.create()
        wait_for(lambda: receiver.received)
        process.end(signal.SIGKILL)
    receiver.busy.set()
    with Process(*arguments):
        wait_for(lambda: len(receiver.received) == 2)
    assert receiver.types == ["customer.created"] * 2


def test_a_socket_of_the_parent_is_served_and_the_parents_end_ends_it():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        fd = listener.fileno()
        with Process("--fd", str(fd), "--exit-on-stdin-eof", fds=(fd,)) as process:
            assert process.url.endswith(str(listener.getsockname()[1]))
            assert httpx.get(process.url).status_code == 200
            process.process.stdin.close()
            assert process.process.wait(60) == 0


def test_a_port_in_use_is_said_plainly():
    with running_simulator() as sandbox:
        port = sandbox.url.rsplit(":", 1)[1]
        tried = subprocess.run(
            [sys.executable, "-m", "paydesk.simulator", "--port", port], capture_output=True,
            text=True, timeout=30, env={**os.environ, "PYTHONPATH": SOURCE},
        )
    assert tried.returncode == 1
    assert f"Port {port} cannot be used" in tried.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 0, r"paid: cs_test_"),
        (["--card", "4000002760003184"], 0, r"paid: cs_test_"),
        (["--card", "4000002760003184", "--fail-3ds"], 1, r"authentication_failed"),
        (["--card", "4000000000009995"], 1, r"declined \(insufficient_funds\)"),
        (["--card", "4539578763621486"], 1, r"invalid: .*not stored"),
    ],
)
def test_a_session_is_paid_from_the_command_line(sandbox, capsys, arguments, status, words):
    from paydesk.simulator import main

    session = sandbox.request("POST", "/v1/checkout/sessions", session_params())
    given = ["pay", session["id"], "--base", sandbox.url, *arguments]
    assert main(given) == status
    out, err = capsys.readouterr()
    assert re.search(words, out + err)
    assert (sandbox.get(session["id"])["status"] == "complete") == (status == 0)


def test_paying_an_unknown_session_or_without_a_simulator_fails(sandbox, capsys):
    from paydesk.simulator import main

    assert main(["pay", "cs_test_nothing", "--base", sandbox.url]) == 1
    assert main(["pay", "cs_test_nothing", "--base", "http://127.0.0.1:9"]) == 2
    assert "does not answer" in capsys.readouterr().err


def test_many_sessions_are_paid_at_once(sandbox):
    ids = [sandbox.request("POST", "/v1/checkout/sessions", session_params())["id"]
           for _ in range(20)]
    start = time.monotonic()
    assert [one.status for one in sandbox.pay_many(ids)] == ["complete"] * 20
    assert time.monotonic() - start < 20
    assert len(sandbox.events("charge.succeeded")) == 20


@pytest.mark.parametrize(
    ("text", "url", "secret"),
    [
        ("http://a.test/w=whsec_1=", "http://a.test/w", "whsec_1="),
        ("http://a.test/w?x=1=whsec_1", "http://a.test/w?x=1", "whsec_1"),
        ("http://a.test/w=c2VjcmV0==", "http://a.test/w", "c2VjcmV0=="),
        ("http://a.test/w?x=1=plain", "http://a.test/w?x=1", "plain"),
    ],
)
def test_an_endpoint_and_its_secret_are_told_apart(text, url, secret):
    from paydesk.simulator.cli import _webhook

    assert _webhook(text) == (url, secret)


@pytest.mark.parametrize("text", ["http://a.test/w", "a.test=whsec_1", "http://a.test/w="])
def test_an_endpoint_without_address_or_secret_is_refused(text, capsys):
    from paydesk.simulator import main

    with pytest.raises(SystemExit):
        main(["--webhook", text])
    assert "URL=SECRET" in capsys.readouterr().err
