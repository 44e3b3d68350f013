"""Events: a record of everything that happened, for a while or for good."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from ..engine import Call, operation
from . import listing


@operation("GET /v1/events/{id}")
def retrieve(call: Call) -> dict[str, Any]:
    return call.find("event", call.path["id"], "id")


@operation("GET /v1/events")
def list_all(call: Call) -> dict[str, Any]:
    """Newest first; `type` may hold `*`, `types` lists several."""
    params = call.params
    listing.exclusive(params, "type", "types")
    patterns = params.get("types") or ([params["type"]] if params.get("type") else ["*"])
    delivered = params.get("delivery_success")

    def keep(event: dict[str, Any]) -> bool:
        if not any(fnmatchcase(event["type"], pattern) for pattern in patterns):
            return False
        return delivered is None or (_waiting(call, event["id"]) == 0) == delivered

    return listing.page(call, "event", "/v1/events", keep=keep)


def _waiting(call: Call, event_id: str) -> int:
    return call.tx.sql.execute(
        "select count(*) from deliveries where event = ? and state not in ('delivered', 'lost')",
        (event_id,),
    ).fetchone()[0]
