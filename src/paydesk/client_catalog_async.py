"""client_catalog, each method in a thread. Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

from paydesk import client_catalog
from paydesk.client_threads import Threads
from paydesk.flows.catalog_sync import Change as CatalogChange
from paydesk.flows.catalog_sync import Drift as CatalogDrift
from paydesk.flows.catalog_sync import Progress as SyncProgress
from paydesk.flows.catalog_sync import Synced as CatalogSynced


class AsyncCatalog:
    """The packs, items and plans as a provider shows them; ours are the truth."""

    def __init__(self, threads: Threads, part: client_catalog.Catalog) -> None:
        self._threads = threads
        self._part = part

    async def sync(
        self,
        provider: str = 'stripe',
        *,
        dry_run: bool = False,
        progress: SyncProgress | None = None,
    ) -> CatalogSynced:
        """Make the provider's products and prices equal to ours; a second time changes nothing.

        What was changed there is written over, what only they have is left alone. Raises
        NotSupported, ProviderUnavailable, OutcomeUnknown (call it again).
        """
        return await self._threads.run(
            self._part.sync, provider, dry_run=dry_run, progress=progress,
        )  # fmt: skip

    async def drift(self, provider: str = 'stripe') -> list[CatalogDrift]:
        """What differs there, read now. Changes nothing."""
        return await self._threads.run(self._part.drift, provider)

    async def adopt(self, product: str, provider: str = 'stripe') -> CatalogChange:
        """Take a product, by its id there or by its key, as what it is there: a new pack or item,
        or another name and price of one that is here. Raises InvalidRequest with the reason."""
        return await self._threads.run(self._part.adopt, product, provider)
