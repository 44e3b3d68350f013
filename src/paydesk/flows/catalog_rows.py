"""What tables of the catalogue share: rows as they travel through the cache, and references."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.errors import NotFound


def to_json(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of a catalogue table as JSON can hold them."""
    return [
        {**row, "id": str(row["id"]), "created_at": row["created_at"].isoformat(),
         "updated_at": row["updated_at"].isoformat()}
        for row in rows
    ]  # fmt: skip


def of_json(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row that `to_json` wrote."""
    return {**row, "id": UUID(row["id"]), "created_at": datetime.fromisoformat(row["created_at"]),
            "updated_at": datetime.fromisoformat(row["updated_at"])}  # fmt: skip


def either(kind: str, ref: str | UUID) -> tuple[UUID | None, str | None]:
    """(id, key) that a reference may be. A text that nothing can be stored under names nothing."""
    if isinstance(ref, UUID):
        return ref, None
    try:
        return ids.parse(kind, ref), ref
    except NotFound:
        clean = "\0" not in ref and not any("\ud800" <= c <= "\udfff" for c in ref)
        return None, ref if clean else None
