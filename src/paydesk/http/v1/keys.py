"""v1: keys of servers, and tokens that are void."""

from __future__ import annotations

from typing import Any

from pydantic import Field as PydanticField
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import api_keys, tokens
from paydesk.flows.api_keys import ApiKey
from paydesk.http import fields
from paydesk.http.fields import DEFAULT_LIMIT, Limit, reply
from paydesk.http.routes import cell, env_of, router, who_of
from paydesk.http.v1.models import KeyIn, KeyOut, Strict, TokenRevocation, page_of

keys_v1 = router("keys")


def key_shape(one: ApiKey, livemode: bool, secret: str | None = None) -> dict[str, Any]:
    shape = {
        "id": ids.show("key", one.id),
        "object": "key",
        "livemode": livemode,
        "name": one.name,
        "hint": one.hint,
        "role": one.role,
        "owner": one.owner,
        "seen_by": one.seen_by or [],
        "created_at": fields.instant(one.created_at),
        "expires_at": fields.instant(one.expires_at),
        "revoked_at": fields.instant(one.revoked_at),
        "last_used_at": fields.instant(one.last_used_at),
    }
    return shape if secret is None else {**shape, "secret": secret}


@keys_v1.post(
    "/v1/keys", status_code=201, response_model=None, summary="Make an API key",
    responses={201: {"model": KeyOut}}, **cell("admin"),
)  # fmt: skip
def create_key(request: Request, body: KeyIn) -> Response:
    """`secret` is shown this once. No answer of this address is kept for repeats. `owner` is the
    address of the staff member whose key it is; where two persons have to agree, it is theirs."""
    env = env_of(request)
    if body.expires_at is not None and body.expires_at <= env.now():
        raise InvalidRequest("expires_at is in the past.", param="expires_at")
    one, secret = api_keys.create(
        env, body.name, body.role, body.expires_at, owner=body.owner,
        by=who_of(request).persons,
    )  # fmt: skip
    return reply(key_shape(one, env.settings.live, secret), 201)


@keys_v1.get(
    "/v1/keys", response_model=None, summary="List API keys",
    responses={200: {"model": page_of(KeyOut)}}, **cell("admin"),
)  # fmt: skip
def list_keys(
    request: Request, limit: Limit = DEFAULT_LIMIT, starting_after: str | None = None
) -> Response:
    """Newest first, revoked ones too; never with their secrets."""
    env = env_of(request)
    after = None if starting_after is None else ids.parse("key", starting_after)
    found = api_keys.list_(env, limit + 1, after)
    live = env.settings.live
    return reply(fields.page(found, limit, lambda one: key_shape(one, live)))


@keys_v1.delete(
    "/v1/keys/{key}", response_model=None, summary="Revoke an API key",
    responses={200: {"model": KeyOut}}, **cell("admin"),
)  # fmt: skip
def revoke_key(request: Request, key: str) -> Response:
    """Refused at once by this process and within 3 seconds by all others."""
    env = env_of(request)
    one = api_keys.revoke(env, ids.parse("key", key))
    request.app.state.gatekeeper.forget()
    return reply(key_shape(one, env.settings.live))


class KeyRoll(Strict):
    """How long the old key still works beside the new one."""

    overlap_hours: int = PydanticField(default=24, ge=0, le=720)


@keys_v1.post(
    "/v1/keys/{key}/roll", status_code=201, response_model=None, summary="Roll an API key",
    responses={201: {"model": KeyOut}}, **cell("admin"),
)  # fmt: skip
def roll_key(request: Request, key: str, body: KeyRoll) -> Response:
    """A new key of the same name and role; its `secret` is shown this once."""
    env = env_of(request)
    one, secret = api_keys.roll(
        env, ids.parse("key", key), body.overlap_hours, by=who_of(request).persons
    )
    request.app.state.gatekeeper.forget()
    return reply(key_shape(one, env.settings.live, secret), 201)


@keys_v1.post(
    "/v1/tokens/revoke", status_code=204, response_model=None, summary="Void a token",
    **cell("admin", "service"),
)  # fmt: skip
def revoke_token(request: Request, body: TokenRevocation) -> Response:
    """No token with this `jti` is accepted any more, here at once, elsewhere within 3 seconds.
    Of a `subject`, such as after a change of role, nothing is renewed any more: the access tokens
    that the desk issued end within their minutes."""
    env = env_of(request)
    if (body.jti is None) == (body.subject is None):
        raise InvalidRequest("Say one of jti and subject.", param="jti")
    if body.subject is not None:
        tokens.revoke_subject(env, body.subject)
    else:
        assert body.jti is not None
        api_keys.revoke_token(env, body.jti, body.expires_at)
    request.app.state.gatekeeper.forget()
    return Response(status_code=204)
