"""The provider's own customer for ours: kept from the first payment, named in later checkouts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx, in_transaction
from paydesk.env import Env
from paydesk.logger import get_logger
from paydesk.providers.base import Order
from paydesk.rules.money import Money

if TYPE_CHECKING:
    from paydesk.flows.customers import Customer

log = get_logger(__name__)

#: (our customer, provider, account, the provider's customer).
Known = tuple[UUID, str, str, str]


def ref_of(tx: Tx, customer_id: UUID, provider: str, account: str) -> str | None:
    """The provider's id of our customer, None before the first payment."""
    return tx.value(
        "select ref from provider_customers where customer_id = %(customer_id)s"
        " and provider = %(provider)s and account = %(account)s",
        {"customer_id": customer_id, "provider": provider, "account": account},
    )


def keep(tx: Tx, known: Sequence[Known], test_clock: str | None = None) -> None:
    """Remember who paid, by the provider's word. The heads are locked. `test_clock`: the
    provider's clock that they were made for.

    The first one stays: first checkouts side by side can make two at the provider, of which the
    other is used no more.
    """
    if not known:
        return
    kept = tx.all(
        "insert into provider_customers (customer_id, provider, account, ref, test_clock)"
        " select n.*, %(test_clock)s from unnest(%(customers)s::uuid[], %(providers)s::text[],"
        "  %(accounts)s::text[], %(refs)s::text[]) n on conflict do nothing"
        " returning customer_id, provider, account, ref",
        {
            "customers": [k[0] for k in known],
            "providers": [k[1] for k in known],
            "accounts": [k[2] for k in known],
            "refs": [k[3] for k in known],
            "test_clock": test_clock,
        },
    )
    if kept:  # Events of the provider's customer lead back to ours by this.
        tx.run(
            "insert into provider_refs (provider, account, ref, customer_id, object_id)"
            " select p, a, r, c, c from unnest(%(providers)s::text[], %(accounts)s::text[],"
            "  %(refs)s::text[], %(customers)s::uuid[]) as n(p, a, r, c) on conflict do nothing",
            {
                "customers": [k["customer_id"] for k in kept],
                "providers": [k["provider"] for k in kept],
                "accounts": [k["account"] for k in kept],
                "refs": [k["ref"] for k in kept],
            },
        )


def ensure(
    env: Env, customer_id: UUID, provider: str, *, test_clock: str | None = None
) -> str:
    """The provider's id of our customer, made there where it has none. Never in a transaction.

    The key of the making is the customer's own, and our id travels with it: who dies before the
    answer is kept comes to the same one. With `test_clock` it is one who lives by that clock of the
    provider's, in the place of one who does not. Raises what the provider raises.
    """
    account = env.providers[provider].account
    with env.db.read() as tx:
        known = ref_of(tx, customer_id, provider, account)
        if known is not None and (
            test_clock is None or test_clock == _clock_of(tx, customer_id, known)
        ):
            return known
    shown = ids.show("customer", customer_id)
    order = Order(
        id=shown, customer=shown, description="", amount=Money(0, "usd", minor=True),
        key=f"customer-{shown}-{test_clock}" if test_clock else f"customer-{shown}",
    )  # fmt: skip
    made = env.providers.call(provider, "ensure_customer", order,
                              **({"test_clock": test_clock} if test_clock else {}))  # fmt: skip
    with env.db.transaction(customer_id) as tx:
        if known is not None and test_clock is not None:
            forget(tx, (customer_id, provider, account, known))
        keep(tx, [(customer_id, provider, account, made)], test_clock)
        kept = ref_of(tx, customer_id, provider, account)
    assert kept is not None, "it was kept just now"
    from paydesk.flows import customers

    tell(env, customers.get(env, customer_id))
    return kept


def _clock_of(tx: Tx, customer_id: UUID, ref: str) -> str | None:
    return tx.value(
        "select test_clock from provider_customers where customer_id = %(customer_id)s"
        " and ref = %(ref)s", {"customer_id": customer_id, "ref": ref},
    )  # fmt: skip


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
