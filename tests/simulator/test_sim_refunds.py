"""Refunds that stay pending, fail later, wait for the customer, or come out of the dashboard."""

import pytest
import stripe
from test_payment_intents import pay


def types(sandbox):
    return [event["type"] for event in sandbox.events()]


def amounts(client):
    return [(one.type, one.net) for one in client.v1.balance_transactions.list().data]


def test_a_pending_refund_is_announced_under_both_names_when_it_succeeds(sandbox, client):
    intent = pay(client, "pm_card_pendingRefund")
    refund = client.v1.refunds.create({"payment_intent": intent.id, "reason": "duplicate"})
    assert (refund.status, refund.pending_reason) == ("pending", "processing")
    done = sandbox.finish_refund(refund.id)
    assert (done["status"], done["reason"]) == ("succeeded", "duplicate")
    assert types(sandbox)[-4:] == [
        "charge.refunded", "refund.created", "charge.refund.updated", "refund.updated",
    ]
    sandbox.advance(10)
    assert types(sandbox)[-1] == "refund.updated"
    assert len(sandbox.events("refund.updated")) == 1


@pytest.mark.parametrize("method", ["pm_card_visa", "pm_card_pendingRefund"])
def test_a_refund_fails_now_and_the_money_is_back(sandbox, client, method):
    intent = pay(client, method)
    refund = client.v1.refunds.create({"payment_intent": intent.id, "amount": 400})
    failed = sandbox.act(
        "finish_refund", refund=refund.id, outcome="failed", failure_reason="lost_or_stolen_card"
    )
    assert (failed["status"], failed["failure_reason"]) == ("failed", "lost_or_stolen_card")
    assert types(sandbox)[-3:] == ["charge.refund.updated", "refund.updated", "refund.failed"]
    assert amounts(client) == [("refund_failure", 400), ("refund", -400), ("charge", 940)]
    again = client.v1.refunds.create({"payment_intent": intent.id})
    assert again.amount == 999
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.refunds.cancel(refund.id)


def test_a_refund_that_failed_cannot_be_finished_again(sandbox, client):
    refund = client.v1.refunds.create({"payment_intent": pay(client).id})
    sandbox.finish_refund(refund.id, "failed")
    for outcome in ("failed", "succeeded"):
        with pytest.raises(Exception, match="cannot become"):
            sandbox.finish_refund(refund.id, outcome)


def test_a_refund_that_waits_for_the_customer_is_canceled(sandbox, client):
    intent = pay(client)
    refund = sandbox.refund(intent.id, 300, status="requires_action")
    shown = client.v1.refunds.retrieve(refund["id"])
    assert shown.next_action.display_details.email_sent.email_sent_to
    canceled = client.v1.refunds.cancel(refund["id"])
    assert (canceled.status, canceled.failure_reason) == ("canceled", "merchant_request")
    assert client.v1.charges.retrieve(intent.latest_charge).amount_refunded == 0
    assert amounts(client)[0] == ("refund_failure", 300)
    assert types(sandbox)[-1] == "refund.updated"


def test_only_a_refund_that_waits_can_be_canceled(client):
    refund = client.v1.refunds.create({"payment_intent": pay(client).id})
    with pytest.raises(stripe.InvalidRequestError, match="requires_action"):
        client.v1.refunds.cancel(refund.id)


def test_metadata_of_a_refund_changes_with_its_news(sandbox, client):
    refund = client.v1.refunds.create({"payment_intent": pay(client).id})
    changed = client.v1.refunds.update(refund.id, {"metadata": {"case": "9"}})
    assert changed.metadata.to_dict() == {"case": "9"}
    assert types(sandbox)[-2:] == ["charge.refund.updated", "refund.updated"]


@pytest.mark.parametrize("silent", [False, True])
def test_a_refund_out_of_the_dashboard_is_told_or_kept_silent(sandbox, client, silent):
    intent = pay(client)
    refund = sandbox.refund(intent.latest_charge, 250, reason="fraudulent", silent=silent)
    listed = client.v1.refunds.list({"charge": intent.latest_charge}).data
    assert [one.id for one in listed] == [refund["id"]]
    assert client.v1.charges.retrieve(intent.latest_charge).amount_refunded == 250
    assert len(sandbox.events("charge.refunded", "refund.created")) == (0 if silent else 2)


@pytest.mark.parametrize(
    ("action", "given", "problem"),
    [
        ("refund", {"payment": "ch_nobody"}, "no captured charge"),
        ("refund", {}, "payment is missing"),
        ("refund", {"payment": "x", "colour": "red"}, "there is no colour"),
        ("refund", {"payment": "x", "amount": "5"}, "amount is not of type int"),
        ("refund", {"payment": "x", "amount": True}, "amount is not of type int"),
        ("refund", {"payment": "x", "status": "done"}, "status is"),
        ("refund", {"payment": "x", "silent": 1}, "silent is"),
        ("finish_refund", {"refund": "re_nobody"}, "No such refund"),
        ("finish_refund", {"refund": "re_1", "outcome": "lost"}, "outcome is"),
        ("dance", {}, "there is no dance"),
    ],
)
def test_an_action_that_cannot_be_done_says_why(sandbox, http, action, given, problem):
    answer = http.post(f"/_sim/{action}", json=given)
    assert answer.status_code == 400
    assert problem in answer.json()["error"]["message"]


def test_events_of_a_muted_type_are_recorded_and_delivered_only_when_asked(
    sandbox, client, receiver
):
    client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
    sandbox.config(muted_types=["refund.*", "charge.refunded"])
    intent = pay(client)
    sandbox.refund(intent.id)
    sandbox.wait_until_delivered()
    assert "payment_intent.succeeded" in receiver.types
    assert not {"refund.created", "charge.refunded"} & set(receiver.types)
    assert len(client.v1.events.list({"type": "refund.created"}).data) == 1
    sandbox.config(muted_types=[])
    assert sandbox.deliver() == 2
    sandbox.wait_until_delivered()
    assert {"refund.created", "charge.refunded"} <= set(receiver.types)

