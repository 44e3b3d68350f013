"""Idempotency-Key: the same request twice has one effect and one answer.

The key lives on what it made (`request_key` on payments and transfers), for ever; `answers` keeps
the whole answer for 24 hours, byte for byte. A request under way holds a lease there: whoever
comes meanwhile gets 409. A refusal changed nothing and is forgotten, so it can be tried anew.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import (
    IdempotencyInProgress,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    InvalidIdempotencyKey,
)
from paydesk.http import bodies
from paydesk.http.auth import Principal

if TYPE_CHECKING:
    from paydesk.env import Env

#: How long an answer is kept.
KEEP = timedelta(hours=24)
#: How long a request may be under way before another may resume it; above the provider's limit.
LEASE = timedelta(seconds=20)
MAX_KEY_LENGTH = 255

#: A structured-field string (RFC 8941): printable ASCII, with \" and \\ escaped.
_QUOTED = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_BARE = re.compile(r"[!#-+\--~]+")
_KEPT_HEADERS = ("location",)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sending: `key` is composed with the caller, `digest` is of the whole request."""

    key: UUID
    digest: bytes

    @property
    def hash(self) -> int:
        """63 bits of the digest, as the ledger keeps it."""
        return int.from_bytes(self.digest[:8], "big") >> 1


def attempt_of(request: Request, who: Principal, *, moves_money: bool = True) -> Attempt | None:
    """The request's key and digest, or None without a key.

    Raises IdempotencyKeyMissing where the settings demand one, InvalidIdempotencyKey.
    """
    key = key_of(request)
    if key is None:
        if moves_money and request.app.state.env.settings.require_idempotency:
            raise IdempotencyKeyMissing("Send an Idempotency-Key header with this request.")
        return None
    body = getattr(request, "_json", None)
    return Attempt(
        ids.request_key(who.caller, key), digest_of(request.method, request.url.path, body)
    )


def key_of(request: Request) -> str | None:
    """The words of the Idempotency-Key header, quoted or bare."""
    given = request.headers.getlist("idempotency-key")
    return parse_key(given[0] if len(given) == 1 else "") if given else None


def parse_key(text: str) -> str:
    """`"order-1042"` as the standard has it, and bare as many clients send it. The same key."""
    text = text.strip(" ")
    if quoted := _QUOTED.fullmatch(text):
        text = re.sub(r'\\(["\\])', r"\1", quoted[1])
    elif not _BARE.fullmatch(text):
        raise InvalidIdempotencyKey('Send one key in quotes, such as "order-1042".')
    if not 1 <= len(text) <= MAX_KEY_LENGTH:
        raise InvalidIdempotencyKey(f"A key has 1 to {MAX_KEY_LENGTH} characters.")
    return text


def digest_of(method: str, path: str, body: Any) -> bytes:
    """SHA-256 of the request as received, before any default is filled in."""
    head = f"{method} {path}\n".encode()
    return hashlib.sha256(head + bodies.canonical(body)).digest()


def once(
    env: Env, attempt: Attempt | None, customer_id: UUID | None, work: Callable[[], Response]
) -> Response:
    """Run `work` for this attempt, or replay the answer that it had.

    `work` hands the attempt's key to the flow, which resumes what an earlier attempt began.
    Raises IdempotencyKeyReused, IdempotencyInProgress, and what `work` raises.
    """
    if attempt is None:
        return work()
    owner = customer_id or attempt.key
    until = env.now() + LEASE
    kept = _claim(env, owner, attempt, until)
    if kept is not None:
        return kept
    try:
        response = work()
    except Exception:
        _release(env, owner, attempt, until)
        raise
    _keep(env, owner, attempt, response, until)
    return response


def _claim(env: Env, owner: UUID, attempt: Attempt, until: datetime) -> Response | None:
    """Take the lease, whose end tells it from any other, or give the answer kept."""
    values = {
        "owner": owner, "key": attempt.key, "digest": attempt.digest, "now": until - LEASE,
        "until": until,
    }  # fmt: skip
    with env.db.read() as tx:
        claimed = tx.one(
            "insert into answers (customer_id, request_key, request_hash, status, body, expires_at)"
            " values (%(owner)s, %(key)s, %(digest)s, 0, '', %(until)s)"
            " on conflict (customer_id, request_key) do update set status = 0, body = '',"
            " headers = null, request_hash = excluded.request_hash,"
            " expires_at = excluded.expires_at where answers.expires_at <= %(now)s"
            " and (answers.status > 0 or answers.request_hash = excluded.request_hash)"
            " returning request_key",
            values,
        )
        if claimed is not None:
            return None
        row = tx.one(
            "select request_hash, status, body, headers from answers"
            " where customer_id = %(owner)s and request_key = %(key)s",
            values,
        )
    if row is None or (row["status"] == 0 and bytes(row["request_hash"]) == attempt.digest):
        raise IdempotencyInProgress("This request is still under way.", retry_after_s=1)
    if bytes(row["request_hash"]) != attempt.digest:
        raise IdempotencyKeyReused("This Idempotency-Key came with another request before.")
    headers = {**(row["headers"] or {}), "Idempotent-Replayed": "true"}
    return Response(row["body"].encode(), row["status"], headers, media_type="application/json")


def _release(env: Env, owner: UUID, attempt: Attempt, until: datetime) -> None:
    """Give our lease back; one that ran out and was taken over is the other's."""
    with env.db.read() as tx:
        tx.run(
            "delete from answers where customer_id = %(owner)s and request_key = %(key)s"
            " and status = 0 and expires_at = %(until)s",
            {"owner": owner, "key": attempt.key, "until": until},
        )


def _keep(
    env: Env, owner: UUID, attempt: Attempt, response: Response, until: datetime
) -> None:
    headers = {k: v for k, v in response.headers.items() if k in _KEPT_HEADERS}
    with env.db.read() as tx:
        tx.run(
            "update answers set status = %(status)s, body = %(body)s, headers = %(headers)s::jsonb,"
            " expires_at = %(forgotten)s where customer_id = %(owner)s and request_key = %(key)s"
            " and status = 0 and expires_at = %(until)s",
            {
                "status": response.status_code, "body": bytes(response.body).decode(),
                "headers": json.dumps(headers), "forgotten": env.now() + KEEP,
                "owner": owner, "key": attempt.key, "until": until,
            },
        )  # fmt: skip
