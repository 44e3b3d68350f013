"""What the application of docs/library.md supplies: its users, orders and database."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from paydesk import USD


@dataclass
class User:
    id: str


@dataclass
class Order:
    total: Any


class _Orders:
    async def get(self, order_id: str) -> Order:
        return Order(USD("25.00"))

    async def mark_paid(self, order_id: str) -> None:
        """An application would write this down."""


orders = _Orders()


def current_user() -> User:
    return User("user_123")


def model(prompt: str) -> tuple[str, int]:
    """An answer, and how many tokens it took."""
    return prompt.upper(), 0


def setup(kit: Any) -> dict[str, Any]:
    """The application's own table, in the same database."""
    import psycopg

    with psycopg.connect(kit.database.owner_dsn, autocommit=True) as conn:
        conn.execute("create table orders (id text primary key)")
        conn.execute("grant insert on orders to public")
    return {"dsn": kit.database.dsn}
