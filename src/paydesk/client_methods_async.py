"""client_methods, each method in a thread. Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from paydesk import client_methods
from paydesk.client_methods import MethodRef, PaymentMethod, Setup
from paydesk.client_parts import CustomerRef
from paydesk.client_threads import Threads


class AsyncMethods:
    """Saved ways to pay: a provider's token and what people recognize it by."""

    def __init__(self, threads: Threads, part: client_methods.Methods) -> None:
        self._threads = threads
        self._part = part

    async def add(
        self,
        customer: CustomerRef,
        token: str,
        *,
        default: bool = False,
        provider: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> PaymentMethod:
        """Save what the provider's own form made of a card. The first one is the default.

        Raises PaymentFailed where the bank refuses, CardNumberRefused, NotSupported.
        """
        return await self._threads.run(
            self._part.add, customer, token, default=default, provider=provider, metadata=metadata,
            key=key,
        )  # fmt: skip

    async def list(self, customer: CustomerRef, *, refresh: bool = False) -> list[PaymentMethod]:
        """The customer's methods, the default first. `refresh` asks the provider before."""
        return await self._threads.run(self._part.list, customer, refresh=refresh)

    async def get(self, customer: CustomerRef, method: MethodRef) -> PaymentMethod:
        """One method, by our id or the provider's. Raises NotFound."""
        return await self._threads.run(self._part.get, customer, method)

    async def remove(self, customer: CustomerRef, method: MethodRef) -> PaymentMethod:
        """Charge it no more, and take it away at the provider. Raises NotFound."""
        return await self._threads.run(self._part.remove, customer, method)

    async def set_default(self, customer: CustomerRef, method: MethodRef) -> PaymentMethod:
        """Use it where nothing else is said; exactly one method is the default."""
        return await self._threads.run(self._part.set_default, customer, method)


class AsyncSetups:
    """Saving a method without paying: in the browser, or on a page of the provider."""

    def __init__(self, threads: Threads, part: client_methods.Setups) -> None:
        self._threads = threads
        self._part = part

    async def start(
        self,
        customer: CustomerRef,
        *,
        hosted: bool = False,
        token: str | None = None,
        default: bool = False,
        success_url: str | None = None,
        cancel_url: str | None = None,
        provider: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Setup:
        """Begin; the answer has a `client_secret` for the browser, or with `hosted` a `url`.

        With `token` the method is confirmed at once. The same `key` begins one setup.
        """
        return await self._threads.run(
            self._part.start, customer, hosted=hosted, token=token, default=default,
            success_url=success_url, cancel_url=cancel_url, provider=provider, metadata=metadata,
            key=key,
        )  # fmt: skip

    async def get(self, setup: str | UUID | Setup) -> Setup:
        """A setup as it stands here. Raises NotFound."""
        return await self._threads.run(self._part.get, setup)

    async def verify(self, setup: str | UUID | Setup) -> Setup:
        """Ask the provider how it stands and save the method; safe to call twice."""
        return await self._threads.run(self._part.verify, setup)
