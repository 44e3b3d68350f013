"""Stripe's products and prices: read page by page, written so that a repeat changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from paydesk.providers.base import AnswerUnclear
from paydesk.providers.stripe_shapes import _money, _ref
from paydesk.rules.catalog_sync import Product, RemotePrice, RemoteProduct
from paydesk.rules.money import Money, to_stripe

PAGE = 100


class StripeCatalog:
    """The calls of `Stripe` that keep a catalogue there.

    Changes carry no idempotency key: they set what shall be, and a key would answer a change back
    to what was before with the first answer, for a day.
    """

    _client: Any
    _ask: Callable[[Any], dict[str, Any]]

    def catalog_page(
        self, kind: str, cursor: str | None
    ) -> tuple[list[RemoteProduct] | list[RemotePrice], str | None]:
        v1 = self._client.v1
        lists, read = {"product": (v1.products, of_product), "price": (v1.prices, of_price)}[kind]
        params: dict[str, Any] = {"limit": PAGE}
        if cursor:
            params["starting_after"] = cursor
        page = self._ask(lambda: lists.list(params))
        found = [_read(read, raw) for raw in page["data"]]
        return found, page["data"][-1]["id"] if page.get("has_more") and page["data"] else None

    def save_product(self, ref: str | None, product: Product, key: str) -> RemoteProduct:
        params: dict[str, Any] = {
            "name": product.name, "active": product.active, "metadata": product.metadata,
        }  # fmt: skip
        if ref is None:
            if product.description:
                params["description"] = product.description
            options = {"idempotency_key": key}
            raw = self._ask(lambda: self._client.v1.products.create(params, options))
        else:
            params["description"] = product.description or ""
            raw = self._ask(lambda: self._client.v1.products.update(ref, params))
        return _read(of_product, raw)

    def make_price(
        self, product: str, amount: Money, metadata: Mapping[str, str], key: str,
        interval: tuple[str, int] | None = None,
    ) -> RemotePrice:  # fmt: skip
        params: dict[str, Any] = {
            "product": product, "currency": amount.currency, "metadata": dict(metadata),
            "unit_amount": to_stripe(amount.minor, amount.currency),
        }  # fmt: skip
        if interval is not None:
            params["recurring"] = {"interval": interval[0], "interval_count": interval[1]}
        options = {"idempotency_key": key}
        return _read(of_price, self._ask(lambda: self._client.v1.prices.create(params, options)))

    def set_price(self, product: str, price: str) -> RemoteProduct:
        self.switch_price(price, True)
        params: dict[str, Any] = {"default_price": price}
        return _read(
            of_product, self._ask(lambda: self._client.v1.products.update(product, params))
        )

    def switch_price(self, price: str, active: bool) -> RemotePrice:
        params: dict[str, Any] = {"active": active}
        return _read(of_price, self._ask(lambda: self._client.v1.prices.update(price, params)))


def of_product(product: Mapping[str, Any]) -> RemoteProduct:
    """A product of any API version. Raises KeyError."""
    return RemoteProduct(
        id=product["id"], name=product["name"], active=product["active"],
        description=product.get("description") or None, price=_ref(product.get("default_price")),
        metadata=dict(product.get("metadata") or {}),
    )  # fmt: skip


def of_price(price: Mapping[str, Any]) -> RemotePrice:
    """A price; one that is no single amount, of once or of each period, has none. Raises KeyError.
    """
    amount, recurs = None, price.get("recurring") or {}
    is_plain = recurs.get("usage_type", "licensed") == "licensed" and not price.get("tiers_mode")
    if is_plain and type(price.get("unit_amount")) is int:
        try:
            amount = _money(price["unit_amount"], price["currency"])
        except ValueError:
            amount = None  # A currency or a fraction that we cannot hold.
    return RemotePrice(
        id=price["id"], product=_ref(price["product"]) or "", amount=amount,
        active=price["active"], metadata=dict(price.get("metadata") or {}),
        interval=(recurs["interval"], recurs["interval_count"]) if recurs else None,
    )  # fmt: skip


def _read(read: Callable[[Any], Any], raw: Any) -> Any:
    try:
        return read(raw)
    except (KeyError, ValueError, TypeError, AttributeError) as exc:
        raise AnswerUnclear("Stripe's answer cannot be understood.") from exc
