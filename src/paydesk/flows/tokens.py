"""Tokens of our own issue: a short access token, and a refresh token that is used once.

Each refresh gives a new pair. A refresh token that comes a second time was stolen or lost: all
tokens of its family end. A family keeps the role it was issued with, so one with a role ends the
same day, and at once by `revoke_subject`; its access tokens then end within minutes.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import jwt

from paydesk.db.postgres import Tx, jsonb
from paydesk.errors import InvalidRequest, NotAuthenticated, NotSupported
from paydesk.flows import trail
from paydesk.rules import fields

if TYPE_CHECKING:
    from paydesk.env import Env

#: What a refresh token says of itself; no other token may say it.
USE = "paydesk refresh"
_ALGORITHM = "HS256"
#: How long a family is renewed, counted from its first token: a customer's, and one with a role.
FAMILY, ROLE_FAMILY = timedelta(days=365), timedelta(hours=12)
#: Claims that an application may put into a token besides the subject.
CLAIMS = ("email", "role", "name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """An access token and the refresh token that renews it."""

    access_token: str
    refresh_token: str
    expires_in_s: int
    refresh_expires_at: datetime
    subject: str


def issue(
    env: Env, subject: str, claims: Mapping[str, Any] | None = None, *, actor: str | None = None
) -> Pair:
    """A first pair for a subject: the application's id of a customer, or of one of its people.

    Raises NotSupported where JWT_SECRET and JWT_REFRESH_SECRET are not both set.
    """
    _check_issuer(env)
    who = fields.text(subject, "subject", most=255)
    said = {name: value for name, value in (claims or {}).items() if value is not None}
    for name, value in said.items():
        if name not in CLAIMS:
            raise InvalidRequest(f"{name[:40]!r} is no claim that is issued here.", param=name)
        fields.text(value, name, most=320)
    family = uuid4()
    with env.db.transaction() as tx:
        pair = _pair(env, tx, who, said, family, env.now())
        if said.get("role", "customer") != "customer":
            trail.record(tx, env.now(), "token.issued", who, {"role": said["role"]}, actor=actor)
    return pair


def refresh(env: Env, token: str) -> Pair:
    """A new pair for a refresh token, which is then used up.

    Raises NotAuthenticated; where the token was used before, its whole family ends.
    """
    _check_issuer(env)
    began_at, digest = _began_at(env, _read(env, token)), _digest(token)
    reused = None
    with env.db.transaction() as tx:
        row = tx.one(
            "select family_id, subject, claims, used_at, revoked_at, expires_at"
            " from refresh_tokens where token_hash = %(hash)s for no key update",
            {"hash": digest},
        )
        if row is None or row["revoked_at"] or row["expires_at"] <= env.now():
            raise NotAuthenticated("This refresh token is unknown, revoked or past its end.")
        if row["used_at"]:
            reused = row
            _revoke(env, tx, row["family_id"])
            trail.record(tx, env.now(), "token.reused", row["subject"],
                         {"family": str(row["family_id"])}, actor="refresh")  # fmt: skip
        else:
            tx.run("update refresh_tokens set used_at = %(now)s where token_hash = %(hash)s",
                   {"now": env.now(), "hash": digest})  # fmt: skip
            pair = _pair(env, tx, row["subject"], row["claims"], row["family_id"],
                         began_at)
    if reused is not None:
        raise NotAuthenticated("This refresh token was used before: sign in again.")
    return pair


def revoke(env: Env, token: str) -> None:
    """End the family of a refresh token; an unknown one is no fault."""
    _check_issuer(env)
    _read(env, token)
    with env.db.transaction() as tx:
        family = tx.value(
            "select family_id from refresh_tokens where token_hash = %(hash)s",
            {"hash": _digest(token)},
        )
        if family is not None:
            _revoke(env, tx, family)


def revoke_subject(env: Env, subject: str) -> int:
    """End every family of a subject, such as after a change of role; answers how many tokens."""
    with env.db.transaction() as tx:
        count = tx.run(
            "update refresh_tokens set revoked_at = %(now)s where subject = %(subject)s"
            " and revoked_at is null",
            {"now": env.now(), "subject": subject},
        )
        trail.record(tx, env.now(), "token.subject_revoked", subject[:255])
    return count


def _pair(
    env: Env, tx: Tx, subject: str, claims: Mapping[str, Any], family: UUID, began_at: datetime
) -> Pair:
    settings, now = env.settings, env.now()
    longest = FAMILY if claims.get("role", "customer") == "customer" else ROLE_FAMILY
    until = min(now + timedelta(days=settings.refresh_token_days), began_at + longest)
    if until <= now:
        raise NotAuthenticated("These tokens were renewed for long enough: sign in again.")
    word = jwt.encode(
        {"sub": subject, "jti": secrets.token_urlsafe(24), "use": USE, "exp": until,
         "began": int(began_at.timestamp())},
        settings.jwt_refresh_secret, algorithm=_ALGORITHM,
    )  # fmt: skip
    tx.run(
        "insert into refresh_tokens (token_hash, family_id, subject, claims, expires_at,"
        " created_at) values (%(hash)s, %(family)s, %(subject)s, %(claims)s, %(until)s, %(now)s)",
        {
            "hash": _digest(word), "family": family, "subject": subject,
            "claims": jsonb(dict(claims)), "until": until, "now": now,
        },
    )  # fmt: skip
    life_s = settings.access_token_minutes * 60
    return Pair(
        access_token=_access(env, subject, claims, now, life_s), refresh_token=word,
        expires_in_s=life_s, refresh_expires_at=until, subject=subject,
    )  # fmt: skip


def _access(
    env: Env, subject: str, claims: Mapping[str, Any], now: datetime, life_s: int
) -> str:
    settings = env.settings
    body: dict[str, Any] = {
        **claims, "sub": subject, "iat": now, "exp": now + timedelta(seconds=life_s),
        "jti": secrets.token_urlsafe(12),
    }  # fmt: skip
    if settings.jwt_audience:
        body["aud"] = settings.jwt_audience
    if settings.jwt_issuer:
        body["iss"] = settings.jwt_issuer
    return jwt.encode(body, settings.jwt_secret, algorithm=settings.jwt_algorithm)


def _began_at(env: Env, claims: Mapping[str, Any]) -> datetime:
    """When the first token of a family was issued; now, where one of before does not say it."""
    began = claims.get("began")
    return datetime.fromtimestamp(began, UTC) if isinstance(began, int) else env.now()


def _read(env: Env, token: str) -> dict[str, Any]:
    """A refresh token's claims, by its signature. The database says whether it lives."""
    try:
        claims = jwt.decode(
            token, env.settings.jwt_refresh_secret, algorithms=[_ALGORITHM],
            options={"require": ["sub", "jti", "exp"], "verify_exp": False},
        )  # fmt: skip
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise NotAuthenticated("This is no refresh token of this desk.") from None
    if claims.get("use") != USE:
        raise NotAuthenticated("This is no refresh token of this desk.")
    return claims


def _revoke(env: Env, tx: Tx, family: UUID) -> None:
    tx.run(
        "update refresh_tokens set revoked_at = coalesce(revoked_at, %(now)s)"
        " where family_id = %(family)s",
        {"now": env.now(), "family": family},
    )


def _check_issuer(env: Env) -> None:
    if not (env.settings.jwt_secret and env.settings.jwt_refresh_secret):
        raise NotSupported("Tokens are issued where JWT_SECRET and JWT_REFRESH_SECRET are set.")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
