"""Disputes: opened by cards and by control, evidence, deadlines, outcomes, money once a stage."""

import pytest
import stripe
from simulator_support import session_params
from test_payment_intents import pay

from paydesk.simulator.errors import StripeError

DAY_S = 86_400
LONG_TEXTS = (
    "access_activity_log", "cancellation_policy_disclosure", "cancellation_rebuttal",
    "duplicate_charge_explanation", "product_description", "refund_policy_disclosure",
    "refund_refusal_explanation", "uncategorized_text",
)


def types(sandbox):
    return [event["type"] for event in sandbox.events()]


def the_dispute(client):
    (dispute,) = client.v1.disputes.list().data
    return dispute


def nets(client):
    """Balance transactions of disputes, oldest first: category, amount, fee."""
    found = client.v1.balance_transactions.list({"type": "adjustment"}).data
    return [(one.reporting_category, one.amount, one.fee) for one in reversed(found)]


WITHDRAWN = ("dispute", -999, 1500)
REINSTATED = ("dispute_reversal", 999, -1500)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("createDispute", "fraudulent"), ("createDisputeProductNotReceived", "product_not_received")],
)
def test_a_disputing_card_pays_and_then_disputes(sandbox, client, name, reason):
    intent = pay(client, f"pm_card_{name}")
    assert intent.status == "succeeded"
    dispute = the_dispute(client)
    assert (dispute.status, dispute.reason) == ("needs_response", reason)
    assert (dispute.amount, dispute.payment_intent) == (999, intent.id)
    assert client.v1.charges.retrieve(dispute.charge).disputed
    assert nets(client) == [WITHDRAWN]
    assert [one.net for one in dispute.balance_transactions] == [-2499]
    assert types(sandbox)[-3:] == [
        "charge.updated", "charge.dispute.created", "charge.dispute.funds_withdrawn",
    ]


@pytest.mark.parametrize("card", ["4000000000000259", "4000000000002685", "4000000000001976"])
def test_a_session_is_paid_and_completed_before_it_is_disputed(sandbox, client, card):
    session = client.v1.checkout.sessions.create(session_params())
    assert sandbox.pay(session.id, card).complete
    order = types(sandbox)
    assert order.index("checkout.session.completed") < order.index("charge.dispute.created")


def test_a_captured_authorization_is_disputed_at_its_capture(client):
    intent = pay(client, "pm_card_createDispute", capture_method="manual")
    assert client.v1.disputes.list().data == []
    client.v1.payment_intents.capture(intent.id, {"amount_to_capture": 700})
    assert the_dispute(client).amount == 700


def test_winning_evidence_gives_back_exactly_what_was_taken(sandbox, client):
    pay(client, "pm_card_createDispute")
    dispute = the_dispute(client)
    answered = client.v1.disputes.update(
        dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}}
    )
    assert (answered.status, answered.evidence_details.submission_count) == ("under_review", 1)
    won = client.v1.disputes.retrieve(dispute.id)
    assert (won.status, won.is_charge_refundable) == ("won", True)
    assert nets(client) == [WITHDRAWN, REINSTATED]
    assert [one.net for one in won.balance_transactions] == [-2499, 2499]
    assert types(sandbox)[-3:] == [
        "charge.dispute.updated", "charge.dispute.funds_reinstated", "charge.dispute.closed",
    ]


def test_losing_evidence_leaves_the_money_with_the_bank(sandbox, client):
    pay(client, "pm_card_createDispute")
    dispute = the_dispute(client)
    client.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "losing_evidence"}})
    assert client.v1.disputes.retrieve(dispute.id).status == "lost"
    assert nets(client) == [WITHDRAWN]
    assert types(sandbox)[-1] == "charge.dispute.closed"


def test_evidence_is_staged_changed_and_submitted_once(sandbox, client):
    dispute = sandbox.dispute(pay(client).id)
    staged = client.v1.disputes.update(
        dispute["id"],
        {"evidence": {"product_description": "150 credits", "customer_name": "Maya"},
         "submit": False, "metadata": {"case": "7"}},
    )
    assert (staged.status, staged.evidence_details.has_evidence) == ("needs_response", True)
    changed = client.v1.disputes.update(
        dispute["id"], {"evidence": {"customer_name": ""}, "submit": False}
    )
    assert (changed.evidence.customer_name, changed.evidence.product_description) == (
        None, "150 credits",
    )
    submitted = client.v1.disputes.update(dispute["id"], {"submit": True})
    assert (submitted.status, submitted.evidence_details.submission_count) == ("under_review", 1)
    with pytest.raises(stripe.InvalidRequestError, match="already been submitted"):
        client.v1.disputes.update(dispute["id"], {"evidence": {"customer_name": "Maya"}})
    again = client.v1.disputes.update(dispute["id"], {"metadata": {"case": ""}})
    assert (again.status, again.metadata.to_dict()) == ("under_review", {})
    assert types(sandbox).count("charge.dispute.updated") == 4


@pytest.mark.parametrize(
    ("params", "problem"),
    [({"submit": True}, "no evidence"),
     ({"evidence": {"receipt": "file_nobody"}}, "No such file"),
     ({"evidence": {"enhanced_evidence": {"visa_compliance": {"fee_acknowledged": True}}}},
      "does not have"),
     ({"evidence": {"customer_name": "x" * 5001}}, "5000"),
     ({"evidence": dict.fromkeys(LONG_TEXTS, "x" * 20_000)}, "together")],
)
def test_evidence_that_cannot_be_is_refused(sandbox, client, params, problem):
    dispute = sandbox.dispute(pay(client).id)
    with pytest.raises(stripe.InvalidRequestError, match=problem):
        client.v1.disputes.update(dispute["id"], params)
    assert client.v1.disputes.retrieve(dispute["id"]).evidence_details.has_evidence is False


def test_a_dispute_is_accepted_and_lost(sandbox, client):
    dispute = sandbox.dispute(pay(client).id)
    assert client.v1.disputes.close(dispute["id"]).status == "lost"
    for call in (client.v1.disputes.close, client.v1.disputes.update):
        with pytest.raises(stripe.InvalidRequestError):
            call(dispute["id"], {"evidence": {"customer_name": "M"}} if call.__name__ == "update"
                 else {})
    assert types(sandbox)[-1] == "charge.dispute.closed"


@pytest.mark.parametrize("outcome", ["won", "lost"])
def test_the_bank_decides_at_will_and_only_once(sandbox, client, outcome):
    dispute = sandbox.dispute(pay(client).id)
    assert sandbox.decide_dispute(dispute["id"], outcome)["status"] == outcome
    with pytest.raises(StripeError, match="cannot become"):
        sandbox.decide_dispute(dispute["id"], "lost")
    assert nets(client) == ([WITHDRAWN, REINSTATED] if outcome == "won" else [WITHDRAWN])


def test_a_lost_dispute_may_be_won_after_all(sandbox, client):
    dispute = sandbox.dispute(pay(client).id)
    sandbox.decide_dispute(dispute["id"], "lost")
    assert sandbox.decide_dispute(dispute["id"], "won")["status"] == "won"
    assert nets(client) == [WITHDRAWN, REINSTATED]


def test_a_dispute_nobody_answers_is_lost_when_its_time_is_over(sandbox, client):
    dispute = sandbox.dispute(pay(client).id)
    due_by = dispute["evidence_details"]["due_by"]
    assert (due_by + 1) % DAY_S == 0
    sandbox.advance(due_by - sandbox.sim.now())
    assert client.v1.disputes.retrieve(dispute["id"]).status == "needs_response"
    sandbox.advance(2)
    lost = client.v1.disputes.retrieve(dispute["id"])
    assert (lost.status, lost.evidence_details.past_due) == ("lost", True)


def test_an_inquiry_takes_no_money_and_is_closed_by_time(sandbox, client):
    pay(client, "pm_card_createDisputeInquiry")
    inquiry = the_dispute(client)
    assert (inquiry.status, inquiry.is_charge_refundable) == ("warning_needs_response", True)
    assert inquiry.payment_method_details.card.case_type == "inquiry"
    with pytest.raises(stripe.InvalidRequestError, match="refunding the charge"):
        client.v1.disputes.close(inquiry.id)
    sandbox.advance(11 * DAY_S)
    late = client.v1.disputes.retrieve(inquiry.id)
    assert (late.status, late.evidence_details.past_due) == ("warning_needs_response", True)
    sandbox.advance(120 * DAY_S)
    assert client.v1.disputes.retrieve(inquiry.id).status == "warning_closed"
    assert nets(client) == []


def test_an_inquiry_is_escalated_to_a_dispute(sandbox, client):
    pay(client, "pm_card_createDisputeInquiry")
    inquiry = the_dispute(client)
    client.v1.disputes.update(
        inquiry.id, {"evidence": {"uncategorized_text": "escalate_inquiry_evidence"}}
    )
    dispute = client.v1.disputes.retrieve(inquiry.id)
    assert (dispute.status, dispute.is_charge_refundable) == ("needs_response", False)
    assert nets(client) == [WITHDRAWN]
    assert types(sandbox)[-1] == "charge.dispute.funds_withdrawn"
    client.v1.disputes.update(inquiry.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
    assert client.v1.disputes.retrieve(inquiry.id).status == "won"


def test_an_inquiry_ends_with_the_refund_of_the_whole_charge(sandbox, client):
    intent = pay(client, "pm_card_createDisputeInquiry")
    client.v1.refunds.create({"payment_intent": intent.id, "amount": 100})
    assert the_dispute(client).status == "warning_needs_response"
    client.v1.refunds.create({"payment_intent": intent.id})
    assert the_dispute(client).status == "warning_closed"


def test_a_disputed_charge_cannot_be_refunded_until_the_dispute_is_won(sandbox, client):
    intent = pay(client, "pm_card_createDispute")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        client.v1.refunds.create({"payment_intent": intent.id})
    assert refused.value.code == "charge_disputed"
    sandbox.decide_dispute(the_dispute(client).id, "won")
    assert client.v1.refunds.create({"payment_intent": intent.id}).amount == 999


def test_a_partial_dispute_leaves_the_rest_to_refunds(sandbox, client):
    intent = pay(client)
    sandbox.dispute(intent.latest_charge, 400, reason="product_unacceptable")
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 600})
    assert client.v1.refunds.create({"payment_intent": intent.id}).amount == 599
    assert nets(client) == [("dispute", -400, 1500)]


def test_after_a_partial_refund_the_rest_is_disputed(sandbox, client):
    intent = pay(client)
    client.v1.refunds.create({"payment_intent": intent.id, "amount": 300})
    assert sandbox.dispute(intent.id)["amount"] == 699
    with pytest.raises(StripeError, match="does not fit"):
        sandbox.dispute(intent.id, 400)


def test_fees_follow_the_digits_of_the_currency(sandbox, client):
    for currency, fee in (("jpy", 15), ("kwd", 15_000)):
        dispute = sandbox.dispute(pay(client, amount=5000, currency=currency).id)
        assert [one["fee"] for one in dispute["balance_transactions"]] == [fee]


def test_disputes_are_listed_by_charge_and_intent_and_expanded(sandbox, client):
    intent, other = pay(client), pay(client)
    dispute = sandbox.dispute(intent.id)
    sandbox.dispute(other.id)
    for params in ({"charge": intent.latest_charge}, {"payment_intent": intent.id}):
        assert [one.id for one in client.v1.disputes.list(params).data] == [dispute["id"]]
    shown = client.v1.disputes.retrieve(dispute["id"], {"expand": ["charge", "payment_intent"]})
    assert shown.charge.disputed and shown.payment_intent.id == intent.id
    transaction = client.v1.balance_transactions.list(
        {"source": dispute["id"], "expand": ["data.source"]}
    ).data[0]
    assert transaction.source.object == "dispute"


def test_a_silent_dispute_is_found_and_not_told(sandbox, client):
    intent = pay(client)
    sandbox.dispute(intent.id, silent=True)
    assert the_dispute(client).payment_intent == intent.id
    assert not [name for name in types(sandbox) if "dispute" in name]


@pytest.mark.parametrize(
    ("action", "given", "problem"),
    [
        ("dispute", {"payment": "ch_nobody"}, "no captured charge"),
        ("dispute", {"payment": "ch_nobody", "reason": "bored"}, "reason is one of"),
        ("decide_dispute", {"dispute": "du_nobody", "outcome": "won"}, "No such dispute"),
        ("decide_dispute", {"dispute": "du_nobody", "outcome": "bored"}, "outcome is"),
    ],
)
def test_a_dispute_that_cannot_be_says_why(sandbox, http, action, given, problem):
    answer = http.post(f"/_sim/{action}", json=given)
    assert answer.status_code == 400
    assert problem in answer.json()["error"]["message"]
