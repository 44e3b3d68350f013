"""v1: people of the staff and their sessions, and tokens of our own issue."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import Conflict, NotFound
from paydesk.flows import staff, tokens
from paydesk.flows.staff import Staff
from paydesk.flows.tokens import Pair
from paydesk.http import fields
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.routes import cell, env_of, in_thread, router, who_of
from paydesk.http.v1.models import Strict, page_of

staff_v1 = router("staff")

Role = Literal["admin", "finance", "support"]


class StaffIn(Strict):
    email: str = Field(max_length=320, examples=["rosa@example.com"])
    name: str = Field(min_length=1, max_length=255)
    role: Role
    password: str | None = Field(default=None, max_length=256)


class StaffPatch(Strict):
    name: str | None = Field(default=None, min_length=1, max_length=255)
    role: Role | None = None
    disabled: bool | None = None


class PasswordIn(Strict):
    """Whoever changes his own password says the present one."""

    password: str = Field(max_length=256)
    current: str | None = Field(default=None, max_length=256)


class SignIn(Strict):
    email: str = Field(max_length=320)
    password: str = Field(max_length=256)


class TokenIn(Strict):
    """`subject`: the application's own id of a customer, or of one of its people with a role."""

    subject: str = Field(min_length=1, max_length=255)
    email: str | None = Field(default=None, max_length=320)
    role: Literal["customer", "support", "finance", "admin"] | None = None


class RefreshIn(Strict):
    refresh_token: str = Field(max_length=4096)


class StaffOut(BaseModel):
    id: str
    object: Literal["staff"]
    livemode: bool
    email: str
    name: str
    role: str
    has_password: bool
    disabled_at: str | None
    last_seen_at: str | None
    created_at: str


class SessionOut(BaseModel):
    """Send the token as `Authorization: Bearer ses_…`. It is shown this once."""

    object: Literal["session"]
    token: str
    staff: StaffOut
    expires_at: str


class TokenOut(BaseModel):
    object: Literal["token"]
    subject: str
    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    refresh_token: str
    refresh_expires_at: str


def staff_shape(one: Staff, livemode: bool) -> dict[str, Any]:
    return {
        "id": ids.show("staff", one.id), "object": "staff", "livemode": livemode,
        "email": one.email, "name": one.name, "role": one.role, "has_password": one.has_password,
        "disabled_at": fields.instant(one.disabled_at),
        "last_seen_at": fields.instant(one.last_seen_at),
        "created_at": fields.instant(one.created_at),
    }  # fmt: skip


def token_shape(pair: Pair) -> dict[str, Any]:
    return {
        "object": "token", "subject": pair.subject, "access_token": pair.access_token,
        "token_type": "Bearer", "expires_in": pair.expires_in_s,
        "refresh_token": pair.refresh_token,
        "refresh_expires_at": fields.instant(pair.refresh_expires_at),
    }  # fmt: skip


@staff_v1.post(
    "/v1/staff", status_code=201, response_model=None, summary="Add a person of the staff",
    responses={201: {"model": StaffOut}}, **cell("admin"),
)  # fmt: skip
async def add_staff(request: Request, body: StaffIn) -> Response:
    env = env_of(request)
    one = await in_thread(
        request, staff.add, env, body.email, body.name, body.role, body.password
    )
    return reply(staff_shape(one, env.settings.live), 201)


@staff_v1.get(
    "/v1/staff", response_model=None, summary="List the staff",
    responses={200: {"model": page_of(StaffOut)}}, **cell("admin"),
)  # fmt: skip
def list_staff(
    request: Request, limit: Limit = DEFAULT_LIMIT, starting_after: str | None = None
) -> Response:
    env = env_of(request)
    after = None if starting_after is None else ids.parse("staff", starting_after)
    found = staff.list_(env, limit=limit + 1, after=after)
    return reply(fields.page(found, limit, lambda one: staff_shape(one, env.settings.live)))


@staff_v1.patch(
    "/v1/staff/{staff}", response_model=None, summary="Change a person of the staff",
    responses={200: {"model": StaffOut}}, **cell("admin"),
)  # fmt: skip
def change_staff(request: Request, staff: str, body: StaffPatch) -> Response:
    """A new role counts at once; who is disabled has no session any more."""
    return _change(request, staff, body)


def _change(request: Request, ref: str, body: StaffPatch) -> Response:
    env = env_of(request)
    one = staff.change(
        env, ids.parse("staff", ref), name=body.name, role=body.role, disabled=body.disabled
    )
    return reply(staff_shape(one, env.settings.live))


@staff_v1.post(
    "/v1/staff/{staff}/password", response_model=None, summary="Set a password",
    responses={200: {"model": StaffOut}}, **cell("admin", "finance", "support"),
)  # fmt: skip
async def set_password(request: Request, staff: str, body: PasswordIn) -> Response:
    """One's own with the present one, or as an administrator anybody's. Ends all sessions."""
    return await in_thread(request, _set_password, request, staff, body)


def _set_password(request: Request, ref: str, body: PasswordIn) -> Response:
    env, who = env_of(request), who_of(request)
    one = staff.get(env, ref)
    if who.email == one.email and who.caller.startswith("staff:"):
        staff.sign_in(env, one.email, body.current or "")
    elif who.role != "admin":
        raise NotFound(f"No such member of the staff: {ref[:64]!r}.")
    return reply(staff_shape(staff.set_password(env, one.id, body.password), env.settings.live))


@staff_v1.post(
    "/v1/sessions", status_code=201, response_model=None, summary="Sign in",
    responses={201: {"model": SessionOut}}, **cell("public"),
)  # fmt: skip
async def sign_in(request: Request, body: SignIn) -> Response:
    """For people of the staff. After some wrong passwords the address is locked for a while."""
    return await in_thread(request, _sign_in, request, body)


def _sign_in(request: Request, body: SignIn) -> Response:
    env = env_of(request)
    session, token = staff.sign_in(
        env, body.email, body.password, address=request.client.host if request.client else None,
        agent=request.headers.get("user-agent"),
    )  # fmt: skip
    return reply({
        "object": "session", "token": token,
        "staff": staff_shape(session.staff, env.settings.live),
        "expires_at": fields.instant(session.expires_at),
    }, 201)  # fmt: skip


@staff_v1.delete(
    "/v1/sessions", status_code=204, response_model=None, summary="Sign out",
    **cell("admin", "finance", "support"),
)  # fmt: skip
async def sign_out(request: Request) -> Response:
    """Ends the session whose token this request bears."""
    token = request.headers.get("authorization", "").partition(" ")[2].strip()
    if not token.startswith(staff.SESSION_PREFIX):
        raise Conflict("This request bears no session that could be ended.")
    await in_thread(request, staff.sign_out, env_of(request), token)
    return Response(status_code=204)


@staff_v1.post(
    "/v1/tokens", status_code=201, response_model=None, summary="Issue tokens",
    responses={201: {"model": TokenOut}}, **cell("admin", "service"),
)  # fmt: skip
async def issue_token(request: Request, body: TokenIn) -> Response:
    """For applications without an issuer of their own. A `service` key issues customers' only."""
    env, who = env_of(request), who_of(request)
    if body.role not in (None, "customer") and who.role != "admin":
        raise NotFound("A service key issues tokens of customers.", param="role")
    claims = {"email": body.email, "role": body.role}
    pair = await in_thread(request, tokens.issue, env, body.subject, claims)
    return reply(token_shape(pair), 201)


@staff_v1.post(
    "/v1/tokens/refresh", status_code=201, response_model=None, summary="Refresh a token",
    responses={201: {"model": TokenOut}}, **cell("public"),
)  # fmt: skip
async def refresh_token(request: Request, body: RefreshIn) -> Response:
    """Each refresh token works once. One that comes again ends all that came from the same."""
    return reply(
        token_shape(await in_thread(request, tokens.refresh, env_of(request), body.refresh_token)),
        201,
    )


@staff_v1.post(
    "/v1/tokens/end", status_code=204, response_model=None, summary="End a token's family",
    **cell("public"),
)  # fmt: skip
async def end_token(request: Request, body: RefreshIn) -> Response:
    """Signing out: the refresh token and all that came from the same are void."""
    await in_thread(request, tokens.revoke, env_of(request), body.refresh_token)
    return Response(status_code=204)
