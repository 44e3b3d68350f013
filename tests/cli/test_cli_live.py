"""With a live key set, nothing moves money by mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paydesk import ids

#: Ids of nothing, the same in every process, since they name tests.
REFUND, WITHDRAWAL, DISPUTE = (
    ids.show(kind, ids.customer_of_tag(7)) for kind in ("refund", "withdrawal", "dispute")
)
#: Commands that move money or hand over goods.
MOVING = (
    ("payments", "refund", "pi_unknown", "--yes"),
    ("refunds", "approve", REFUND),
    ("refunds", "paid", REFUND, "transfer 12"),
    ("withdrawals", "approve", WITHDRAWAL),
    ("withdrawals", "paid", WITHDRAWAL, "transfer 12"),
    ("disputes", "submit", DISPUTE, "--yes"),
    ("disputes", "accept", DISPUTE, "--yes"),
    ("statements", "import", "statement.csv"),
    ("statements", "match", "line 1", "pi_unknown"),
    ("credits", "grant", "user_9", "10"),
    ("credits", "spend", "user_9", "10"),
)
ASKING_THE_PROVIDER = (("reconcile", "--fix"), ("catalog", "sync"))


@pytest.fixture
def live(paydesk, monkeypatch):
    """The command line with a live key, and a statement in its folder."""
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_" + "live_" + "Never0Used" * 3)
    Path("statement.csv").write_text("nothing", encoding="utf-8")
    return paydesk


@pytest.mark.parametrize("command", MOVING + ASKING_THE_PROVIDER, ids=" ".join)
def test_a_live_key_wants_live_said_before_money_moves(live, database, command):  # S3.13
    code, out, err = live(*command)
    assert (code, out) == (2, "")
    assert "--live" in err


@pytest.mark.parametrize("command", MOVING, ids=" ".join)
def test_with_live_said_the_command_goes_on(live, command):
    _, _, err = live(*command, "--live")
    assert "A live key is set" not in err


def test_credits_are_granted_with_a_live_key_when_live_is_said(live):
    code, out, err = live("credits", "grant", "user_9", "10", "--live", "-o", "json")
    assert (code, json.loads(out)["balance"]) == (0, 10), err


def test_with_a_test_key_nobody_is_asked_for_live(paydesk):
    code, _, err = paydesk("credits", "grant", "user_9", "10")
    assert code == 0, err


def test_reading_needs_no_live(live):
    assert live("refunds", "list")[0] == 0
    assert live("statements", "lines")[0] == 0
