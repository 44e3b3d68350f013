"""Invoices over HTTP: written, read by whose they are, paid, printed, given back."""

from __future__ import annotations

import pytest
import stripe
from http_support import Client

from paydesk.flows import tax_rates
from paydesk.http.app import create_app


@pytest.fixture
def shop(env, sim, make):
    sdk = stripe.StripeClient(sim.secret_key, base_addresses={"api": sim.url})
    make.user("maya")
    with Client(create_app(env)) as client:
        made = sdk.v1.payment_methods.create({"type": "card", "card": {"token": "tok_visa"}})
        admin = client.as_user("ada", role="admin")
        saved = admin.post("/v1/payment_methods", json={"customer": "maya", "token": made.id})
        assert saved.status_code == 201
        yield client


def write(client, **more):
    body = {"customer": "maya", "currency": "usd", "days": 14, "items": [
        {"description": "Onboarding", "unit_amount": 5000, "quantity": 2}], **more}  # fmt: skip
    return client.post("/v1/invoices", json=body)


def test_staff_writes_an_invoice_and_its_customer_pays_it(shop, env):  # S1.8 S1.50
    tax_rates.add(env, "VAT", "20", country="FR")
    finance, maya = shop.as_user("rosa", role="finance"), shop.as_user("maya")
    made = write(finance, buyer={"name": "Maya", "country": "fr"}, percent_off=10)
    assert made.status_code == 201, made.text
    one = made.json()
    sums = [one[name] for name in ("subtotal", "discount", "tax", "total")]
    assert sums == [10000, 1000, 1800, 10800]
    assert (one["status"], one["amount_remaining"], one["number"]) == ("open", 10800, "INV-000001")
    assert [i["kind"] for i in one["items"]] == ["one_off", "discount", "tax"]
    assert one["items"][1]["of_item"] == one["items"][0]["id"]
    assert one["items"][2]["why"]["rate_micros"] == 200_000 and one["buyer"]["country"] == "FR"
    path = f"/v1/invoices/{one['id']}"
    assert maya.get(path).json()["id"] == one["id"]
    assert shop.as_user("omar").get(path).status_code == 404
    assert maya.post(f"{path}/void").status_code == 403
    paid = maya.post(f"{path}/pay", json={}).json()
    assert (paid["invoice"]["status"], paid["payment"]["status"]) == ("paid", "succeeded")
    assert paid["payment"]["purpose"] == "invoice"
    again = maya.post(f"{path}/pay", json={})
    assert (again.status_code, again.json()["code"]) == (409, "invoice_state")
    pdf = maya.get(f"{path}/pdf?locale=fr")
    assert pdf.content.startswith(b"%PDF")
    assert "INV-000001.pdf" in pdf.headers["content-disposition"]
    mine = maya.get("/v1/invoices?status=paid").json()["data"]
    assert [i["id"] for i in mine] == [one["id"]]


def test_a_draft_waits_until_it_is_finalized(shop):
    finance = shop.as_user("rosa", role="finance")
    one = write(finance, finalize=False).json()
    assert (one["status"], one["number"], one["hosted_url"]) == ("draft", None, None)
    path = f"/v1/invoices/{one['id']}"
    assert finance.get(f"{path}/pdf").status_code == 404
    assert finance.post(f"{path}/void").json()["code"] == "invoice_state"
    done = finance.post(f"{path}/finalize").json()
    assert (done["status"], done["number"]) == ("open", "INV-000001")
    page = shop.as_user("maya").post(f"{path}/checkout", json={})
    assert page.status_code == 201 and page.json()["payment"]["purpose"] == "invoice"
    gone = finance.post(f"{path}/void").json()
    assert (gone["status"], gone["amount_remaining"]) == ("void", 0)


def test_a_given_up_invoice_says_so(shop):
    finance = shop.as_user("rosa", role="finance")
    one = write(finance, amount_off=100).json()
    assert one["total"] == 9900
    gone = finance.post(f"/v1/invoices/{one['id']}/uncollectible").json()
    assert gone["status"] == "uncollectible" and gone["uncollectible_at"]


def test_a_credit_note_gives_back_and_is_read_by_its_customer(shop):
    finance, maya = shop.as_user("rosa", role="finance"), shop.as_user("maya")
    one = write(finance).json()
    maya.post(f"/v1/invoices/{one['id']}/pay", json={})
    body = {"invoice": one["id"], "amount": 3000, "balance": 1000, "reason": "duplicate"}
    key = {"Idempotency-Key": "note-1"}
    note = finance.post("/v1/credit-notes", json=body, headers=key)
    assert note.status_code == 201, note.text
    told = note.json()
    assert (told["refunded"], told["balance"], told["refund_status"]) == (2000, 1000, "succeeded")
    assert finance.post("/v1/credit-notes", json=body, headers=key).json()["id"] == told["id"]
    path = f"/v1/credit-notes/{told['id']}"
    seen = maya.get(path).json()
    assert seen["number"] == "CN-000001" and "created_by" not in seen
    assert shop.as_user("omar").get(path).status_code == 404
    assert maya.get(f"{path}/pdf").content.startswith(b"%PDF")
    listed = maya.get(f"/v1/credit-notes?invoice={one['id']}").json()["data"]
    assert [n["id"] for n in listed] == [told["id"]]
    assert finance.post(f"{path}/void").status_code == 409
    assert maya.post("/v1/credit-notes", json=body).status_code == 403
    too_much = finance.post("/v1/credit-notes", json={"invoice": one["id"], "amount": 7001})
    assert too_much.status_code in (400, 422)


def test_what_cannot_be_billed_is_refused(shop):
    finance = shop.as_user("rosa", role="finance")
    bad = [{"items": []}, {"items": [{"description": "x"}]}, {"currency": "zzz"},
           {"percent_off": 10, "amount_off": 5},
           {"items": [{"description": "x", "amount": 1, "unit_amount": 1}]}]  # fmt: skip
    for more in bad:
        assert write(finance, **more).status_code in (400, 422), more
    assert shop.as_user("maya").get("/v1/invoices").json()["data"] == []
