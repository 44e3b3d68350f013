"""Tax rates by country and product: entered with the instant from which they hold, never changed.

Invoices keep the rates that they were finalized with; what is entered later changes none of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from paydesk import causes, ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import Conflict, InvalidRequest, NotFound
from paydesk.flows import trail
from paydesk.rules import fields
from paydesk.rules import taxes as rules
from paydesk.rules.invoices import NewItem, TaxRate
from paydesk.rules.taxes import Rate

__all__ = ["Rate", "add", "deactivate", "find", "get", "list_", "of_lines"]

_SELECT = """
    select id, name, country, product, micros, inclusive, active,
        nullif(valid_from, '-infinity') as valid_from, created_by, created_at
    from tax_rates
"""


def find(tx: Tx, country: str, product: str, at: datetime) -> Sequence[Rate]:
    """The rates of a product that is sold to a country at an instant, by name; none where there
    are none. `country` "": not known; `product`: what `plan_versions.product` says."""
    rows = tx.all(
        "select distinct on (country, product, name) id, name, country, product, micros,"
        " inclusive, active, nullif(valid_from, '-infinity') as valid_from, created_by,"
        " created_at from tax_rates"
        " where country in (%(country)s, '') and product in (%(product)s, '') and active"
        " and valid_from <= %(at)s order by country, product, name, valid_from desc",
        {"country": country.upper(), "product": product, "at": at},
    )
    return rules.chosen(map(_rate, rows), country.upper(), product)


def of_lines(
    tx: Tx, customer_id: UUID, lines: Sequence[NewItem], country: str, at: datetime,
    find: Callable[..., Sequence[Any]] = find,
) -> dict[Any, Sequence[Any]]:  # fmt: skip
    """The rates of an invoice's lines, by product; of credits those that their charges had, by the
    charge's id: what was not paid is not given back, and what was paid is, whatever holds now."""
    found: dict[Any, Sequence[Any]] = {
        product: find(tx, country, product, at)
        for product in sorted({one.product for one in lines})
    }
    charges = [one.of for one in lines
               if one.kind == "proration_credit" and isinstance(one.of, UUID)]  # fmt: skip
    return found | {item_id: _of_charge(tx, customer_id, item_id) for item_id in charges}


def _of_charge(tx: Tx, customer_id: UUID, item_id: UUID) -> list[TaxRate]:
    """The rates that a written line was taxed with."""
    rows = tx.all(
        "select t.tax_rate_id, t.description, t.why, i.position from invoice_items i"
        " join invoice_items t on t.customer_id = i.customer_id and t.invoice_id = i.invoice_id"
        " and t.kind = 'tax' and t.tax_rate_id is not null"
        " where i.customer_id = %(customer_id)s and i.id = %(id)s order by t.position",
        {"customer_id": customer_id, "id": item_id},
    )
    return [
        TaxRate(id=row["tax_rate_id"], name=row["description"], micros=row["why"]["rate_micros"],
                inclusive=row["why"]["inclusive"])
        for row in rows if any(position == row["position"] for position, _ in row["why"]["lines"])
    ]  # fmt: skip


def add(
    env: Env,
    name: str,
    percent: str | int | Decimal,
    *,
    country: str = "",
    product: str = "",
    inclusive: bool = False,
    valid_from: datetime | None = None,
    by: str | None = None,
) -> Rate:
    """Enter a rate that holds from an instant, by default from now on. `percent` such as "8.875";
    `inclusive`: prices have the tax in them already.

    Where that is what holds then already, answers the stored one. Raises InvalidRequest; Conflict
    where another rate of the name, country and product begins at that very instant.
    """
    if valid_from is not None and (
        not isinstance(valid_from, datetime) or valid_from.tzinfo is None
    ):
        raise InvalidRequest("valid_from is an instant with its time zone.", param="valid_from")
    now = env.now()
    values = {
        "id": ids.new_catalog(),
        "name": fields.text(name, "name", most=100),
        "country": rules.country_code(country),
        "product": fields.text(product, "product", most=100, least=0),
        "micros": rules.parse(percent),
        "inclusive": bool(inclusive),
        "valid_from": valid_from or now,
        "by": by or causes.actor(),
        "now": now,
    }
    with env.db.transaction() as tx:
        # One at a time, so that two of them cannot both find that nothing holds yet.
        tx.run("lock table tax_rates in share row exclusive mode")
        there = tx.one(_HOLDS, values)
        if there is not None:
            same = (there["micros"], there["inclusive"]) == (values["micros"], values["inclusive"])
            if same and there["active"]:
                return _rate(there)
            if there["valid_from"] == values["valid_from"]:
                raise Conflict(
                    "A rate of this name, country and product begins then already.",
                    param="valid_from",
                )
        tx.run(_INSERT, values)
        found = _get(tx, values["id"])
        _record(tx, now, found)
    return found


_HOLDS = """
    select id, name, country, product, micros, inclusive, active,
        nullif(valid_from, '-infinity') as valid_from, created_by, created_at
    from tax_rates
    where country = %(country)s and product = %(product)s and name = %(name)s
    and valid_from <= %(valid_from)s and (active or valid_from = %(valid_from)s)
    order by valid_from desc limit 1
"""
_INSERT = """
    insert into tax_rates (id, name, country, product, micros, inclusive, valid_from, created_by,
        created_at)
    values (%(id)s, %(name)s, %(country)s, %(product)s, %(micros)s, %(inclusive)s, %(valid_from)s,
        %(by)s, %(now)s)
"""


def deactivate(env: Env, ref: str | UUID | Rate) -> Rate:
    """Take back a rate that was entered wrongly: what held before it holds again. A tax that ends
    is entered as 0 percent instead. Raises NotFound."""
    with env.db.transaction() as tx:
        found = _get(tx, _uuid(ref))
        tx.run("update tax_rates set active = false where id = %(id)s", {"id": found.id})
        found = _get(tx, found.id)
        _record(tx, env.now(), found)
    return found


def get(env: Env, ref: str | UUID | Rate) -> Rate:
    """A rate by its id. Raises NotFound."""
    with env.db.read() as tx:
        return _get(tx, _uuid(ref))


def list_(
    env: Env, *, country: str | None = None, product: str | None = None,
    include_inactive: bool = False,
) -> list[Rate]:  # fmt: skip
    """All rates by country, product and name, the newest of each first."""
    values = {
        "country": None if country is None else rules.country_code(country),
        "product": product,
        "all": include_inactive,
    }
    with env.db.read() as tx:
        rows = tx.all(
            _SELECT + " where (active or %(all)s)"
            " and (%(country)s::text is null or country = %(country)s)"
            " and (%(product)s::text is null or product = %(product)s)"
            " order by country, product, name, tax_rates.valid_from desc limit 10000",
            values,
        )
    return [_rate(row) for row in rows]


def _uuid(ref: str | UUID | Rate) -> UUID:
    if isinstance(ref, Rate):
        return ref.id
    return ids.parse("tax_rate", ref) if isinstance(ref, str) else ref


def _get(tx: Tx, rate_id: UUID) -> Rate:
    row = tx.one(_SELECT + " where id = %(id)s", {"id": rate_id})
    if row is None:
        raise NotFound("No such tax rate.", param="tax_rate")
    return _rate(row)


def _record(tx: Tx, now: datetime, rate: Rate) -> None:
    about = {"name": rate.name, "country": rate.country, "product": rate.product,
             "percent": rate.percent, "inclusive": rate.inclusive, "active": rate.active,
             "valid_from": rate.valid_from}  # fmt: skip
    trail.record(tx, now, "tax_rate.saved", ids.show("tax_rate", rate.id), about)


def _rate(row: Mapping[str, Any]) -> Rate:
    return Rate(**row)
