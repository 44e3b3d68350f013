"""Staff: people with a role, a password (argon2id) and sessions that end when either changes."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.errors import Conflict, InvalidRequest, NotAuthenticated, NotFound, RateLimited
from paydesk.flows import api_keys, trail
from paydesk.rules import fields

if TYPE_CHECKING:
    from argon2 import PasswordHasher

    from paydesk.env import Env

ROLES = ("admin", "finance", "support")
#: A session ends after so long, and after so long without a request.
SESSION, IDLE = timedelta(hours=12), timedelta(hours=2)
#: How often a session's last use is written down.
SEEN_EVERY = timedelta(minutes=1)
LEAST_PASSWORD, MOST_PASSWORD = 12, 256
#: From so many wrong passwords on, each one locks for twice as long, up to an hour.
FREE_FAILURES = 5
MOST_LOCK = timedelta(hours=1)
#: So long after the last wrong password of an address all of them are forgotten.
KEEP_GUESSES = timedelta(days=1)
SESSION_PREFIX = "ses_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Staff:
    """A person of the staff. Without `has_password` nobody can sign in as them yet."""

    id: UUID
    email: str
    name: str
    role: str
    has_password: bool
    disabled_at: datetime | None
    last_seen_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """An open session: whose, and until when."""

    staff: Staff
    expires_at: datetime


@lru_cache(maxsize=1)
def _hasher() -> PasswordHasher:
    """Argon2id with the library's parameters (RFC 9106, low memory)."""
    from argon2 import PasswordHasher

    return PasswordHasher()


@lru_cache(maxsize=1)
def _nobodys() -> str:
    """What a password is compared with where nobody has that address: as much work."""
    return _hasher().hash(secrets.token_urlsafe(16))


def _matches(kept: str, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _hasher().verify(kept, password)
    except (VerificationError, InvalidHashError):
        return False


def _checked(password: str, email: str) -> str:
    if not LEAST_PASSWORD <= len(password) <= MOST_PASSWORD:
        raise InvalidRequest(
            f"A password has {LEAST_PASSWORD} to {MOST_PASSWORD} characters.", param="password"
        )
    name = email.partition("@")[0]
    if len(set(password)) < 5 or (len(name) > 3 and name in password.lower()):
        raise InvalidRequest("This password is too easy to guess.", param="password")
    try:
        password.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("This password cannot be stored.", param="password") from None
    return password


def _email(value: str) -> str:
    found = fields.email(value.strip().lower())
    if not found:
        raise InvalidRequest("An e-mail address is needed.", param="email")
    return found


def add(env: Env, email: str, name: str, role: str, password: str | None = None) -> Staff:
    """A new person. Raises Conflict where the address is taken, InvalidRequest."""
    address = _email(email)
    if role not in ROLES:
        raise InvalidRequest(f"A role is one of {', '.join(ROLES)}.", param="role")
    kept = None if password is None else _hasher().hash(_checked(password, address))
    with env.db.transaction() as tx:
        row = tx.one(
            "insert into staff (id, email, name, role, password_hash, created_at) values"
            " (%(id)s, %(email)s, %(name)s, %(role)s, %(hash)s, %(now)s)"
            " on conflict (email) do nothing returning id",
            {
                "id": ids.new_catalog(), "email": address,
                "name": fields.text(name, "name", most=255), "role": role, "hash": kept,
                "now": env.now(),
            },
        )  # fmt: skip
        if row is None:
            raise Conflict("Somebody with this address exists.", param="email")
        _record(env, tx, "staff.added", row["id"], {"email": address, "role": role})
        return _read(tx, row["id"])


def change(
    env: Env, staff_id: UUID, *, name: str | None = None, role: str | None = None,
    disabled: bool | None = None,
) -> Staff:  # fmt: skip
    """Change a person. Who is disabled has no session and no key any more; a role counts from
    now on.

    Raises Conflict where the last administrator who can act would be gone.
    """
    if role is not None and role not in ROLES:
        raise InvalidRequest(f"A role is one of {', '.join(ROLES)}.", param="role")
    with env.db.transaction() as tx:
        tx.all("select id from staff where role = 'admin' order by id for no key update")
        before = _read(tx, staff_id)
        ends = (role not in (None, "admin") or disabled) and before.role == "admin"
        if ends and before.disabled_at is None and not _other_admins(tx, staff_id):
            raise Conflict("Somebody must remain who administers this desk.")
        tx.run(
            "update staff set name = coalesce(%(name)s, name), role = coalesce(%(role)s, role),"
            " disabled_at = case when %(disabled)s then coalesce(disabled_at, %(now)s)"
            "  when not %(disabled)s then null else disabled_at end where id = %(id)s",
            {
                "id": staff_id, "role": role, "disabled": disabled, "now": env.now(),
                "name": None if name is None else fields.text(name, "name", most=255),
            },
        )  # fmt: skip
        if disabled:
            _end_sessions(env, tx, staff_id)
            api_keys.revoke_of(tx, env.now(), before.email)
        given = {"name": name, "role": role, "disabled": disabled}
        _record(env, tx, "staff.changed", staff_id,
                {k: v for k, v in given.items() if v is not None})  # fmt: skip
        return _read(tx, staff_id)


def set_password(env: Env, staff_id: UUID, password: str) -> Staff:
    """A new password; every open session of this person ends."""
    with env.db.read() as tx:
        kept = _hasher().hash(_checked(password, _read(tx, staff_id).email))
    with env.db.transaction() as tx:
        tx.run("update staff set password_hash = %(hash)s where id = %(id)s",
               {"hash": kept, "id": staff_id})  # fmt: skip
        _end_sessions(env, tx, staff_id)
        _record(env, tx, "staff.password_set", staff_id, {})
        found = _read(tx, staff_id)
        _forget_guesses(tx, found.email)
        return found


def sign_in(
    env: Env, email: str, password: str, *, address: str | None = None, agent: str | None = None
) -> tuple[Session, str]:
    """(session, its token, which is kept nowhere). Raises NotAuthenticated, RateLimited.

    The same answers and the same work whether the person exists or not. A guess is counted before
    it is looked at, so many at once are no more guesses than one after another.
    """
    now = env.now()
    wanted = email.strip().lower()[:320] if email.isprintable() else ""
    with env.db.transaction() as tx:
        failures = _counted(tx, wanted, now)
        row = tx.one(
            "select id, password_hash, disabled_at from staff where email = %(email)s",
            {"email": wanted},
        )
    kept = row["password_hash"] if row and row["password_hash"] else _nobodys()
    is_right = _matches(kept, password[:MOST_PASSWORD])
    if row is None or not row["password_hash"] or not is_right or row["disabled_at"]:
        if row is not None and failures >= FREE_FAILURES:
            with env.db.transaction() as tx:
                _record(env, tx, "staff.locked", row["id"], {"failures": failures},
                        actor="sign-in")  # fmt: skip
        raise NotAuthenticated("The address or the password is wrong.")
    token = SESSION_PREFIX + secrets.token_urlsafe(32)
    with env.db.transaction() as tx:
        tx.run(
            "insert into staff_sessions (token_hash, staff_id, address, agent, created_at, seen_at,"
            " expires_at) values (%(hash)s, %(id)s, %(address)s, %(agent)s, %(now)s, %(now)s,"
            " %(until)s)",
            {
                "hash": _digest(token), "id": row["id"], "address": address, "now": now,
                "agent": (agent or "")[:255] or None, "until": now + SESSION,
            },
        )  # fmt: skip
        tx.run("update staff set last_seen_at = %(now)s where id = %(id)s",
               {"id": row["id"], "now": now})  # fmt: skip
        _forget_guesses(tx, wanted)
        _record(env, tx, "staff.signed_in", row["id"], {"address": address}, actor=wanted)
        return Session(staff=_read(tx, row["id"]), expires_at=now + SESSION), token


def _counted(tx: Tx, email: str, now: datetime) -> int:
    """How many guesses there were at this address with the present one, which a right password
    takes back. The same statements whether anybody has the address. Raises RateLimited."""
    key = {"address": _digest(email), "now": now}
    # Whoever guesses clears up, so that the table holds the guesses of a day and no more.
    tx.run(
        "delete from sign_in_guesses where address_hash in (select address_hash"
        " from sign_in_guesses where last_at < %(before)s order by last_at limit 2"
        " for update skip locked)",
        {"before": now - KEEP_GUESSES},
    )
    found = tx.one(
        "insert into sign_in_guesses as g (address_hash, failures, last_at)"
        " values (%(address)s, 1, %(now)s) on conflict (address_hash) do update"
        " set failures = g.failures + case when g.locked_until > %(now)s then 0 else 1 end"
        " returning failures, locked_until",
        key,
    )
    assert found is not None
    until = found["locked_until"]
    if until is not None and until > now:
        raise RateLimited("Too many wrong passwords; wait.",
                          retry_after_s=int((until - now).total_seconds()) + 1)  # fmt: skip
    failures: int = found["failures"]
    tx.run(
        "update sign_in_guesses set locked_until = %(until)s, last_at = %(now)s"
        " where address_hash = %(address)s",
        {**key, "until": _locked_until(failures, now)},
    )
    return failures


def _forget_guesses(tx: Tx, email: str) -> None:
    tx.run("delete from sign_in_guesses where address_hash = %(address)s",
           {"address": _digest(email)})  # fmt: skip


def _locked_until(failures: int, now: datetime) -> datetime | None:
    if failures < FREE_FAILURES:
        return None
    return now + min(MOST_LOCK, timedelta(minutes=2 ** min(failures - FREE_FAILURES, 10)))


def session_of(env: Env, token: str) -> Session:
    """The session of a token; its use is noted. Raises NotAuthenticated where it has ended."""
    now = env.now()
    with env.db.read() as tx:
        row = tx.one(
            "select s.staff_id, s.expires_at, s.seen_at, s.revoked_at, u.disabled_at"
            " from staff_sessions s join staff u on u.id = s.staff_id"
            " where s.token_hash = %(hash)s",
            {"hash": _digest(token)},
        )
        ended = (
            row is None or row["revoked_at"] or row["disabled_at"]
            or row["expires_at"] <= now or row["seen_at"] + IDLE <= now
        )  # fmt: skip
        if ended:
            raise NotAuthenticated("This session has ended: sign in again.")
        assert row is not None
        found = Session(staff=_read(tx, row["staff_id"]), expires_at=row["expires_at"])
        if now - row["seen_at"] >= SEEN_EVERY:
            tx.run("update staff_sessions set seen_at = %(now)s where token_hash = %(hash)s",
                   {"now": now, "hash": _digest(token)})  # fmt: skip
    return found


def sign_out(env: Env, token: str) -> None:
    """End a session; ending it again changes nothing."""
    with env.db.transaction() as tx:
        tx.run(
            "update staff_sessions set revoked_at = coalesce(revoked_at, %(now)s)"
            " where token_hash = %(hash)s",
            {"now": env.now(), "hash": _digest(token)},
        )


def get(env: Env, ref: str) -> Staff:
    """A person by id or address. Raises NotFound."""
    with env.db.read() as tx:
        if "@" not in ref:
            return _read(tx, ids.parse("staff", ref))
        found = tx.value("select id from staff where email = %(email)s",
                         {"email": ref.strip().lower()})  # fmt: skip
        if found is None:
            raise NotFound(f"Nobody of the staff has the address {ref[:64]!r}.")
        return _read(tx, found)


def list_(env: Env, *, limit: int = 100, after: UUID | None = None) -> list[Staff]:
    """Everybody, newest first."""
    with env.db.read() as tx:
        rows = tx.all(
            "select id, email, name, role, disabled_at, last_seen_at, created_at,"
            " password_hash is not null as has_password from staff"
            " where %(after)s::uuid is null or id < %(after)s order by id desc limit %(limit)s",
            {"after": after, "limit": limit},
        )
    return [Staff(**row) for row in rows]


def forget_old(env: Env, limit: int = 1000) -> int:
    """Remove sessions and refresh tokens that ended a week ago, and yesterday's wrong passwords."""
    with env.db.transaction() as tx:
        gone = tx.run(
            "delete from sign_in_guesses where address_hash in (select address_hash"
            " from sign_in_guesses where last_at < %(before)s limit %(limit)s)",
            {"before": env.now() - KEEP_GUESSES, "limit": limit},
        )
    with env.db.transaction() as tx:
        values = {"before": env.now() - timedelta(days=7), "limit": limit}
        gone += tx.run(
            "delete from staff_sessions where token_hash in (select token_hash from staff_sessions"
            " where expires_at < %(before)s limit %(limit)s)", values,
        )  # fmt: skip
        return gone + tx.run(
            "delete from refresh_tokens where token_hash in (select token_hash from refresh_tokens"
            " where expires_at < %(before)s limit %(limit)s)", values,
        )  # fmt: skip


def _read(tx: Tx, staff_id: UUID) -> Staff:
    row = tx.one(
        "select id, email, name, role, disabled_at, last_seen_at, created_at,"
        " password_hash is not null as has_password from staff"
        " where id = %(id)s",
        {"id": staff_id},
    )
    if row is None:
        raise NotFound(f"No such member of the staff: {ids.show('staff', staff_id)}.")
    return Staff(**row)


def _other_admins(tx: Tx, staff_id: UUID) -> bool:
    return bool(
        tx.value(
            "select exists (select from staff where role = 'admin' and disabled_at is null"
            " and id <> %(id)s)",
            {"id": staff_id},
        )
    )


def _end_sessions(env: Env, tx: Tx, staff_id: UUID) -> None:
    tx.run(
        "update staff_sessions set revoked_at = %(now)s"
        " where staff_id = %(id)s and revoked_at is null",
        {"now": env.now(), "id": staff_id},
    )


def _record(
    env: Env, tx: Tx, action: str, staff_id: UUID, data: dict[str, Any], actor: str | None = None
) -> None:
    trail.record(tx, env.now(), action, ids.show("staff", staff_id), data, actor=actor)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
