"""The SQL that brings a PostgreSQL database up to what the tracker keeps."""

from pathlib import Path

MIGRATION = Path(__file__).with_name("002_payment_tracking.sql")


def migration_sql() -> str:
    """The SQL that creates `payment_transactions`, or adds what an existing one lacks."""
    return MIGRATION.read_text(encoding="utf-8")
