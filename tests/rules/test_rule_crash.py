"""Crash points: nothing is armed by itself; an armed one strikes once, at its number."""

from __future__ import annotations

import subprocess
import sys

import pytest

from paydesk import crash


@pytest.fixture(autouse=True)
def _disarmed():
    yield
    crash.disarm()


def test_nothing_is_armed_by_itself():
    assert crash.armed() == {}
    for name in crash.POINTS:
        crash.at(name)


def test_an_armed_point_strikes_once_at_its_number():
    crash.arm("after_provider_call", nth=2)
    crash.at("after_provider_call")
    with pytest.raises(crash.CrashNow):
        crash.at("after_provider_call")
    crash.at("after_provider_call")


def test_it_is_no_ordinary_exception():
    assert not issubclass(crash.CrashNow, Exception)


@pytest.mark.parametrize("text", ["nowhere", "nowhere:raise", "after_provider_call:boom"])
def test_a_mistyped_point_is_refused(text):
    with pytest.raises(ValueError):
        crash.arm_from(text)


def test_points_can_be_told_by_a_text():
    crash.arm_from("after_provider_call, webhook_after_store:raise:3")
    assert crash.armed() == {
        "after_provider_call": ("exit", 1), "webhook_after_store": ("raise", 3),
    }  # fmt: skip


def test_exit_ends_the_process_as_a_kill_does():
    code = "from paydesk import crash; crash.arm_from('spend_before_commit'); " + (
        "crash.at('spend_before_commit'); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == crash.EXIT_STATUS and done.stdout == ""
