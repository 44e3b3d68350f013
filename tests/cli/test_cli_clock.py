"""Commands about clocks that are moved by hand."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest


@pytest.fixture
def paydesk(paydesk_lines):
    return paydesk_lines


def test_a_clock_is_made_with_its_customers_advanced_and_deleted(paydesk):
    code, (made,), _ = paydesk("clock", "create", "--customer", "ada", "--customer", "bo")
    assert (code, made["status"], made["customers"]) == (0, "ready", 2)
    assert paydesk("credits", "grant", "ada", "5", "--days", "10")[0] == 0
    assert paydesk("credits", "grant", "otto", "5", "--days", "10")[0] == 0
    code, (moved,), _ = paydesk("clock", "advance", "31d", "--customer", "bo")
    assert code == 0
    start, now = (datetime.fromisoformat(one["now"]) for one in (made, moved))
    assert now - start == timedelta(days=31)
    balances = [paydesk("credits", "balance", name)[1][0]["balance"] for name in ("ada", "otto")]
    assert balances == [0, 5]
    assert paydesk("clock", "advance", "--to", "2031-01-31", "--clock", made["id"])[0] == 0
    assert paydesk("clock", "list")[1][0]["id"] == made["id"]
    assert paydesk("clock", "show", "--customer", "ada")[1][0]["now"].startswith("2031-01-31")
    assert paydesk("clock", "delete", made["id"])[1][0]["status"] == "deleted"
    assert paydesk("clock", "list")[1] == []
    assert paydesk("clock", "advance", "1d", "--clock", made["id"])[0] != 0


def test_wrong_uses_are_told(paydesk):
    _, (made,), _ = paydesk("clock", "create", "--customer", "ada")
    for wrong in (["--customer", "ada"], ["1d"], ["1d", "--to", "2031-01-31", "--customer", "ada"],
                  ["1d", "--customer", "ada", "--clock", made["id"]]):
        assert paydesk("clock", "advance", *wrong)[0] == 2, wrong
    assert paydesk("clock", "advance", "soon", "--customer", "ada")[0] != 0
    assert "never goes back" in paydesk("clock", "advance", "--to", "2020-01-01",
                                        "--customer", "ada")[2]
    assert paydesk("credits", "grant", "otto", "5")[0] == 0
    code, _, told = paydesk("clock", "advance", "1d", "--customer", "otto")
    assert code != 0 and "everybody's clock" in told


# S1.56
def test_what_stripe_runs_follows_a_clock_that_is_advanced_from_the_shell(paydesk, sim):
    assert paydesk("clock", "create", "--customer", "ada")[0] == 0
    assert paydesk("plans", "upsert", "pro", "--name", "Pro", "--price", "20.00 USD",
                   "--interval", "month")[0] == 0  # fmt: skip
    assert paydesk("subscriptions", "start", "ada", "pro", "--runner", "provider")[0] == 0
    (page,) = sim.objects("checkout.session")
    sim.pay(page["id"])
    code, (moved,), _ = paydesk("clock", "advance", "63d", "--customer", "ada")
    assert (code, moved["status"]) == (0, "ready")
    (sub,) = paydesk("subscriptions", "list", "--customer", "ada")[1]
    assert sub["status"] == "active"
    assert datetime.fromisoformat(sub["until"]) > datetime.fromisoformat(moved["now"])
