"""The hosted checkout page by plain HTTP: forms, declines, 3-D Secure, what is never kept."""

import html
import logging
import re
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from simulator_support import card_form, session_params

from paydesk.simulator.testing import running_simulator

REAL_LOOKING = "4539578763621486"


@pytest.fixture
def session(client):
    return client.v1.checkout.sessions.create(session_params(customer_email="maya@northwind.test"))


def path_of(session):
    return f"/c/pay/{session.id}"


def test_the_page_shows_the_order_and_a_form_that_works_without_scripts(browser, session):
    answer = browser.get(path_of(session))
    assert answer.status_code == 200
    page = html.unescape(answer.text)
    for words in ("Creator Pack", "150 credits", "$9.99", "Back to shop", "Sandbox",
                  "maya@northwind.test"):
        assert words in page
    for name in ("email", "number", "expiry", "cvc", "name", "test_card"):
        assert f'name="{name}"' in page
    assert page.count("<h1") == 1
    assert page.count("<main") == 1
    labelled = set(re.findall(r'<label[^>]* for="([^"]+)"', page))
    inputs = set(re.findall(r'<(?:input|select) id="([^"]+)"', page))
    assert inputs == labelled


def test_the_page_loads_nothing_from_elsewhere_and_says_so(browser, session):
    answer = browser.get(path_of(session))
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert not re.findall(r'(?:src|href)="(?:https?:)?//(?!shop\.test)', answer.text)
    assert not re.findall(r"<style|<script>|\son[a-z]+=|style=", answer.text)
    for asset in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
        assert browser.get(asset).status_code == 200
    assert browser.get("/static/../app.py").status_code == 404


def test_paying_leads_to_the_shop_with_the_sessions_id(browser, client, session):
    answer = browser.post(path_of(session), data=card_form())
    assert answer.status_code == 303
    assert answer.headers["location"] == f"http://shop.test/thanks?session={session.id}"
    paid = client.v1.checkout.sessions.retrieve(session.id)
    assert (paid.status, paid.payment_status) == ("complete", "paid")
    assert paid.customer_details.name == "Maya Okafor"


def test_a_reload_and_a_second_click_charge_once(sandbox, browser, session):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(
            lambda _: httpx.post(f"{sandbox.url}{path_of(session)}", data=card_form()), range(8)
        ))
    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert len(sandbox.events("charge.succeeded")) == 1
    paid = browser.get(path_of(session))
    assert "This payment is complete" in paid.text


def test_a_decline_is_told_and_the_form_can_be_sent_again(browser, client, session):
    declined = browser.post(path_of(session), data=card_form("4000000000009995"))
    assert declined.status_code == 402
    assert "Your card has insufficient funds." in html.unescape(declined.text)
    assert 'role="alert"' in declined.text
    assert client.v1.checkout.sessions.retrieve(session.id).status == "open"
    assert browser.post(path_of(session), data=card_form()).status_code == 303


def test_the_list_of_test_cards_works_without_scripts(browser, session):
    page = browser.get(path_of(session)).text
    filled_in = re.search(r'name="filled_in"[^>]*value="([^"]+)"', page)[1]
    picked = card_form(filled_in, filled_in=filled_in, test_card="4000000000000002")
    assert browser.post(path_of(session), data=picked).status_code == 402
    # A number typed by hand counts more than the list.
    typed = card_form("5555 5555 5555 4444", filled_in=filled_in, test_card="4000000000000002")
    assert browser.post(path_of(session), data=typed).status_code == 303


def test_three_d_secure_has_its_own_page(browser, client, session):
    answer = browser.post(path_of(session), data=card_form("4000002760003184"))
    bank = answer.headers["location"]
    page = browser.get(bank)
    assert "Complete authentication" in page.text
    assert "3184" in page.text
    done = browser.post(bank, data={"outcome": "complete"})
    assert done.headers["location"].startswith("http://shop.test/thanks")
    assert client.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"


def test_failing_three_d_secure_leads_back_to_the_form(browser, session):
    bank = browser.post(path_of(session), data=card_form("4000002760003184")).headers["location"]
    back = browser.post(bank, data={"outcome": "fail"}).headers["location"]
    assert back.startswith(path_of(session))
    assert "could not authenticate" in browser.get(back).text
    assert browser.post(path_of(session), data=card_form()).status_code == 303


def test_another_card_may_be_sent_while_the_bank_waits(sandbox, browser, session):
    bank = browser.post(path_of(session), data=card_form("4000002760003184")).headers["location"]
    assert browser.post(path_of(session), data=card_form()).status_code == 303
    late = browser.post(bank, data={"outcome": "complete"})
    assert late.headers["location"].startswith("http://shop.test/thanks")
    assert len(sandbox.events("charge.succeeded")) == 1


def test_a_session_that_expires_at_the_bank_is_not_paid(sandbox, browser, client, session):
    bank = browser.post(path_of(session), data=card_form("4000002760003184")).headers["location"]
    sandbox.advance(86_401)
    browser.post(bank, data={"outcome": "complete"})
    assert client.v1.checkout.sessions.retrieve(session.id).status == "expired"
    assert sandbox.events("charge.succeeded") == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"expiry": "13 / 40"}, "month is invalid"),
        ({"expiry": "01 / 20"}, "in the past"),
        ({"expiry": "soon"}, "MM / YY"),
        ({"cvc": "12"}, "3 or 4 digits"),
        ({"number": ""}, "incomplete"),
        ({"number": "4242 4242 4242 4241"}, "incorrect"),
    ],
)
def test_a_slip_in_the_form_is_shown_beside_its_field(sandbox, browser, session, change, words):
    answer = browser.post(path_of(session), data=card_form() | change)
    assert answer.status_code == 422
    assert words in answer.text
    assert 'aria-invalid="true"' in answer.text
    assert sandbox.events() == []


def test_an_email_is_asked_for_where_the_shop_gave_none(browser, client):
    session = client.v1.checkout.sessions.create(session_params())
    assert browser.post(path_of(session), data=card_form(email="")).status_code == 422
    assert browser.post(path_of(session), data=card_form(email="nobody")).status_code == 422
    assert browser.post(path_of(session), data=card_form()).status_code == 303
    paid = client.v1.checkout.sessions.retrieve(session.id)
    assert paid.customer_details.email == "maya@northwind.test"


def test_what_a_shop_writes_is_shown_as_text(browser, client):
    lines = session_params()["line_items"]
    lines[0]["price_data"]["product_data"]["name"] = "<script>alert(1)</script>"
    session = client.v1.checkout.sessions.create(session_params(line_items=lines))
    page = browser.get(path_of(session)).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_expired_unknown_and_free_sessions_have_their_pages(sandbox, browser, client, session):
    assert browser.get("/c/pay/cs_test_nothing").status_code == 404
    assert browser.post("/c/pay/cs_test_nothing", data=card_form()).status_code == 404
    assert browser.get("/3d_secure/pi_nothing").status_code == 404
    client.v1.checkout.sessions.expire(session.id)
    expired = browser.get(path_of(session))
    assert expired.status_code == 410
    assert "has expired" in expired.text
    assert browser.post(path_of(session), data=card_form()).status_code == 410
    price = {"currency": "usd", "unit_amount": 0, "product_data": {"name": "Trial"}}
    free = client.v1.checkout.sessions.create(
        session_params(line_items=[{"price_data": price, "quantity": 1}])
    )
    page = browser.get(path_of(free))
    assert "Complete order" in page.text
    assert 'name="number"' not in page.text
    done = browser.post(path_of(free), data={"email": "maya@northwind.test"})
    assert done.status_code == 303


# S4.33 I37
def test_a_number_that_is_no_test_card_is_refused_and_kept_nowhere(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    file = tmp_path / "simulator.db"
    with running_simulator(db=str(file)) as sandbox:
        session = sandbox.request("POST", "/v1/checkout/sessions", session_params())
        spaced = " ".join(REAL_LOOKING[i : i + 4] for i in range(0, 16, 4))
        for typed in (REAL_LOOKING, spaced):
            answer = httpx.post(
                f"{sandbox.url}/c/pay/{session['id']}",
                data=card_form(typed, cvc="987", filled_in=typed),
            )
            assert answer.status_code == 422
            assert "not stored" in answer.text
            assert typed not in answer.text
            assert 'value="987"' not in answer.text
        refused = httpx.post(
            f"{sandbox.url}/v1/payment_methods", auth=(sandbox.secret_key, ""),
            headers={"Idempotency-Key": "k"},
            data={"type": "card", "card[number]": REAL_LOOKING, "card[exp_month]": "12",
                  "card[exp_year]": "2040", "card[cvc]": "987"},
        )
        assert refused.status_code == 402
        assert REAL_LOOKING not in refused.text
        kept = b"".join(one.read_bytes() for one in tmp_path.iterdir())
    kept += b"".join(one.read_bytes() for one in tmp_path.iterdir())
    assert session["id"].encode() in kept
    out, err = capfd.readouterr()
    for trace in (REAL_LOOKING, spaced):
        assert trace.encode() not in kept
        assert trace not in caplog.text + out + err
