"""Who looks at a page: signed cookies for operators and customers, and forms that cannot be forged.

A cookie holds its content and an HMAC over it; nothing secret is inside. In development, on this
machine only, everybody is dev@localhost.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from fastapi import Request
from fastapi.responses import Response

from paydesk import causes, ids, seals
from paydesk.errors import NotAuthenticated, NotPermitted
from paydesk.flows import api_keys, staff
from paydesk.seals import seal, unseal

if TYPE_CHECKING:
    from paydesk.env import Env

#: Roles of API keys that may look at the dashboard, and those that may act in it.
READERS = ("admin", "finance", "support")
ACTORS = ("admin", "finance")
SESSION_S = 12 * 3600
PORTAL_S = 3600
LINK_S = 900
_LOOPBACK = ("127.0.0.1", "::1", "localhost", "testclient")


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody at the dashboard. `csrf` goes into every form; `kind` is staff, who signed in by
    name, or key. `caller` is the same identity as at the API, `persons` who is behind it where two
    persons have to agree."""

    name: str
    role: str
    csrf: str
    kind: str = "key"
    caller: str = ""
    persons: tuple[str, ...] | None = None

    @property
    def may_act(self) -> bool:
        return self.role in ACTORS


class SignInNeeded(NotAuthenticated):
    """A page that only operators see, asked for by somebody who is not signed in."""


# Cookies ------------------------------------------------------------------------------------------


def _set(response: Response, env: Env, name: str, value: str, max_age_s: int, path: str) -> None:
    secure = env.settings.base_url.startswith("https://")
    response.set_cookie(
        name, value, max_age=max_age_s, path=path, httponly=True, samesite="lax", secure=secure
    )


# Operators ----------------------------------------------------------------------------------------


def is_development(request: Request) -> bool:
    """Whether `paydesk dev` runs this and the browser is on the same machine.

    The Host is checked too, so that no name which points here can borrow the session.
    """
    if not getattr(request.app.state, "is_development", False):
        return False
    client = request.client.host if request.client else ""
    return client in _LOOPBACK and (request.url.hostname or "") in _LOOPBACK


def operator(request: Request) -> Operator:
    """Who is at the dashboard. Raises SignInNeeded."""
    env: Env = request.app.state.env
    content = unseal(
        env.settings, "session", request.cookies.get("paydesk_session", ""), env.now().timestamp()
    )
    if content and content.get("session"):
        try:
            found = staff.session_of(env, content["session"])
        except NotAuthenticated:
            raise SignInNeeded("This session has ended: sign in again.") from None
        # The role as it is now, not as it was at the sign-in.
        email = found.staff.email
        return Operator(
            email, found.staff.role, content["csrf"], "staff", caller=f"staff:{email}"
        )
    behind = _behind(env, content.get("key", "")) if content else None
    if content and behind:
        return Operator(
            content["name"], content["role"], content["csrf"], caller=behind[0], persons=behind[1]
        )
    if is_development(request):
        csrf = hmac.new(seals.key(env.settings, "csrf"), b"dev", hashlib.sha256).hexdigest()
        return Operator("dev@localhost", "admin", csrf, "staff", caller="staff:dev@localhost")
    raise SignInNeeded("Sign in to see this page.")


def _behind(env: Env, ref: str) -> tuple[str, tuple[str, ...] | None] | None:
    """(caller, persons) of the key that opened a session, which ends with it: None then."""
    own = env.settings.secret_key
    if ref.startswith("own:"):
        is_own = bool(own) and hmac.compare_digest(ref, f"own:{_mark(own)}")
        return ("key:own", None) if is_own else None
    for key in api_keys.usable(env).values():
        if ids.show("key", key.id) == ref and (
            key.expires_at is None or key.expires_at > env.now()
        ):
            return f"key:{key.id}", key.persons
    return None


def _mark(secret: str) -> str:
    return api_keys.digest(secret).hex()[:16]


def sign_in(env: Env, response: Response, secret: str) -> None:
    """Open a session with an API key. Raises NotAuthenticated, NotPermitted."""
    own = env.settings.secret_key
    if own and hmac.compare_digest(secret.encode(), own.encode()):
        ref, name, role = f"own:{_mark(own)}", "Owner", "admin"
    else:
        key = api_keys.usable(env).get(api_keys.digest(secret))
        if key is None or (key.expires_at is not None and key.expires_at <= env.now()):
            raise NotAuthenticated("This key is unknown, revoked or past its end.")
        ref, name, role = ids.show("key", key.id), key.name, key.role
    if role not in READERS:
        raise NotPermitted(f"A key of role {role} cannot open the dashboard.")
    content = {
        "key": ref, "name": name, "role": role, "csrf": secrets.token_urlsafe(24),
        "exp": int((env.now() + timedelta(seconds=SESSION_S)).timestamp()),
    }  # fmt: skip
    word = seal(env.settings, "session", content)
    _set(response, env, "paydesk_session", word, SESSION_S, "/")


def sign_in_staff(request: Request, response: Response, email: str, password: str) -> None:
    """Open a session with an address and a password. Raises NotAuthenticated, RateLimited."""
    env: Env = request.app.state.env
    opened, token = staff.sign_in(
        env, email, password, address=request.client.host if request.client else None,
        agent=request.headers.get("user-agent"),
    )  # fmt: skip
    content = {
        "session": token, "csrf": secrets.token_urlsafe(24),
        "exp": int(opened.expires_at.timestamp()),
    }  # fmt: skip
    word = seal(env.settings, "session", content)
    _set(response, env, "paydesk_session", word, SESSION_S, "/")


def sign_out(request: Request, response: Response) -> None:
    """The cookie goes, and a session of the staff ends everywhere."""
    env: Env = request.app.state.env
    word = request.cookies.get("paydesk_session", "")
    content = unseal(env.settings, "session", word, env.now().timestamp())
    if content and content.get("session"):
        staff.sign_out(env, content["session"])
    response.delete_cookie("paydesk_session", path="/")


# Forms --------------------------------------------------------------------------------------------


def check_form(
    request: Request, who: Operator, csrf: str, roles: tuple[str, ...] = ACTORS
) -> None:
    """A form must come from a page of ours, sent by who is signed in in one of these roles.

    Raises NotPermitted.
    """
    check_origin(request)
    if not hmac.compare_digest(csrf.encode(), who.csrf.encode()):
        raise NotPermitted("The form is out of date: load the page again.")
    if who.role not in roles:
        raise NotPermitted(f"The role {who.role} may look at this, not change it.")
    # What follows is this operator's doing.
    causes.enter(f"{who.kind}:{who.name}", "dashboard", request.scope.get("paydesk.request_id"))


def check_origin(request: Request) -> None:
    """Browsers say where a form comes from; elsewhere is refused."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    is_ours = origin in (None, "null") or urlsplit(origin or "").netloc == request.url.netloc
    if site in ("cross-site", "same-site") or not is_ours:
        raise NotPermitted("This form was sent from another site.")


def new_form_token(env: Env, response: Response) -> str:
    """For the sign-in form, before there is a session: the same word in a cookie and the form."""
    token = secrets.token_urlsafe(24)
    _set(response, env, "paydesk_form", token, 3600, "/dashboard")
    return token


def check_form_token(request: Request, token: str) -> None:
    check_origin(request)
    kept = request.cookies.get("paydesk_form", "")
    if not kept or not hmac.compare_digest(kept.encode(), token.encode()):
        raise NotPermitted("The form is out of date: load the page again.")


# Customers ----------------------------------------------------------------------------------------


def portal_link(env: Env, external_id: str) -> str:
    """An address that lets a customer into the portal; good for 15 minutes."""
    exp = int((env.now() + timedelta(seconds=LINK_S)).timestamp())
    word = seal(env.settings, "portal link", {"c": external_id, "exp": exp})
    return f"{env.settings.base_url}/portal/enter?token={quote(word)}"


def enter_portal(env: Env, response: Response, word: str) -> None:
    """Trade a link's token for a cookie. Raises NotAuthenticated."""
    content = unseal(env.settings, "portal link", word, env.now().timestamp())
    if content is None:
        raise NotAuthenticated("This link has ended. Ask for a new one where you found it.")
    exp = int((env.now() + timedelta(seconds=PORTAL_S)).timestamp())
    cookie = seal(env.settings, "portal", {"c": content["c"], "exp": exp})
    _set(response, env, "paydesk_portal", cookie, PORTAL_S, "/portal")


def portal_customer(request: Request) -> str:
    """The external id of the customer at the portal. Raises NotAuthenticated."""
    env: Env = request.app.state.env
    word = request.cookies.get("paydesk_portal", "")
    content = unseal(env.settings, "portal", word, env.now().timestamp())
    if content is None:
        raise NotAuthenticated("Open the portal with a link from your application.")
    return str(content["c"])
