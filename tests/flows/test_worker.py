"""The worker: sweeps run by themselves, survive faults, and stop in good order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from paydesk import worker
from paydesk.errors import Unavailable
from paydesk.worker import SWEEPS, Worker


def until(true, timeout_s=15.0):
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_every_sweep_runs_on_an_empty_desk(desk):
    """Nothing due is nothing done."""
    done = Worker(desk.env).run_once()
    assert set(done) == {name for name, _, _ in SWEEPS}
    assert set(Worker(desk.env).run_once().values()) == {0}
    with pytest.raises(AssertionError):
        Worker(desk.env).run_once("no such sweep")


def test_a_lost_webhook_is_made_up_for_while_nobody_looks(desk):
    """S2.12: the worker ends the session and finds the money; the feed is published."""
    view = desk.open()
    desk.pay(view)
    desk.clock.advance(minutes=31)
    running = Worker(desk.env)
    running.start()
    try:
        until(lambda: desk.balance(view) == 150)
        until(lambda: not desk.all("select customer_id from news"))
        until(lambda: set(worker.beats(desk.env)) == {name for name, _, _ in SWEEPS})
    finally:
        assert running.stop()
    # At night the books may be compared first.
    assert desk.payment(view).fulfillment.path in ("sweep", "reconciliation")


def test_a_sweep_that_fails_goes_on_and_disturbs_no_other(desk, monkeypatch):
    """I29: its own fault, and the database being away."""
    monkeypatch.setattr(worker, "PAUSE_S", 0.01)
    counts = {"faulty": 0, "refused": 0, "well": 0}
    faults = {"faulty": ZeroDivisionError("fault"), "refused": Unavailable("away")}

    def sweep(name):
        def run(env):
            counts[name] += 1
            if name in faults:
                raise faults[name]
            return 0

        return run

    running = Worker(desk.env, [(name, sweep(name), 0.01) for name in counts])
    running.start()
    until(lambda: all(count > 2 for count in counts.values()))
    assert running.stop()


def test_stopping_waits_for_what_runs(desk):
    """I43: nothing new begins, what runs is finished."""
    begun, may_end, ended = threading.Event(), threading.Event(), []

    def slow(env):
        begun.set()
        may_end.wait(60)
        ended.append(1)
        return 1

    running = Worker(desk.env, [("slow", slow, 0.01)])
    running.start()
    assert begun.wait(60)
    assert not running.stop(timeout_s=0.05)
    may_end.set()
    until(lambda: ended == [1])


def test_two_workers_do_the_same_work_once(desk):
    """Any number of workers may run side by side."""
    views = [desk.open() for _ in range(6)]
    for view in views:
        desk.pay(view)
    desk.clock.advance(minutes=31)
    both = [Worker(desk.env, [s for s in SWEEPS if s[0] == "sessions"]) for _ in range(2)]
    for one in both:
        one.start()
    until(lambda: all(desk.payment(view).state == "succeeded" for view in views))
    assert all(one.stop() for one in both)
    assert [desk.balance(view) for view in views] == [150] * 6


def test_a_worker_process_ends_on_sigterm(desk, tmp_path):
    """I43: in good order and with status 0."""
    told = (
        "from paydesk.assemble import build_env\n"
        "from paydesk.settings import Settings\n"
        "from paydesk.worker import Worker\n"
        f"env = build_env(Settings(database_url={desk.env.settings.database_url!r},"
        f" simulator_url={desk.sim.url!r}), start_missing=False)\n"
        "print('ready', flush=True)\n"
        "Worker(env).run_forever()\n"
        "env.close()\n"
        "print('ended', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", told], stdout=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    until(lambda: worker.beats(desk.env))
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=30)
    assert (process.returncode, rest.splitlines()[-1]) == (0, "ended")
