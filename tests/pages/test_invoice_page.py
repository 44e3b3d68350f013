"""The hosted page of an invoice: its link shows it in the reader's language, pays it once, and
gives its papers."""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pypdfium2
import pypdfium2.raw
import pytest
from starlette.testclient import TestClient

from paydesk import ids
from paydesk.flows import (
    checkout,
    credit_notes,
    customers,
    direct,
    invoice_papers,
    invoices,
    methods,
    payments,
)
from paydesk.flows.credit_notes import NewNote
from paydesk.flows.invoices import NewInvoice, NewItem
from paydesk.flows.methods import AddMethod
from paydesk.http.app import create_app
from paydesk.notify import countries
from paydesk.notify import invoices as papers
from paydesk.rules.money import USD

HERE = {"Origin": "http://testserver"}


def write(env, who, **more):
    told = {
        "currency": "usd", "request_key": uuid4(), "memo": "Within 14 days.", "days": 14,
        "items": [NewItem(kind="one_off", description="Onboarding <b>", amount_minor=10_000,
                          quantity=2, unit_minor=5_000)],
    }  # fmt: skip
    return invoices.create(env, NewInvoice(customer_id=who.uuid, **{**told, **more}))


@pytest.fixture
def open_(env, make, sim):
    """An open invoice, and a client of the desk's pages."""
    told = replace(env, settings=replace(env.settings, public_url="http://testserver"))
    who = make.user(name="Rosa", email="rosa@atelier.example")
    one = write(told, who)
    with TestClient(create_app(told), headers={"Accept-Language": "de, en;q=0.5"}) as client:
        client.env, client.who = told, who
        yield client, one


def paid(client, one, sim) -> None:
    made = invoices.checkout_for(client.env, one.customer_id, one.id)
    sim.pay(made.payment.session_ref)
    page = f"/checkout/{ids.show('checkout', made.id)}/success?s={made.secret}"
    assert client.get(page).status_code == 200


def text_of(content: bytes) -> str:
    return "\n".join(p.get_textpage().get_text_range() for p in pypdfium2.PdfDocument(content))


def test_the_link_shows_the_invoice_and_nothing_without_its_secret(open_):  # S1.50
    client, one = open_
    page = client.get(one.page_url)
    assert page.status_code == 200 and "INV-000001" in page.text
    assert "Onboarding &lt;b&gt;" in page.text and "Pay $100.00" in page.text
    assert "Rosa" in page.text and "Within 14 days." in page.text
    bare = one.page_url.partition("?")[0]
    for path in ("", "/pdf", "/receipt", "/notes/cn_01M80CEY6VHWZBM2H0K52BEGT7"):
        assert client.get(f"{bare}{path}").status_code == 404
        assert client.get(f"{bare}{path}?s=wrong").status_code == 404
    pdf = client.get(one.pdf_url)
    assert pdf.content.startswith(b"%PDF") and pdf.headers["content-type"] == "application/pdf"


def test_its_button_leads_to_the_one_page_that_pays_it(open_, sim):
    client, one = open_
    path = f"/invoice/{ids.show('invoice', one.id)}/pay"
    assert client.post(path, data={"s": "wrong"}, headers=HERE).status_code == 404
    assert client.post(path, data={"s": one.secret},
                       headers={"Origin": "https://elsewhere.example"}).status_code == 403
    led = [client.post(path, data={"s": one.secret}, headers=HERE, follow_redirects=False)
           for _ in range(2)]  # fmt: skip
    assert {r.status_code for r in led} <= {302, 303}
    assert led[0].headers["location"] == led[1].headers["location"]
    order = client.get(led[0].headers["location"])
    assert "Invoice INV-000001" in order.text
    paid(client, one, sim)
    page = client.get(one.page_url).text
    assert "This invoice is paid" in page and "Pay $" not in page
    again = client.post(path, data={"s": one.secret, "locale": "fr"}, headers=HERE,
                        follow_redirects=False)  # fmt: skip
    assert again.headers["location"].startswith("/invoice/")
    assert again.headers["location"].endswith("&locale=fr")


def test_a_paid_page_shows_how_it_was_paid_with_its_receipt_and_credit_notes(open_, sim):  # S1.50
    client, one = open_
    paid(client, one, sim)
    note = credit_notes.create(client.env, NewNote(
        customer_id=one.customer_id, invoice_id=one.id, by="anna", amount=USD("30.00"),
        reason="duplicate", request_key=uuid4()))  # fmt: skip
    page = client.get(one.page_url + "&locale=fr").text
    assert "Payée" in page and "Visa •••• 4242" in page and "−30,00\u00a0$US" in page
    links = [path.replace("&amp;", "&") for path in re.findall(r'href="(/invoice/[^"]+)"', page)]
    receipt, paper = (next(one for one in links if what in one) for what in ("/receipt", "/pdf"))
    assert "Reçu" in text_of(client.get(receipt).content)
    assert "Facture" in text_of(client.get(paper).content)
    credit = text_of(client.get(next(one for one in links if "/notes/" in one)).content)
    assert "Avoir" in credit and note.number in credit and "Débité deux fois" in credit
    other = write(client.env, client.who)
    path = f"/invoice/{ids.show('invoice', other.id)}"
    foreign = f"{path}/notes/{ids.show('credit_note', note.id)}?s={other.secret}"
    assert client.get(foreign).status_code == 404, "a note of another invoice"
    assert client.get(f"{path}/receipt?s={other.secret}").status_code == 404, "nothing was paid"


@pytest.mark.parametrize(
    ("state", "said", "button"),
    [("void", "This invoice is void", False), ("uncollectible", "You may still pay it", True),
     ("draft", "This invoice is being prepared", False), ("past_due", "past due", True)],
)  # fmt: skip
def test_each_state_says_what_is_to_be_done(open_, clock, state, said, button):
    client, one = open_
    env = client.env
    if state == "void":
        invoices.void(env, one.customer_id, one.id)
    elif state == "uncollectible":
        invoices.mark_uncollectible(env, one.customer_id, one.id)
    elif state == "draft":
        one = write(env, client.who, finalize=False)
        assert one.page_url is None, "nobody is sent there"
    else:
        clock.advance(seconds=timedelta(days=14, hours=23).total_seconds())
        assert "Past due" not in client.get(one.page_url).text
        clock.advance(hours=1)
    url = one.page_url or f"/invoice/{ids.show('invoice', one.id)}?s={one.secret}"
    page = client.get(url).text
    assert said in page and ("Pay $100.00" in page) is button
    if state == "draft":
        assert client.get(url.replace("?s=", "/pdf?s=")).status_code == 404
        path = f"/invoice/{ids.show('invoice', one.id)}/pay"
        led = client.post(path, data={"s": one.secret}, headers=HERE, follow_redirects=False)
        assert led.status_code == 303 and led.headers["location"].startswith("/invoice/")


def test_while_a_charge_is_under_way_the_page_says_so(open_):
    client, one = open_
    page = invoices.checkout_for(client.env, one.customer_id, one.id)
    with client.env.db.transaction(one.customer_id) as tx:  # As of a bank that takes days.
        tx.run("delete from checkouts where customer_id = %(c)s and id = %(i)s",
               {"c": one.customer_id, "i": page.id})  # fmt: skip
    path = f"/invoice/{ids.show('invoice', one.id)}/pay"
    said = client.post(path, data={"s": one.secret}, headers=HERE)
    assert "A payment for this invoice is under way" in said.text and "Pay $" not in said.text


# The reader's language -------------------------------------------------------------------------


def test_the_language_is_the_links_else_the_customers_else_the_browsers(open_, make):
    client, one = open_

    def words(url, accept="de"):
        page = client.get(url, headers={"Accept-Language": accept}).text
        return re.search(r'<html lang="(\w+)"', page).group(1), "Payer" in page, "Peye" in page

    assert words(one.page_url) == ("en", False, False)
    assert words(one.page_url, "pt, fr-CA;q=0.8, en;q=0.5") == ("fr", True, False)
    known = write(client.env, make.user(name="Jean", metadata={"locale": "ht_HT"}))
    assert words(known.page_url, "fr") == ("ht", False, True)
    assert words(known.page_url + "&locale=fr", "en") == ("fr", True, False)
    assert words(known.page_url + "&locale=xx", "en")[0] == "ht"
    page = client.get(known.page_url + "&locale=fr").text
    assert 'aria-current="true">Français' in page and "&amp;locale=ht" in page


def test_countries_are_named_in_the_language(open_, make):
    client, _ = open_
    assert [countries.name("US", one) for one in ("en", "fr", "ht")] == [
        "United States", "États-Unis", "Etazini",
    ]  # fmt: skip
    assert (countries.name("gb", "ht"), countries.name("qq", "en")) == ("Wayòm Ini", "QQ")
    assert countries.name("EE", "ht") == "Estonie", "where Creole has no name of its own, French"
    told = {"country": "HT", "address": "4 Rue Lamarre; Pétion-Ville", "tax_id": "HT-77-120"}
    one = write(client.env, make.user(name="Ana", metadata=told))
    for locale, country, tax in (("en", "Haiti", "Tax ID: HT-77-120"),
                                 ("fr", "Haïti", "Numéro fiscal\u00a0: HT-77-120"),
                                 ("ht", "Ayiti", "Nimewo fiskal: HT-77-120")):  # fmt: skip
        page = client.get(f"{one.page_url}&locale={locale}").text
        assert country in page and tax in page and "Pétion-Ville" in page
        assert country in text_of(client.get(f"{one.pdf_url}&locale={locale}").content)


# The business's look ---------------------------------------------------------------------------


def test_the_page_has_the_businesss_color_and_no_script_of_its_own(open_):
    client, one = open_
    page = client.get(one.page_url).text
    assert "brand.css" not in page, "the desk's own color needs none"
    client.app.state.env = replace(
        client.env, settings=replace(client.env.settings, brand_color="#0B6E4F")
    )
    page = client.get(one.page_url)
    sheet = re.search(r'href="(/invoice/brand\.css[^"]*)"', page.text).group(1)
    css = client.get(sheet)
    assert css.headers["content-type"].startswith("text/css") and "#0b6e4f" in css.text
    assert "style-src 'self'" in page.headers["content-security-policy"]
    assert "style=" not in page.text and "<script>" not in page.text


def picture(width, height, color):
    """A PNG of one color, (red, green, blue)."""

    def chunk(kind, data):
        told = kind + data
        return struct.pack(">I", len(data)) + told + struct.pack(">I", zlib.crc32(told))

    head = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + bytes(color) * width) * height)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*one) for one in ((b"IHDR", head), (b"IDAT", rows), (b"IEND", b""))
    )


def pixel(bitmap, x, y):
    start = y * bitmap.stride + x * bitmap.n_channels
    blue, green, red = bytes(bitmap.buffer)[start : start + 3]
    return red, green, blue


def test_the_papers_have_the_businesss_logo_and_color(open_, tmp_path):  # S1.50
    client, one = open_
    note = credit_notes.create(client.env, NewNote(
        customer_id=one.customer_id, invoice_id=one.id, by="anna", amount=USD("30.00"),
        request_key=uuid4()))  # fmt: skip
    pink, green, blue = (0xC2, 0x18, 0x5B), (0x0B, 0x6E, 0x4F), (0x2F, 0x5B, 0xE7)
    logo = tmp_path / "logo.png"
    logo.write_bytes(picture(64, 32, pink))
    plain = client.env
    told = replace(plain, settings=replace(
        plain.settings, brand_color="#0B6E4F", business_logo=str(logo)))  # fmt: skip

    def seen(env, paper, what):
        """(The images in it, its top edge, its mark.)"""
        page = pypdfium2.PdfDocument(paper(env, what)[1])[0]
        found = list(page.get_objects([pypdfium2.raw.FPDF_PAGEOBJ_IMAGE]))
        bitmaps = [one.get_bitmap() for one in found]
        shot = page.render(scale=1)
        edge, mark = (pixel(shot, x, y) for x, y in ((shot.width // 2, 2), (shot.width - 75, 62)))
        return [(one.width, one.height, pixel(one, 32, 16)) for one in bitmaps], edge, mark

    for paper, what in ((invoice_papers.invoice_pdf, one), (invoice_papers.note_pdf, note)):
        assert seen(told, paper, what) == ([(64, 32, pink)], green, pink)
        images, edge, _ = seen(plain, paper, what)
        assert (images, edge) == ([], blue)


# A bank that asks its holder ------------------------------------------------------------------


def test_a_payment_that_waits_for_the_bank_is_confirmed_from_the_page(open_, sim):  # S1.50
    client, one = open_
    seen_before = client.get(one.page_url)
    assert "Pay $100.00" in seen_before.text
    methods.add(client.env, AddMethod(customer_id=one.customer_id, make_default=True,
                                      token="pm_card_authenticationRequired"))  # fmt: skip
    tried = invoices.pay(client.env, one.customer_id, one.id, return_url=one.page_url)
    payment = payments.get(client.env, one.customer_id, tried.payment_id)
    assert payment.state == "requires_action"
    path = f"/invoice/{ids.show('invoice', one.id)}/pay"
    pressed = client.post(path, data={"s": one.secret, "locale": "fr"}, headers=HERE)
    for page, said in ((pressed, "Confirmez auprès de votre banque"),
                       (client.get(one.page_url), "Confirm with your bank")):  # fmt: skip
        assert page.status_code == 200
        assert f'href="{payment.action_url}"' in page.text and said in page.text
        assert "Pay $100.00" not in page.text and "Payer 100" not in page.text
    sim.authenticate(payment.payment_ref)
    direct.confirm(client.env, one.customer_id, payment.id)
    page = client.get(one.page_url).text
    assert "This invoice is paid" in page and payment.action_url not in page


def test_a_payment_that_the_bank_did_not_confirm_leaves_the_button(open_, sim):
    client, one = open_
    methods.add(client.env, AddMethod(customer_id=one.customer_id, make_default=True,
                                      token="pm_card_authenticationRequired"))  # fmt: skip
    tried = invoices.pay(client.env, one.customer_id, one.id)
    payment = payments.get(client.env, one.customer_id, tried.payment_id)
    sim.authenticate(payment.payment_ref, succeed=False)
    direct.confirm(client.env, one.customer_id, payment.id)
    page = client.get(one.page_url).text
    assert "Pay $100.00" in page and "Confirm with your bank" not in page


# The page behind its button --------------------------------------------------------------------


@pytest.mark.parametrize(("locale", "said", "after"), [
    ("en", ("Pay $100.00", "Order details", "Invoice INV-", "Card"), "Payment received"),
    ("fr", ("Payer 100,00", "Détails de la commande", "Facture INV-", "Carte"), "Paiement reçu"),
    ("ht", ("Peye ", "Detay kòmand lan", "Fakti INV-", "Kat"), "Nou resevwa peman an"),
])  # fmt: skip
def test_the_checkout_speaks_the_readers_language_as_the_invoice_does(
    open_, sim, locale, said, after
):  # S1.50
    client, one = open_
    path = f"/invoice/{ids.show('invoice', one.id)}/pay"
    led = client.post(path, data={"s": one.secret, "locale": locale}, headers=HERE,
                      follow_redirects=False).headers["location"]  # fmt: skip
    order = client.get(led)
    assert f'<html lang="{locale}"' in order.text
    for text in said:
        assert text in order.text, text
    if locale != "en":
        for text in ("Total due", "Order details", "Powered by", "Payment method", "Subtotal"):
            assert text not in order.text, text
        assert client.get(led.replace(f"&locale={locale}", "")).text != order.text
    customers.update(client.env, one.customer_id, metadata={"locale": locale})
    paid(client, one, sim)
    bare = led.partition("&locale")[0].replace("?s=", "/success?s=")
    page = client.get(bare).text
    assert after in page and f'<html lang="{locale}"' in page
    assert "Keep the payment number" in page or locale != "en"


@pytest.mark.parametrize("locale", ["en", "fr", "ht"])
def test_a_checkout_that_is_over_says_so_in_the_language(open_, locale):
    client, one = open_
    made = invoices.checkout_for(client.env, one.customer_id, one.id)
    invoices.void(client.env, one.customer_id, one.id)
    place = f"/checkout/{ids.show('checkout', made.id)}?s={made.secret}&locale={locale}"
    page = client.get(place).text
    said = {"en": "Nothing was charged", "fr": "Rien n’a été débité", "ht": "Yo pa pran anyen"}
    assert said[locale] in page


def test_a_thing_that_is_called_like_an_invoice_keeps_its_name(open_):
    """S1.50: only what pays an invoice is one."""
    client, one = open_
    made = checkout.start(client.env, checkout.StartCheckout(
        customer_id=one.customer_id, amount=USD("12.00"), description="Invoice Templates"))
    page = client.get(made.page_url + "&locale=fr").text
    assert "Invoice Templates" in page and "Facture" not in page
    asked = invoices.checkout_for(client.env, one.customer_id, one.id)
    assert "Facture INV-" in client.get(asked.page_url + "&locale=fr").text


def test_a_line_that_somebody_wrote_stands_as_they_wrote_it(env, make):
    """S1.50: only what the desk itself says of a change is said in the language."""
    texts = ["Discount on Books", "Unused time on the court"]
    one = write(env, make.user(), items=[
        NewItem(kind="one_off", description=texts[0], amount_minor=900),
        NewItem(kind="adjustment", description=texts[1], amount_minor=-100),
        NewItem(kind="proration_charge", description="Remaining time on Team", amount_minor=200),
    ])  # fmt: skip
    shown = papers.invoice("fr", invoice_papers.invoice_facts(env, one)).lines
    assert [line[0] for line in shown] == [*texts, "Temps restant de Team"]
    note = credit_notes.create(env, NewNote(
        customer_id=one.customer_id, invoice_id=one.id, by="anna", reason="duplicate",
        items=[(one.items[0].id, 300), (one.items[2].id, 100)], request_key=uuid4()))  # fmt: skip
    shown = papers.note("fr", invoice_papers.note_facts(env, note)).lines
    assert [line[0] for line in shown] == [texts[0], "Temps restant de Team"]
