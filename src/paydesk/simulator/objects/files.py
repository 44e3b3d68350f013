"""Files for the evidence of disputes: uploaded once, listed, downloaded with the key."""

from __future__ import annotations

from typing import Any

from .. import ids
from ..engine import Call, operation
from ..errors import StripeError, missing_param, not_simulated
from . import listing

MB = 1_000_000
#: Purposes the simulator has a use for, with the largest file of each.
PURPOSES = {"dispute_evidence": 5 * MB, "customer_signature": 4 * MB}
#: What the first bytes of a file say about its type.
TYPES = {b"%PDF-": "pdf", b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpg"}


@operation("POST /v1/files")
def create(call: Call) -> dict[str, Any]:
    params = call.params
    if call.upload is None:
        raise missing_param("file")
    purpose = params["purpose"]
    if purpose not in PURPOSES:
        raise not_simulated(f"files of purpose {purpose}", "purpose")
    listing.refuse_unsimulated(params, {"file_link_data": "file links"})
    content = call.upload.content
    if not content:
        raise StripeError("The file is empty.", param="file")
    if len(content) > PURPOSES[purpose]:
        raise StripeError(
            f"The file is too large: a {purpose} has at most {PURPOSES[purpose]} bytes.",
            param="file",
        )
    kind = next((name for start, name in TYPES.items() if content.startswith(start)), None)
    if kind is None:
        raise StripeError(
            f"Files of purpose {purpose} have to be of type pdf, png or jpg.", param="file"
        )
    file_id = ids.new("file")
    file = {
        "id": file_id,
        "object": "file",
        "created": call.now,
        "expires_at": None,
        "filename": call.upload.name or f"{file_id}.{kind}",
        "links": {
            "object": "list", "data": [], "has_more": False,
            "url": f"/v1/file_links?file={file_id}",
        },
        "purpose": purpose,
        "size": len(content),
        "title": None,
        "type": kind,
        "url": None,
    }
    call.tx.keep_content(file_id, content)
    return call.save(file)


@operation("GET /v1/files/{file}")
def retrieve(call: Call) -> dict[str, Any]:
    return call.find("file", call.path["file"], "file")


@operation("GET /v1/files")
def list_all(call: Call) -> dict[str, Any]:
    purpose = call.params.get("purpose")
    return listing.page(
        call, "file", "/v1/files", keep=lambda file: purpose in (None, file["purpose"])
    )
