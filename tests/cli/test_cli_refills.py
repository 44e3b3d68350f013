"""Refills on the command line."""

from __future__ import annotations

import pytest

from paydesk.flows import customers, methods
from paydesk.flows.methods import AddMethod


@pytest.fixture
def paydesk(paydesk_lines):
    return paydesk_lines


# S3.21
def test_refills_are_set_listed_and_turned_off(paydesk, env, make):
    make.pack()
    who = customers.ensure(env, "maya")
    methods.add(env, AddMethod(customer_id=who.uuid, token="pm_card_visa"))
    code, (one,), err = paydesk("refills", "set", "maya", "--below", "50", "--pack", "creator")
    assert (code, one["status"], one["below"], one["buys"]) == (0, "active", 50, "creator"), err
    code, (wallet,), err = paydesk("refills", "set", "maya", "--below", "5", "--wallet", "usd",
                                   "--amount", "20")  # fmt: skip
    assert code == 0, err
    code, (one,), err = paydesk("refills", "set", "maya", "--below", "50", "--pack", "creator",
                                "--day-count", "2", "--day-amount", "19.98",
                                "--month-amount", "50", "--month-count", "4")  # fmt: skip
    assert code == 0, err
    limits = {name: one[name] for name in ("day_count", "month_count", "day_minor", "month_minor")}
    assert limits == {"day_count": 2, "month_count": 4, "day_minor": 1998, "month_minor": 5000}
    found = paydesk("refills", "list", "--customer", "maya")[1]
    assert {two["id"] for two in found} == {one["id"], wallet["id"]}
    code, (off,), _ = paydesk("refills", "off", one["id"])
    assert (code, off["status"]) == (0, "off")
    assert [two["id"] for two in paydesk("refills", "list", "--status", "off")[1]] == [one["id"]]


def test_a_wrong_refill_is_refused_in_one_line(paydesk, make):
    make.pack()
    make.user("maya")
    for told in (["--below", "few", "--pack", "creator"], ["--below", "5", "--wallet", "usd"],
                 ["--below", "5"],
                 ["--below", "5", "--pack", "creator", "--month-amount", "9.98"],
                 ["--below", "5", "--pack", "creator", "--day-amount", "1.234"]):  # fmt: skip
        code, _, err = paydesk("refills", "set", "maya", *told)
        assert code != 0 and "Traceback" not in err
