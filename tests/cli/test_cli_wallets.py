"""Commands about wallets and exchange rates."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from paydesk import HTG, Paydesk


@pytest.fixture
def paydesk(paydesk_lines):
    return paydesk_lines


def test_rates_are_imported_entered_and_listed(paydesk, tmp_path):  # S3.24
    today = datetime.now(UTC).date().isoformat()
    file = tmp_path / "rates.csv"
    file.write_text(f"Date,USD,JPY\n{today},1.10,165\n2020-01-02,1.2,120\n")
    code, found, _ = paydesk("rates", "import", str(file), "--since", today)
    assert (code, found[0]["new"], found[0]["last_day"]) == (0, 2, today)
    code, found, _ = paydesk("rates", "set", "usd", "htg", "130.95")
    assert (code, found[0]["rate"]) == (0, "130.95")
    assert found[0]["entered_by"].startswith("cli:")
    code, found, _ = paydesk("rates", "list", "--base", "EUR")
    assert {one["quote"] for one in found} == {"usd", "jpy"}
    assert paydesk("rates", "set", "usd", "htg", "much")[0] != 0
    assert paydesk("rates", "import", str(file), "--since", "soon")[0] == 2


def test_holds_are_shown_and_released(paydesk, env):  # I8
    with Paydesk(env=env, background=False) as pay:
        pay.customers.upsert("maya")
        pay.credits.grant("maya", 50, key="gift")
        hold = pay.hold("maya", up_to=30, reason="chat")
        hold.capture(4, final=False)
    code, found, _ = paydesk("wallets", "holds", "maya", "--status", "open")
    assert code == 0 and [(one["id"], one["left"]) for one in found] == [(hold.id, 26)]
    assert paydesk("wallets", "release", hold.id)[1][0]["status"] == "released"
    assert paydesk("wallets", "release", hold.id)[0] != 0
    assert paydesk("wallets", "holds", "maya", "--state", "open")[1] == []


def test_wallets_are_shown_and_withdrawals_decided(paydesk, env, sim):  # S3.15
    from paydesk.flows import checkout
    from paydesk.flows.checkout import StartCheckout

    with Paydesk(env=env, background=False) as pay:
        owner = pay.customers.upsert("maya").uuid
        view = checkout.start(env, StartCheckout(customer_id=owner, wallet=HTG("100")))
        sim.pay(view.payment.session_ref)
        assert pay.verify(view.id).payment.paid
        asked = pay.wallets.withdraw("maya", HTG("40"), "MonCash", by="maya")
    code, found, _ = paydesk("wallets", "list", "maya")
    assert (code, found[0]["status"]) == (0, "open")
    code, found, _ = paydesk("wallets", "history", "maya", "htg")
    assert [one["type"] for one in found] == ["WALLET_WITHDRAWAL", "WALLET_DEPOSIT"]
    code, found, told = paydesk("wallets", "statement", "maya", "htg", "--last", "7d")
    assert [one["type"] for one in found] == ["WALLET_DEPOSIT", "WALLET_WITHDRAWAL"]
    assert "HTG 0.00 + HTG 100.00 - HTG 40.00 = HTG 60.00" in told
    code, found, _ = paydesk("withdrawals", "list", "--status", "requested")
    shown = found[0]["id"]
    assert code == 0 and shown.startswith("wd_") and asked.state == "requested"
    assert paydesk("withdrawals", "paid", shown, "MC-42")[0] != 0
    assert paydesk("withdrawals", "approve", shown)[1][0]["status"] == "approved"
    assert paydesk("withdrawals", "paid", shown, "MC-42")[1][0]["reference"] == "MC-42"
    strict = replace(
        env.settings, transfer_approval_threshold=Decimal(10), default_currency="htg"
    )
    with Paydesk(env=replace(env, settings=strict), background=False) as pay:
        team = pay.customers.upsert("team", owner="maya").id
        for _ in range(2):
            pay.wallets.transfer("maya", "team", HTG("20"), by="maya")
    code, found, _ = paydesk("withdrawals", "list", "--status", "requested")
    assert [(one["to"], one["amount"]) for one in found] == [(team, 2_000)] * 2
    assert paydesk("withdrawals", "approve", found[0]["id"])[1][0]["status"] == "paid"
    assert paydesk("withdrawals", "reject", found[1]["id"])[1][0]["status"] == "rejected"
    assert paydesk("wallets", "list", "team")[1][0]["balance"] == 2_000
    assert paydesk("wallets", "freeze", "maya", "htg")[1][0]["status"] == "frozen"
    assert paydesk("wallets", "unfreeze", "maya", "htg")[1][0]["status"] == "open"
