"""The library's front for saved ways to pay: `pay.methods` and `pay.setups`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.client_parts import CustomerRef, _Part, request_key
from paydesk.flows import customers, methods, setups
from paydesk.flows.methods import AddMethod, MethodView
from paydesk.flows.setups import SetupView, StartSetup


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentMethod:
    """A saved way to pay. `kind` is card, bank_account or the provider's word; `wallet` is
    apple_pay or google_pay where the card came through one."""

    id: str
    customer: str
    provider: str
    provider_method: str
    kind: str
    brand: str | None
    last4: str | None
    exp_month: int | None
    exp_year: int | None
    country: str | None
    wallet: str | None
    default: bool
    expired: bool
    expires_soon: bool
    removed_at: datetime | None
    metadata: Mapping[str, str] = field(hash=False)
    created_at: datetime

    @classmethod
    def of(cls, view: MethodView) -> PaymentMethod:
        return cls(
            id=ids.show("method", view.id), customer=ids.show("customer", view.customer_id),
            provider=view.provider, provider_method=view.ref, kind=view.kind, brand=view.brand,
            last4=view.last4, exp_month=view.exp_month, exp_year=view.exp_year,
            country=view.country, wallet=view.wallet, default=view.is_default,
            expired=view.expired, expires_soon=view.expires_soon, removed_at=view.detached_at,
            metadata=view.metadata, created_at=view.created_at,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<PaymentMethod {self.id} {self.brand or self.kind} …{self.last4}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A method being saved. `client_secret` is for the provider's script in the browser and is
    kept nowhere; `url` is a page to open. `status` is pending, requires_action, succeeded, failed
    or canceled."""

    id: str
    customer: str
    status: str
    provider: str
    provider_setup: str | None
    client_secret: str | None = field(repr=False)
    url: str | None
    method: str | None
    error_code: str | None
    error_message: str | None
    expires_at: datetime | None
    created_at: datetime

    @classmethod
    def of(cls, view: SetupView) -> Setup:
        return cls(
            id=ids.show("setup", view.id), customer=ids.show("customer", view.customer_id),
            status=view.state, provider=view.provider, provider_setup=view.ref,
            client_secret=view.client_secret, url=view.url,
            method=ids.show("method", view.method_id) if view.method_id else None,
            error_code=view.error_code, error_message=view.error_message,
            expires_at=view.expires_at, created_at=view.created_at,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"<Setup {self.id} {self.status}>"


#: A saved method: our id, the provider's, or the object.
MethodRef = str | UUID | PaymentMethod


def method_ref(method: MethodRef) -> str | UUID:
    return method.id if isinstance(method, PaymentMethod) else method


class Methods(_Part):
    """Saved ways to pay: a provider's token and what people recognize it by."""

    def add(
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
        who = customers.ensure(self._env, customer)
        return PaymentMethod.of(methods.add(self._env, AddMethod(
            customer_id=who.uuid, token=token, provider=provider, make_default=default,
            metadata=metadata or {}, request_key=request_key(key),
        )))  # fmt: skip

    def list(self, customer: CustomerRef, *, refresh: bool = False) -> list[PaymentMethod]:
        """The customer's methods, the default first. `refresh` asks the provider before."""
        who = customers.resolve(self._env, customer)
        found = methods.list_(self._env, who, refresh=refresh)
        return [PaymentMethod.of(one) for one in found]

    def get(self, customer: CustomerRef, method: MethodRef) -> PaymentMethod:
        """One method, by our id or the provider's. Raises NotFound."""
        who = customers.resolve(self._env, customer)
        return PaymentMethod.of(methods.get(self._env, who, method_ref(method)))

    def remove(self, customer: CustomerRef, method: MethodRef) -> PaymentMethod:
        """Charge it no more, and take it away at the provider. Raises NotFound."""
        who = customers.resolve(self._env, customer)
        return PaymentMethod.of(methods.remove(self._env, who, method_ref(method)))

    def set_default(self, customer: CustomerRef, method: MethodRef) -> PaymentMethod:
        """Use it where nothing else is said; exactly one method is the default."""
        who = customers.resolve(self._env, customer)
        return PaymentMethod.of(methods.set_default(self._env, who, method_ref(method)))


class Setups(_Part):
    """Saving a method without paying: in the browser, or on a page of the provider."""

    def start(
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
        who = customers.ensure(self._env, customer)
        return Setup.of(setups.start(self._env, StartSetup(
            customer_id=who.uuid, provider=provider, hosted=hosted, token=token,
            success_url=success_url, cancel_url=cancel_url, make_default=default,
            metadata=metadata or {}, request_key=request_key(key),
        )))  # fmt: skip

    def get(self, setup: str | UUID | Setup) -> Setup:
        """A setup as it stands here. Raises NotFound."""
        ref = setup.id if isinstance(setup, Setup) else setup
        return Setup.of(setups.get(self._env, None, ref))

    def verify(self, setup: str | UUID | Setup) -> Setup:
        """Ask the provider how it stands and save the method; safe to call twice."""
        ref = setup.id if isinstance(setup, Setup) else setup
        return Setup.of(setups.verify(self._env, None, ref))
