"""Commands about refunds."""

from __future__ import annotations

import io
import json

import pytest

from paydesk.flows import checkout, inbox
from paydesk.flows.checkout import StartCheckout


@pytest.fixture
def bought(env, sim, make):
    """A paid pack; the intent's id."""
    make.pack()
    view = checkout.start(env, StartCheckout(customer_id=make.user().uuid, pack="creator"))
    sim.pay(view.payment.session_ref)
    for one in sim.deliveries(about=view.payment.session_ref):
        inbox.receive(env, "stripe", one.body, one.headers)
    return sim.get(view.payment.session_ref)["payment_intent"]


def test_a_payment_is_refunded_once_under_its_key_and_listed(paydesk, bought):  # S3.20 I6
    ask = ("payments", "refund", bought, "--yes", "--key", "row 7", "--reason", "duplicate",
           "--output", "json")  # fmt: skip
    code, out, err = paydesk(*ask)
    assert code == 0, err
    done = json.loads(out)
    assert (done["status"], done["credits_taken_back"]) == ("succeeded", 150)
    code, out, err = paydesk(*ask)  # All of it is gone by now, and the same key is the same refund.
    assert (code, json.loads(out)["id"]) == (0, done["id"]), err
    code, out, _ = paydesk("refunds", "list", "--payment", bought, "--output", "json")
    assert (code, json.loads(out)["id"]) == (0, done["id"])
    code, out, _ = paydesk("refunds", "show", done["id"])
    assert code == 0
    assert "succeeded" in out


def test_whoever_refunds_is_told_what_goes_before_saying_yes(paydesk, bought, monkeypatch):  # S3.20
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    code, out, err = paydesk("payments", "refund", bought, "4.00")
    assert code != 0
    assert "60 credits are taken back" in (err + out).lower()
    assert paydesk("refunds", "list", "--output", "json")[1].strip() == ""


def test_a_refund_above_what_is_left_is_refused(paydesk, bought):  # I7
    code, _, err = paydesk("payments", "refund", bought, "20.00", "--yes")
    assert code != 0
    assert "can be refunded" in err
