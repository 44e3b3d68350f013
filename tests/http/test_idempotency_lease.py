"""A lease that ran out and was taken over belongs to whoever took it."""

from __future__ import annotations

import uuid

import pytest
from starlette.responses import Response

from paydesk.errors import IdempotencyInProgress
from paydesk.http import idempotency
from paydesk.http.idempotency import LEASE, Attempt, once


def test_a_late_failure_leaves_anothers_lease_alone(env, clock):  # I27
    attempt, owner = Attempt(uuid.uuid4(), b"x" * 32), uuid.uuid4()

    def slow() -> Response:
        """While it is under way its lease runs out, and a second request takes over."""
        clock.advance(seconds=21)
        assert idempotency._claim(env, owner, attempt, env.now() + LEASE) is None
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        once(env, attempt, owner, slow)
    with pytest.raises(IdempotencyInProgress):
        once(env, attempt, owner, lambda: Response(b"{}", 201))


def test_a_late_answer_is_not_kept_over_anothers(env, clock):  # I27
    attempt, owner = Attempt(uuid.uuid4(), b"x" * 32), uuid.uuid4()

    def slow() -> Response:
        clock.advance(seconds=21)
        once(env, attempt, owner, lambda: Response(b'{"by": "second"}', 201))
        return Response(b'{"by": "first"}', 201)

    once(env, attempt, owner, slow)
    assert once(env, attempt, owner, slow).body == b'{"by": "second"}'
