"""Evidence: drafted, checked, sent once, whatever dies on the way."""

from __future__ import annotations

import pytest
from test_disputes import FRAUD, INQUIRY, bought, one_of

from paydesk import crash
from paydesk.errors import (
    DisputeClosed,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    PaydeskError,
    ProviderUnavailable,
)
from paydesk.flows import credits, dispute_evidence, dispute_suggestions, disputes
from paydesk.providers.stripe import Stripe

PDF = b"%PDF-1.7\nreceipt of the order"
PNG = b"\x89PNG\r\n\x1a\n picture"


@pytest.fixture
def case(desk):
    """A desk with one disputed payment."""
    view = bought(desk, FRAUD)
    desk.deliver(view)
    desk.view = view
    desk.key = one_of(desk, view).key
    return desk


def draft(case, by="ada", **texts):
    return dispute_evidence.save_draft(case.env, *case.key, texts, by=by)


def attach(case, content=PDF, *, field="receipt", name="receipt.pdf", kind="application/pdf"):
    return dispute_evidence.add_file(
        case.env, *case.key, field=field, name=name, content=content, content_type=kind, by="ada"
    )


def submit(case):
    return dispute_evidence.submit(case.env, *case.key, by="ada")


def calls(case, step):
    return [row["state"] for row in case.all(
        "select state from provider_calls where action = 'evidence'"
        " and request->>'step' = %(step)s order by created_at", step=step)]  # fmt: skip


def remote(case):
    return case.sim.get(one_of(case, case.view).ref)


def test_a_draft_changes_until_it_is_submitted(case):  # S3.23
    assert draft(case, customer_name="Ada Buyer", product_description="150 credits").evidence == {
        "customer_name": "Ada Buyer", "product_description": "150 credits",
    }  # fmt: skip
    assert draft(case, customer_name=None).evidence == {"product_description": "150 credits"}
    draft(case, product_description="150 credits")
    events = case.all(
        "select data, cause from events where type = 'dispute.evidence_changed' order by seq"
    )
    assert [(e["data"]["changed"], e["cause"]["actor"]) for e in events] == [
        (["customer_name", "product_description"], "ada"), (["customer_name"], "ada"),
    ]  # fmt: skip
    found = submit(case)
    assert (found.state, found.submissions) == ("under_review", 1)
    assert remote(case)["evidence"]["product_description"] == "150 credits"
    with pytest.raises(DisputeClosed):
        draft(case, customer_name="Ada")
    with pytest.raises(DisputeClosed):
        attach(case)


@pytest.mark.parametrize(
    "texts",
    [{"excuse": "none"}, {"receipt": "a file's name"}, {"customer_name": "x" * 20_001},
     {"customer_name": "a\x00b"}],
)  # fmt: skip
def test_texts_that_no_bank_reads_are_refused(case, texts):
    with pytest.raises(InvalidRequest):
        draft(case, **texts)
    assert one_of(case, case.view).evidence == {}


def test_files_reach_the_provider_and_leave_us(case):  # S3.23
    found = attach(case)
    assert [(f.field, f.name, f.size) for f in found.files] == [
        ("receipt", "receipt.pdf", len(PDF))
    ]
    assert found.files[0].ref is not None
    assert case.all("select content from dispute_files") == [{"content": None}]
    assert attach(case).files[0].id == found.files[0].id
    assert len(case.sim.objects("file")) == 1
    other = attach(case, PNG, name="receipt.png", kind="image/png")
    assert [f.name for f in other.files] == ["receipt.png"]
    submit(case)
    assert remote(case)["evidence"]["receipt"] == other.files[0].ref


@pytest.mark.parametrize(
    "told",
    [{"field": "customer_name"}, {"name": "../etc/passwd"}, {"name": ""},
     {"kind": "text/html"}, {"content": b"MZ not a pdf"}, {"content": b"%PDF-" + b"x" * 4_500_000}],
)  # fmt: skip
def test_files_that_no_bank_reads_are_refused(case, told):
    with pytest.raises(InvalidRequest):
        attach(case, **told)
    assert one_of(case, case.view).files == ()


def test_a_file_can_be_taken_out_again(case):
    found = attach(case)
    after = dispute_evidence.remove_file(case.env, *case.key, found.files[0].id, by="ada")
    assert after.files == ()
    with pytest.raises(NotFound):
        dispute_evidence.remove_file(case.env, *case.key, found.files[0].id, by="ada")


@pytest.mark.parametrize("kind", ["500", "drop_before", "drop_after"])
def test_a_file_that_the_provider_cannot_take_now_is_sent_later(case, kind):  # I40
    case.sim.fault(kind, "/v1/files")
    found = attach(case)
    assert found.files[0].ref is None
    assert case.all("select content from dispute_files")[0]["content"] == PDF
    case.recover(rounds=3)
    assert one_of(case, case.view).files[0].ref is not None
    assert len(case.sim.objects("file")) == 1


def test_evidence_is_submitted_once_however_often_it_is_asked(case):
    draft(case, uncategorized_text="The customer used the credits.")
    assert submit(case).submissions == 1
    assert submit(case).submissions == 1
    assert calls(case, "submit") == ["done"]
    assert case.events_of(case.view).count("dispute.submitted") == 1
    assert remote(case)["evidence_details"]["submission_count"] == 1


@pytest.mark.parametrize("step", ["submit", "accept"])
def test_an_answer_of_2018_names_a_charge_and_is_of_its_payment_all_the_same(
    case, monkeypatch, step
):
    # C26 S3.23: our own calls can be pinned to a version without payment intents
    real = Stripe._ask

    def ask(self, call):
        found = real(self, call)
        if found["object"] in ("dispute", "refund"):
            found.pop("payment_intent")
        return found

    draft(case, uncategorized_text="The customer used the credits.")
    monkeypatch.setattr(Stripe, "_ask", ask)
    if step == "submit":
        assert submit(case).state == "under_review"
    else:
        assert dispute_evidence.accept(case.env, *case.key, by="ada").state == "lost"
    assert calls(case, step) == ["done"]


def test_an_empty_draft_is_not_submitted(case):
    with pytest.raises(InvalidRequest):
        submit(case)


@pytest.mark.parametrize("kind", ["500", "drop_before", "drop_after"])
def test_an_unclear_answer_to_a_submission_is_found_out(case, kind):  # I27 I40
    draft(case, uncategorized_text="The customer used the credits.")
    case.sim.fault(kind, "/v1/disputes/*")
    with pytest.raises((OutcomeUnknown, ProviderUnavailable)):
        submit(case)
    with pytest.raises(PaydeskError):
        draft(case, uncategorized_text="Something else.")
    case.recover(rounds=3)
    found = one_of(case, case.view)
    assert (found.state, found.submissions) == ("under_review", 1)
    assert remote(case)["evidence_details"]["submission_count"] == 1
    assert case.events_of(case.view).count("dispute.submitted") == 1


@pytest.mark.parametrize(
    "place", ["before_provider_call", "after_provider_call", "call_before_done_commit",
              "call_after_done"],
)  # fmt: skip
@pytest.mark.parametrize("step", ["upload", "submit", "accept"])
def test_a_death_at_any_place_loses_and_doubles_nothing(case, place, step):  # I6
    draft(case, uncategorized_text="The customer used the credits.")
    act = {"upload": attach, "submit": submit,
           "accept": lambda c: dispute_evidence.accept(c.env, *c.key, by="ada")}[step]  # fmt: skip
    crash.arm(place)
    with pytest.raises(crash.CrashNow):
        act(case)
    case.recover(rounds=3)
    found = one_of(case, case.view)
    assert calls(case, step) == ["done"]
    if step == "upload":
        assert found.files[0].ref is not None
        assert len(case.sim.objects("file")) == 1
    else:
        assert found.state == {"submit": "under_review", "accept": "lost"}[step]
        word = {"submit": "dispute.submitted", "accept": "dispute.accepted"}[step]
        assert case.events_of(case.view).count(word) == 1


def test_after_the_deadline_nothing_is_taken(case):
    draft(case, uncategorized_text="The customer used the credits.")
    case.clock.set(one_of(case, case.view).due_at)
    with pytest.raises(DisputeClosed):
        submit(case)
    assert calls(case, "submit") == []


def test_a_decided_dispute_takes_nothing(case):
    case.sim.decide_dispute(one_of(case, case.view).ref, "won")
    case.deliver(case.view)
    for act in (submit, attach, lambda c: dispute_evidence.accept(c.env, *c.key, by="ada")):
        with pytest.raises(DisputeClosed):
            act(case)


def test_a_dispute_can_be_given_up(case):  # S3.23
    found = dispute_evidence.accept(case.env, *case.key, by="ada")
    assert found.state == "lost"
    assert dispute_evidence.accept(case.env, *case.key, by="ada").state == "lost"
    assert calls(case, "accept") == ["done"]
    told = case.all("select cause from events where type = 'dispute.accepted'")
    assert [row["cause"]["actor"] for row in told] == ["ada"]


def test_winning_evidence_brings_money_and_goods_back(case):  # I9
    draft(case, uncategorized_text="winning_evidence")
    submit(case)
    case.deliver(case.view)
    found = one_of(case, case.view)
    assert (found.state, found.reinstated) == ("won", found.withdrawn)
    assert case.balance(case.view) == 150


def test_evidence_from_the_providers_own_pages_is_noted(case):
    ref = one_of(case, case.view).ref
    case.sim.request("POST", f"/v1/disputes/{ref}",
                     {"evidence": {"customer_name": "Ada"}, "submit": True})  # fmt: skip
    case.deliver(case.view)
    found = one_of(case, case.view)
    assert (found.state, found.submissions, found.evidence) == (
        "under_review", 1, {"customer_name": "Ada"}
    )
    with pytest.raises(DisputeClosed):
        submit(case)


def test_what_we_know_is_suggested(desk):
    user = desk.make.user(name="Ada Buyer", email="ada@example.com")
    view = desk.open(user)
    desk.pay(view, card=INQUIRY)
    desk.deliver(view)
    item = credits.new_spend(view.customer_id, 12, "render", reference="job 7")
    credits.raise_for(credits.spend_now(desk.env, item))
    found = dispute_suggestions.suggest(desk.env, *one_of(desk, view).key)
    assert found["customer_name"] == "Ada Buyer"
    assert found["product_description"] == "Creator Pack, 150 credits"
    assert "used 12 credits" in found["access_activity_log"]
    assert "job 7" in found["access_activity_log"]
    assert "delivered electronically" in found["uncategorized_text"]
    assert set(found) <= set(disputes.rules.TEXT_FIELDS)


def test_an_inquiry_that_becomes_a_dispute_takes_evidence_anew(desk):  # S3.23
    view = bought(desk, INQUIRY)
    desk.deliver(view)
    key = one_of(desk, view).key
    dispute_evidence.save_draft(desk.env, *key, {"customer_name": "Ada"}, by="ada")
    assert dispute_evidence.submit(desk.env, *key, by="ada").submissions == 1
    desk.sim.decide_dispute(one_of(desk, view).ref, "escalated")
    desk.deliver(view)
    found = one_of(desk, view)
    assert (found.state, found.submissions, found.evidence) == (
        "needs_response", 0, {"customer_name": "Ada"}
    )
    done = dispute_evidence.submit(desk.env, *key, by="ada")
    assert (done.state, done.submissions) == ("under_review", 1)
    assert desk.events_of(view).count("dispute.submitted") == 2
