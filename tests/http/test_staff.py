"""People of the staff: passwords, sessions, roles that act at once; and tokens of our own issue."""

from __future__ import annotations

import contextlib
import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from http_support import OWN_KEY, Client, problem_of

sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))

from load import wait_for

from paydesk import ids
from paydesk.assemble import build_env
from paydesk.errors import (
    Conflict,
    InvalidRequest,
    Misconfigured,
    NotAuthenticated,
    RateLimited,
)
from paydesk.flows import api_keys, staff, tokens, trail
from paydesk.http.app import create_app
from paydesk.http.auth import principal_of, read_token

PASSWORD = "correct horse staple"


@pytest.fixture
def rosa(env: Any) -> staff.Staff:
    return staff.add(env, "Rosa@Example.com", "Rosa Alvarez", "finance", PASSWORD)


def signed_in(http: Client, password: str = PASSWORD, email: str = "rosa@example.com") -> Client:
    made = http.as_nobody().post("/v1/sessions", json={"email": email, "password": password})
    assert made.status_code == 201, made.text
    return http.with_authorization(f"Bearer {made.json()['token']}")


def test_a_password_is_kept_as_argon2id_and_never_shown(real_passwords, http, env, rosa):
    # I37
    with env.db.read() as tx:
        kept = tx.value("select password_hash from staff")
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")  # RFC 9106, low memory
    signed_in(http)
    assert PASSWORD not in http.get("/v1/staff").text
    assert kept not in http.get("/v1/staff").text
    assert PASSWORD not in str(trail.log(env))


def test_a_session_has_the_persons_role_and_ends_with_the_sign_out(http, rosa):
    # S3.13
    mine = signed_in(http)
    assert mine.get("/v1/payments").status_code == 200
    problem_of(mine.get("/v1/keys"), 403, "not_permitted")
    assert mine.delete("/v1/sessions").status_code == 204
    problem_of(mine.get("/v1/payments"), 401, "not_authenticated")


def test_a_change_of_role_acts_at_once(http, rosa):
    # I34
    mine = signed_in(http)
    shown = http.get("/v1/staff").json()["data"][0]
    changed = http.patch(f"/v1/staff/{shown['id']}", json={"role": "admin"})
    assert changed.json()["role"] == "admin"
    assert mine.get("/v1/keys").status_code == 200
    http.post("/v1/staff", json={"email": "b@example.com", "name": "Bo", "role": "admin"})
    http.patch(f"/v1/staff/{shown['id']}", json={"disabled": True})
    problem_of(mine.get("/v1/payments"), 401, "not_authenticated")
    answer = http.as_nobody().post(
        "/v1/sessions", json={"email": "rosa@example.com", "password": PASSWORD}
    )
    problem_of(answer, 401, "not_authenticated")


def test_the_last_administrator_stays(http, rosa):
    shown = http.get("/v1/staff").json()["data"][0]
    http.patch(f"/v1/staff/{shown['id']}", json={"role": "admin"})
    for change in ({"role": "support"}, {"disabled": True}):
        problem_of(http.patch(f"/v1/staff/{shown['id']}", json=change), 409, "conflict")


def test_wrong_passwords_lock_for_ever_longer_and_tell_nothing(http, clock, env, rosa):
    # I34
    nobody = http.as_nobody()

    def attempt(email: str, password: str = "wrong password 1") -> Any:
        return nobody.post("/v1/sessions", json={"email": email, "password": password})

    known, unknown = attempt("rosa@example.com"), attempt("nobody@example.com")
    assert known.status_code == unknown.status_code == 401
    assert known.json()["detail"] == unknown.json()["detail"]
    for _ in range(4):
        with pytest.raises(NotAuthenticated):
            staff.sign_in(env, "rosa@example.com", "wrong password 2")
    locked = attempt("rosa@example.com", PASSWORD)
    assert problem_of(locked, 429, "rate_limited")["retry_after_s"] <= 61
    clock.advance(seconds=62)
    assert staff.sign_in(env, "rosa@example.com", PASSWORD)[0].staff.email == "rosa@example.com"


def answers_of(env, email: str, count: int, workers: int) -> list[str]:
    def guess(n: int) -> str:
        try:
            staff.sign_in(env, email, f"wrong password {n}")
        except (NotAuthenticated, RateLimited) as exc:
            return exc.code
        return "right"

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(guess, range(count)))


def test_wrong_passwords_do_not_tell_who_exists(env, rosa):
    # I34
    known = answers_of(env, "rosa@example.com", 7, 1)
    assert known == ["not_authenticated"] * 5 + ["rate_limited"] * 2
    assert answers_of(env, "nobody@example.com", 7, 1) == known


@pytest.mark.parametrize("email", ["rosa@example.com", "nobody@example.com"])
def test_many_guesses_at_once_are_no_more_than_one_after_another(env, rosa, email):
    # I34
    assert answers_of(env, email, 16, 8).count("not_authenticated") == 5


@pytest.mark.parametrize("email", ["rosa@example.com", "nobody@example.com"])
def test_guesses_are_counted_over_all_processes(env, settings, clock, rosa, email):
    # I34 I39: whether somebody has the address or not.
    other = build_env(settings, start_missing=False, clock=clock)
    try:
        said = [answers_of(one, email, 1, 1)[0] for _ in range(4) for one in (env, other)]
    finally:
        other.close()
    assert said == ["not_authenticated"] * 5 + ["rate_limited"] * 3


def test_wrong_passwords_are_forgotten_after_a_day_and_take_no_room(env, clock, rosa, db):
    # I34 I31
    for number in range(20):
        answers_of(env, f"somebody{number}@example.com", 1, 1)
    clock.advance(days=1, seconds=1)
    answers_of(env, "rosa@example.com", 1, 1)
    with db.read() as tx:  # Each guess clears up two.
        assert tx.value("select count(*) from sign_in_guesses") == 19
    staff.forget_old(env)
    staff.sign_in(env, "rosa@example.com", PASSWORD)
    with db.read() as tx:
        assert tx.value("select count(*) from sign_in_guesses") == 0


def test_a_new_password_opens_a_locked_address(env, rosa):
    # S3.25
    answers_of(env, "rosa@example.com", 6, 1)
    new = "quite another staircase"
    staff.set_password(env, staff.get(env, "rosa@example.com").id, new)
    assert staff.sign_in(env, "rosa@example.com", new)[0].staff.email == "rosa@example.com"


def test_a_family_with_a_role_is_renewed_for_half_a_day(env, clock):
    # I34
    pair = tokens.issue(env, "emp_1", {"role": "admin"})
    clock.advance(hours=11)
    pair = tokens.refresh(env, pair.refresh_token)
    assert jwt.decode(pair.access_token, options={"verify_signature": False})["role"] == "admin"
    clock.advance(hours=1)
    with pytest.raises(NotAuthenticated):
        tokens.refresh(env, pair.refresh_token)


def test_a_customers_family_ends_after_a_year(env, clock):
    # I34
    pair = tokens.issue(env, "user_1")
    for _ in range(14):
        clock.advance(days=26)
        pair = tokens.refresh(env, pair.refresh_token)
    clock.advance(days=2)
    with pytest.raises(NotAuthenticated):
        tokens.refresh(env, pair.refresh_token)


def test_a_refresh_token_is_no_access_token_even_with_one_secret(env):
    # I34
    same = replace(env, settings=replace(env.settings, jwt_refresh_secret=env.settings.jwt_secret))
    pair = tokens.issue(same, "user_1")
    claims = read_token(same.settings, pair.refresh_token)
    with pytest.raises(NotAuthenticated):
        principal_of(claims)


def test_unknown_keys_cost_one_look_each_and_no_load(env, monkeypatch):
    # S3.13 I39
    looked = []
    for name in ("usable", "find"):
        real = getattr(api_keys, name)
        monkeypatch.setattr(
            api_keys, name, lambda *a, name=name, real=real: looked.append(name) or real(*a))
    with Client(create_app(env), "Bearer sk_test_none") as nobody:
        for secret in ("sk_test_a", "sk_test_b", "sk_test_a"):
            assert nobody.as_key(secret).get("/v1/payments").status_code == 401
    assert looked.count("find") == 2 and looked.count("usable") <= 2


def test_a_rolled_key_keeps_its_end(env, clock):
    # S3.13
    end = env.now() + timedelta(days=10)
    old, _ = api_keys.create(env, "Web", "finance", end)
    assert api_keys.roll(env, old.id)[0].expires_at == end
    assert api_keys.roll(env, old.id)[0].expires_at == end
    endless, _ = api_keys.create(env, "Web", "finance")
    assert api_keys.roll(env, endless.id)[0].expires_at is None
    assert api_keys.roll(env, endless.id)[0].expires_at is None


def test_sessions_end_when_idle_when_old_and_with_a_new_password(env, clock, rosa):
    # I34
    _, idle = staff.sign_in(env, rosa.email, PASSWORD)
    clock.advance(hours=2)
    with pytest.raises(NotAuthenticated):
        staff.session_of(env, idle)
    _, used = staff.sign_in(env, rosa.email, PASSWORD)
    for _ in range(11):
        clock.advance(hours=1)
        staff.session_of(env, used)
    clock.advance(hours=1)
    with pytest.raises(NotAuthenticated):
        staff.session_of(env, used)
    _, other = staff.sign_in(env, rosa.email, PASSWORD)
    staff.set_password(env, rosa.id, "another fine password")
    with pytest.raises(NotAuthenticated):
        staff.session_of(env, other)


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaa", "rosa-in-the-dark", "x" * 257])
def test_a_weak_password_is_refused(http, password):
    body = {"email": "rosa@example.com", "name": "R", "role": "admin", "password": password}
    answer = http.post("/v1/staff", json=body)
    assert answer.status_code == 422, answer.text


def test_one_sets_ones_own_password_with_the_present_one(http, env, rosa):
    mine = signed_in(http)
    path = f"/v1/staff/{http.get('/v1/staff').json()['data'][0]['id']}/password"
    wrong = mine.post(path, json={"password": "another fine password", "current": "no no no no"})
    problem_of(wrong, 401, "not_authenticated")
    right = mine.post(path, json={"password": "another fine password", "current": PASSWORD})
    assert right.status_code == 200
    signed_in(http, "another fine password")
    other = staff.add(env, "bo@example.com", "Bo", "support", PASSWORD)
    theirs = signed_in(http, email="bo@example.com")
    answer = theirs.post(path, json={"password": "yet another password"})
    problem_of(answer, 404, "not_found")
    assert other.role == "support"


# Tokens of our own issue --------------------------------------------------------------------------


def test_an_issued_token_opens_the_customers_own_things_and_renews_itself(env):
    # S1.53
    with Client(create_app(env), f"Bearer {OWN_KEY}") as http:
        made = http.post("/v1/tokens", json={"subject": "user_123", "email": "m@example.com"})
        assert made.status_code == 201, made.text
        mine = http.with_authorization(f"Bearer {made.json()['access_token']}")
        assert mine.get("/v1/credits/balance").status_code == 200
        again = http.as_nobody().post(
            "/v1/tokens/refresh", json={"refresh_token": made.json()["refresh_token"]}
        )
        assert again.status_code == 201
        assert again.json()["refresh_token"] != made.json()["refresh_token"]
        bearer = f"Bearer {again.json()['refresh_token']}"
        problem_of(http.with_authorization(bearer).get("/v1/payments"), 401, "not_authenticated")


def test_a_refresh_token_that_comes_again_ends_its_whole_family(env):
    # S1.53 I34
    first = tokens.issue(env, "user_123")
    second = tokens.refresh(env, first.refresh_token)
    with pytest.raises(NotAuthenticated, match="used before"):
        tokens.refresh(env, first.refresh_token)
    with pytest.raises(NotAuthenticated, match="revoked"):
        tokens.refresh(env, second.refresh_token)
    assert tokens.refresh(env, tokens.issue(env, "user_123").refresh_token)
    assert "token.reused" in [e.action for e in trail.log(env)]


def test_of_many_parallel_refreshes_one_wins(env):
    # S1.53 I34
    pair, won = tokens.issue(env, "user_123"), []

    def renew() -> None:
        with contextlib.suppress(NotAuthenticated):
            won.append(tokens.refresh(env, pair.refresh_token))

    threads = [threading.Thread(target=renew) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_signing_out_or_another_secret_ends_a_family(env, clock):
    # S1.53
    pair = tokens.issue(env, "user_123")
    tokens.revoke(env, pair.refresh_token)
    with pytest.raises(NotAuthenticated):
        tokens.refresh(env, pair.refresh_token)
    forged = jwt.encode(
        {"sub": "user_123", "jti": "x", "use": "paydesk refresh", "exp": 4102444800},
        "another-secret-of-somebody-else-012345", algorithm="HS256",
    )  # fmt: skip
    with pytest.raises(NotAuthenticated, match="no refresh token"):
        tokens.refresh(env, forged)
    old = tokens.issue(env, "user_123")
    clock.advance(days=31)
    with pytest.raises(NotAuthenticated):
        tokens.refresh(env, old.refresh_token)


def test_all_tokens_of_a_subject_end_after_a_change_of_role(env):
    # I34
    with Client(create_app(env), f"Bearer {OWN_KEY}") as http:
        kept = tokens.issue(env, "emp_2")
        pairs = [tokens.issue(env, "emp_1", {"role": "finance"}) for _ in range(2)]
        problem_of(http.post("/v1/tokens/revoke", json={}), 422, "invalid_request")
        assert http.post("/v1/tokens/revoke", json={"subject": "emp_1"}).status_code == 204
        for pair in pairs:
            body = {"refresh_token": pair.refresh_token}
            problem_of(http.post("/v1/tokens/refresh", json=body), 401, "not_authenticated")
        body = {"refresh_token": kept.refresh_token}
        assert http.post("/v1/tokens/refresh", json=body).status_code == 201


def test_without_a_refresh_secret_nothing_is_issued(env):
    # S1.53
    without = replace(env, settings=replace(env.settings, jwt_refresh_secret=""))
    with Client(create_app(without), f"Bearer {OWN_KEY}") as http:
        answer = http.post("/v1/tokens", json={"subject": "user_123"})
        problem_of(answer, 422, "not_supported")


def test_a_service_key_issues_no_staff_tokens(env):
    # I34
    with Client(create_app(env), f"Bearer {OWN_KEY}") as http:
        key = http.post("/v1/keys", json={"name": "App", "role": "service"}).json()["secret"]
        answer = http.as_key(key).post("/v1/tokens", json={"subject": "u", "role": "admin"})
        problem_of(answer, 404, "not_found")
        assert http.post("/v1/tokens", json={"subject": "u", "role": "admin"}).status_code == 201


def test_tokens_signed_by_a_key_of_a_file_are_taken_with_its_one_algorithm(env, tmp_path):
    # I34
    private = ec.generate_private_key(ec.SECP256R1())
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private.public_key()))
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [{**public, "kid": "k1", "alg": "ES256"}]}))
    with_file = replace(env, settings=replace(env.settings, jwt_jwks_file=str(file)))
    claims = {"sub": "user_123", "exp": 4102444800}
    with Client(create_app(with_file)) as nobody:
        good = jwt.encode(claims, private, algorithm="ES256", headers={"kid": "k1"})
        mine = nobody.with_authorization(f"Bearer {good}")
        assert mine.get("/v1/credits/balance").status_code == 200
        for key, algorithm, kid in (
            (private, "ES256", "k2"),
            (env.settings.jwt_secret, "HS256", "k1"),
            (public["x"], "HS256", "k1"),
        ):
            bad = jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid})
            answer = nobody.with_authorization(f"Bearer {bad}").get("/v1/credits/balance")
            problem_of(answer, 401, "not_authenticated")


def test_a_key_set_is_rotated_without_a_restart(env, tmp_path, monkeypatch):
    # I34: a new key counts from its first token on; what a removed one signed ends.
    monkeypatch.setattr("paydesk.http.auth.REFRESH_AFTER_S", 0.0)
    file = tmp_path / "jwks.json"
    private = {kid: ec.generate_private_key(ec.SECP256R1()) for kid in ("k1", "k2")}

    def publish(*kids: str) -> None:
        keys = [json.loads(jwt.algorithms.ECAlgorithm.to_jwk(private[kid].public_key()))
                | {"kid": kid, "alg": "ES256"} for kid in kids]  # fmt: skip
        scratch = tmp_path / "new.json"
        scratch.write_text(json.dumps({"keys": keys}))
        scratch.replace(file)

    def status(kid: str) -> int:
        claims = {"sub": "user_123", "exp": 4102444800}
        token = jwt.encode(claims, private[kid], algorithm="ES256", headers={"kid": kid})
        mine = nobody.with_authorization(f"Bearer {token}")
        return mine.get("/v1/credits/balance").status_code

    publish("k1")
    told = replace(env, settings=replace(env.settings, jwt_jwks_file=str(file)))
    with Client(create_app(told)) as nobody:
        assert (status("k1"), status("k2")) == (200, 401)
        publish("k1", "k2")
        assert (status("k1"), status("k2")) == (200, 200)
        publish("k2")
        wait_for(lambda: status("k1") == 401, 20)
        assert status("k2") == 200
        file.write_text("{half a")  # Whoever writes it badly locks nobody out.
        assert status("k2") == 200
    with pytest.raises(Misconfigured):
        missing = replace(env.settings, jwt_jwks_file=str(tmp_path / "none.json"))
        create_app(replace(env, settings=missing))


@pytest.mark.parametrize(
    ("claims", "status"),
    [({"exp": -8}, 200), ({"exp": -12}, 401), ({"nbf": 8}, 200), ({"nbf": 40}, 401),
     ({"iat": 8}, 200), ({"iat": 40}, 401)],
)  # fmt: skip
def test_clocks_may_differ_by_ten_seconds(env, claims, status):
    # I34
    now = int(time.time())
    told = {"sub": "user_123", "exp": now + 60, **{k: now + v for k, v in claims.items()}}
    token = jwt.encode(told, env.settings.jwt_secret, algorithm="HS256")
    with Client(create_app(env), f"Bearer {token}") as mine:
        assert mine.get("/v1/credits/balance").status_code == status


# Keys ---------------------------------------------------------------------------------------------


def test_a_keys_last_use_is_told_to_the_minute(http, env, clock, monkeypatch):
    # S3.13
    monkeypatch.setattr("paydesk.http.auth.REFRESH_AFTER_S", 0.0)
    made = http.post("/v1/keys", json={"name": "Web", "role": "support"}).json()
    assert made["last_used_at"] is None

    def used() -> str | None:
        assert http.as_key(made["secret"]).get("/v1/payments").status_code == 200
        return http.get("/v1/keys").json()["data"][0]["last_used_at"]

    wait_for(used, 20)
    first = used()
    clock.advance(seconds=30)
    assert used() == first
    clock.advance(seconds=30)
    wait_for(lambda: used() != first, 20)


def test_a_rolled_key_works_beside_its_successor_until_the_overlap_ends(http, clock):
    # S3.13
    old = http.post("/v1/keys", json={"name": "Web", "role": "finance"}).json()
    new = http.post(f"/v1/keys/{old['id']}/roll", json={"overlap_hours": 1})
    assert new.status_code == 201, new.text
    assert (new.json()["name"], new.json()["role"]) == ("Web", "finance")
    for secret in (old["secret"], new.json()["secret"]):
        assert http.as_key(secret).get("/v1/payments").status_code == 200
    clock.advance(hours=1)
    problem_of(http.as_key(old["secret"]).get("/v1/payments"), 401, "not_authenticated")
    assert http.as_key(new.json()["secret"]).get("/v1/payments").status_code == 200
    problem_of(http.post(f"/v1/keys/{old['id']}/roll", json={}), 409, "conflict")


def test_a_disabled_persons_keys_end_and_do_not_come_back(http, env, monkeypatch, rosa):
    # S3.13 I34
    monkeypatch.setattr("paydesk.http.auth.REFRESH_AFTER_S", 0.0)
    staff.add(env, "bo@example.com", "Bo", "admin", PASSWORD)

    def key_of(owner: str | None) -> dict[str, Any]:
        body = {"name": "k", "role": "finance", "owner": owner}
        return http.post("/v1/keys", json=body).json()

    def status(key: dict[str, Any]) -> int:
        return http.as_key(key["secret"]).get("/v1/payments").status_code

    first, other, servers = key_of("Rosa@Example.com"), key_of("bo@example.com"), key_of(None)
    rolled = http.post(f"/v1/keys/{first['id']}/roll", json={"overlap_hours": 1}).json()
    assert [status(one) for one in (first, rolled, other, servers)] == [200] * 4
    path = f"/v1/staff/{ids.show('staff', rosa.id)}"
    assert http.patch(path, json={"disabled": True}).status_code == 200
    for one in (first, rolled):
        wait_for(lambda one=one: status(one) == 401, 20)
        roll = http.post(f"/v1/keys/{one['id']}/roll", json={})
        problem_of(roll, 409, "conflict")
    assert [status(one) for one in (other, servers)] == [200] * 2
    ended = [e.subject for e in trail.log(env) if e.action == "key.revoked"]
    assert sorted(ended) == sorted([first["id"], rolled["id"]])
    http.patch(path, json={"disabled": False})
    assert [status(one) for one in (first, rolled)] == [401] * 2


def test_a_key_made_while_its_owner_is_disabled_is_not_left(env, rosa):
    # S3.13 I34: whichever comes first.
    for _ in range(6):
        staff.change(env, rosa.id, disabled=False)
        old, _ = api_keys.create(env, "k", "finance", owner=rosa.email)

        def make(work: Any) -> None:
            with contextlib.suppress(InvalidRequest, Conflict):
                work()

        works = [
            lambda: api_keys.create(env, "k", "finance", owner=rosa.email),
            lambda old=old: api_keys.roll(env, old.id),
            lambda: staff.change(env, rosa.id, disabled=True),
        ]
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(make, works))
        assert not [k for k in api_keys.list_(env) if k.revoked_at is None]


def test_money_sign_ins_and_addresses_have_quotas_of_their_own(env):
    # S1.3 I39
    settings = replace(env.settings, rate_limit_money=2, rate_limit_sign_in=3)
    limited = replace(env, settings=settings)
    with Client(create_app(limited)) as nobody:
        mine = nobody.as_user("user_123")
        answers = [mine.post("/v1/checkouts", json={}).status_code for _ in range(3)]
        assert answers == [422, 422, 429]
        assert mine.get("/v1/payments").status_code == 200
        body = {"email": "x@example.com", "password": "wrong wrong wrong"}
        tried = [nobody.post("/v1/sessions", json=body) for _ in range(4)]
        assert [a.status_code for a in tried] == [401, 401, 401, 429]
        assert "sign_in" in tried[3].json()["violated-policies"]
