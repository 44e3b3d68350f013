"""`paydesk provider list` and `paydesk provider check`."""

from __future__ import annotations

import json

import pytest
from moncash_server import CLIENT_ID, SECRET, MonCashServer

from paydesk import cli
from paydesk.providers import Provider, base, provider


@pytest.fixture
def server():
    made = MonCashServer()
    yield made
    made.close()


@pytest.fixture
def paydesk(server, tmp_path, monkeypatch, capsys):
    """`paydesk("provider", "list")`: (exit code, JSON lines, complaints), MonCash configured."""
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "MONCASH_CLIENT_ID": CLIENT_ID, "MONCASH_CLIENT_SECRET": SECRET,
        "MONCASH_URL": server.url, "PAYDESK_SIMULATOR_URL": "http://127.0.0.1:9", "NO_COLOR": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)

    def run(*arguments):
        with pytest.raises(SystemExit) as ended:
            cli.main(list(arguments))
        told = capsys.readouterr()
        return ended.value.code or 0, [json.loads(x) for x in told.out.splitlines()], told.err

    return run


@pytest.fixture
def faulty():
    """A provider that promises what it does not have."""

    @provider("faulty")
    class Faulty(Provider):
        can = frozenset({"checkout", "fetch", "teleport"})
        currencies = frozenset({"usd", "xyz"})

        def fetch(self, ref):
            raise ZeroDivisionError("its own fault")

    yield Faulty
    base._registry.pop("faulty")


# S3.4
def test_the_list_tells_what_is_configured_and_what_it_can(paydesk):
    code, shown, _ = paydesk("provider", "list")
    by_name = {one["name"]: one for one in shown}
    assert code == 0 and {"stripe", "paypal", "btcpay", "moncash"} <= by_name.keys()
    assert by_name["moncash"] == {
        "name": "moncash", "configured": True, "mode": "live",
        "can": "by_hand checkout fetch search", "currencies": "htg",
    }  # fmt: skip
    assert (by_name["paypal"]["configured"], by_name["paypal"]["mode"]) == (False, "")


def test_a_provider_that_is_set_up_well_passes_the_check(paydesk):
    code, found, _ = paydesk("provider", "check", "moncash")
    assert (code, [one["ok"] for one in found]) == (0, [True] * 4)
    assert [one["check"] for one in found] == ["can", "currencies", "settings", "answers"]


def test_wrong_credentials_show_in_the_check_without_being_shown(paydesk, monkeypatch):
    monkeypatch.setenv("MONCASH_CLIENT_SECRET", "mistyped-secret")
    code, found, _ = paydesk("provider", "check", "moncash")
    assert code == 3 and "credentials" in found[-1]["detail"]
    assert "mistyped" not in str(found)


def test_a_provider_that_cannot_be_reached_is_exit_code_3(paydesk, server):
    server.close()
    code, found, _ = paydesk("provider", "check", "moncash")
    assert (code, found[-1]["ok"]) == (3, False)


def test_what_is_not_configured_is_a_problem(paydesk):
    code, found, _ = paydesk("provider", "check", "paypal")
    assert code == 1
    assert [one["check"] for one in found if not one["ok"]] == ["settings"]


def test_an_unknown_provider_is_named(paydesk):
    code, _, err = paydesk("provider", "check", "firebird")
    assert code == 1 and "firebird" in err


def test_an_adapters_own_faults_are_found(paydesk, faulty):
    code, found, _ = paydesk("provider", "check", "faulty")
    details = {one["check"]: (one["ok"], one["detail"]) for one in found}
    assert code == 1
    assert details["can"] == (
        False, "'teleport' is no ability; create_checkout is promised and not there",
    )  # fmt: skip
    assert details["currencies"] == (False, "no currencies: xyz")
    assert details["answers"] == (False, "ZeroDivisionError in its adapter: its own fault")
