"""The library's front for the catalogue at a provider: `pay.catalog`."""

from __future__ import annotations

from paydesk.client_parts import _Part
from paydesk.flows import catalog_sync
from paydesk.flows.catalog_sync import Change as CatalogChange
from paydesk.flows.catalog_sync import Drift as CatalogDrift
from paydesk.flows.catalog_sync import Progress as SyncProgress
from paydesk.flows.catalog_sync import Synced as CatalogSynced


class Catalog(_Part):
    """The packs, items and plans as a provider shows them; ours are the truth."""

    def sync(
        self,
        provider: str = "stripe",
        *,
        dry_run: bool = False,
        progress: SyncProgress | None = None,
    ) -> CatalogSynced:
        """Make the provider's products and prices equal to ours; a second time changes nothing.

        What was changed there is written over, what only they have is left alone. Raises
        NotSupported, ProviderUnavailable, OutcomeUnknown (call it again).
        """
        return catalog_sync.sync(self._env, provider, dry_run=dry_run, progress=progress)

    def drift(self, provider: str = "stripe") -> list[CatalogDrift]:
        """What differs there, read now. Changes nothing."""
        return catalog_sync.drift(self._env, provider)

    def adopt(self, product: str, provider: str = "stripe") -> CatalogChange:
        """Take a product, by its id there or by its key, as what it is there: a new pack or item,
        or another name and price of one that is here. Raises InvalidRequest with the reason."""
        return catalog_sync.adopt(self._env, product, provider)
