"""Who calls: API keys of servers, tokens of customers, and what each role may do."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import time
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import jwt
from jwt.warnings import InsecureKeyLengthWarning

from paydesk.errors import Misconfigured, NotAuthenticated, NotPermitted, Unavailable
from paydesk.flows import api_keys, staff, tokens
from paydesk.logger import get_logger
from paydesk.rules.persons import USER

if TYPE_CHECKING:
    from paydesk.env import Env
    from paydesk.settings import Settings

log = get_logger("paydesk.http")

#: Strongest first. Whoever names none of these in a token is a customer.
ROLES = ("admin", "service", "finance", "support", "customer")
STAFF = ("admin", "service", "finance", "support")
#: Algorithms that a shared secret can sign with; the setting picks exactly one.
ALGORITHMS = ("HS256", "HS384", "HS512")
#: Algorithms of the public keys in JWT_JWKS_FILE; each key names its one.
PUBLIC_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384",
                     "ES512", "EdDSA")  # fmt: skip
#: A revoked key or token is refused everywhere after at most so long.
REFRESH_AFTER_S = 2.0
#: Without news from the database for so long, nobody is let in.
STALE_AFTER_S = 30.0
MAX_TOKEN_LENGTH = 8192
LEEWAY_S = 10

#: Header members that try to choose the key or hide meaning; none is ever followed.
_REFUSED_HEADERS = frozenset({"jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "crit", "b64", "zip"})
_PLAIN_KID = re.compile(r"[A-Za-z0-9_.:=-]{1,64}")


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever makes a request. `caller` is the identity that limits and idempotency keys go by;
    `persons` is who is behind it where that is known, the person himself first."""

    role: str
    caller: str
    subject: str = ""
    email: str | None = None
    jti: str | None = None
    expires_at: float = float("inf")
    persons: tuple[str, ...] | None = None

    @property
    def is_customer(self) -> bool:
        return self.role == "customer"


class Gatekeeper:
    """Turns an Authorization header into a Principal.

    Verified tokens are remembered by their digest until they end or are revoked. Keys and
    revocations are a snapshot of the database, renewed in the background while in use.
    """

    def __init__(self, env: Env, *, max_remembered: int = 20_000) -> None:
        self._env = env
        self._seen: OrderedDict[bytes, Principal] = OrderedDict()
        self._max_remembered = max_remembered
        self._keys: Mapping[bytes, api_keys.ApiKey] = {}
        self._used: set[UUID] = set()
        self._strangers: OrderedDict[bytes, float] = OrderedDict()
        self._revoked: frozenset[str] = frozenset()
        self._loaded_at: float | None = None
        self._loading: asyncio.Task[None] | None = None
        if env.settings.jwt_algorithm not in ALGORITHMS:
            raise ValueError(f"JWT_ALGORITHM must be one of {', '.join(ALGORITHMS)}")
        self._jwks = _stamp(env.settings.jwt_jwks_file)
        if env.settings.jwt_jwks_file:
            read_jwks(env.settings.jwt_jwks_file)

    async def identify(self, authorization: str | None) -> Principal | None:
        """The caller, or None without credentials. Raises NotAuthenticated for wrong ones."""
        if authorization is None:
            return None
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_LENGTH:
            raise NotAuthenticated("Send `Authorization: Bearer` and a key or a token.")
        await self._fresh()
        if token.startswith("sk_"):
            return await self._key(token)
        if token.startswith(staff.SESSION_PREFIX):
            return await self._session(token)
        return self._token(token)

    def forget(self) -> None:
        """Look at the database before the next caller is let in: something was revoked here."""
        self._loaded_at = None

    async def _key(self, token: str) -> Principal:
        own = self._env.settings.secret_key
        if own and hmac.compare_digest(token.encode(), own.encode()):
            return Principal("admin", "key:own")
        digest = api_keys.digest(token)
        key = self._keys.get(digest) or await self._younger(digest)
        if key is None or (key.expires_at is not None and key.expires_at <= self._env.now()):
            raise NotAuthenticated("This API key is unknown, revoked or past its end.")
        self._used.add(key.id)
        return Principal(key.role, f"key:{key.id}", persons=key.persons)

    async def _younger(self, digest: bytes) -> api_keys.ApiKey | None:
        """A key made since the snapshot. What is none is remembered for as long as a snapshot."""
        if self._strangers.get(digest, 0.0) > time.monotonic():
            return None
        found = await asyncio.to_thread(api_keys.find, self._env, digest)
        if found is not None:
            self._keys = {**self._keys, digest: found}
            return found
        self._strangers[digest] = time.monotonic() + REFRESH_AFTER_S
        self._strangers.move_to_end(digest)
        if len(self._strangers) > self._max_remembered:
            self._strangers.popitem(last=False)
        return None

    async def _session(self, token: str) -> Principal:
        """A person of the staff. Read each time: a session ends, and a role changes, at once."""
        found = await asyncio.to_thread(staff.session_of, self._env, token)
        one = found.staff
        return Principal(one.role, f"staff:{one.email}", email=one.email)

    def _token(self, token: str) -> Principal:
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        found = self._seen.get(digest)
        if found is None:
            found = principal_of(read_token(self._env.settings, token))
            self._seen[digest] = found
            if len(self._seen) > self._max_remembered:
                self._seen.popitem(last=False)
        if found.expires_at <= time.time():
            self._seen.pop(digest, None)
            raise NotAuthenticated("This token has expired.")
        if found.jti is not None and found.jti in self._revoked:
            raise NotAuthenticated("This token was revoked.")
        return found

    async def _fresh(self) -> None:
        age = None if self._loaded_at is None else time.monotonic() - self._loaded_at
        if age is not None and age < REFRESH_AFTER_S:
            return
        if age is None or age > STALE_AFTER_S:
            await self._load()
        elif self._loading is None or self._loading.done():
            self._loading = asyncio.create_task(self._load_quietly())

    async def _load(self) -> None:
        started = time.monotonic()
        self._keys, self._revoked = await asyncio.to_thread(
            lambda: (api_keys.usable(self._env), api_keys.revoked_tokens(self._env))
        )
        self._loaded_at = started
        if (stamp := _stamp(self._env.settings.jwt_jwks_file)) != self._jwks:
            # What a key has signed that is gone now is not remembered as good.
            self._jwks = stamp
            self._seen.clear()
        if self._used:
            used, self._used = self._used, set()
            with contextlib.suppress(Unavailable):  # It is only to be looked at.
                await asyncio.to_thread(api_keys.note_use, self._env, used)

    async def _load_quietly(self) -> None:
        try:
            await self._load()
        except Unavailable:
            return  # What is known serves on until STALE_AFTER_S.


def read_token(settings: Settings, token: str) -> dict[str, Any]:
    """The claims of a token signed with the one secret and the one algorithm.

    Raises NotAuthenticated when anything about it is wrong. `exp` and `sub` are required; `nbf`,
    `iat`, `aud` and `iss` are checked. Time is the real one: tokens come from elsewhere.
    """
    if not (settings.jwt_secret or settings.jwt_jwks_file):
        raise NotAuthenticated("Tokens are not accepted: JWT_SECRET is not set.")
    try:
        header = jwt.get_unverified_header(token)
        kid = header.get("kid")
        if kid is not None and not (isinstance(kid, str) and _PLAIN_KID.fullmatch(kid)):
            raise NotAuthenticated("This token's header is not accepted.")
        key, algorithm = _key_for(settings, kid)
        if _REFUSED_HEADERS & header.keys() or header.get("alg") != algorithm:
            raise NotAuthenticated("This token's header is not accepted.")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InsecureKeyLengthWarning)
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=settings.jwt_audience or None,
                issuer=settings.jwt_issuer or None,
                leeway=LEEWAY_S,
                options={
                    "require": ["exp", "sub"], "verify_aud": bool(settings.jwt_audience),
                    "verify_iss": bool(settings.jwt_issuer),
                },
            )  # fmt: skip
    except jwt.ExpiredSignatureError:
        raise NotAuthenticated("This token has expired.") from None
    except jwt.ImmatureSignatureError:
        raise NotAuthenticated("This token is not valid yet.") from None
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
        raise NotAuthenticated("This token is not valid.") from None
    return claims


def _key_for(settings: Settings, kid: str | None) -> tuple[Any, str]:
    """The one key, and the one algorithm pinned to it, that a token may be signed with."""
    if kid is not None and settings.jwt_jwks_file:
        named = read_jwks(settings.jwt_jwks_file).get(kid)
        if named is not None:
            return named
    if not settings.jwt_secret:
        raise NotAuthenticated("This token names no key that is known here.")
    return settings.jwt_secret, settings.jwt_algorithm


_key_sets: dict[str, tuple[Any, dict[str, tuple[Any, str]]]] = {}


def read_jwks(path: str) -> dict[str, tuple[Any, str]]:
    """Public keys of a JWK Set by `kid`, each with the algorithm that its `alg` pins.

    Read anew when the file changes; while it then says less or cannot be read, the keys of before
    count on. Raises Misconfigured where there were none.
    """
    stamp, kept = _stamp(path), _key_sets.get(path)
    if kept is not None and kept[0] == stamp:
        return kept[1]
    try:
        keys = _jwks_of(path)
    except Misconfigured as exc:
        if kept is None:
            raise
        log.error("JWT_JWKS_FILE changed and is refused; the keys of before count", exc_info=exc)
        keys = kept[1]
    _key_sets[path] = (stamp, keys)
    return keys


def _stamp(path: str) -> tuple[int, int, int] | None:
    """What changes with a file's content; None: no file."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _jwks_of(path: str) -> dict[str, tuple[Any, str]]:
    """Raises Misconfigured for a file that says less than it must, or holds a secret."""
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        keys: dict[str, tuple[Any, str]] = {}
        for one in document["keys"]:
            kid, algorithm = one["kid"], one["alg"]
            if algorithm not in PUBLIC_ALGORITHMS or "d" in one or not _PLAIN_KID.fullmatch(kid):
                raise Misconfigured(
                    f"Key {str(kid)[:64]!r} of JWT_JWKS_FILE is no public key for one of"
                    f" {', '.join(PUBLIC_ALGORITHMS)}.", param="JWT_JWKS_FILE",
                )  # fmt: skip
            keys[kid] = (jwt.PyJWK(one, algorithm=algorithm).key, algorithm)
    except (OSError, ValueError, KeyError, TypeError, jwt.PyJWTError) as exc:
        raise Misconfigured(
            f"JWT_JWKS_FILE cannot be read: {type(exc).__name__}.", param="JWT_JWKS_FILE"
        ) from exc
    return keys


def principal_of(claims: Mapping[str, Any]) -> Principal:
    """The caller that a token's claims describe."""
    subject = claims.get("sub")
    if claims.get("use") == tokens.USE:
        raise NotAuthenticated("A refresh token only renews tokens.")
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255 or not _storable(subject):
        raise NotAuthenticated("This token's `sub` names no user.")
    named = claims.get("roles", claims.get("role", []))
    named = [named] if isinstance(named, str) else named
    roles = {r for r in named if isinstance(r, str)} if isinstance(named, list) else set()
    role = next((r for r in ROLES if r in roles), "customer")
    email, jti = claims.get("email"), claims.get("jti")
    has_email = isinstance(email, str) and len(email) <= 320 and _storable(email)
    return Principal(
        role=role,
        caller=f"user:{subject}",
        subject=subject,
        email=email if has_email else None,
        jti=jti if isinstance(jti, str) else None,
        expires_at=float(claims["exp"]) + LEEWAY_S,
        persons=_persons(email if has_email else None, subject),
    )


def _persons(email: str | None, subject: str) -> tuple[str, ...] | None:
    """Who a token's bearer is where two persons have to agree: by the address, which some
    applications name users by, and by the subject."""
    address = email or (subject if "@" in subject else None)
    return (address.strip().lower(), f"{USER}{subject}") if address else None


def make_token(
    settings: Settings, subject: str, *, role: str | None = None, expires_in_s: int = 3600
) -> str:
    """A token such as the application would issue; for development and tests."""
    now = int(time.time())
    claims: dict[str, Any] = {
        "sub": subject, "iat": now, "exp": now + expires_in_s, "jti": secrets.token_urlsafe(12),
    }  # fmt: skip
    if role:
        claims["role"] = role
    if settings.jwt_audience:
        claims["aud"] = settings.jwt_audience
    if settings.jwt_issuer:
        claims["iss"] = settings.jwt_issuer
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InsecureKeyLengthWarning)
        return jwt.encode(claims, settings.jwt_secret, algorithm=settings.jwt_algorithm)


def admit(who: Principal | NotAuthenticated | None, roles: Iterable[str]) -> Principal:
    """Let the caller in where one of these roles may. Raises NotAuthenticated, NotPermitted."""
    if isinstance(who, NotAuthenticated):
        raise who
    if who is None:
        raise NotAuthenticated("This address needs an API key or a token.")
    if who.role not in roles:
        raise NotPermitted(f"The role {who.role!r} may not do this.")
    return who


def token_end(expires_at: int | None) -> datetime | None:
    """The instant in a token's `exp`."""
    return None if expires_at is None else datetime.fromtimestamp(expires_at, UTC)


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text
