"""The sandbox: a program without any setting sells a pack; nothing is left running after it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from pathlib import Path

import pytest

from paydesk import children
from paydesk.db import processes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def program(tmp_path):
    """Starts a Python program in an empty folder, with nothing of ours in its environment."""
    hidden = ("PAYDESK_", "STRIPE_", "DATABASE_URL", "REDIS_URL", "PG")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(hidden)}
    environ["PYTHONPATH"] = str(ROOT / "src")
    started = []

    def start(text: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(text)], cwd=tmp_path, env=environ,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def gone(pid: int, timeout_s: float = 60.0) -> bool:
    end = time.monotonic() + timeout_s
    while processes.is_alive(pid):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


SALE = """
    from paydesk import Paydesk, USD
    from paydesk.simulator.cli import pay as pay_by_card

    with Paydesk() as pay:
        pay.packs.upsert("creator", name="Creator Pack", credits=500, price=USD("54.50"))
        pay.promos.upsert("WELCOME10", percent_off=10, packs=["creator"])
        before = int(pay.credits.balance("user_123"))
        session = pay.checkout(
            customer="user_123", email="maya@example.com", pack="creator", promo="WELCOME10",
            success_url="https://app.example.com/thanks",
            cancel_url="https://app.example.com/pricing",
        )
        pay_by_card(session.payment.provider_session, base_url=pay.env.settings.simulator_url)
        session = pay.verify(session.id)
        print(session.total, session.payment.status, before, pay.credits.balance("user_123"))
"""


@pytest.mark.slow
def test_a_program_without_settings_sells_a_pack_and_finds_its_data_again(program):
    """The documented sample, whole: embedded PostgreSQL, simulator, purchase, verify."""
    for before, after in ((0, 500), (500, 1000)):
        out, err = program(SALE).communicate(timeout=90)
        assert out == f"USD 49.05 succeeded {before} {after}\n", err


@pytest.mark.slow
def test_nothing_is_left_running_after_kill_9(program):
    """S1.6"""
    process = program("""
        import sys
        from paydesk import Paydesk

        pay = Paydesk()
        server, simulator = (one for one in pay.env.owned if hasattr(one, "thing")
                             and hasattr(one.thing, "pid") or hasattr(one, "pid"))
        print(server.thing.pid, simulator.pid, flush=True)
        sys.stdin.read()
    """)
    pids = [int(word) for word in process.stdout.readline().split()]
    assert len(pids) == 2 and all(processes.is_alive(pid) for pid in pids), process.stderr.read()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert all(gone(pid) for pid in pids)


def stats(url: str) -> int:
    with urllib.request.urlopen(f"{url}/_sim/stats", timeout=10) as answer:
        return answer.status


def test_a_second_process_joins_the_simulator_of_the_folder(tmp_path):
    first = children.start_simulator(tmp_path)
    try:
        assert stats(first.url) == 200
        second = children.start_simulator(tmp_path)
        assert second.url == first.url and second.pid is None
        second.close()
        assert first.is_alive
    finally:
        first.close()
    assert not first.is_alive or gone(first.pid)
    third = children.start_simulator(tmp_path)
    assert third.url == first.url and third.pid != first.pid
    third.close()


#: As the documentation has it, to the letter.
SAMPLE = """
def test_renewal(pay, clock):
    pay.subscribe("u1", plan="pro").complete(card="4242")
    clock.advance(days=31)
    assert [p.status for p in pay.payments.list(customer="u1")] == ["succeeded", "succeeded"]
"""


# S1.56!
def test_the_fixtures_for_applications_work_in_a_project_of_ones_own(tmp_path):
    assert SAMPLE.strip() in (ROOT / "docs" / "clocks.md").read_text(encoding="utf-8")
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    (tmp_path / "test_shop.py").write_text(textwrap.dedent("""
        from datetime import timedelta
        import pytest
        from paydesk import USD
        from paydesk.errors import InvalidRequest, NotFound

        def test_credits_end_with_their_time(pay, clock, paydesk_simulator):
            pay.packs.upsert("s", name="Small", credits=20, price=USD("2.00"), expires_days=30)
            session = pay.checkout("u1", pack="s", success_url="https://app.example.com/ok")
            assert paydesk_simulator.pay(session.payment.provider_session).complete
            assert pay.verify(session).payment.status == "succeeded"
            assert pay.credits.balance("u1") == 20
            clock.advance(days=31)
            assert pay.credits.balance("u1") == 0
            line = pay.credits.history("u1").first()
            assert (line.type, clock.now() - line.at) == ("CREDIT_EXPIRY", timedelta(days=1))
            with pytest.raises(InvalidRequest):
                clock.advance(days=-1)

        def test_a_renewal_has_its_instant(pay, clock):
            pay.subscribe("u1", plan="pro").complete(card="4242")
            clock.advance(days=31)
            begun = clock.now() - timedelta(days=31)
            second, first = pay.payments.list(customer="u1")
            assert first.created_at == begun
            assert timedelta(days=28) <= second.created_at - begun <= timedelta(days=31)

        def test_credits_end_and_are_told_of_before(pay, clock):
            pay.credits.grant("user_1", 20, expires_days=60)
            clock.advance(days=61)
            assert pay.credits.balance("user_1") == 0
            told = [event.type for event in pay.events.list(customer="user_1")]
            assert told == ["credits.expired", "credits.expiring", "credits.granted",
                            "customer.created"]

        def test_the_sandbox_sells_what_the_development_desk_sells(pay):
            assert pay.payments.list().first() is None, "every test begins without payments"
            packs, plans = ({one.key for one in kind.list()} for kind in (pay.packs, pay.plans))
            assert packs == {"starter", "creator", "studio", "atelier"}
            assert plans == {"pro", "pro-yearly", "team", "gold"}
            session = pay.checkout("u1", pack="creator", promo="WELCOME10",
                                   success_url="https://app.example.com/ok")
            assert session.total == USD("8.99")

        class TestEmpty:
            @pytest.fixture
            def paydesk_catalog(self):
                return False

            def test_a_desk_may_begin_empty(self, pay):
                with pytest.raises(NotFound):
                    pay.subscribe("u1", plan="pro")
                assert not list(pay.packs.list()) and not list(pay.promos.list())
    """))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
         *([] if is_installed() else ["-p", "paydesk.testing.plugin"])],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def is_installed() -> bool:
    """Whether the package's entry point makes the plug-in known by itself."""
    from importlib.metadata import entry_points

    return any(p.value == "paydesk.testing.plugin" for p in entry_points(group="pytest11"))
