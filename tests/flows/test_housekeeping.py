"""What may be forgotten is forgotten, and nothing else; keys and void tokens."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from paydesk import ids
from paydesk.errors import InvalidRequest, NotFound
from paydesk.flows import api_keys, housekeeping


def count(env, table: str) -> int:
    with env.db.read() as tx:
        if table == "answers":
            return tx.value("select count(*) from answers")
        return tx.value("select count(*) from rate_windows")


def test_old_answers_windows_and_void_tokens_are_forgotten(env, clock):
    now = env.now()
    with env.db.transaction() as tx:
        for until in (now + timedelta(hours=1), now + timedelta(hours=30)):
            tx.run(
                "insert into answers (customer_id, request_key, request_hash, status, body,"
                " expires_at) values (%(id)s, %(id)s, '', 200, '{}', %(until)s)",
                {"id": uuid4(), "until": until},
            )
        for at in (now, now + timedelta(hours=1, minutes=30)):
            tx.run(
                "insert into rate_windows (bucket, window_at, used) values ('a', %(at)s, 1)",
                {"at": at},
            )
    api_keys.revoke_token(env, "old", now)
    api_keys.revoke_token(env, "young", now + timedelta(days=9))
    assert housekeeping.forget(env) == 0
    clock.advance(hours=2)
    assert housekeeping.forget(env) == 2
    assert (count(env, "answers"), count(env, "rate_windows")) == (1, 1)
    clock.advance(hours=23)
    housekeeping.forget(env)
    assert api_keys.revoked_tokens(env) == {"young"}


def test_a_revocation_is_never_shortened(env):
    api_keys.revoke_token(env, "t", env.now() + timedelta(days=9))
    api_keys.revoke_token(env, "t", env.now())
    with env.db.read() as tx:
        until = tx.value("select expires_at from revoked_tokens")
    assert until > env.now() + timedelta(days=9)


def test_a_key_is_kept_as_its_digest_and_ends_when_revoked(env):
    # I37
    made, secret = api_keys.create(env, "shop", "service")
    assert made.role == "service" and secret[:8] in made.hint and secret not in made.hint
    assert api_keys.usable(env)[api_keys.digest(secret)].id == made.id
    first = api_keys.revoke(env, made.id)
    assert api_keys.revoke(env, made.id).revoked_at == first.revoked_at
    assert api_keys.usable(env) == {}
    assert [one.id for one in api_keys.list_(env)] == [made.id]
    with pytest.raises(NotFound):
        api_keys.revoke(env, ids.new_catalog())
    with pytest.raises(InvalidRequest):
        api_keys.create(env, "x", "customer")
