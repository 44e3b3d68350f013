"""Who may see which page, and that no form can be forged."""

from __future__ import annotations

from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from paydesk import ids
from paydesk.flows import api_keys, checkout, customers, staff
from paydesk.flows.checkout import StartCheckout
from paydesk.pages import session

HTML = {"Accept": "text/html"}


@pytest.fixture
def app(env):
    from paydesk.http.app import create_app

    return create_app(env)


@pytest.fixture
def browser(app):
    with TestClient(app, base_url="http://localhost:8000", follow_redirects=False) as client:
        client.headers.update(HTML)
        yield client


def form_token(browser) -> str:
    page = browser.get("/dashboard/sign-in")
    assert page.status_code == 200
    return page.text.split('name="csrf" value="')[1].partition('"')[0]


def sign_in(browser, key: str, **more):
    data = {"key": key, "csrf": form_token(browser), **more}
    return browser.post("/dashboard/sign-in", data=data)


def csrf_of(page) -> str:
    return page.text.split('name="csrf" value="')[1].partition('"')[0]


PRIVATE = ["/dashboard", "/dashboard/payments", "/dashboard/customers", "/dashboard/packs",
           "/dashboard/promos", "/dashboard/events", "/dashboard/webhooks", "/dashboard/keys",
           "/dashboard/search?q=x", "/dashboard/subscriptions", "/dashboard/invoices",
           "/dashboard/plans", "/dashboard/plans/pro", "/dashboard/refunds", "/dashboard/disputes",
           "/dashboard/wallets", "/dashboard/risk", "/dashboard/risk/lists",
           *(f"/dashboard/{place}_00000000000000000000000000" for place in (
               "subscriptions/sub", "invoices/inv", "refunds/re", "disputes/dp", "wallets/wal"))
           ]  # fmt: skip


@pytest.mark.parametrize("path", PRIVATE)
def test_nobody_sees_the_dashboard_without_signing_in(browser, path):
    answer = browser.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/dashboard/sign-in?next=/dashboard")


def test_a_forged_cookie_is_no_session(browser, env):
    exp = int((env.now() + timedelta(hours=1)).timestamp())
    content = {"key": "own:0", "name": "x", "role": "admin", "csrf": "x", "exp": exp}
    for word in (session.seal(env.settings, "portal", content), "a.b", "é.é", "x" * 5000, "."):
        browser.cookies.set("paydesk_session", word.encode("ascii", "ignore").decode())
        assert browser.get("/dashboard").status_code == 303


@pytest.mark.parametrize("role", ["admin", "finance", "support"])
def test_a_key_opens_a_session_that_ends_with_it(browser, env, role):
    key, secret = api_keys.create(env, "rosa", role)
    answer = sign_in(browser, secret, next="/dashboard/payments")
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/payments")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=lax" in cookie
    assert secret not in cookie
    assert browser.get("/dashboard").status_code == 200
    api_keys.revoke(env, key.id)
    assert browser.get("/dashboard").status_code == 303


def test_the_own_key_opens_a_session(browser, env):
    assert sign_in(browser, env.settings.secret_key).status_code == 303
    assert "Owner" in browser.get("/dashboard").text


def test_wrong_keys_and_service_keys_are_refused(browser, env):
    assert sign_in(browser, "sk_test_wrong").status_code == 401
    _, service = api_keys.create(env, "shop", "service")
    assert sign_in(browser, service).status_code == 403
    ended, secret = api_keys.create(env, "old", "admin", env.now() - timedelta(seconds=1))
    assert ended.expires_at is not None
    assert sign_in(browser, secret).status_code == 401
    assert browser.get("/dashboard").status_code == 303


def test_signing_in_needs_the_form_of_this_browser(browser, env):
    answer = browser.post("/dashboard/sign-in", data={"key": env.settings.secret_key, "csrf": "x"})
    assert answer.status_code == 403
    token = form_token(browser)
    elsewhere = {"Origin": "https://evil.example"}
    answer = browser.post("/dashboard/sign-in", headers=elsewhere,
                          data={"key": env.settings.secret_key, "csrf": token})  # fmt: skip
    assert answer.status_code == 403


def test_after_signing_in_nobody_is_sent_to_another_site(browser, env):
    answer = sign_in(browser, env.settings.secret_key, next="//evil.example/x")
    assert answer.headers["location"] == "/dashboard"


def test_signing_out_ends_the_session(browser, env):
    sign_in(browser, env.settings.secret_key)
    answer = browser.post("/dashboard/sign-out", data={"csrf": ""})
    assert answer.headers["location"] == "/dashboard/sign-in"
    assert browser.get("/dashboard").status_code == 303


def test_forms_need_the_sessions_own_word_and_the_right_role(browser, env, make):
    user = make.user("user_1", email="maya@northwind.example")
    sign_in(browser, env.settings.secret_key)
    path = f"/dashboard/customers/{user.id}"
    page = browser.get(path)
    assert page.status_code == 200
    assert browser.post(f"{path}/portal", data={"csrf": "guess"}).status_code == 403
    cross = {"Sec-Fetch-Site": "cross-site"}
    good = {"csrf": csrf_of(page)}
    assert browser.post(f"{path}/portal", data=good, headers=cross).status_code == 403
    assert browser.post(f"{path}/portal", data=good).status_code == 303
    _, support = api_keys.create(env, "help", "support")
    sign_in(browser, support)
    page = browser.get(path)
    assert f"{path}/portal" not in page.text
    assert browser.post(f"{path}/portal", data={"csrf": csrf_of(page)}).status_code == 403


def test_a_portal_link_lets_its_customer_in_and_nobody_else(browser, env, make, clock):
    user = make.user("user_1", email="maya@northwind.example")
    make.credits(user, 120)
    other = make.user("user_2", email="jonas@lichtung.example")
    make.credits(other, 7777)
    assert browser.get("/portal").status_code == 401
    link = session.portal_link(env, "user_1").removeprefix(env.settings.base_url)
    assert browser.get(link[:-1]).status_code == 401
    answer = browser.get(link)
    assert (answer.status_code, answer.headers["location"]) == (303, "/portal")
    page = browser.get("/portal")
    assert "maya@northwind.example" in page.text
    assert "120" in page.text
    assert "7,777" not in page.text
    clock.advance(minutes=16)
    browser.cookies.clear()
    assert browser.get(link).status_code == 401


def test_the_sandbox_exists_only_in_development_on_this_machine(browser, app):
    assert browser.get("/dev").status_code == 404
    assert browser.get("/").headers["location"] == "/dashboard"
    app.state.is_development = True
    assert browser.get("/dev").status_code == 200
    assert browser.get("/").headers["location"] == "/dev"
    # A name that points at this machine is not enough: its pages are another site's.
    assert browser.get("/dev", headers={"Host": "rebound.example"}).status_code == 404
    assert browser.get("/dashboard", headers={"Host": "rebound.example"}).status_code == 303


def test_a_problem_is_a_page_with_its_code_and_request(browser):
    answer = browser.get("/checkout/cs_00000000000000000000000000?s=x")
    assert answer.status_code == 404
    assert "not_found" in answer.text
    assert answer.headers["request-id"] in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/dashboard/payments/pay_1", "/dashboard/customers/cus_zzz",
                                  "/dashboard/payments/pay_00000000000000000000000000",
                                  "/dashboard/cellar", "/checkout/", "/portal/attic",
                                  "/docs/errors/none", "/assets/x/../../settings.py",
                                  "/assets/x/nothing.css"])  # fmt: skip
def test_what_is_not_there_is_a_page_too(browser, env, path):
    sign_in(browser, env.settings.secret_key)
    assert browser.get(path).status_code == 404


@pytest.mark.parametrize("query", ["?q=%00", "?q=" + "x" * 5000, "?tab=zzz", "?before=zzz",
                                   "?before=pay_zz", "?q=%25_%5C", "?customer=cus_zz",
                                   "?q=%ED%A0%80", "?days=-1", "?days=abc"])  # fmt: skip
def test_odd_questions_to_lists_are_answered_or_refused(browser, env, query):
    sign_in(browser, env.settings.secret_key)
    for path in ("/dashboard", "/dashboard/payments", "/dashboard/customers", "/dashboard/events",
                 "/dashboard/webhooks", "/dashboard/search"):  # fmt: skip
        assert browser.get(path + query).status_code < 500, path


def test_static_files_are_kept_for_good_and_change_their_address(browser):
    page = browser.get("/docs")
    address = page.text.split('rel="stylesheet" href="')[1].partition('"')[0]
    answer = browser.get(address)
    assert answer.status_code == 200
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"].startswith("text/css")


def test_pages_stand_outside_the_openapi_document(app):
    pages = ("/dashboard", "/dev", "/portal", "/checkout", "/docs", "/theme", "/assets")
    assert not [path for path in app.openapi()["paths"] if path.startswith(pages)]


def test_every_error_has_its_page(browser):
    from paydesk.errors import all_errors

    for code, kind in all_errors().items():
        page = browser.get(f"/docs/errors/{code}")
        assert page.status_code == 200, code
        assert str(kind.http_status) in page.text


def test_staff_sign_in_with_address_and_password_and_out_again(env, browser):
    # S3.13 I34
    rosa = staff.add(env, "rosa@example.com", "Rosa", "finance", "correct horse staple")
    data = {"email": "rosa@example.com", "password": "wrong horse staple",
            "csrf": form_token(browser)}  # fmt: skip
    wrong = browser.post("/dashboard/sign-in", data=data)
    assert wrong.status_code == 401
    assert 'value="rosa@example.com"' in wrong.text
    right = browser.post("/dashboard/sign-in", data={**data, "password": "correct horse staple"})
    assert right.status_code == 303
    assert "rosa@example.com" in browser.get("/dashboard").text
    staff.change(env, rosa.id, disabled=True)
    assert browser.get("/dashboard").headers["location"].startswith("/dashboard/sign-in")


def test_receipts_are_for_the_payer_and_for_those_who_work_here(browser, env, make, sim):
    make.pack()
    mine, others = [
        checkout.start(env, StartCheckout(customer_id=make.user(name).uuid, pack="creator"))
        for name in ("user_1", "user_2")
    ]
    unpaid = checkout.start(
        env, StartCheckout(customer_id=customers.ensure(env, "user_1").uuid, pack="creator")
    )
    for one in (mine, others):
        sim.pay(one.payment.session_ref)
        checkout.verify(env, one.payment.session_ref)
    assert browser.get(f"/portal/receipts/{mine.payment.handle}").status_code == 401
    ident = ids.show("payment", mine.payment.id)
    browser.get(session.portal_link(env, "user_1").removeprefix(env.settings.base_url))
    home = browser.get("/portal").text
    assert home.count("/portal/receipts/") == 1 and ident in home
    receipt = browser.get(f"/portal/receipts/{ident}")
    assert receipt.headers["content-type"] == "application/pdf"
    assert receipt.content.startswith(b"%PDF")
    for payment in (others, unpaid):
        assert browser.get(f"/portal/receipts/{payment.payment.handle}").status_code == 404
    path = f"/dashboard/payments/{ids.show('payment', others.payment.id)}"
    assert browser.get(f"{path}/receipt").status_code == 303
    _, key = api_keys.create(env, "ana", "admin")
    sign_in(browser, key)
    assert f"{path}/receipt" in browser.get(path).text
    assert browser.get(f"{path}/receipt").content.startswith(b"%PDF")


def test_a_key_with_a_colleagues_name_is_still_a_key_in_the_trail(browser, env, make, sim):  # I46
    make.pack()
    view = checkout.start(env, StartCheckout(customer_id=make.user().uuid, pack="creator"))
    sim.pay(view.payment.session_ref)
    _, key = api_keys.create(env, "rosa@example.com", "admin")
    sign_in(browser, key)
    path = f"/dashboard/payments/{ids.show('payment', view.payment.id)}"
    asked = browser.post(f"{path}/verify", data={"csrf": csrf_of(browser.get(path))})
    assert asked.status_code == 303
    with env.db.read() as tx:
        causes = tx.all(
            "select cause from events where customer_id = %(customer)s"
            " and type = 'payment.succeeded'", {"customer": view.customer_id},
        )  # fmt: skip
    assert [row["cause"]["actor"] for row in causes] == ["key:rosa@example.com"]
