"""The command line against a database: answers for people and for pipes, and exit codes."""

from __future__ import annotations

import json
import re
import sys

import pytest


def answered(run, *arguments: str):
    """The JSON lines of a command that must succeed."""
    code, out, err = run(*arguments)
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_credits_are_granted_spent_and_told(paydesk):
    granted = answered(paydesk, "credits", "grant", "user_1", "100", "--days", "30")[0]
    assert granted["balance"] == 100
    spent = answered(paydesk, "credits", "spend", "user_1", "30", "--reference", "job-7")[0]
    assert spent["balance"] == 70
    balance = answered(paydesk, "credits", "balance", "user_1")[0]
    assert (balance["balance"], balance["promotional"]) == (70, 70)
    lines = answered(paydesk, "credits", "history", "user_1")
    assert [line["amount"] for line in lines] == [-30, 100]
    assert lines[0]["reference"] == "job-7"
    assert answered(paydesk, "customers", "show", "user_1")[0]["balance"] == 70


def test_a_key_makes_a_repeated_command_harmless(paydesk):
    for _ in range(2):
        answered(paydesk, "credits", "grant", "user_1", "100", "--key", "gift-1")
    assert answered(paydesk, "credits", "balance", "user_1")[0]["balance"] == 100
    first = answered(paydesk, "credits", "spend", "user_1", "30", "--key", "job-1")[0]
    again = answered(paydesk, "credits", "spend", "user_1", "30", "--key", "job-1")[0]
    assert (first["same"], again["same"]) == (False, True)
    assert again["transfer"] == first["transfer"]
    assert answered(paydesk, "credits", "balance", "user_1")[0]["balance"] == 70


def test_a_refusal_is_one_line_with_its_code_and_exit_code_1(paydesk):
    answered(paydesk, "credits", "grant", "user_1", "5")
    code, out, err = paydesk("credits", "spend", "user_1", "6")
    assert code == 1
    assert out == ""
    assert "insufficient_credits" in err
    assert "Traceback" not in err


def test_wrong_usage_is_exit_code_2(paydesk, monkeypatch):
    assert paydesk("credits", "grant", "user_1", "many")[0] == 2
    assert paydesk("payments", "list", "-o", "xml")[0] == 2
    pack = ("packs", "upsert", "p", "--name", "P", "--credits", "1")
    assert paydesk(*pack, "--price", "a b c")[0] == 2
    monkeypatch.setenv("MAX_CREDIT_BALANCE", "ten")
    code, _, err = paydesk("config")
    assert code == 2
    assert "MAX_CREDIT_BALANCE" in err


def test_a_database_that_does_not_answer_is_exit_code_3(paydesk, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none?connect_timeout=1")
    code, _, err = paydesk("payments", "list")
    assert code == 3
    assert "database_unavailable" in err


def test_packs_and_codes_are_made_and_listed(paydesk):
    made = answered(paydesk, "packs", "upsert", "creator", "--name", "Creator Pack", "--credits",
                    "150", "--price", "9.99")[0]  # fmt: skip
    assert (made["price"], made["price_decimal"], made["currency"]) == (999, "9.99", "usd")
    euros = answered(paydesk, "packs", "upsert", "atelier", "--name", "Atelier", "--credits", "5",
                     "--price", "2.50 EUR")[0]  # fmt: skip
    assert euros["currency"] == "eur"
    assert {p["key"] for p in answered(paydesk, "packs", "list")} == {"creator", "atelier"}
    answered(paydesk, "promos", "create", "WELCOME10", "--percent", "10", "--pack", "creator")
    code = answered(paydesk, "promos", "list")[0]
    assert (code["code"], code["gives"], code["packs"]) == ("WELCOME10", "10%", ["creator"])


def test_tables_say_amounts_and_lists_as_people_read_them(paydesk):
    """Amounts as the library writes them, times in UTC, no brackets of a list."""
    answered(paydesk, "packs", "upsert", "creator", "--name", "Creator Pack", "--credits", "150",
             "--price", "9.99")  # fmt: skip
    answered(paydesk, "promos", "create", "TWO", "--percent", "10", "--pack", "creator")
    assert "USD 9.99" in paydesk("packs", "list", "-o", "table")[1]
    shown = paydesk("promos", "create", "ONE", "--off", "5.00", "--pack", "creator",
                    "-o", "table")[1]  # fmt: skip
    assert "USD 5.00" in shown
    assert "[" not in shown
    answered(paydesk, "credits", "grant", "user_1", "5")
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ",
                     paydesk("credits", "history", "user_1", "-o", "table")[1])  # fmt: skip


def test_a_code_of_two_kinds_is_refused_in_the_words_of_the_options(paydesk):
    code, _, err = paydesk("promos", "create", "X", "--percent", "20", "--off", "5")
    assert code == 2
    assert "--percent, --off, --credits and --free-trial-days" in err


def test_keys_are_shown_once_and_revoked(paydesk):
    made = answered(paydesk, "keys", "create", "web-prod", "--role", "support")[0]
    assert made["key"].startswith("sk_test_")
    listed = answered(paydesk, "keys", "list")[0]
    assert listed["name"] == "web-prod"
    assert listed["key"] != made["key"]
    ended = answered(paydesk, "keys", "revoke", made["id"])[0]
    assert ended["revoked_at"]


def test_a_key_is_rolled_and_the_old_one_ends_after_the_overlap(paydesk):  # S3.13
    old = answered(paydesk, "keys", "create", "web-prod", "--role", "finance")[0]
    new = answered(paydesk, "keys", "roll", old["id"], "--overlap-hours", "1")[0]
    assert (new["name"], new["role"]) == ("web-prod", "finance")
    assert new["key"].startswith("sk_test_") and new["key"] != old["key"]
    listed = {one["id"]: one for one in answered(paydesk, "keys", "list")}
    assert listed[old["id"]]["expires_at"] and not listed[new["id"]]["expires_at"]
    assert paydesk("keys", "roll", old["id"], "--overlap-hours", "721")[0] == 2
    answered(paydesk, "keys", "revoke", old["id"])
    code, _, err = paydesk("keys", "roll", old["id"])
    assert code == 1 and "conflict" in err


def test_a_payment_is_found_shown_and_verified(paydesk, sim, env, make):
    """The provider was paid, no webhook came: verify records it."""
    from paydesk.flows import checkout
    from paydesk.flows.checkout import StartCheckout

    make.pack()
    user = make.user("user_9")
    view = checkout.start(env, StartCheckout(customer_id=user.uuid, pack="creator"))
    listed = answered(paydesk, "payments", "list", "--customer", "user_9")
    assert [p["status"] for p in listed] == ["pending"]
    sim.pay(view.payment.session_ref)
    assert answered(paydesk, "payments", "verify", listed[0]["id"])[0]["status"] == "succeeded"
    shown = answered(paydesk, "payments", "show", view.payment.session_ref)[0]
    assert shown["credits_added"] is True
    assert "payment.succeeded" in [step["type"] for step in shown["timeline"]]
    assert answered(paydesk, "credits", "balance", "user_9")[0]["balance"] == 150
    types = [e["type"] for e in answered(paydesk, "events", "tail")]
    assert types.index("payment.created") < types.index("payment.succeeded")
    event = answered(paydesk, "events", "tail", "--limit", "1")[0]
    assert answered(paydesk, "events", "show", event["id"])[0]["type"] == event["type"]


def test_a_table_never_cuts_an_id(paydesk, monkeypatch):
    answered(paydesk, "credits", "grant", "user_1", "100")
    full = answered(paydesk, "credits", "history", "user_1")[0]["id"]
    monkeypatch.setenv("COLUMNS", "200")
    assert full in paydesk("credits", "history", "user_1", "-o", "table")[1]
    monkeypatch.setenv("COLUMNS", "60")
    narrow = paydesk("credits", "history", "user_1", "-o", "table")[1]
    assert "…" not in narrow
    assert full not in narrow
    assert "BALANCE" in narrow


def test_config_says_where_each_value_came_from_and_hides_secrets(paydesk):
    rows = {row["setting"]: row for row in answered(paydesk, "config")}
    assert rows["jwt_secret"]["from"] == "environment JWT_SECRET"
    assert rows["jwt_secret"]["value"] == "••••••"
    assert rows["lanes"]["from"] == "default"
    assert "ssss" not in json.dumps(rows)


def test_a_token_opens_what_its_customer_may_see(paydesk, monkeypatch):
    import jwt

    code, out, _ = paydesk("token", "user_1", "--expires", "30m")
    assert code == 0
    claims = jwt.decode(out.strip(), "s" * 40, algorithms=["HS256"])
    assert claims["sub"] == "user_1"
    assert "role" not in claims
    assert claims["exp"] - claims["iat"] == 1800
    assert paydesk("token", "user_1", "--role", "owner")[0] == 2
    assert paydesk("token", "user_1", "--expires", "soon")[0] == 2
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_live_x")
    assert paydesk("token", "user_1")[0] == 2


def test_the_doctor_finds_nothing_wrong_and_says_so(paydesk):
    answered(paydesk, "credits", "grant", "user_1", "100")
    code, out, _ = paydesk("doctor")
    findings = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert all(f["ok"] is not False for f in findings)
    assert {"database", "books_balance"} <= {f["check"] for f in findings}
    assert "All is well" in paydesk("doctor", "-o", "table")[1]


def test_db_status_says_what_is_applied(paydesk):
    assert {row["state"] for row in answered(paydesk, "db", "status")} == {"applied"}


@pytest.mark.parametrize("code", ["insufficient_credits", "PAY001", "pay001"])
def test_explain_tells_what_an_error_means(paydesk, code):
    exit_code, out, _ = paydesk("explain", code)
    assert exit_code == 0
    assert "402" in out
    assert "PAY001" in out


def test_explain_proposes_what_was_meant(paydesk):
    code, _, err = paydesk("explain", "credits")
    assert code == 1
    assert "insufficient_credits" in err


def test_openapi_prints_the_document(paydesk):
    code, out, _ = paydesk("openapi")
    assert code == 0
    document = json.loads(out)
    assert document["openapi"].startswith("3.1")
    assert "/v1/checkouts" in document["paths"]
    assert not any(path.startswith(("/dashboard", "/dev")) for path in document["paths"])


def test_open_prints_addresses_and_a_portal_link(paydesk):
    assert paydesk("open", "docs")[1].strip() == "http://localhost:8000/docs"
    answered(paydesk, "credits", "grant", "user_1", "5")
    assert "/portal/enter?token=" in paydesk("open", "portal:user_1")[1]
    assert paydesk("open", "cellar")[0] == 2


def test_replaying_a_webhook_that_never_came_is_refused(paydesk):
    code, _, err = paydesk("events", "replay", "evt_unknown")
    assert code == 1
    assert "not_found" in err


def test_help_names_every_command(paydesk):
    _, out, _ = paydesk("--help")
    for name in ("dev", "serve", "worker", "simulator", "config", "token", "doctor", "db", "keys",
                 "payments", "customers", "credits", "packs", "promos", "events", "explain",
                 "openapi", "open"):  # fmt: skip
        assert name in out, name


def test_importing_the_command_line_brings_no_web_framework():
    """`paydesk explain` must not wait for FastAPI or Stripe."""
    import subprocess

    code = ("import sys; import paydesk.cli; "
            "print([m for m in ('fastapi', 'stripe', 'psycopg', 'uvicorn') if m in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
