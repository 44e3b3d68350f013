"""Keys of servers (hashed at rest, with a role) and the list of customers' tokens that are void."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from paydesk import causes, ids
from paydesk.db.postgres import Tx
from paydesk.errors import Conflict, InvalidRequest, NotFound
from paydesk.flows import trail
from paydesk.rules.persons import persons_of

if TYPE_CHECKING:
    from paydesk.env import Env

ROLES = ("service", "admin", "finance", "support")
#: How often a key's last use is written down.
USED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret: `hint` is its first and last letters. `owner` is the address of
    the person whose it is, `seen_by` who made or rolled it."""

    id: UUID
    name: str
    hint: str
    role: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    owner: str | None = None
    seen_by: list[str] | None = None
    last_used_at: datetime | None = None

    @property
    def persons(self) -> tuple[str, ...]:
        """Who acts by it: its owner, else who made it; then all who have seen its secret."""
        seen = self.seen_by or ()
        own = f"key:{self.id}"
        # Its own name keeps the owner and a user who made it from being one person's two names.
        return tuple(dict.fromkeys((self.owner, own, *seen) if self.owner else seen)) or (own,)


def digest(secret: str) -> bytes:
    """What is kept of a key: 32 random bytes need no slow hash."""
    return hashlib.sha256(secret.encode()).digest()


def create(
    env: Env, name: str, role: str, expires_at: datetime | None = None, *,
    owner: str | None = None, by: Sequence[str] | None = None,
) -> tuple[ApiKey, str]:  # fmt: skip
    """A new key and its secret, which is shown this once and kept nowhere.

    `owner`: the address of the staff member whose key it is; without one it is a server's, and
    counts as the person who made it. `by`: who makes it, where the work at hand does not say.
    Raises InvalidRequest for an owner who does not exist.
    """
    if role not in ROLES:
        raise InvalidRequest(f"A role is one of {', '.join(ROLES)}.", param="role")
    address = owner.strip().lower() if owner else None
    secret = f"sk_{'live' if env.settings.live else 'test'}_{secrets.token_urlsafe(32)}"
    with env.db.transaction() as tx:
        _check_owner(tx, address)
        row = tx.one(
            "insert into api_keys (id, name, hint, key_hash, role, created_at, expires_at, owner,"
            " seen_by) values (%(id)s, %(name)s, %(hint)s, %(key_hash)s, %(role)s, %(now)s,"
            " %(expires_at)s, %(owner)s, %(seen_by)s) returning id, name, hint, role, created_at,"
            " expires_at, revoked_at, owner, seen_by",
            {
                "id": ids.new_catalog(), "name": name, "hint": f"{secret[:8]}…{secret[-4:]}",
                "key_hash": digest(secret), "role": role, "now": env.now(),
                "expires_at": expires_at, "owner": address,
                "seen_by": persons_of(causes.actor(), by),
            },
        )  # fmt: skip
        assert row is not None
        about = ids.show("key", row["id"])
        told = {"name": name, "role": role, **({"owner": address} if address else {})}
        trail.record(tx, env.now(), "key.created", about, told)
    return ApiKey(**row), secret


def _check_owner(tx: Tx, address: str | None) -> None:
    # Shared: until the key is there, its owner is not disabled, which would end it.
    is_known = address is None or tx.value(
        "select true from staff where email = %(email)s and disabled_at is null for share",
        {"email": address},
    )
    if not is_known:
        raise InvalidRequest(f"Nobody of the staff has the address {address!r}.", param="owner")


def list_(env: Env, limit: int = 100, after: UUID | None = None) -> list[ApiKey]:
    """Keys, newest first, revoked ones too."""
    with env.db.read() as tx:
        rows = tx.all(
            "select id, name, hint, role, created_at, expires_at, revoked_at, owner, seen_by,"
            " last_used_at from api_keys"
            " where %(after)s::uuid is null or id < %(after)s order by id desc limit %(limit)s",
            {"after": after, "limit": limit},
        )
    return [ApiKey(**row) for row in rows]


def roll(
    env: Env, key_id: UUID, overlap_hours: int = 24, *, by: Sequence[str] | None = None
) -> tuple[ApiKey, str]:
    """A new key of the same name, role, owner and end, and its secret, which whoever rolls it
    (`by`) has seen; the old one ends after the overlap.

    Raises NotFound, Conflict where the key has ended already.
    """
    if not 0 <= overlap_hours <= 24 * 30:
        raise InvalidRequest("overlap_hours is 0 to 720.", param="overlap_hours")
    now = env.now()
    secret = f"sk_{'live' if env.settings.live else 'test'}_{secrets.token_urlsafe(32)}"
    with env.db.transaction() as tx:
        tx.all(  # Whoever disables the owner takes this lock first, too.
            "select from staff where email = (select owner from api_keys where id = %(id)s)"
            " for share",
            {"id": key_id},
        )
        end = tx.one(  # That of a key which was rolled before is only its overlap's.
            "select coalesce((select true from api_keys where rolled_from = k.id limit 1), false)"
            " as rolled, (select expires_at from api_keys where rolled_from = k.id"
            " order by created_at limit 1) as next, expires_at as own from api_keys k"
            " where id = %(id)s for no key update",
            {"id": key_id},
        )
        old = tx.one(
            "update api_keys set expires_at = least(coalesce(expires_at, %(until)s), %(until)s)"
            " where id = %(id)s and revoked_at is null"
            " and (expires_at is null or expires_at > %(now)s)"
            " returning name, role, owner, seen_by",
            {"id": key_id, "now": now, "until": now + timedelta(hours=overlap_hours)},
        )
        if old is None:
            known = tx.one("select id from api_keys where id = %(id)s", {"id": key_id})
            if known is None:
                raise NotFound(f"No such key: {ids.show('key', key_id)!r}.")
            raise Conflict("This key has ended; make a new one.")
        row = tx.one(
            "insert into api_keys (id, name, hint, key_hash, role, created_at, rolled_from,"
            " expires_at, owner, seen_by) values (%(id)s, %(name)s, %(hint)s, %(key_hash)s,"
            " %(role)s, %(now)s, %(old)s, %(end)s, %(owner)s, %(seen_by)s)"
            " returning id, name, hint, role, created_at, expires_at, revoked_at, owner, seen_by",
            {
                "id": ids.new_catalog(), "name": old["name"], "role": old["role"], "now": now,
                "hint": f"{secret[:8]}…{secret[-4:]}", "key_hash": digest(secret), "old": key_id,
                "end": (end["next"] if end["rolled"] else end["own"]) if end else None,
                "owner": old["owner"], "seen_by": list(dict.fromkeys(
                    [*(old["seen_by"] or ()), *persons_of(causes.actor(), by)])),
            },
        )  # fmt: skip
        assert row is not None
        about = {"new": ids.show("key", row["id"]), "overlap_hours": overlap_hours}
        trail.record(tx, now, "key.rolled", ids.show("key", key_id), about)
    return ApiKey(**row), secret


def revoke(env: Env, key_id: UUID) -> ApiKey:
    """End a key; ending it again changes nothing. Raises NotFound."""
    with env.db.transaction() as tx:
        row = tx.one(
            "update api_keys set revoked_at = coalesce(revoked_at, %(now)s) where id = %(id)s"
            " returning id, name, hint, role, created_at, expires_at, revoked_at, owner, seen_by,"
            " last_used_at",
            {"id": key_id, "now": env.now()},
        )
        if row is not None:
            trail.record(tx, env.now(), "key.revoked", ids.show("key", key_id))
    if row is None:
        raise NotFound(f"No such key: {ids.show('key', key_id)!r}.")
    return ApiKey(**row)


def revoke_of(tx: Tx, now: datetime, owner: str) -> None:
    """End all keys of a person of the staff, whose row is locked."""
    rows = tx.all(
        "update api_keys set revoked_at = %(now)s where owner = %(owner)s and revoked_at is null"
        " returning id",
        {"owner": owner, "now": now},
    )
    for row in rows:
        trail.record(tx, now, "key.revoked", ids.show("key", row["id"]), {"owner": owner})


def usable(env: Env) -> dict[bytes, ApiKey]:
    """Every key that is not revoked, by the digest of its secret."""
    with env.db.read() as tx:
        rows = tx.all(
            "select id, name, hint, role, created_at, expires_at, revoked_at, owner, seen_by,"
            " key_hash from api_keys where revoked_at is null limit 100000"
        )
    return {bytes(row.pop("key_hash")): _key(row) for row in rows}


def note_use(env: Env, keys: Collection[UUID]) -> None:
    """These keys were used just now; written once in USED_EVERY."""
    now = env.now()
    with env.db.transaction() as tx:
        tx.run(
            "update api_keys set last_used_at = %(now)s where id = any(%(keys)s)"
            " and (last_used_at is null or last_used_at <= %(before)s)",
            {"now": now, "before": now - USED_EVERY, "keys": sorted(keys)},
        )


def find(env: Env, key_hash: bytes) -> ApiKey | None:
    """The key of a digest, where it is not revoked."""
    with env.db.read() as tx:
        row = tx.one(
            "select id, name, hint, role, created_at, expires_at, revoked_at, owner, seen_by"
            " from api_keys"
            " where key_hash = %(hash)s and revoked_at is null",
            {"hash": key_hash},
        )
    return _key(row) if row else None


def _key(row: dict[str, Any]) -> ApiKey:
    return ApiKey(**row)


def revoke_token(env: Env, jti: str, expires_at: datetime | None = None) -> None:
    """No token with this `jti` is accepted any more. It is forgotten a day after `expires_at`."""
    until = (expires_at or env.now() + timedelta(days=365)) + timedelta(days=1)
    with env.db.transaction() as tx:
        tx.run(
            "insert into revoked_tokens (jti, expires_at) values (%(jti)s, %(until)s)"
            " on conflict (jti) do update set expires_at ="
            " greatest(revoked_tokens.expires_at, excluded.expires_at)",
            {"jti": jti, "until": until},
        )
        trail.record(tx, env.now(), "token.revoked", jti[:255])


def revoked_tokens(env: Env) -> frozenset[str]:
    with env.db.read() as tx:
        rows = tx.all("select jti from revoked_tokens limit 1000000")
    return frozenset(row["jti"] for row in rows)
