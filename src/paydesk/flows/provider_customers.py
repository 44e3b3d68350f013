"""The provider's own customer for ours: kept from the first payment, named in later checkouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from paydesk.db.postgres import Tx, in_transaction
from paydesk.env import Env

if TYPE_CHECKING:
    from paydesk.flows.customers import Customer

log = structlog.get_logger(__name__)

#: (our customer, provider, account, the provider's customer).
Known = tuple[UUID, str, str, str]


def ref_of(tx: Tx, customer_id: UUID, provider: str, account: str) -> str | None:
    """The provider's id of our customer, None before the first payment."""
    return tx.value(
        "select ref from provider_customers where customer_id = %(customer_id)s"
        " and provider = %(provider)s and account = %(account)s",
        {"customer_id": customer_id, "provider": provider, "account": account},
    )


def keep(tx: Tx, known: Sequence[Known]) -> None:
    """Remember who paid, by the provider's word. The heads are locked.

    The first one stays: first checkouts side by side can make two at the provider, of which the
    other is used no more.
    """
    if not known:
        return
    tx.run(
        "insert into provider_customers (customer_id, provider, account, ref)"
        " select * from unnest(%(customers)s::uuid[], %(providers)s::text[], %(accounts)s::text[],"
        "  %(refs)s::text[]) on conflict do nothing",
        {
            "customers": [k[0] for k in known],
            "providers": [k[1] for k in known],
            "accounts": [k[2] for k in known],
            "refs": [k[3] for k in known],
        },
    )


def forget(tx: Tx, known: Known) -> None:
    """The provider has this customer no more: the next payment's takes its place."""
    tx.run(
        "delete from provider_customers where customer_id = %(customer_id)s"
        " and provider = %(provider)s and account = %(account)s and ref = %(ref)s",
        {"customer_id": known[0], "provider": known[1], "account": known[2], "ref": known[3]},
    )


def tell(env: Env, who: Customer) -> None:
    """Give every provider the customer's e-mail, name and our id. A provider that cannot be
    reached keeps what it had until the next change; ours stands either way."""
    if in_transaction():
        return
    with env.db.read() as tx:
        rows = tx.all(
            "select provider, account, ref from provider_customers"
            " where customer_id = %(customer_id)s order by provider, account",
            {"customer_id": who.uuid},
        )
    for row in rows:
        provider = env.providers.get(row["provider"])
        if provider is None or "customers" not in provider.can:
            continue
        if provider.account != row["account"]:
            continue
        told = (row["ref"], who.email, who.name, {"customer_id": who.id})
        try:
            env.providers.call(row["provider"], "update_customer", *told)
        except Exception as exc:  # Whatever a provider raises, the change here is made.
            log.warning(
                "a provider was not told of a customer's change", customer=who.id,
                provider=row["provider"], error=type(exc).__name__,
            )  # fmt: skip
