"""Mails: for which events, to whom, in which language, sent at least once, seen in development."""

from __future__ import annotations

import base64
import re
import string
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pypdfium2
import pytest
from billing_facts_kept import KEPT, PAPERS
from http_support import OWN_KEY, Client, problem_of
from purchase import Desk
from smtp_server import Mailbox, mail_server

from paydesk.assemble import build_env
from paydesk.errors import InvalidRequest, Misconfigured
from paydesk.flows import credits, customers, events, notifications, outgoing_feed
from paydesk.http.app import create_app
from paydesk.notify import brand, formats, mail, receipts, render, words
from paydesk.settings import Settings

MAYA = "maya@northwind.example"
BASE = {"business": "Northwind Labs", "base_url": "https://pay.northwind.example",
        "account_url": "https://northwind.example/billing", "livemode": True, "name": "Maya",
        "email": MAYA}  # fmt: skip
LINE = {"description": "Creator Pack", "quantity": 1, "unit": 999, "credits": 150,
        "months": None, "is_wallet": False}  # fmt: skip
PAYMENT = {"currency": "usd", "amount": 899, "total": 899, "price": 999, "paid": 899,
           "lines": [LINE], "promo": "WELCOME10", "refunds": [], "method": "card",
           "card": {"brand": "visa", "last4": "4242"}, "reference": None,
           "number": "pay_0344QCT8RQJ5T9R7VHA8PSE1H4", "error_code": "insufficient_funds",
           "paid_at": "2026-11-21T08:41:07+00:00", "at": "2026-11-21T08:41:07+00:00"}  # fmt: skip
FACTS: dict[str, dict[str, Any]] = {
    "receipt": BASE | PAYMENT,
    "refund": BASE | PAYMENT | {"amount": 300, "refunds": [
        {"at": "2026-11-22T10:00:00+00:00", "amount": 300}]},
    "payment_failed": BASE | PAYMENT,
    "credits_low": BASE | {"balance": 12},
    "credits_expiring": BASE | {"credits": 1240, "on": "2026-12-01"},
    "dispute_opened": BASE | PAYMENT | {"reason": "fraudulent", "customer": "user_123",
                                        "due_at": "2026-12-05T00:00:00+00:00"},
    "dispute_due_soon": BASE | PAYMENT | {"reason": "product_not_received", "customer": "user_123",
                                          "due_at": "2026-12-05T00:00:00+00:00"},
    "refund_failed": BASE | PAYMENT | {"customer": "user_123", "reason": "lost_or_stolen_card"},
    "endpoint_disabled": BASE | {"url": "https://hooks.example.com/in", "reason": "failing",
                                 "days": 5},
    "refill_paused": BASE | {"reason": "payment_method", "error_code": "expired_card",
                             "currency": None},
    "payment_reminder": BASE | {"amount": 5000, "currency": "htg", "reference": "PD2345",
                                "number": "pay_0344QCT8RQJ5T9R7VHA8PSE1H4", "label": "payment",
                                "since": "2026-11-18T08:41:07+00:00",
                                "pay_url": BASE["account_url"]},
    "invoice_reminder": BASE | {"amount": 1999, "currency": "usd", "reference": None,
                                "number": "INV-000017", "label": "invoice_number",
                                "since": "2026-11-18T08:41:07+00:00",
                                "pay_url": BASE["account_url"]},
    **{kind: BASE | kept | PAPERS.get(kind, {}) for kind, kept in KEPT.items()},
}  # fmt: skip
#: A picture of one pixel, after the first bytes of a PNG.
_PIXEL = base64.b64decode(
    "AAAADUlIRFIAAAABAAAAAQgCAAAAkHdT3gAAAAxJREFUeJxj4K7yBgABZADRJ9iXhgAAAABJRU5ErkJggg=="
)


@pytest.fixture
def box() -> Iterator[Mailbox]:
    with mail_server() as one:
        yield one


@pytest.fixture
def settings(settings: Settings, box: Mailbox) -> Settings:
    return replace(
        settings, smtp_url=f"smtp://127.0.0.1:{box.port}", smtp_from="desk@northwind.example",
        staff_email="ops@northwind.example",
    )  # fmt: skip


@pytest.fixture
def desk(env: Any, sim: Any, make: Any, clock: Any) -> Desk:
    make.pack()
    return Desk(env, sim, make, clock)


def work(env: Any) -> None:
    outgoing_feed.drain(env)
    events.publish(env)
    while outgoing_feed.drain(env):
        pass
    notifications.send_due(env)


def start(env: Any) -> None:
    """From here on the feed has a place."""
    outgoing_feed.drain(env)


def bought(desk: Desk, **more: Any) -> Any:
    start(desk.env)
    view = desk.open(desk.make.user(**({"email": MAYA, "name": "Maya Desrosiers"} | more)))
    desk.pay(view)
    desk.deliver(view)
    return view


def pdf_text(content: bytes, pages: int = 1) -> str:
    document = pypdfium2.PdfDocument(content)
    assert len(document) == pages
    return "\n".join(page.get_textpage().get_text_range() for page in document)


# From a payment to a mailbox ---------------------------------------------------------------------


def test_a_payment_sends_one_receipt_with_its_pdf(desk, box):  # S0.29 S4.24 S4.31
    view = bought(desk)
    work(desk.env)
    work(desk.env)
    [got] = box.mails
    assert got["To"] == MAYA and got["From"].endswith("<desk@northwind.example>")
    assert got["Subject"] == "Your receipt from Northwind Labs: $9.99"
    [row] = notifications.list_(desk.env)
    assert row.state == "sent"
    html = got.get_body(("html",)).get_content()
    text = got.get_body(("plain",)).get_content()
    [attached] = list(got.iter_attachments())
    whole = pdf_text(attached.get_content())
    for shown in (html, text, whole):
        assert "$9.99" in shown and "Creator Pack" in shown
        assert f"pay_{view.payment.handle[-4:]}" not in shown
    assert "<style" in html and 'style="' in html, "rules stand in the elements"
    assert attached.get_filename().startswith("receipt-pay_")


def test_a_lost_answer_sends_again_under_the_same_message_id(desk, box):  # I28
    bought(desk)
    box.die_after_data = True
    work(desk.env)
    assert notifications.list_(desk.env)[0].state == "waiting"
    box.die_after_data = False
    desk.clock.advance(minutes=1)
    work(desk.env)
    assert notifications.list_(desk.env)[0].state == "sent"
    assert len(box.mails) == 2 and len({m["Message-ID"] for m in box.mails}) == 1


def test_a_mail_that_fails_is_tried_for_a_while_and_then_parked(desk, box):  # I29
    bought(desk)
    box.refuse = "451 later"
    for _ in range(notifications.MAX_TRIES + 2):
        work(desk.env)
        desk.clock.advance(hours=7)
    [row] = notifications.list_(desk.env)
    assert (row.state, row.tries) == ("parked", notifications.MAX_TRIES) and "451" in row.error
    box.refuse = ""
    notifications.resend(desk.env, notifications.ids.show("notification", row.id))
    work(desk.env)
    assert notifications.list_(desk.env)[0].state == "sent"


def test_an_address_that_does_not_exist_is_not_tried_again(desk, box):
    bought(desk)
    box.refuse = "550 nobody here"
    work(desk.env)
    assert notifications.list_(desk.env)[0].state == "parked"


def test_a_customer_without_an_address_gets_none_and_it_says_so(desk, box):
    bought(desk, email=None)
    work(desk.env)
    [row] = notifications.list_(desk.env)
    assert row.state == "skipped" and "no e-mail" in row.error and not box.mails


def test_without_a_mail_server_mails_are_kept_to_be_looked_at(desk, box):
    view = bought(desk)
    quiet = replace(desk.env, settings=replace(desk.env.settings, smtp_url=""))
    work(quiet)
    [row] = notifications.list_(quiet)
    assert row.state == "kept" and not box.mails
    app = create_app(quiet)
    app.state.is_development = True
    with Client(app) as browser:
        listed = browser.get("/dev/mailbox", headers={"host": "localhost"}).text
        assert "Your receipt from Northwind Labs" in listed and MAYA in listed
        path = re.search(r"/dev/mailbox/ntf_\w+", listed).group()
        page = browser.get(path, headers={"host": "localhost"})
        assert "frame-src 'self'" in page.headers["content-security-policy"]
        html = browser.get(f"{path}/html", headers={"host": "localhost"})
        assert "$9.99" in html.text and "sandbox" in html.headers["content-security-policy"]
        assert "$9.99" in browser.get(f"{path}/text", headers={"host": "localhost"}).text
        pdf = browser.get(f"{path}/pdf", headers={"host": "localhost"})
        assert "$9.99" in pdf_text(pdf.content)
        app.state.is_development = False
        assert browser.get("/dev/mailbox", headers={"host": "localhost"}).status_code == 404
    assert view.payment.id


def test_the_customers_language_is_used(desk, box):
    bought(desk, metadata={"locale": "ht_HT"})
    work(desk.env)
    assert box.mails[0]["Subject"] == "Resi ou nan men Northwind Labs: 9,99 $US"


def test_kinds_are_turned_off_by_a_setting(desk, box):
    bought(desk)
    off = replace(desk.env, settings=replace(desk.env.settings, notifications_off="receipt"))
    work(off)
    assert notifications.list_(off) == [] and not box.mails
    assert notifications.kinds_on(replace(off.settings, notifications_off="all")) == []
    with pytest.raises(Misconfigured):
        notifications.kinds_on(replace(off.settings, notifications_off="receipts"))


def test_a_failed_payment_is_told_with_its_reason(desk, box):
    from paydesk.flows.events import NewEvent, emit_many

    view = bought(desk)
    with desk.env.db.transaction(view.customer_id) as tx:
        failed = NewEvent(customer_id=view.customer_id, type="payment.failed",
                          subject_id=view.payment.id, data={"status": "failed"})  # fmt: skip
        emit_many(tx, [failed])
    work(desk.env)
    assert {m["Subject"] for m in box.mails} == {
        "Your receipt from Northwind Labs: $9.99",
        "Your payment to Northwind Labs did not go through",
    }


def test_a_refund_is_told_and_a_dispute_goes_to_the_staff(desk, box):
    view = bought(desk)
    named = {"payment_id": str(view.payment.id), "currency": "usd", "status": "succeeded"}
    told = [
        ("refund.succeeded", "refund", {**named, "amount": 300, "origin": "desk", "loss": 0}),
        ("dispute.opened", "dispute", {**named, "amount": 999, "reason": "fraudulent",
                                       "due_at": "2026-12-05T00:00:00+00:00"}),
    ]  # fmt: skip
    with desk.env.db.transaction(view.customer_id) as tx:
        for type, _, data in told:
            events.emit(tx, view.customer_id, type, notifications.ids.new_owned(view.customer_id),
                        data)  # fmt: skip
    work(desk.env)
    assert sorted((m["To"], m["Subject"]) for m in box.mails)[1:] == [
        (MAYA, "Your refund from Northwind Labs: $3.00"),
        ("ops@northwind.example", "Dispute opened: $9.99, user_1"),
    ]
    staff = next(m for m in box.mails if m["To"] != MAYA).get_body(("plain",)).get_content()
    assert "December 5, 2026" in staff and "Fraudulent: the cardholder did not pay" in staff
    assert f"/dashboard/payments/{notifications.ids.show('payment', view.payment.id)}" in staff


# Credits -----------------------------------------------------------------------------------------


def test_a_balance_that_falls_below_the_threshold_is_told_once(env, make, box):
    env = replace(env, settings=replace(env.settings, credits_low=10))
    start(env)
    user = make.user(email=MAYA)
    make.credits(user, 30)
    for n, amount in enumerate((15, 8, 3)):
        credits.spend_now(env, credits.new_spend(user.uuid, amount, f"use {n}"))
    work(env)
    assert [m["Subject"] for m in box.mails] == ["You have 7 credits left"]


def test_credits_that_end_soon_are_told_once_for_a_day(env, make, box, clock):
    start(env)
    user = make.user(email=MAYA)
    make.credits(user, 30, days=20)
    make.credits(user, 12, days=20)
    make.credits(user, 5, days=3)  # Shorter than the notice: nothing to warn of.
    assert notifications.tell_expiring(env) == 0
    clock.advance(days=13, hours=1)
    assert notifications.tell_expiring(env) == 1
    assert notifications.tell_expiring(env) == 0
    work(env)
    assert [re.sub(r"on .*", "on", m["Subject"]) for m in box.mails] == ["42 credits expire on"]
    told = events.list_events(env, user.uuid, types=["credits.expiring"])
    assert [e.data["amount"] for e in told] == [42]


def test_staff_hear_of_an_endpoint_that_was_stopped(env, make, box, receiver):
    from paydesk.flows import webhook_deliveries, webhook_endpoints

    webhook_endpoints.create(env, f"{receiver.url}/in", events=["credits.*"])
    start(env)
    receiver.answer = lambda got: (410, b"")
    make.credits(make.user(), 5)
    work(env)
    webhook_deliveries.send_due(env, wait_s=None)
    work(env)
    assert [(m["To"], m["Subject"]) for m in box.mails] == [
        ("ops@northwind.example", "Webhooks to 127.0.0.1 were stopped")
    ]


# Over HTTP ---------------------------------------------------------------------------------------


def test_a_receipt_is_its_owners_and_the_staffs(desk, box):  # I33
    view = bought(desk)
    customer = customers.get(desk.env, view.customer_id)
    with Client(create_app(desk.env), f"Bearer {OWN_KEY}") as http:
        path = f"/v1/payments/{view.payment.handle}/receipt.pdf"
        own = http.as_user(customer.external_id)
        answer = own.get(path)
        assert answer.status_code == 200 and answer.headers["content-type"] == "application/pdf"
        assert "$9.99" in pdf_text(answer.content)
        assert "9,99" in pdf_text(http.get(f"{path}?locale=fr").content)
        problem_of(http.as_user("somebody_else").get(path), 404, "not_found")
        problem_of(http.get(f"{path}?locale=de"), 422, "invalid_request")
        unpaid = desk.open(desk.make.user())
        problem_of(http.get(f"/v1/payments/{unpaid.payment.handle}/receipt.pdf"), 404, "not_found")
        work(desk.env)
        [row] = http.get("/v1/notifications").json()["data"]
        assert (row["kind"], row["status"]) == ("receipt", "sent")
        assert http.post(f"/v1/notifications/{row['id']}/resend").json()["status"] == "waiting"
    with pytest.raises(InvalidRequest):
        notifications.receipt_pdf(desk.env, None, view.payment.id, "de")


def test_a_mail_that_came_back_is_noted_and_can_be_sent_again(desk, box):
    bought(desk)
    work(desk.env)
    with Client(create_app(desk.env), f"Bearer {OWN_KEY}") as http:
        [row] = http.get("/v1/notifications").json()["data"]
        assert box.mails[0]["Message-ID"].startswith(f"<{row['id']}@")
        path = f"/v1/notifications/{row['id']}/bounced"
        noted = http.post(path, json={"reason": "550 5.1.1 no such mailbox"}).json()
        assert (noted["status"], noted["error"]) == (
            "parked", "It came back: 550 5.1.1 no such mailbox",
        )  # fmt: skip
        problem_of(http.post(path, json={"reason": ""}), 422, "invalid_request")
        problem_of(http.as_user("user_1").post(path, json={"reason": "x"}), 403, "not_permitted")
        http.post(f"/v1/notifications/{row['id']}/resend")
        work(desk.env)
        assert http.get("/v1/notifications").json()["data"][0]["status"] == "sent"


def test_a_mail_that_was_never_sent_cannot_come_back(desk, box):
    bought(desk, email=None)
    work(desk.env)
    [row] = notifications.list_(desk.env)
    with pytest.raises(InvalidRequest, match="never sent"):
        notifications.note_bounce(desk.env, notifications.ids.show("notification", row.id), "x")


# Words, formats, templates -----------------------------------------------------------------------


def test_every_sentence_exists_in_every_language_with_the_same_names():
    for key, said in words.WORDS.items():
        assert set(said) == set(words.LOCALES), key
        names = {
            locale: {n for _, n, _, _ in string.Formatter().parse(text) if n}
            for locale, text in said.items()
        }
        assert len({frozenset(found) for found in names.values()}) == 1, (key, names)


@pytest.mark.parametrize("kind", render.KINDS)
@pytest.mark.parametrize("locale", words.LOCALES)
def test_every_mail_is_whole_in_every_language(kind, locale):
    shown = render.mail(kind, locale, FACTS[kind])
    assert shown.subject and "\n" not in shown.subject
    for text in (shown.subject, shown.text, shown.html):
        assert "{" not in re.sub(r"<style>.*?</style>", "", text, flags=re.S)
    assert f'lang="{locale}"' in shown.html and "<" not in shown.text
    assert "Test:" not in shown.text
    assert (shown.pdf is not None) == (kind in ("receipt", "refund", *PAPERS))
    assert max(map(len, shown.text.splitlines())) <= 120
    if kind != "endpoint_disabled":
        link = BASE["base_url"] if kind in render.STAFF_KINDS else BASE["account_url"]
        assert link in shown.html and link in shown.text
        bare = render.mail(kind, locale, FACTS[kind] | {"account_url": "", "pay_url": None},
                           with_pdf=False)
        assert kind in render.STAFF_KINDS or "<a " not in bare.html


@pytest.mark.parametrize(
    ("minor", "currency", "locale", "shown"),
    [(123450, "usd", "en", "$1,234.50"), (123450, "htg", "en", "HTG\u00a01,234.50"),
     (123450, "usd", "fr", "1\u202f234,50\u00a0$US"), (123450, "htg", "ht", "1\u00a0234,50\u00a0G"),
     (500, "jpy", "en", "¥500"), (1500, "kwd", "en", "KWD\u00a01.500"),
     (-100, "usd", "en", "−$1.00"),
     (12345, "clf", "en", "CLF\u00a01.2345"), (100050, "idr", "en", "IDR\u00a01,000.50"),
     (2**63 - 1, "usd", "en", "$92,233,720,368,547,758.07")],
)  # fmt: skip
def test_amounts_are_exact_in_every_language(minor, currency, locale, shown):  # I11
    assert formats.amount(minor, currency, locale) == shown


@pytest.mark.parametrize(("tag", "found"), [("fr-CA", "fr"), ("ht_HT", "ht"), ("de", "en"),
                                            (None, "en"), ("", "en"), ("EN", "en")])  # fmt: skip
def test_a_language_tag_finds_the_nearest_we_have(tag, found):
    assert words.locale_of(tag, "en") == found


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "#panic() $x^2$ *b* [c] @d \\", "{{ 7 * 7 }} {% x %}",
             "Eve\r\nBcc: all@example.com", "ᜀ 漢字 🎉 \u202e"],
)  # fmt: skip
def test_names_are_shown_as_text_and_never_as_markup(name):  # I38
    facts = FACTS["receipt"] | {"name": name, "reference": name, "business": name,
                                "lines": [LINE | {"description": name}]}  # fmt: skip
    shown = render.mail("receipt", "en", facts)
    assert "<script" not in shown.html and "49" not in shown.subject
    message = mail.composed(Settings(), shown, [MAYA], "ntf_1", datetime(2026, 11, 21, tzinfo=UTC))
    assert message["Bcc"] is None
    assert shown.pdf is not None and shown.pdf.startswith(b"%PDF")


def test_the_same_facts_give_the_same_receipt():
    first = receipts.pdf("en", FACTS["receipt"])
    text = pdf_text(first)
    assert first == receipts.pdf("en", FACTS["receipt"])
    for shown in ("Northwind Labs", "Creator Pack", "$9.99", "−$1.00", "$8.99", "Maya"):
        assert shown in text, shown


def test_a_receipt_tells_quantities_rules_codes_refunds_and_what_was_kept():
    line = LINE | {"quantity": 3, "unit": 400, "credits": None, "months": 12}
    facts = FACTS["receipt"] | {"lines": [line], "paid": 500, "refunds": [
        {"at": "2026-11-25T00:00:00+00:00", "amount": 200}]}  # fmt: skip
    one = receipts.receipt("en", facts)
    assert one.lines == [receipts.Line("Creator Pack", "12 months", "3", "$4.00", "$12.00")]
    assert one.sums == [("Subtotal", "$12.00"), ("Your price", "−$2.01"),
                        ("Discount (WELCOME10)", "−$1.00")]  # fmt: skip
    assert one.total == ("Total", "$8.99")
    assert one.after == [("Paid", "$5.00"), ("Refunded on November 25, 2026", "−$2.00"),
                         ("Paid after refunds", "$3.00")]  # fmt: skip
    assert "−$2.00" in pdf_text(receipts.pdf("en", facts))


def test_a_long_receipt_goes_on_over_pages_with_its_heads_and_numbers():
    lines = [LINE | {"description": f"Course {n}", "credits": None} for n in range(80)]
    facts = FACTS["receipt"] | {"lines": lines, "price": 80 * 999, "total": 80 * 999,
                                "paid": 80 * 999}  # fmt: skip
    text = pdf_text(receipts.pdf("en", facts), pages=3)
    assert text.count("Unit price") == 3 and "Page 3 of 3" in text and "Course 79" in text
    assert "$799.20" in text


@pytest.mark.parametrize(
    ("card", "method", "shown"),
    [({"brand": "visa", "last4": "4242"}, "card", "Visa •••• 4242"),
     ({"brand": "amex", "last4": "0005", "wallet": "apple_pay"}, "card",
      "Apple Pay (American Express •••• 0005)"),
     ({}, "cash", "Cash"), ({}, "moncash", "MonCash"), (None, "some_bank", "Some bank")],
)  # fmt: skip
def test_ways_to_pay_are_told_as_people_call_them(card, method, shown):
    assert receipts.method("en", {"card": card, "method": method}) == shown


def test_one_credit_is_not_told_in_the_plural():
    def subject(kind, locale, **more):
        return render.mail(kind, locale, FACTS[kind] | more).subject

    assert subject("credits_low", "en", balance=1) == "You have 1 credit left"
    assert subject("credits_low", "fr", balance=1) == "Il vous reste 1 crédit"
    assert subject("credits_expiring", "en", credits=1).startswith("1 credit expires")


@pytest.mark.parametrize(
    "name",
    ["山田太郎", "김철수", "محمد الفارسي", "שרה כהן", "Ελένη", "Наталья", "नेहा", "สมชาย", "🎉🚀"],
)
def test_names_of_every_script_have_letters_on_the_receipt(name):
    fonts = receipts.fonts()
    plain = receipts.pdf("en", FACTS["receipt"] | {"name": "N"})
    shown = receipts.pdf("en", FACTS["receipt"] | {"name": name})
    assert fonts.families() and len(shown) > len(plain), "a typeface of its own came along"
    assert b"Noto" in shown or b"Droid" in shown


def test_the_business_shows_its_address_color_and_logo(desk, box, tmp_path):
    picture = b"\x89PNG\r\n\x1a\n" + _PIXEL
    (tmp_path / "logo.png").write_bytes(picture)
    told = {"business_address": "12, rue Pavée; HT6110 Port-au-Prince", "business_tax_id": "NIF 7",
            "business_email": "help@northwind.example", "brand_color": "#0B7A4B",
            "account_url": "https://northwind.example/billing",
            "business_logo": str(tmp_path / "logo.png")}  # fmt: skip
    env = replace(desk.env, settings=replace(desk.env.settings, **told))
    view = bought(desk)
    work(env)
    [got] = box.mails
    assert got["Reply-To"] == "help@northwind.example"
    html, text = (got.get_body((one,)).get_content() for one in ("html", "plain"))
    for shown in ("help@northwind.example", "12, rue Pavée", "https://northwind.example/billing"):
        assert shown in html and shown in text, shown
    assert "#0b7a4b" in html and 'src="cid:logo"' in html
    related = [part for part in got.walk() if part["Content-ID"] == "<logo>"]
    assert [part.get_content() for part in related] == [picture]
    pdf = pdf_text(notifications.receipt_pdf(env, None, view.payment.id)[1])
    assert "12, rue Pavée" in pdf and "Tax ID: NIF 7" in pdf


@pytest.mark.parametrize("color", ["red", "#fff", "#ffd400", "url(x)"])
def test_a_brand_color_on_which_white_cannot_be_read_is_refused(color):
    with pytest.raises(Misconfigured):
        build_env(Settings(brand_color=color))


def test_a_logo_that_is_no_picture_is_refused(tmp_path):
    (tmp_path / "logo.svg").write_text("<svg/>")
    for path in (tmp_path / "logo.svg", tmp_path / "none.png"):
        with pytest.raises(Misconfigured):
            brand.logo(Settings(business_logo=str(path)))


def test_a_mail_of_facts_kept_before_lines_were_is_still_whole():
    old = {name: one for name, one in FACTS["receipt"].items() if name not in ("lines", "total")}
    shown = render.mail("receipt", "en", old | {"discount": 100, "credits": 150, "item": "Pack"})
    assert "$9.99" in shown.text and "$8.99" in shown.text and shown.pdf


def test_a_mail_server_is_named_by_a_url_or_by_parts():
    told = mail.server_of(Settings(smtp_url="smtps://desk%40x:p%40ss@mail.example.com"))
    assert told == mail.Server("mail.example.com", 465, "desk@x", "p@ss", True)
    assert mail.server_of(Settings(smtp_host="mail.example.com")).port == 587
    assert mail.server_of(Settings()) is None
    with pytest.raises(Misconfigured):
        mail.server_of(Settings(smtp_url="https://mail.example.com"))


def test_a_password_is_not_sent_to_a_server_without_tls(box):  # I37
    server = mail.Server("127.0.0.1", box.port, "desk", "secret")
    shown = render.mail("credits_low", "en", FACTS["credits_low"])
    message = mail.composed(Settings(), shown, [MAYA], "ntf_1", datetime(2026, 11, 21, tzinfo=UTC))
    with pytest.raises(mail.MailFailed, match="no TLS"):
        mail.send(server, message)
    assert timedelta(seconds=0) < notifications._pause(3) <= timedelta(hours=6)
