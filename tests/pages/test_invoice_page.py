"""The hosted page of an invoice: its link shows it, pays it once, and gives the document."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest
from starlette.testclient import TestClient

from paydesk import ids
from paydesk.flows import invoices
from paydesk.flows.invoices import NewInvoice, NewItem
from paydesk.http.app import create_app


@pytest.fixture
def open_(env, make, sim):
    """An open invoice, and a client of the desk's pages."""
    told = replace(env, settings=replace(env.settings, public_url="http://testserver"))
    one = invoices.create(told, NewInvoice(
        customer_id=make.user(name="Rosa").uuid, currency="usd", request_key=uuid4(), items=[
            NewItem(kind="one_off", description="Onboarding <b>", amount_minor=10_000, quantity=2,
                    unit_minor=5_000)], memo="Within 14 days."))  # fmt: skip
    with TestClient(create_app(told)) as client:
        client.env = told
        yield client, one


def test_the_link_shows_the_invoice_and_nothing_without_its_secret(open_):  # S1.50
    client, one = open_
    page = client.get(one.page_url)
    assert page.status_code == 200 and "INV-000001" in page.text
    assert "Onboarding &lt;b&gt;" in page.text and "Pay $100.00" in page.text
    assert "Rosa" in page.text and "Within 14 days." in page.text
    bare = one.page_url.partition("?")[0]
    assert client.get(bare).status_code == 404
    assert client.get(f"{bare}?s=wrong").status_code == 404
    assert client.get(f"{bare}/pdf?s=wrong").status_code == 404
    pdf = client.get(one.pdf_url)
    assert pdf.content.startswith(b"%PDF") and pdf.headers["content-type"] == "application/pdf"


def test_its_button_leads_to_the_one_page_that_pays_it(open_, sim):
    client, one = open_
    path = f"/invoice/{ids.show('invoice', one.id)}/pay"
    origin = {"Origin": "http://testserver"}
    assert client.post(path, data={"s": "wrong"}, headers=origin).status_code == 404
    assert client.post(path, data={"s": one.secret},
                       headers={"Origin": "https://elsewhere.example"}).status_code == 403
    led = [client.post(path, data={"s": one.secret}, headers=origin, follow_redirects=False)
           for _ in range(2)]  # fmt: skip
    assert {r.status_code for r in led} <= {302, 303}
    assert led[0].headers["location"] == led[1].headers["location"]
    order = client.get(led[0].headers["location"])
    assert "Invoice INV-000001" in order.text
    made = invoices.checkout_for(client.env, one.customer_id, one.id)
    sim.pay(made.payment.session_ref)
    assert client.get(f"/checkout/{ids.show('checkout', made.id)}/success?s={made.secret}"
                      ).status_code == 200
    page = client.get(one.page_url).text
    assert "This invoice is paid" in page and "Pay $" not in page
    again = client.post(path, data={"s": one.secret}, headers=origin, follow_redirects=False)
    assert again.headers["location"].startswith("/invoice/")


def test_a_void_invoice_asks_for_nothing(open_):
    client, one = open_
    invoices.void(client.env, one.customer_id, one.id)
    page = client.get(one.page_url).text
    assert "void" in page and "Pay $" not in page


def test_while_a_charge_is_under_way_the_page_says_so(open_):
    client, one = open_
    page = invoices.checkout_for(client.env, one.customer_id, one.id)
    with client.env.db.transaction(one.customer_id) as tx:  # As of a bank that takes days.
        tx.run("delete from checkouts where customer_id = %(c)s and id = %(i)s",
               {"c": one.customer_id, "i": page.id})  # fmt: skip
    path = f"/invoice/{ids.show('invoice', one.id)}/pay"
    said = client.post(path, data={"s": one.secret}, headers={"Origin": "http://testserver"})
    assert "A payment for this invoice is under way" in said.text
