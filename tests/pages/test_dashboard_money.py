"""The dashboard's refunds, disputes, wallets and risk; and who may press what, on every screen."""

from __future__ import annotations

import re
from html import unescape
from uuid import uuid4

import pytest

from paydesk import ids
from paydesk.flows import (
    checkout,
    disputes,
    inbox,
    invoices,
    refund_views,
    refunds,
    risk,
    staff,
    wallets,
)
from paydesk.flows.checkout import StartCheckout
from paydesk.flows.refunds import WantRefund
from paydesk.http.app import create_app
from paydesk.pages import desk
from paydesk.pages.session import READERS
from paydesk.rules.money import USD

DISPUTED = "4000000000000259"


def csrf_of(page) -> str:
    return page.text.split('name="csrf" value="')[1].partition('"')[0]


def fields_of(page, action: str, holding: str = "") -> dict[str, str]:
    """The hidden fields of the form that posts to this address and holds this text."""
    assert page.status_code == 200, page.text[:400]
    forms = re.findall(
        rf'<form[^>]*method="post" action="{re.escape(action)}".*?</form>', page.text, re.S
    )
    form = next((one for one in forms if holding in one), None)
    assert form, f"no form posts to {action}"
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form)
    return {name: unescape(value) for name, value in found}


def press(browser, place: str, path: str, /, holding: str = "", **more: str):
    told = {**fields_of(browser.get(place), path, holding), **more}
    answer = browser.post(path, data=told)
    assert answer.status_code == 303, answer.text[:600]
    return answer.headers["location"]


@pytest.fixture
def paid(env, make, sim):
    """A pack that was paid for; `paid(card=…)` with another card."""
    make.pack()

    def buy(**card):
        view = checkout.start(env, StartCheckout(customer_id=make.user().uuid, pack="creator"))
        sim.pay(view.payment.session_ref, **card)
        return checkout.verify(env, view.payment.session_ref).payment

    return buy


@pytest.fixture
def asked(env, paid):
    """A refund that support asked for."""
    one = paid()
    return refunds.request(env, WantRefund(
        customer_id=one.customer_id, payment_id=one.id, by="staff:ana@example.com",
        actor_role="support", amount=USD("3.00"), reason="requested_by_customer",
        note="Wrong <pack>", request_key=uuid4(), request_hash=b"r",
    ))  # fmt: skip


def refund_home(one) -> str:
    return f"/dashboard/refunds/{ids.show('refund', one.id)}"


def test_a_refund_that_waits_is_approved_by_another_person(env, visitor, asked):  # S3.21 I34
    browser, home = visitor("finance"), refund_home(asked)
    listed = browser.get("/dashboard/refunds?tab=requested").text
    assert home in listed and "$3.00" in listed
    page = browser.get(home).text
    assert "Wrong &lt;pack&gt;" in page and "ana@example.com" in page
    assert press(browser, home, f"{home}/approve", note="Fine").endswith("done=approved")
    found = refund_views.get(env, None, asked.id)
    assert found.state in ("pending", "succeeded") and found.decision_note == "Fine"
    assert f"{home}/approve" not in browser.get(home).text
    assert browser.get(f"/dashboard/search?q={ids.show('refund', asked.id)}").headers[
        "location"] == home  # fmt: skip


def test_a_refund_is_refused_and_nothing_moves(env, visitor, asked):  # S3.21
    browser, home = visitor("admin"), refund_home(asked)
    assert press(browser, home, f"{home}/reject", note="Used up").endswith("done=rejected")
    assert refund_views.get(env, None, asked.id).state == "rejected"


def test_whoever_asked_sees_no_way_to_approve_and_may_take_it_back(env, visitor, paid):  # I34
    staff.add(env, "ana@example.com", "Ana", "admin", "correct horse staple")
    browser = visitor("admin")
    browser.cookies.clear()
    token = csrf_of(browser.get("/dashboard/sign-in"))
    told = {"email": "ana@example.com", "password": "correct horse staple", "csrf": token}
    assert browser.post("/dashboard/sign-in", data=told).status_code == 303
    one = paid()
    mine = refunds.request(env, WantRefund(
        customer_id=one.customer_id, payment_id=one.id, by="staff:ana@example.com",
        actor_role="support", amount=USD("3.00"), reason="duplicate", request_key=uuid4(),
        request_hash=b"m",
    ))  # fmt: skip
    home = refund_home(mine)
    page = browser.get(home)
    assert f"{home}/approve" not in page.text and f"{home}/cancel" in page.text
    forced = browser.post(f"{home}/approve", data={"csrf": csrf_of(page)})
    assert forced.status_code == 409 and "approval_required" in forced.text
    assert press(browser, home, f"{home}/cancel").endswith("done=taken_back")
    assert refund_views.get(env, None, mine.id).state == "canceled"


@pytest.fixture
def disputed(env, paid, sim):
    """A payment that its bank took back."""
    one = paid(card=DISPUTED)
    for delivery in sim.deliveries():
        inbox.receive(env, "stripe", delivery.body, delivery.headers)
    (found,) = disputes.list_(env, one.customer_id)
    return found


def test_evidence_is_drafted_filed_and_submitted_once(env, visitor, disputed):  # I9
    browser = visitor("support")
    home = f"/dashboard/disputes/{ids.show('dispute', disputed.id)}"
    assert home in browser.get("/dashboard/disputes").text
    page = browser.get(home)
    assert "Suggested from what is on record" in page.text
    assert f"{home}/accept" not in page.text
    place = press(browser, home, f"{home}/evidence", product_description="A pack\r\nof <credits>",
                  csrf=csrf_of(page))  # fmt: skip
    assert place.endswith("done=drafted")
    assert "of &lt;credits&gt;" in browser.get(home).text
    form = fields_of(browser.get(home), f"{home}/files")
    sent = browser.post(f"{home}/files", data={**form, "field": "receipt"},
                        files={"file": ("receipt.pdf", b"%PDF-1.7 x", "application/pdf")})
    assert sent.headers["location"].endswith("done=filed")
    found = disputes.get(env, None, disputed.id)
    assert found.evidence["product_description"] == "A pack\nof <credits>"
    assert [file.field for file in found.files] == ["receipt"]
    shown = ids.show("dispute_file", found.files[0].id)
    assert press(browser, home, f"{home}/files/{shown}/remove").endswith("done=unfiled")
    assert press(browser, home, f"{home}/submit").endswith("done=submitted")
    assert disputes.get(env, None, disputed.id).submitted_at is not None
    assert f'action="{home}/submit"' not in browser.get(home).text


def test_a_dispute_is_given_up_by_finance(env, visitor, disputed):  # I9
    browser = visitor("finance")
    home = f"/dashboard/disputes/{ids.show('dispute', disputed.id)}"
    assert press(browser, home, f"{home}/accept").endswith("done=accepted")


def test_a_wallet_is_frozen_opened_and_closed(env, make, visitor):  # S4.22
    one = wallets.make(env, make.user(email="maya@northwind.example").uuid, "usd")
    browser, home = visitor("finance"), f"/dashboard/wallets/{ids.show('wallet', one.id)}"
    for query, there in (("", True), ("?currency=USD", True), ("?currency=eur", False),
                         ("?q=northwind", True), ("?tab=frozen", False)):  # fmt: skip
        assert (home in browser.get(f"/dashboard/wallets{query}").text) is there, query
    assert press(browser, home, f"{home}/freeze", reason="Odd").endswith("done=frozen")
    assert home in browser.get("/dashboard/wallets?tab=frozen").text
    assert press(browser, home, f"{home}/unfreeze").endswith("done=opened")
    assert press(browser, home, f"{home}/close").endswith("done=closed")
    paper = browser.get(f"{home}/statement.csv")
    assert paper.headers["content-type"].startswith("text/csv")
    assert paper.text.startswith("id,created_at,type,amount")


@pytest.fixture
def odd(env, make, sim):
    """A payment that waits for a person."""
    make.pack()
    risk.put_on_list(env, "email_domain", "burner.example", "review", by="test")
    who = make.user(email="x1@burner.example")
    checkout.start(env, StartCheckout(customer_id=who.uuid, pack="creator"))
    (found,) = risk.list_(env, queue=True)
    return found


@pytest.mark.parametrize("verdict", ["accepted", "refused"])
def test_an_odd_payment_is_decided_once(env, visitor, odd, verdict):  # S3.24
    browser = visitor("finance")
    page = browser.get("/dashboard/risk")
    assert "burner.example" in page.text
    place = press(browser, "/dashboard/risk", "/dashboard/risk/decide",
                  holding=f'value="{verdict}"', note="Called them")  # fmt: skip
    assert place.endswith("done=decided")
    found = risk.get(env, odd.id)
    assert (found.verdict, found.review_note) == (verdict, "Called them")
    assert "Nothing here" in browser.get("/dashboard/risk").text
    assert "Called them" in browser.get("/dashboard/risk?tab=all").text


def test_values_are_put_on_lists_and_taken_off(env, visitor):  # S3.24
    browser, home = visitor("finance"), "/dashboard/risk/lists"
    place = press(browser, home, home, kind="email", value="A@x.example", action="block",
                  reason="<again>", until="2099-01-01")  # fmt: skip
    assert place.endswith("done=listed")
    page = browser.get(home).text
    assert "a@x.example" in page and "&lt;again&gt;" in page
    assert press(browser, home, f"{home}/remove").endswith("done=unlisted")
    assert risk.listed(env) == []


# Who may press what -----------------------------------------------------------------------------

#: What is done at the desk -> the operation of the interface that does the same.
SAME = {
    "subscriptions": ("post", "/v1/subscriptions/{subscription}/cancel"),
    "invoices.pay": ("post", "/v1/invoices/{invoice}/pay"),
    "invoices.finalize": ("post", "/v1/invoices/{invoice}/finalize"),
    "invoices.close": ("post", "/v1/invoices/{invoice}/void"),
    "credit_notes": ("post", "/v1/credit-notes"),
    "refunds.decide": ("post", "/v1/refunds/{refund}/approve"),
    "refunds.settle": ("post", "/v1/refunds/{refund}/paid"),
    "refunds.cancel": ("post", "/v1/refunds/{refund}/cancel"),
    "disputes.evidence": ("post", "/v1/disputes/{dispute}/submit"),
    "disputes.accept": ("post", "/v1/disputes/{dispute}/accept"),
    "wallets.freeze": ("post", "/v1/wallets/{wallet}/freeze"),
    "wallets.open": ("post", "/v1/wallets/{wallet}/unfreeze"),
    "risk": ("post", "/v1/risk/assessments/{assessment}/decide"),
}


def test_the_desk_lets_nobody_do_what_the_interface_refuses(env):  # I33 S3.25
    paths = create_app(env).openapi()["paths"]
    assert set(SAME) == set(desk.MAY)
    for name, (method, path) in SAME.items():
        roles = paths[path][method]["x-access"]["roles"]
        assert set(desk.MAY[name]) == set(roles) & set(READERS), name


def test_who_may_only_look_sees_no_buttons_and_is_refused(
    env, billing, visitor, asked, disputed, odd
):
    # I33 S3.25: every form of the dashboard, in each role that may look
    billing.plan("pro", name="Pro")
    sub = billing.subscribe(billing.user())
    (bill,) = invoices.list_(env, sub.customer_id)
    one = wallets.make(env, sub.customer_id, "usd")
    subscription = f"/dashboard/subscriptions/{ids.show('subscription', sub.id)}"
    invoice = f"/dashboard/invoices/{ids.show('invoice', bill.id)}"
    dispute = f"/dashboard/disputes/{ids.show('dispute', disputed.id)}"
    wallet = f"/dashboard/wallets/{ids.show('wallet', one.id)}"
    places = {
        subscription: dict.fromkeys(
            ("cancel", "reactivate", "pause", "resume", "drop"), "subscriptions"
        ),
        invoice: {"finalize": "invoices.finalize", "void": "invoices.close",
                  "uncollectible": "invoices.close"},
        refund_home(asked): {"approve": "refunds.decide", "reject": "refunds.decide",
                             "paid": "refunds.settle", "failed": "refunds.settle"},
        dispute: {"evidence": "disputes.evidence", "submit": "disputes.evidence",
                  "accept": "disputes.accept"},
        wallet: {"freeze": "wallets.freeze", "unfreeze": "wallets.open",
                 "close": "wallets.open"},
    }  # fmt: skip
    for role in READERS:
        browser = visitor(role)
        for home, steps in places.items():
            page = browser.get(home)
            assert page.status_code == 200, home
            csrf = csrf_of(page)
            for step, what in steps.items():
                if role in desk.MAY[what]:
                    continue
                assert f'action="{home}/{step}"' not in page.text, (role, step)
                answer = browser.post(f"{home}/{step}", data={"csrf": csrf})
                assert answer.status_code == 403, (role, home, step)
                assert "not_permitted" in answer.text
    looker = visitor("support")
    csrf = csrf_of(looker.get("/dashboard/risk"))
    for path, told in (
        ("/dashboard/risk/decide", {"assessment": ids.show("assessment", odd.id),
                                    "verdict": "accepted"}),
        ("/dashboard/risk/lists", {"kind": "email", "value": "a@b.example", "action": "block"}),
        ("/dashboard/risk/lists/remove", {"kind": "email", "value": "a@b.example"}),
        (f"{invoice}/credit", {"nonce": str(uuid4())}),
    ):
        assert f'action="{path}"' not in looker.get("/dashboard/risk/lists").text
        assert looker.post(path, data={**told, "csrf": csrf}).status_code == 403, path
    clerk = visitor("finance")
    assert clerk.get(f"{subscription}/change").status_code == 403
    assert f'href="{subscription}/change"' not in clerk.get(subscription).text
    assert risk.get(env, odd.id).verdict is None
    assert billing.look(sub).cancel_at is None
    assert refund_views.get(env, None, asked.id).state == "requested"


def test_forms_without_the_sessions_own_word_are_refused_everywhere(env, billing, visitor):  # I35
    billing.plan("pro", name="Pro")
    sub = billing.subscribe(billing.user())
    browser = visitor("admin")
    home = f"/dashboard/subscriptions/{ids.show('subscription', sub.id)}"
    good = csrf_of(browser.get(home))
    for step in ("cancel", "pause", "resume", "reactivate", "drop"):
        assert browser.post(f"{home}/{step}", data={"csrf": "guess"}).status_code == 403
        crossed = browser.post(f"{home}/{step}", data={"csrf": good},
                               headers={"Sec-Fetch-Site": "cross-site"})  # fmt: skip
        assert crossed.status_code == 403
    assert billing.look(sub).state == "active" and billing.look(sub).cancel_at is None
