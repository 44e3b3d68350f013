"""The customer's own plan in the portal: seen, changed, canceled and taken up again."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape

import pytest
from billing import DECLINES
from starlette.testclient import TestClient

from paydesk import ids
from paydesk.flows import customers, direct, invoices, methods, subscription_changes
from paydesk.http.app import create_app
from paydesk.notify import formats
from paydesk.pages import portal_words, session
from paydesk.rules.money import USD


@pytest.fixture
def visit(env):
    """`visit(who)` is a browser that a customer's link has let in."""
    opened = []

    def enter(who, desk=env) -> TestClient:
        client = TestClient(
            create_app(desk), base_url="http://localhost:8000", follow_redirects=False
        )
        client.__enter__()
        opened.append(client)
        link = session.portal_link(desk, customers.get(desk, who.customer_id).external_id)
        assert client.get(link.removeprefix(desk.settings.base_url)).status_code == 303
        return client

    yield enter
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def maya(billing):
    billing.plan("pro", name="Pro")
    billing.plan("team", name="Team", price=USD("50.00"), position=2)
    billing.plan("secret", name="For friends", price=USD("1.00"), public=False)
    return billing.subscribe(billing.user())


def fields_of(page, action: str) -> dict[str, str]:
    assert page.status_code == 200, page.text[:400]
    form = re.search(
        rf'<form[^>]*method="post" action="{re.escape(action)}".*?</form>', page.text, re.S
    )
    assert form, f"no form posts to {action}"
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form[0])
    return {name: unescape(value) for name, value in found}


def press(browser, place: str, action: str, **more: str):
    answer = browser.post(action, data={**fields_of(browser.get(place), action), **more})
    assert answer.status_code == 303, answer.text[:600]
    return answer.headers["location"]


def home_of(sub) -> str:
    return f"/portal/plan/{ids.show('subscription', sub.id)}"


def test_a_customer_sees_plan_next_charge_card_and_invoices(env, visit, maya):  # S1.42 S1.50
    browser = visit(maya)
    page = browser.get("/portal")
    for told in ("Pro", "$20.00", "a month", "Next charge", "Visa •• 4242"):
        assert told in page.text, told
    (bill,) = invoices.list_(env, maya.customer_id)
    place = f"/portal/invoices/{ids.show('invoice', bill.id)}/pdf"
    assert place in page.text
    paper = browser.get(place)
    assert paper.headers["content-type"] == "application/pdf"
    assert paper.content.startswith(b"%PDF")


def test_payments_name_the_plan_and_its_days_in_the_readers_language(env, billing, visit, maya):
    # S1.48 S1.50
    billing.clock.advance(days=10)
    subscription_changes.change(env, maya.customer_id, maya.id, plan="team")
    browser = visit(maya)
    told = {"en": "Change to Team", "fr": "Passage à Team", "ht": "Chanjman pou Team"}
    for locale, words in told.items():
        customers.update(env, maya.customer_id, metadata={"locale": locale})
        page = browser.get("/portal").text
        assert words in page
        span = [formats.day(one, locale) for one in (maya.period_start, maya.period_end)]
        assert f'Pro<br><span class="small muted">{span[0]} – {span[1]}</span>' in page


def test_a_change_is_previewed_and_made_once(env, billing, visit, maya):  # S1.44 I24
    billing.clock.advance(days=10)
    browser, place = visit(maya), f"{home_of(maya)}/change"
    page = browser.get(place)
    assert "Team" in page.text and "For friends" not in page.text
    preview = browser.get(f"{place}?plan=team&quantity=1")
    assert "Unused time on Pro" in preview.text
    due = re.search(r"Change and pay \$([\d.]+)", preview.text)
    assert due
    form = fields_of(preview, place)
    hidden = browser.post(place, data={**form, "plan": "secret"})
    assert hidden.status_code == 404
    answers = [browser.post(place, data=form) for _ in range(2)]
    assert [one.headers["location"] for one in answers] == ["/portal?done=changed"] * 2
    assert billing.look(maya).plan_key == "team"
    newest = invoices.list_(env, maya.customer_id)
    assert len(newest) == 2 and str(newest[0].paid.decimal) == due[1]
    assert "Your plan was changed." in browser.get("/portal?done=changed").text


def test_figures_that_moved_change_nothing_and_are_shown_anew(billing, visit, maya):  # I24
    browser, place = visit(maya), f"{home_of(maya)}/change"
    form = fields_of(browser.get(f"{place}?plan=team&quantity=1"), place)
    billing.plan("team", name="Team", price=USD("60.00"), position=2)
    answer = browser.post(place, data=form)
    assert answer.headers["location"].startswith(f"{place}?plan=team")
    again = browser.get(answer.headers["location"])
    assert "The figures have moved" in again.text
    assert billing.look(maya).plan_key == "pro"


def test_a_declined_change_leaves_the_plan(billing, visit, maya):
    browser, place = visit(maya), f"{home_of(maya)}/change"
    billing.card(customers.get(billing.env, maya.customer_id), DECLINES)
    assert press(browser, f"{place}?plan=team&quantity=1", place) == "/portal?done=declined"
    assert billing.look(maya).plan_key == "pro"
    assert "Nothing was changed" in browser.get("/portal?done=declined").text


# S1.43!
def test_a_plan_is_canceled_with_a_reason_and_taken_up_again(billing, visit, maya):
    # S1.43 S1.44
    browser, home = visit(maya), home_of(maya)
    page = browser.get(f"{home}/cancel")
    assert "is paid for" in page.text
    assert press(browser, f"{home}/cancel", f"{home}/cancel", reason="too_expensive") == (
        "/portal?done=will_end")  # fmt: skip
    found = billing.look(maya)
    assert (found.cancel_at, found.cancel_reason) == (found.period_end, "too_expensive")
    page = browser.get("/portal")
    assert "It ends on" in page.text and "Next charge" not in page.text
    assert browser.get(f"{home}/cancel").headers["location"] == "/portal"
    assert press(browser, "/portal", f"{home}/reactivate") == "/portal?done=reactivated"
    assert billing.look(maya).cancel_at is None
    (told,) = billing.all(
        "select cause from events where customer_id = %(c)s and type = 'subscription.updated'"
        " order by seq desc limit 1", c=maya.customer_id,
    )  # fmt: skip
    assert told["cause"]["via"] == "portal"
    assert told["cause"]["actor"].startswith("customer:")


def test_a_change_that_waits_can_be_dropped(billing, visit, maya):
    billing.plan("lite", name="Lite", price=USD("5.00"), position=0)
    browser, place = visit(maya), f"{home_of(maya)}/change"
    assert press(browser, f"{place}?plan=lite&quantity=1", place) == "/portal?done=scheduled"
    assert billing.look(maya).next["plan"] == "lite"
    assert press(browser, "/portal", f"{home_of(maya)}/drop") == "/portal?done=dropped"
    assert billing.look(maya).next is None


# S1.45!
def test_another_card_is_saved_at_the_provider_and_charged_from_then_on(env, billing, visit, maya):
    # S1.13
    (own,) = methods.list_(env, maya.customer_id)
    subscription_changes.set_method(env, maya.customer_id, maya.id, own.id)
    browser = visit(maya)
    page = browser.post("/portal/card", data=fields_of(browser.get("/portal"), "/portal/card"))
    assert page.status_code == 200 and "never here" in page.text
    assert re.search(r'<a class="button primary pay" href="http', page.text)
    (begun,) = billing.all(
        "select request from provider_calls where customer_id = %(c)s"
        " and request ->> 'op' = 'setup'", c=maya.customer_id,
    )  # fmt: skip
    back = begun["request"]["success_url"].removeprefix(env.settings.base_url)
    assert browser.get("/portal/card?word=forged").headers["location"] == "/portal"
    assert billing.look(maya).method_id == own.id
    assert browser.get(back).headers["location"] == "/portal?done=card"
    assert billing.look(maya).method_id is None


def test_others_plans_invoices_and_forged_forms_are_refused(env, billing, visit, maya):  # I35 S3.25
    other = billing.subscribe(billing.user())
    browser, theirs = visit(maya), home_of(other)
    (bill,) = invoices.list_(env, other.customer_id)
    for path in (f"{theirs}/change", f"{theirs}/cancel",
                 f"/portal/invoices/{ids.show('invoice', bill.id)}/pdf"):  # fmt: skip
        assert browser.get(path).status_code == 404, path
    word = fields_of(browser.get("/portal"), "/portal/card")["word"]
    for step in ("cancel", "reactivate", "drop"):
        assert browser.post(f"{theirs}/{step}", data={"word": word}).status_code == 404
        assert browser.post(f"{home_of(maya)}/{step}", data={"word": "x"}).status_code == 403
        cross = {"Sec-Fetch-Site": "cross-site"}
        refused = browser.post(f"{home_of(maya)}/{step}", data={"word": word}, headers=cross)
        assert refused.status_code == 403
    mine = visit(other)
    assert mine.post(f"{home_of(other)}/cancel", data={"word": word}).status_code == 403
    browser.cookies.clear()
    assert browser.get(f"{home_of(maya)}/change").status_code == 401
    assert billing.look(other).cancel_at is None and billing.look(maya).cancel_at is None


@pytest.mark.parametrize(("mode", "may"), [("all", {"change", "cancel", "card"}),
                                           ("cancel", {"cancel", "card"}),
                                           ("view", set())])  # fmt: skip
def test_a_setting_says_what_customers_may_do(env, visit, maya, mode, may):
    desk = replace(env, settings=replace(env.settings, portal_self_service=mode))
    browser, home = visit(maya, desk), home_of(maya)
    page = browser.get("/portal").text
    offered = {"change": f"{home}/change" in page, "cancel": f"{home}/cancel" in page,
               "card": 'action="/portal/card"' in page}  # fmt: skip
    assert {name for name, there in offered.items() if there} == may
    word = re.search(r'name="word" value="([^"]+)"', page)
    if "cancel" not in may:
        assert word is None
        assert browser.post(f"{home}/cancel", data={"word": "x"}).status_code == 403


@pytest.mark.parametrize(("locale", "told"), [("fr", "Votre compte"), ("ht", "Kont ou"),
                                              ("de", "Your account")])  # fmt: skip
def test_the_portal_speaks_the_customers_language(env, visit, maya, locale, told):
    who = customers.get(env, maya.customer_id)
    customers.update(env, who.uuid, metadata={"locale": locale})
    page = visit(maya).get("/portal")
    assert told in page.text
    assert f'<html lang="{locale if locale != "de" else "en"}"' in page.text


def test_every_sentence_of_the_portal_is_said_in_every_language():
    for key, told in portal_words.WORDS.items():
        assert set(told) == set(portal_words.LOCALES), key
        names = {locale: set(re.findall(r"{(\w+)}", text)) for locale, text in told.items()}
        assert len({frozenset(one) for one in names.values()}) == 1, key


# A bank that asks its holder ------------------------------------------------------------------

ASKS_THE_BANK = "pm_card_authenticationRequired"


@pytest.fixture
def asked(billing, visit, maya):
    """(browser, the subscription as it stands) after a change that the bank wants confirmed."""
    billing.card(customers.get(billing.env, maya.customer_id), ASKS_THE_BANK)
    browser, place = visit(maya), f"{home_of(maya)}/change"
    led = press(browser, f"{place}?plan=team&quantity=1", place)
    assert led == f"{home_of(maya)}/bank"
    return browser, billing.look(maya)


def test_a_change_leads_to_the_bank_and_back_to_the_new_plan(billing, asked):  # S1.29 S1.44
    browser, sub = asked
    page = browser.get(f"{home_of(sub)}/bank")
    assert "Confirm with your bank" in page.text and "$30.00 for Team" in page.text
    assert f'href="{sub.action_url}"' in page.text
    home = browser.get("/portal").text
    assert "The change to Team waits: your bank asks you to confirm $30.00." in home
    assert "could not be charged" not in home and "Change plan" not in home
    assert browser.get(f"{home_of(sub)}/change").headers["location"] == f"{home_of(sub)}/bank"
    sent = billing.sim.get(sub.payment.payment_ref)["next_action"]["redirect_to_url"]["return_url"]
    billing.sim.authenticate(sub.payment.payment_ref)
    back = browser.get(sent.removeprefix(billing.env.settings.base_url))
    assert back.headers["location"] == "/portal?done=changed"
    assert billing.look(sub).plan_key == "team"
    assert "waits" not in browser.get("/portal").text
    assert browser.get(f"{home_of(sub)}/bank").headers["location"] == "/portal"


def test_a_bank_that_does_not_know_its_holder_leaves_the_plan(billing, asked):  # S1.29
    browser, sub = asked
    assert browser.get(f"{home_of(sub)}/back").headers["location"] == "/portal", "still asked"
    billing.sim.authenticate(sub.payment.payment_ref, succeed=False)
    back = browser.get(f"{home_of(sub)}/back").headers["location"]
    assert back == "/portal?done=unconfirmed"
    page = browser.get(back).text
    assert "Nothing was changed and nothing is owed" in page
    assert f'href="{home_of(sub)}/change"' in page, "another try, or another plan"
    assert billing.look(sub).plan_key == "pro"


def test_a_change_that_waits_for_the_bank_is_given_up(billing, asked):  # S1.44
    browser, sub = asked
    assert press(browser, f"{home_of(sub)}/bank", f"{home_of(sub)}/drop") == "/portal?done=dropped"
    after = billing.look(sub)
    assert (after.plan_key, after.next, after.payment) == ("pro", None, None)
    assert billing.sim.get(sub.payment.payment_ref)["status"] == "canceled"
    assert f'href="{home_of(sub)}/change"' in browser.get("/portal").text


def test_what_was_confirmed_before_it_was_given_up_is_the_new_plan(billing, asked):  # I28
    browser, sub = asked
    billing.sim.authenticate(sub.payment.payment_ref)
    assert press(browser, "/portal", f"{home_of(sub)}/drop") == "/portal?done=changed"
    assert billing.look(sub).plan_key == "team"


def test_a_second_press_drops_no_other_change(billing, asked):
    browser, sub = asked
    form = fields_of(browser.get("/portal"), f"{home_of(sub)}/drop")
    assert browser.post(f"{home_of(sub)}/drop", data=form).status_code == 303
    subscription_changes.change(billing.env, sub.customer_id, sub.id, plan="team", at="period_end")
    assert browser.post(f"{home_of(sub)}/drop", data=form).status_code == 303
    assert billing.look(sub).next["plan"] == "team"
    assert press(browser, "/portal", f"{home_of(sub)}/drop") == "/portal?done=dropped"
    assert billing.look(sub).next is None


# S1.44 I27
def test_a_form_sent_again_after_its_change_was_dropped_says_no_change(billing, asked):
    browser, sub = asked
    assert press(browser, f"{home_of(sub)}/bank", f"{home_of(sub)}/drop") == "/portal?done=dropped"
    page = browser.get(f"{home_of(sub)}/change?plan=team")
    form = fields_of(page, f"{home_of(sub)}/change")
    assert browser.post(f"{home_of(sub)}/change", data=form).headers["location"].endswith("/bank")
    assert press(browser, f"{home_of(sub)}/bank", f"{home_of(sub)}/drop") == "/portal?done=dropped"
    again = browser.post(f"{home_of(sub)}/change", data=form)
    assert again.headers["location"] == "/portal?done=declined"
    assert billing.look(sub).plan_key == "pro"


# S1.44 I28
def test_dropped_in_an_old_tab_after_it_was_paid_it_says_what_came_of_it(billing, asked):
    browser, sub = asked
    form = fields_of(browser.get("/portal"), f"{home_of(sub)}/drop")
    billing.sim.authenticate(sub.payment.payment_ref)
    direct.confirm(billing.env, sub.customer_id, sub.payment.id)
    assert billing.look(sub).plan_key == "team"
    old = browser.post(f"{home_of(sub)}/drop", data=form)
    assert old.headers["location"] == "/portal?done=changed"
