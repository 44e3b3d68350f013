"""Commands about disputes and the comparison of the books."""

from __future__ import annotations

import json

import pytest

from paydesk.flows import checkout, inbox
from paydesk.flows.checkout import StartCheckout

CARD = "4242424242424242"


@pytest.fixture
def bought(env, sim, make):
    """Pay a pack with this card; the intent's id."""
    make.pack()

    def buy(card=CARD):
        view = checkout.start(env, StartCheckout(customer_id=make.user().uuid, pack="creator"))
        sim.pay(view.payment.session_ref, card=card)
        for one in sim.deliveries(about=view.payment.session_ref):
            inbox.receive(env, "stripe", one.body, one.headers)
        return sim.get(view.payment.session_ref)["payment_intent"]

    return buy


def rows(out):
    return [json.loads(line) for line in out.splitlines()]


def test_disputes_are_listed_shown_and_given_up(paydesk, bought):  # S3.23
    bought("4000000000000259")
    code, out, _ = paydesk("disputes", "list")
    one = rows(out)[0]
    assert (code, one["status"], one["amount"], one["fee"]) == (0, "needs_response", 999, 1500)
    code, out, _ = paydesk("disputes", "show", one["provider_dispute"])
    assert rows(out)[0]["files"] == []
    code, _, err = paydesk("disputes", "submit", one["id"], "--yes")
    assert code == 2
    assert "no evidence" in err
    code, out, _ = paydesk("disputes", "accept", one["id"], "--yes")
    assert (code, rows(out)[0]["status"]) == (0, "lost")
    assert rows(paydesk("disputes", "list", "--status", "won")[1]) == []
    assert paydesk("disputes", "show", "dp_nobody")[0] == 1


def test_evidence_is_drafted_from_words_files_and_the_record(paydesk, bought, tmp_path):  # S3.23
    bought("4000000000000259")
    [one] = rows(paydesk("disputes", "list", "--open")[1])
    found = rows(paydesk("disputes", "suggest", one["id"])[1])[0]
    assert "9.99" in found["uncategorized_text"]
    (tmp_path / "letter.txt").write_text("winning_evidence")
    (tmp_path / "receipt.pdf").write_bytes(b"%PDF-1.7 a receipt")
    code, out, err = paydesk(
        "disputes", "evidence", one["id"], "--suggested",
        "--text", f"uncategorized_text=@{tmp_path / 'letter.txt'}", "--text", "service_date=",
        "--file", f"receipt={tmp_path / 'receipt.pdf'}",
    )  # fmt: skip
    draft = rows(out)[0]
    assert code == 0, err
    assert draft["evidence"]["uncategorized_text"] == "winning_evidence"
    assert "service_date" not in draft["evidence"] and draft["evidence"]["product_description"]
    assert [(f["field"], f["reached"]) for f in draft["files"]] == [("receipt", True)]
    for wrong in (["--text", "nothing"], ["--text", "nonsense=x"], ["--file", "receipt=/no/file"]):
        assert paydesk("disputes", "evidence", one["id"], *wrong)[0] == 2
    code, out, err = paydesk("disputes", "submit", one["id"], "--yes")
    assert code == 0, err
    assert rows(out)[0]["submitted_at"] and rows(paydesk("disputes", "list", "--open")[1]) == []


def test_books_are_compared_mended_and_compared_again(paydesk, bought, sim):  # S3.23
    first, second = bought(), bought()
    sim.refund(first, 300, silent=True)
    sim.alter_amount(second, 1099)
    code, out, _ = paydesk("reconcile", "--since", "2d")
    *found, run = rows(out)
    assert (code, run["status"], run["has_drift"]) == (1, "done", True)
    assert [(d["kind"], d["type"], d["status"]) for d in found] == [
        ("payment", "amount", "manual"), ("refund", "missing_here", "open"),
    ]  # fmt: skip
    code, out, err = paydesk("reconcile", "--since", "2d", "-o", "table")
    assert code == 1
    for words in ("✓", "+  missing here", "≠  amount", "USD 10.99 vs USD 9.99", "3.00"):
        assert words in out, out
    assert "Run again with --fix to record 1." in err
    code, out, err = paydesk("reconcile", "--since", "2d", "--fix", "-o", "table")
    assert code == 1
    assert "1 recorded, 1 left to a person." in err
    sim.alter_amount(second, 999)
    code, out, err = paydesk("reconcile", "--since", "2d", "-o", "table")
    assert code == 0
    assert "The books agree." in err


def test_a_run_that_was_left_is_gone_on_with(paydesk, bought, sim):
    bought()
    sim.fault("500", "/v1/refunds*")
    code, _, err = paydesk("reconcile", "--since", "2d")
    assert code == 3
    command = err.split("Go on with: paydesk ")[1].split()[:3]
    code, out, _ = paydesk(*command)
    assert (code, rows(out)[-1]["status"]) == (0, "done")
    assert paydesk("reconcile", "--since", "soon")[0] == 2
    assert paydesk("reconcile", "--provider", "nobody")[0] == 1
    assert paydesk("reconcile", "--resume", "rec_nobody")[0] == 1
