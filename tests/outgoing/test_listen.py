"""`paydesk listen` and `paydesk webhooks`: events on a developer's machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest
from standardwebhooks import Webhook

from paydesk import cli
from paydesk.errors import AddressRefused, InvalidRequest
from paydesk.flows import events, forwarding, outgoing_feed, webhook_deliveries
from paydesk.flows.forwarding import Forwarder


@pytest.fixture
def told(database, sim, receiver, tmp_path, monkeypatch) -> dict[str, str]:
    """The environment of a command."""
    values = {
        "DATABASE_URL": database.dsn, "PAYDESK_SIMULATOR_URL": sim.url, "JWT_SECRET": "s" * 40,
        "PAYDESK_OUTGOING_LOOPBACK": "1", "NO_COLOR": "1", "COLUMNS": "200",
    }  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return values


@pytest.fixture
def paydesk(told, capsys):
    def run(*arguments: str) -> tuple[int, list[Any], str]:
        code = 0
        try:
            cli.main(list(arguments))
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 0
        out, err = capsys.readouterr()
        return code, [json.loads(line) for line in out.splitlines()], err

    return run


def test_events_are_forwarded_signed_and_in_order(env, make, receiver, db):
    user = make.user()
    make.credits(user, 10)  # Before somebody listens.
    events.publish(env)
    seen: list[Any] = []
    forwarder = Forwarder(env, f"{receiver.url}/hooks", ["credits.*"],
                          lambda event, call: seen.append((event.type, call.status)))  # fmt: skip
    make.credits(user, 5)
    make.credits(user, 6)
    forwarder.run_once()
    bodies = [Webhook(forwarder.secret).verify(g.body, g.headers) for g in receiver.got]
    assert [b["data"]["amount"] for b in bodies] == [5, 6]
    assert seen == [("credits.granted", 200)] * 2
    assert forwarding.secret_of(env) == forwarder.secret, "the same at the next start"
    forwarder.close()
    with db.read() as tx:
        assert tx.value("select count(*) from feeds where starts_with(sink, 'listen:')") == 0
        assert tx.value("select count(*) from sinks where starts_with(name, 'listen:')") == 0


def test_what_the_application_does_not_take_comes_again(env, make, receiver, clock):
    forwarder = Forwarder(env, receiver.url)
    receiver.answer = lambda got: (500, b"")
    make.credits(make.user(), 5)
    forwarder.run_once()
    receiver.answer = lambda got: (200, b"")
    clock.advance(seconds=5)
    forwarder.run_once()
    ids = [g.headers["webhook-id"] for g in receiver.got]
    assert len(set(ids)) * 2 == len(ids) == 4
    forwarder.close()


def test_a_listener_that_died_is_cleared_up_by_the_next(env, make, receiver, clock, db):
    lost = Forwarder(env, receiver.url)
    make.credits(make.user(), 5)
    lost.run_once()
    clock.advance(minutes=9)
    Forwarder(env, receiver.url).close()
    with db.read() as tx:
        kept = tx.value("select count(*) from sinks where starts_with(name, 'listen:')")
    assert kept == 1, "it may still live"
    clock.advance(minutes=2)
    Forwarder(env, receiver.url).close()
    with db.read() as tx:
        assert tx.value("select count(*) from sinks where starts_with(name, 'listen:')") == 0
        assert tx.value("select count(*) from heartbeats where starts_with(name, 'listen:')") == 0


def test_the_secret_is_printed_alone(told, capsys, env):
    cli_env = forwarding.secret_of(env)
    with pytest.raises(SystemExit) as left:
        cli.main(["listen", "--print-secret"])
    printed = capsys.readouterr().out.strip()
    assert left.value.code == 0 and printed.startswith("whsec_") and printed != cli_env


def test_it_forwards_to_this_machine_or_to_the_public_only(env):  # I36
    for url in ("http://10.0.0.2/", "http://169.254.169.254/", "http://hooks.example.com/"):
        with pytest.raises(AddressRefused):
            Forwarder(env, url)
    with pytest.raises(InvalidRequest):
        Forwarder(env, "http://localhost:3000/", ["nothing.*"])


def test_the_command_forwards_until_it_is_ended(told, env, make, receiver):
    address = f"127.0.0.1:{receiver.port}"
    command = [sys.executable, "-m", "paydesk", "listen", "--forward-to", address,
               "--events", "credits.*"]  # fmt: skip
    process = subprocess.Popen(
        command, env={**os.environ, **told}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None and process.stdout is not None
        line = process.stderr.readline()
        while line and "Forwarding to" not in line:
            line = process.stderr.readline()
        assert "whsec_" in line
        make.credits(make.user(), 5)
        first: list[str] = []
        reader = threading.Thread(target=lambda: first.append(process.stdout.readline()))
        reader.start()
        reader.join(60)
        assert json.loads(first[0])["http_status"] == 200
        assert json.loads(receiver.got[0].body)["type"] == "credits.granted"
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(60)
    with env.db.read() as tx:
        assert tx.value("select count(*) from sinks where starts_with(name, 'listen:')") == 0


def test_endpoints_are_kept_from_the_command_line(paydesk, env, make, receiver):
    code, [made], _ = paydesk("webhooks", "create", receiver.url, "--events", "credits.*")
    assert code == 0 and made["secret"].startswith("whsec_")
    assert [one["id"] for one in paydesk("webhooks", "list")[1]] == [made["id"]]
    code, [found], _ = paydesk("webhooks", "test", made["id"], "--type", "credits.spent")
    assert (code, found["http_status"]) == (0, 200)
    outgoing_feed.drain(env)
    receiver.answer = lambda got: (500, b"")
    make.credits(make.user(), 5)
    events.publish(env)
    outgoing_feed.drain(env)
    # Another process holds other secrets: this command's endpoint was sealed with its own.
    code, [waiting], _ = paydesk("webhooks", "deliveries", made["id"])
    assert (waiting["type"], waiting["status"]) == ("credits.granted", "waiting")
    code, [again], _ = paydesk("webhooks", "redeliver", waiting["id"])
    assert again["id"] == waiting["id"]
    code, [counted], _ = paydesk("webhooks", "redeliver", made["id"], "--since", "2h", "--failed")
    assert (code, counted["count"]) == (0, 0), "it waits already"
    assert paydesk("webhooks", "redeliver", made["id"])[0] == 2
    assert paydesk("webhooks", "redeliver", made["id"], "--since", "soon")[0] == 2
    assert paydesk("webhooks", "pause", made["id"])[1][0]["status"] == "paused"
    assert paydesk("webhooks", "resume", made["id"])[1][0]["status"] == "enabled"
    assert paydesk("webhooks", "rotate", made["id"])[1][0]["secret"] != made["secret"]
    assert paydesk("webhooks", "delete", made["id"])[1][0]["status"] == "deleted"
    assert paydesk("webhooks", "create", "http://10.0.0.1/")[0] == 2
    assert paydesk("listen")[0] == 2, "it wants an address"
    assert webhook_deliveries.parked(env) == []
