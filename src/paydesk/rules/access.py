"""Access: what grants and their revocations say about a resource at an instant.

A resource is `type:id`, such as `course:python`. The id `*` means every resource of the type,
and a bare word, such as `exports`, stands for `exports:*`. The type `platform` is the whole:
access to it is access to everything. Nothing but the records and the instant decides.

Days that were bought follow the access that is there already: where they lie is computed from the
records, never remembered. So they move up when what they follow is taken away, and lie exactly
where they lay before once that is undone.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk.errors import InvalidRequest
from paydesk.rules import fields

#: Every resource of a type; and the type that holds all others.
ALL, PLATFORM = "*", "platform"
REASONS = (
    "granted", "not_purchased", "expired", "revoked", "not_yet", "past_due", "unpaid",
)  # fmt: skip
#: States of a subscription that say why what it opened has ended.
OWING = ("past_due", "unpaid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Access from `starts_at` until before `expires_at` (None: for ever).

    With `follows` only the time between the two counts: it begins when it was given, or when
    earlier access to the very same resource leaves room for it.
    """

    id: UUID
    type: str
    resource: str
    source: str
    source_id: UUID | None
    starts_at: datetime
    expires_at: datetime | None
    given_at: datetime
    follows: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """A grant is void from `revoked_at` until before `reinstated_at` (None: still)."""

    grant_id: UUID
    revoked_at: datetime
    reinstated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """A grant with the times at which it really lies, and since when it is void."""

    grant: Grant
    void_since: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether there is access, why, by which grant, and until when as things stand."""

    reason: str
    grant: Grant | None = None
    expires_at: datetime | None = None

    @property
    def allowed(self) -> bool:
        return self.reason == "granted"


def parse(resource: Any, param: str = "resource") -> tuple[str, str]:
    """(type, id) of `course:python`; a bare word is the whole type. Raises InvalidRequest."""
    text = fields.text(resource, param, most=320)
    kind, colon, name = text.partition(":")
    return check_pair(kind, name if colon else ALL, param)


def check_pair(kind: Any, name: Any, param: str = "resource") -> tuple[str, str]:
    """A type and an id that can be stored: printable, no spaces, no colon in the type."""
    kind, name = fields.text(kind, param, most=64), fields.text(name, param, most=255)
    for part in (kind, name):
        if not part.isprintable() or any(c.isspace() for c in part):
            raise InvalidRequest(f"{param} is written type:id, without spaces.", param=param)
    if ":" in kind:
        raise InvalidRequest(f"A type of {param} has no colon.", param=param)
    return (PLATFORM, ALL) if kind == PLATFORM else (kind, name)


def show(kind: str, name: str) -> str:
    """`course:python`; a whole type is its bare word, but `course:*` where that is clearer."""
    return kind if kind == PLATFORM else f"{kind}:{name}"


def covers(grant: Grant, kind: str, name: str) -> bool:
    """Whether a grant speaks of this resource."""
    if grant.type == PLATFORM:
        return True
    return grant.type == kind and grant.resource in (name, ALL)


def place(
    grants: Iterable[Grant], revocations: Iterable[Revocation], at: datetime
) -> list[Placed]:
    """Where every grant lies, as things stand at an instant; in the order they were given.

    Only earlier grants of the same resource, those that have an end, are followed. One that is
    void has taken the time until then, and no more.
    """
    by_grant: dict[UUID, list[Revocation]] = {}
    for one in revocations:
        by_grant.setdefault(one.grant_id, []).append(one)
    taken: dict[tuple[str, str], list[tuple[datetime, datetime]]] = {}
    found = []
    for grant in sorted(grants, key=lambda g: (g.given_at, g.id)):
        spans = taken.setdefault((grant.type, grant.resource), [])
        if grant.follows and grant.expires_at is not None:
            start = _room(spans, grant.given_at)
            grant = replace(
                grant, starts_at=start, expires_at=start + (grant.expires_at - grant.starts_at)
            )
        void = _void_since(by_grant.get(grant.id, ()), at)
        if grant.expires_at is not None:
            until = grant.expires_at if void is None else min(void, grant.expires_at)
            if until > grant.starts_at:
                insort(spans, (grant.starts_at, until))
        found.append(Placed(grant, void))
    return found


def _room(spans: Sequence[tuple[datetime, datetime]], start: datetime) -> datetime:
    """The first instant from `start` on that none of the spans, in order, covers."""
    for begins, ends in spans:
        if begins <= start < ends:
            start = ends
    return start


def decide(
    grants: Iterable[Grant], revocations: Iterable[Revocation], kind: str, name: str, at: datetime
) -> Verdict:
    """Access to a resource at an instant.

    Of several grants that hold, the one that lasts longest is named. Without any: `not_yet`
    where one is still to begin, else why the last one ended, else `not_purchased`.
    """
    mine = place([g for g in grants if covers(g, kind, name)], revocations, at)
    good = [one.grant for one in mine if one.void_since is None]
    holding = [g for g in good if _holds(g, at)]
    if holding:
        best = max(holding, key=lambda g: (g.expires_at is None, _end(g, at), g.id))
        return Verdict(reason="granted", grant=best, expires_at=_until(best, good))
    coming = [g for g in good if g.starts_at > at]
    if coming:
        first = min(coming, key=lambda g: (g.starts_at, g.id))
        return Verdict(reason="not_yet", grant=first, expires_at=first.expires_at)
    ended = [(_ended(one, at), one.grant) for one in mine]
    if not ended:
        return Verdict(reason="not_purchased")
    (when, reason), last = max(ended, key=lambda pair: (*pair[0], pair[1].id))
    return Verdict(reason=reason, grant=last, expires_at=when)


def asks_subscription(found: Verdict) -> UUID | None:
    """The subscription whose state says why there is no access: the one that gave what ended."""
    grant = found.grant
    if grant is None or grant.source != "subscription":
        return None
    return grant.source_id if found.reason in ("expired", "revoked") else None


def owing(found: Verdict, state: str | None) -> Verdict:
    """The verdict with the state of the subscription that gave it, where money is owed for it."""
    return replace(found, reason=state) if state in OWING else found


def _holds(grant: Grant, at: datetime) -> bool:
    return grant.starts_at <= at and (grant.expires_at is None or at < grant.expires_at)


def _void_since(revoked: Iterable[Revocation], at: datetime) -> datetime | None:
    """Since when the grant is void at this instant; None where it is not."""
    open_ = [
        one.revoked_at
        for one in revoked
        if one.revoked_at <= at and (one.reinstated_at is None or at < one.reinstated_at)
    ]
    return min(open_, default=None)


def _end(grant: Grant, at: datetime) -> datetime:
    return grant.expires_at if grant.expires_at is not None else at


def _ended(one: Placed, at: datetime) -> tuple[datetime, str]:
    """(when, why) a grant stopped to hold: what came first."""
    until, void = one.grant.expires_at, one.void_since
    if until is not None and until <= at and (void is None or until <= void):
        return until, "expired"
    assert void is not None, "a grant that ended did so by time or by a revocation"
    return void, "revoked"


def _until(grant: Grant, good: Sequence[Grant]) -> datetime | None:
    """The end of access without a gap: grants that begin before this one ends prolong it."""
    until = grant.expires_at
    while until is not None:
        moment = until
        ends = [g.expires_at for g in good if _holds(g, moment)]
        if not ends:
            break
        until = None if None in ends else max(e for e in ends if e is not None)
    return until
