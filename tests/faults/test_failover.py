"""The primary dies, its standby takes over: every acknowledged spend is there."""

from __future__ import annotations

import os
import time

import pytest
from load import Load, check, owners_with_credits
from nodes import Node

from paydesk.assemble import build_env
from paydesk.clock import SystemClock
from paydesk.db import cluster, migrate
from paydesk.settings import Settings
from paydesk.testing.databases import scratch_place

PROVE = os.environ.get("PAYDESK_PROVE") == "1"
SPENDS = 5_000 if PROVE else 300
#: From the primary's death to the first spend on the other one, promotion included.
BACK_WITHIN_S = 20.0


@pytest.fixture
def pair(request):
    """A primary that answers only what its standby has written too."""
    place = scratch_place() / f"paydesk-failover-{os.getpid()}"
    primary = Node(place / "one")
    standby = Node(place / "two", primary.facts)
    for node in (primary, standby):
        request.addfinalizer(node.remove)
    primary.create().start()
    cluster.give_roles(primary.facts)
    migrate.migrate(primary.dsn("owner"))
    standby.copy_of(primary).start()
    primary.run("alter system set synchronous_standby_names = 'standby'")
    primary.run("select pg_reload_conf()")
    until = time.monotonic() + 30
    while primary.ask("select coalesce(max(sync_state), '') from pg_stat_replication") != "sync":
        assert time.monotonic() < until, standby.log()
        time.sleep(0.05)
    return primary, standby


@pytest.mark.prove
@pytest.mark.timeout(600)
def test_after_a_failover_every_acknowledged_spend_is_there(pair, tmp_path):
    """I5 I42: kill -9 of the primary under load; the address names both servers."""
    primary, standby = pair
    ports = f"127.0.0.1:{primary.facts.port},127.0.0.1:{standby.facts.port}"
    dsn = primary.dsn("app").replace(f"127.0.0.1:{primary.facts.port}", ports)
    settings = Settings(
        database_url=f"{dsn}?target_session_attrs=read-write", data_dir=str(tmp_path),
        simulator_url="http://127.0.0.1:9", max_daily_transactions=10**9,
        max_credit_balance=10**12,
    )  # fmt: skip
    env = build_env(settings, start_missing=False, clock=SystemClock())
    try:
        owners = owners_with_credits(env)
        with Load(env, owners, seed=11) as load:
            load.wait_for(SPENDS, 300)
            primary.kill()
            died_at = time.monotonic()
            at_death = load.count
            standby.run("select pg_promote()")
            load.wait_for(20, BACK_WITHIN_S)
            took_s = time.monotonic() - died_at
            load.wait_for(SPENDS // 2, 120)
        print(f"{at_death} acknowledged before, back after {took_s:.1f} s, {load.refusals}")
        assert took_s < BACK_WITHIN_S
        check(env, load)
    finally:
        env.close()
