"""Where settings come from, what is said about wrong ones, and that secrets stay hidden."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from paydesk import sources
from paydesk.errors import Misconfigured
from paydesk.settings import Settings, all_fields, load


def read(folder: Path, environ: dict[str, str] | None = None, **overrides):
    return load(overrides, environ or {}, folder)


def test_the_order_is_argument_environment_dotenv_yaml_default(tmp_path):
    (tmp_path / "paydesk.yaml").write_text("port: 1001\nhost: 10.0.0.1\nlog_level: debug\n")
    (tmp_path / ".env").write_text("PAYDESK_PORT=1002\nPAYDESK_HOST=10.0.0.2\n")
    environ = {"PAYDESK_PORT": "1003"}
    found = read(tmp_path, environ, port=1004)
    assert (found.settings.port, found.origins["port"]) == (1004, "argument")
    found = read(tmp_path, environ)
    assert (found.settings.port, found.origins["port"]) == (1003, "environment PAYDESK_PORT")
    assert (found.settings.host, found.origins["host"]) == ("10.0.0.2", ".env PAYDESK_HOST")
    assert found.settings.log_level == "debug"
    assert found.origins["log_level"].startswith("paydesk.yaml")
    assert found.origins["lanes"] == "default"


def test_nothing_given_is_the_dataclass_as_it_stands(tmp_path):
    assert read(tmp_path).settings == Settings()


@pytest.mark.parametrize(
    ("environ", "port"),
    [({}, 8000), ({"PAYMENT_SERVICE_PORT": "5505"}, 5505),
     ({"PAYMENT_SERVICE_PORT": "5505", "PAYDESK_PORT": "9000"}, 9000)],
)  # fmt: skip
def test_the_documents_port_counts_after_our_own(tmp_path, environ, port):  # C29 S4.20
    assert read(tmp_path, environ).settings.port == port


def test_document_002s_config_keys_are_accepted(tmp_path):  # S2.19
    (tmp_path / "paydesk.yaml").write_text(
        "payment_tracking:\n  session_expiry_minutes: 45\n  check_duplicates_before_credit: false\n"
        "recovery:\n  enabled: true\n  auto_verify_on_success_page: false\n"
        "  max_verification_attempts: 5\n"
    )
    found = read(tmp_path)
    settings = found.settings
    assert settings.session_expiry_minutes == 45
    assert settings.check_duplicates_before_credit is False
    assert settings.recovery_enabled is True
    assert settings.recovery_auto_verify_on_success_page is False
    assert settings.recovery_max_verification_attempts == 5
    assert found.warnings == ()


def test_the_documents_names_are_read(tmp_path):  # S1.53 S4.21 S4.22 S4.23
    environ = {
        "STRIPE_SECRET_KEY": "sk_test_x", "STRIPE_PUBLISHABLE_KEY": "pk_test_x",
        "STRIPE_WEBHOOK_SECRET": "whsec_x", "STRIPE_API_VERSION": "2023-10-16",
        "DATABASE_URL": "postgresql://localhost/shop", "REDIS_URL": "redis://localhost:6379/0",
        "JWT_SECRET": "s" * 32, "DEFAULT_CREDIT_PRICE": "0.50", "CREDIT_EXPIRY_DAYS": "30",
        "MIN_CREDIT_PURCHASE": "5", "MAX_CREDIT_BALANCE": "77", "MAX_DAILY_TRANSACTIONS": "8",
        "MAX_TRANSACTION_AMOUNT": "900", "PAYMENT_SERVICE_NAME": "payment",
    }  # fmt: skip
    settings = read(tmp_path, environ).settings
    assert settings.stripe_secret_key == "sk_test_x"
    assert settings.stripe_publishable_key == "pk_test_x"
    assert settings.stripe_api_version == "2023-10-16"
    assert settings.database_url == "postgresql://localhost/shop"
    assert settings.default_credit_price == Decimal("0.50")
    assert (settings.credit_expiry_days, settings.min_credit_purchase) == (30, 5)
    assert (settings.max_credit_balance, settings.max_daily_transactions) == (77, 8)
    assert (settings.max_transaction_amount, settings.service_name) == (900, "payment")


@pytest.mark.parametrize(
    ("environ", "name", "address"),
    [
        ({"DB_HOST": "db", "DB_PORT": "5433", "DB_NAME": "shop", "DB_USER": "me",
          "DB_PASSWORD": "p@ss/word"}, "database_url",
         "postgresql://me:p%40ss%2Fword@db:5433/shop"),
        ({"PGHOST": "db", "PGDATABASE": "shop", "PGUSER": "me", "PGSSLMODE": "require"},
         "database_url", "postgresql://me@db:5432/shop?sslmode=require"),
        ({"PGHOST": "/run/postgresql", "PGDATABASE": "shop"}, "database_url",
         "postgresql:///shop?host=%2Frun%2Fpostgresql&port=5432"),
        ({"REDIS_HOST": "cache", "REDIS_PASSWORD": "s:x"}, "redis_url",
         "redis://:s%3Ax@cache:6379/0"),
        ({"DATABASE_URL": "postgresql://whole/x", "DB_HOST": "parts"}, "database_url",
         "postgresql://whole/x"),
        ({"PGUSER": "me"}, "database_url", ""),
    ],
)  # fmt: skip
def test_single_variables_make_an_address(tmp_path, environ, name, address):  # S1.53
    assert getattr(read(tmp_path, environ).settings, name) == address


def test_a_password_may_stand_in_another_source(tmp_path):
    (tmp_path / ".env").write_text("DB_PASSWORD=secret\n")
    found = read(tmp_path, {"DB_HOST": "db", "DB_NAME": "shop", "DB_USER": "me"})
    assert found.settings.database_url == "postgresql://me:secret@db:5432/shop"


def test_an_empty_variable_takes_a_value_away(tmp_path):
    (tmp_path / ".env").write_text("DATABASE_URL=postgresql://localhost/shop\n")
    assert read(tmp_path, {"DATABASE_URL": ""}).settings.database_url == ""


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MAX_CREDIT_BALANCE", "ten", "a whole number, not 'ten'"),
        ("MAX_CREDIT_BALANCE", "1.5", "a whole number"),
        ("MAX_CREDIT_BALANCE", "0", "at least 1"),
        ("PAYDESK_PORT", "70000", "at most 65535"),
        ("PAYDESK_PROVIDER_TIMEOUT_S", "31", "at most 30"),
        ("PAYDESK_REQUIRE_IDEMPOTENCY", "maybe", "true or false"),
        ("DEFAULT_CREDIT_PRICE", "NaN", "a decimal number"),
        ("CREDIT_ORDER", "random", "one of fifo, expiring_first"),
        ("PAYDESK_DEFAULT_CURRENCY", "xyz", "ISO 4217"),
        ("PAYDESK_WALLETS_CURRENCY", "xyz", "ISO 4217"),
        ("PAYDESK_CONVERSION_MARGIN_BPS", "usd/htg", "not such as '100' or 'usd/htg=250'"),
        ("PAYDESK_CONVERSION_MARGIN_BPS", "5001", "more than 5000, the half"),
        ("DATABASE_URL", "mysql://x", "must begin with postgres://"),
    ],
)
def test_a_wrong_value_names_its_variable_and_its_source(tmp_path, name, value, told):
    with pytest.raises(Misconfigured) as raised:
        read(tmp_path, {name: value})
    assert name in raised.value.detail
    assert "environment" in raised.value.detail
    assert told in raised.value.detail


def test_a_wrong_secret_is_not_repeated(tmp_path):
    with pytest.raises(Misconfigured) as raised:
        read(tmp_path, {"REDIS_URL": "hunter2"})
    assert "hunter2" not in raised.value.detail


def test_unknown_names_are_told_and_do_no_harm(tmp_path):
    (tmp_path / "paydesk.yaml").write_text("colour: blue\n")
    found = read(tmp_path, {"PAYDESK_PROT": "1", "HOME": "/"})
    assert any("PAYDESK_PROT" in w for w in found.warnings)
    assert any("colour" in w for w in found.warnings)
    assert not any("HOME" in w for w in found.warnings)


@pytest.mark.parametrize("text", ["- a\n- b\n", "port: [1\n", "\x00"])
def test_a_yaml_file_that_cannot_be_read_is_named(tmp_path, text):
    (tmp_path / "paydesk.yaml").write_text(text)
    with pytest.raises(Misconfigured, match=r"paydesk\.yaml"):
        read(tmp_path)


def test_secrets_are_masked(tmp_path):
    specs = {spec.name: spec for spec in all_fields()}
    assert sources.masked(specs["jwt_secret"], "abc") == "••••••"
    assert "secret" not in sources.masked(specs["database_url"], "postgresql://me:secret@db/x")
    assert sources.masked(specs["database_url"], "postgresql://me:secret@db/x").endswith("@db/x")
    assert sources.masked(specs["stripe_secret_key"], "sk_live_abcdef") == "sk_live_…"
    assert sources.masked(specs["port"], 8000) == "8000"


def test_every_setting_is_described_and_has_a_name():
    for spec in all_fields():
        assert spec.metadata["doc"].endswith((".", ".'")), spec.name
        assert sources.names_of(spec), spec.name
