"""The hosted checkout page and the 3-D Secure page: plain forms that work without JavaScript."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from jinja2 import Environment, FileSystemLoader
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response

from . import api, cards, forms, money
from .cards import TestCard
from .engine import Call, Simulator
from .errors import StripeError
from .objects import authentication, checkout, listing, payment_methods

HERE = Path(__file__).parent
MAX_FORM = 20_000
STATIC = {"checkout.css": "text/css", "checkout.js": "text/javascript"}
#: A form may end on the shop's page, wherever that is, so `form-action` allows web addresses.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "form-action 'self' http: https:; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
_EXPIRY = re.compile(r"\s*([0-9]{1,2})\s*/?\s*([0-9]{2}|20[0-9]{2})\s*\Z")
_CVC = re.compile(r"[0-9]{3,4}\Z")


@dataclass
class Typed:
    """What a customer sent, made safe to show again: the number only if it is a test card's."""

    email: str = ""
    name: str = ""
    expiry: str = ""
    cvc: str = ""
    card: TestCard | None = None
    problems: dict[str, str] = field(default_factory=dict)
    wallet: str | None = None
    month: int = 0
    year: int = 0


@dataclass
class Outcome:
    """What a page's unit of work found: the objects as they are now, and an error if any."""

    session: dict[str, Any] | None = None
    intent: dict[str, Any] | None = None
    card: TestCard | None = None
    error: StripeError | None = None
    invoice: dict[str, Any] | None = None


class Pages:
    """The endpoints of everything a customer sees."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self.templates = Environment(
            loader=FileSystemLoader(HERE / "templates"), autoescape=True, trim_blocks=True,
            lstrip_blocks=True,
        )
        self.templates.filters["money"] = money.shown

    async def do(self, request: Request, work: Any) -> Outcome:
        unit = self.sim.work(work, base_url=api.base_url(self.sim, request))
        return await asyncio.shield(asyncio.wrap_future(self.sim.store.submit(unit)))

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        html = self.templates.get_template(template).render(
            merchant=values.pop("merchant", None) or self.sim.config.merchant, **values
        )
        return Response(html, status, headers=HEADERS, media_type="text/html")

    async def checkout(self, request: Request) -> Response:
        """`/c/pay/{session_id}`: the form, and what its submission leads to."""
        session_id = request.path_params["session_id"]
        if request.method == "POST":
            return await self._submit(request, session_id)
        found = await self.do(request, lambda call: _look(call, session_id))
        session = found.session
        if session is None or session["status"] != "open":
            return self._closed(session)
        typed = self._first_values(session)
        if request.query_params.get("authentication") == "failed" and found.intent:
            error = _last_error(found.intent)
            if error.get("code", "").endswith("_authentication_failure"):
                typed.problems["form"] = (
                    "We could not authenticate your card. Try again or use another card."
                )
            elif error:
                typed.problems["form"] = error["message"]
        return self._form(session, typed)

    def _first_values(self, session: dict[str, Any]) -> Typed:
        """A test card is filled in, so that a purchase takes one click."""
        details = session["customer_details"] or {}
        year = datetime.fromtimestamp(self.sim.now(), UTC).year + 3
        return Typed(
            email=session["customer_email"] or details.get("email") or "",
            name=details.get("name") or "", expiry=f"12 / {year % 100:02d}", cvc="123",
            card=cards.CARDS[cards.OFFERED[0]],
        )

    def _form(self, session: dict[str, Any], typed: Typed, status: int = 200) -> Response:
        offered = [cards.CARDS[number] for number in cards.OFFERED]
        if typed.card is not None and typed.card not in offered:
            offered.append(typed.card)
        return self.page(
            "checkout.html", status, merchant=session["_merchant"], session=session, typed=typed,
            offered=offered, all_cards=list(cards.CARDS.values()),
            email_fixed=bool(session["customer_email"]), card_wanted=checkout.needs_method(session),
        )

    def _closed(self, session: dict[str, Any] | None) -> Response:
        if session is None:
            return self.page("message.html", 404, title="There is no such checkout",
                              text="The link is not complete, or the sandbox was reset.")
        merchant, back = session["_merchant"], session["cancel_url"]
        if session["status"] == "expired":
            return self.page(
                "message.html", 410, title="This checkout has expired", merchant=merchant,
                text="Nothing was charged. Start again from the shop.", link=back,
                link_text="Back to the shop",
            )
        title, done = "Your card is saved", "It was saved once"
        if session["mode"] == "subscription":
            title, done = "Your subscription has begun", "It was begun once"
        elif session["mode"] == "payment":
            title = "This payment is complete"
            done = f"{money.shown(session['amount_total'], session['currency'])} was paid once"
        return self.page(
            "message.html", title=title, merchant=merchant, good=True,
            text=f"{done}; there is nothing more to do here.", link=_success_url(session),
            link_text="Continue to the shop",
        )

    async def _submit(self, request: Request, session_id: str) -> Response:
        json_wanted = "application/json" in request.headers.get("accept", "")
        try:
            given = forms.parse(await api.read_body(request, MAX_FORM))
        except StripeError as error:
            return self.page("message.html", error.status, title="The form could not be read",
                              text=str(error))
        found = await self.do(request, lambda call: _look(call, session_id))
        session = found.session
        if session is None:
            return _json(404, "unknown") if json_wanted else self._closed(None)
        if session["status"] == "open":
            typed = read_form(session, given, self.sim.now())
            if not typed.problems:
                found = await self.do(request, lambda call: _pay(call, session_id, typed))
                session = found.session or session
                if found.error is not None:
                    typed.problems["form"] = str(found.error)
            if typed.problems:
                if json_wanted:
                    return _refused_json(typed, found.error)
                return self._form(session, typed, 402 if found.error else 422)
        return self._after_submit(session, found, json_wanted)

    def _after_submit(
        self, session: dict[str, Any], found: Outcome, json_wanted: bool
    ) -> Response:
        """Where a customer goes whose session was paid, was not open, or needs 3-D Secure."""
        if session["status"] == "complete":
            url = _success_url(session)
            return _json(200, "complete", url=url) if json_wanted else _redirect(url)
        if session["status"] == "expired":
            return _json(410, "expired") if json_wanted else self._closed(session)
        assert found.intent is not None
        url = f"/3d_secure/{found.intent['id']}"
        return _json(200, "requires_action", url=url) if json_wanted else _redirect(url)

    async def three_d_secure(self, request: Request) -> Response:
        """`/3d_secure/{intent}`: the bank's page, where the customer completes or fails."""
        intent_id = request.path_params["intent"]
        json_wanted = "application/json" in request.headers.get("accept", "")
        if request.method == "POST":
            try:
                given = forms.parse(await api.read_body(request, MAX_FORM))
            except StripeError:
                given = {}
            outcome = given.get("outcome")
            if outcome in ("complete", "fail"):
                passed = outcome == "complete"
                found = await self.do(
                    request, lambda call: _authenticate(call, intent_id, passed)
                )
                return self._after_authentication(found, json_wanted)
        found = await self.do(request, lambda call: _look_at_intent(call, intent_id))
        if found.intent is None:
            return self.page("message.html", 404, title="There is nothing to authenticate",
                              text="The link is not complete, or the sandbox was reset.")
        if found.intent["status"] != "requires_action":
            return self._after_authentication(found, json_wanted)
        return self.page(
            "three_d_secure.html", intent=found.intent, card=found.card,
            merchant=(found.session or {}).get("_merchant"),
        )

    def _after_authentication(self, found: Outcome, json_wanted: bool) -> Response:
        intent, session = found.intent, found.session
        if intent is None:
            return self.page("message.html", 404, title="There is nothing to authenticate",
                              text="The link is not complete, or the sandbox was reset.")
        paid = intent["status"] in ("succeeded", "requires_capture")
        if session is not None:
            url = _success_url(session) if paid else (
                f"/c/pay/{session['id']}?authentication=failed"
            )
        else:
            url = _return_url(intent, paid)
        if json_wanted:
            state = "complete" if paid else "authentication_failed"
            message = _last_error(intent).get("message")
            return _json(200 if paid else 402, state, url=url, message=message)
        if url:
            return _redirect(url)
        title = "Authenticated" if paid else "Not authenticated"
        return self.page("message.html", title=title, text="You may close this page.", good=paid)

    async def static(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return Response(status_code=404)
        return FileResponse(
            HERE / "static" / name, media_type=STATIC[name],
            headers={"X-Content-Type-Options": "nosniff", "Cache-Control": "max-age=300"},
        )

    async def home(self, request: Request) -> Response:
        return self.page(
            "message.html", title="A Stripe that runs on this machine",
            text="This is the sandbox's payment provider: its API is under /v1, its checkout pages "
            "under /c/pay, its switches under /_sim. No money moves here.",
        )


def read_form(session: dict[str, Any], given: dict[str, Any], now: int) -> Typed:
    """The form's fields, checked; `problems` says what is wrong with which field."""
    text = {name: value.strip() for name, value in given.items() if isinstance(value, str)}
    typed = Typed(
        email=session["customer_email"] or text.get("email", "")[:200],
        name=text.get("name", "")[:200],
    )
    try:
        if not listing.check_email(typed.email, "email"):
            typed.problems["email"] = "Enter your e-mail address."
    except StripeError:
        typed.problems["email"] = "This is not a complete e-mail address."
    if not checkout.needs_method(session):
        return typed
    _read_card(typed, text, now)
    return typed


def _read_card(typed: Typed, text: dict[str, str], now: int) -> None:
    if text.get("wallet") in cards.WALLETS.values():
        typed.wallet = text["wallet"]
    number, picked = text.get("number", ""), text.get("test_card", "")
    # The list counts where the number was left as it came; a number typed by hand wins.
    if picked in cards.CARDS and _digits(number) == _digits(text.get("filled_in", "")):
        number = picked
    try:
        typed.card = cards.by_number(number)
    except StripeError as error:
        typed.problems["number"] = str(error)
    expiry = _EXPIRY.match(text.get("expiry", ""))
    if expiry is None:
        typed.problems["expiry"] = "Enter the date as MM / YY."
    else:
        typed.month, typed.year = int(expiry[1]), int(expiry[2]) % 100 + 2000
        typed.expiry = f"{typed.month:02d} / {typed.year % 100:02d}"
        today = datetime.fromtimestamp(now, UTC)
        if not 1 <= typed.month <= 12:
            typed.problems["expiry"] = "Your card's expiration month is invalid."
        elif (typed.year, typed.month) < (today.year, today.month):
            typed.problems["expiry"] = "Your card's expiration date is in the past."
    if not _CVC.match(text.get("cvc", "")):
        typed.problems["cvc"] = "Enter the 3 or 4 digits of the security code."
    else:
        typed.cvc = "123"


def _digits(number: str) -> str:
    return number.replace(" ", "").replace("-", "")


def _look(call: Call, session_id: str) -> Outcome:
    session = call.tx.get(session_id, "checkout.session")
    if session is None:
        return Outcome()
    session = checkout.current(call, session)
    return Outcome(session, checkout.intent_of(call, session))


def _pay(call: Call, session_id: str, typed: Typed) -> Outcome:
    """Pay in one transaction: a second click finds the session complete and pays nothing."""
    session = call.find("checkout.session", session_id, "session")
    contact = {"email": typed.email, "name": typed.name or None}
    error = None
    if checkout.current(call, session)["status"] == "open":
        method = None
        if typed.card is not None and checkout.needs_method(session):
            method = checkout.method_from_page(
                call, typed.card, typed.month, typed.year, contact, typed.wallet
            )
        try:
            checkout.pay(call, session, method, contact)
        except StripeError as declined:
            error = declined
    found = _look(call, session_id)
    found.error = error
    return found


def _look_at_intent(call: Call, intent_id: str) -> Outcome:
    intent = authentication.intent_of(call, intent_id)
    if intent is None:
        return Outcome()
    session_id = intent.get("_session")
    found = _look(call, session_id) if session_id else Outcome()
    found.intent = authentication.intent_of(call, intent_id)
    if intent["payment_method"]:
        method = call.find("payment_method", intent["payment_method"], "payment_method")
        found.card = payment_methods.card_of(method)
    return found


def _authenticate(call: Call, intent_id: str, passed: bool) -> Outcome:
    _, error = authentication.authenticate(call, intent_id, passed)
    found = _look_at_intent(call, intent_id)
    found.error = error
    return found


def _last_error(intent: dict[str, Any]) -> dict[str, Any]:
    name = "payment" if intent["object"] == "payment_intent" else "setup"
    return intent[f"last_{name}_error"] or {}


def _success_url(session: dict[str, Any]) -> str:
    return session["success_url"].replace("{CHECKOUT_SESSION_ID}", session["id"])


def _return_url(intent: dict[str, Any], paid: bool) -> str | None:
    url = intent.get("_return_url")
    if not url:
        return None
    parts = urlsplit(url)
    query = [
        *parse_qsl(parts.query, keep_blank_values=True),
        (intent["object"], intent["id"]),
        (f"{intent['object']}_client_secret", intent["client_secret"]),
        ("redirect_status", "succeeded" if paid else "failed"),
    ]
    return urlunsplit(parts._replace(query=urlencode(query)))


def _redirect(url: str) -> Response:
    return RedirectResponse(url, 303, headers=HEADERS)


def _json(status: int, state: str, **more: Any) -> Response:
    return JSONResponse({"status": state, **more}, status, headers=HEADERS)


def _refused_json(typed: Typed, error: StripeError | None) -> Response:
    if error is None:
        return _json(422, "invalid", message="; ".join(typed.problems.values()))
    return _json(
        402, "declined", message=str(error), code=error.code,
        decline_code=error.fields.get("decline_code"),
    )
