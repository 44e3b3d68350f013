"""v1: disputes: what banks bring up, the evidence against it, and its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest, MalformedRequest
from paydesk.flows import dispute_evidence, dispute_suggestions, disputes, heads, payments
from paydesk.flows.dispute_views import DisputeView, FileView
from paydesk.http import bodies, fields, owners
from paydesk.http.fields import DEFAULT_LIMIT, Instant, Limit, reply
from paydesk.http.idempotency import attempt_of, once
from paydesk.http.routes import at_provider, cell, env_of, router, who_of
from paydesk.http.v1.dispute_models import DisputeOut, EvidenceIn, SuggestionsOut
from paydesk.http.v1.models import page_of
from paydesk.rules.disputes import FILE_FIELDS, FILE_TYPES

disputes_v1 = router("disputes")

#: Disputes are between the bank and the shop: customers do not see them.
WHO = ("admin", "finance", "support")
#: Who may give the money of one up.
MAY_ACCEPT = ("admin", "finance")


def dispute_shape(one: DisputeView, request: Request) -> dict[str, Any]:
    env = env_of(request)
    return {
        "id": ids.show("dispute", one.id),
        "object": "dispute",
        "livemode": env.settings.live,
        "customer": ids.show("customer", one.customer_id),
        "payment": ids.show("payment", one.payment_id),
        "provider": one.provider,
        "provider_dispute_id": one.ref,
        "status": one.state,
        "reason": one.reason,
        **fields.money(one.amount),
        "currency": one.amount.currency,
        **fields.money(one.withdrawn, "withdrawn"),
        **fields.money(one.reinstated, "reinstated"),
        **fields.money(one.loss, "loss"),
        **fields.money(one.fee, "fee"),
        "due_at": fields.instant(one.due_at),
        "takes_evidence": one.takes_evidence(heads.now(env, one.customer_id)),
        "evidence": one.evidence,
        "files": [_file(file) for file in one.files],
        "submitted_at": fields.instant(one.submitted_at),
        "opened_at": fields.instant(one.opened_at),
        "closed_at": fields.instant(one.closed_at),
        "created_at": fields.instant(one.created_at),
        "updated_at": fields.instant(one.updated_at),
    }


def _file(one: FileView) -> dict[str, Any]:
    return {
        "id": ids.show("dispute_file", one.id), "object": "dispute_file", "field": one.field,
        "name": one.name, "content_type": one.content_type, "size": one.size,
        "reached": one.ref is not None, "uploaded_by": one.uploaded_by,
        "created_at": fields.instant(one.created_at),
    }  # fmt: skip


@disputes_v1.get(
    "/v1/disputes", response_model=None, summary="List disputes",
    responses={200: {"model": page_of(DisputeOut)}}, **cell(*WHO),
)  # fmt: skip
def list_disputes(
    request: Request,
    customer: Annotated[str | None, Query(max_length=255)] = None,
    payment: Annotated[str | None, Query(max_length=255)] = None,
    status: Annotated[str | None, Query(max_length=40)] = None,
    takes_evidence: bool | None = None,
    due_before: Annotated[Instant | None, Query(alias="due_at[lt]")] = None,
    created_from: Annotated[Instant | None, Query(alias="created_at[gte]")] = None,
    created_to: Annotated[Instant | None, Query(alias="created_at[lt]")] = None,
    limit: Limit = DEFAULT_LIMIT,
    starting_after: str | None = None,
) -> Response:
    """Newest first. `takes_evidence`: those whose state still does."""
    env, who = env_of(request), who_of(request)
    owner, payment_id = owners.scope_of(env, who, customer), None
    if payment is not None:
        found = payments.get(env, owner, payment)
        owner, payment_id = found.customer_id, found.id
    rows = disputes.list_(
        env, owner, limit=limit + 1, payment_id=payment_id, status=status, is_open=takes_evidence,
        after=None if starting_after is None else ids.parse("dispute", starting_after),
        due_before=due_before, created_from=created_from, created_to=created_to,
    )  # fmt: skip
    return reply(fields.page(rows, limit, lambda one: dispute_shape(one, request)))


@disputes_v1.get(
    "/v1/disputes/{dispute}", response_model=None, summary="Get a dispute",
    responses={200: {"model": DisputeOut}}, **cell(*WHO),
)  # fmt: skip
def get_dispute(request: Request, dispute: str) -> Response:
    """By our id or the provider's."""
    return reply(dispute_shape(disputes.get(env_of(request), None, dispute), request))


@disputes_v1.get(
    "/v1/disputes/{dispute}/suggestions", response_model=None, summary="Suggest evidence",
    responses={200: {"model": SuggestionsOut}}, **cell(*WHO),
)  # fmt: skip
def suggest_evidence(request: Request, dispute: str) -> Response:
    """Texts from what is on record: who bought what when, and what was used since."""
    env = env_of(request)
    key = _key(request, dispute)
    return reply({
        "object": "evidence_suggestions", "livemode": env.settings.live,
        "dispute": ids.show("dispute", key[1]),
        "evidence": dispute_suggestions.suggest(env, *key),
    })  # fmt: skip


@disputes_v1.patch(
    "/v1/disputes/{dispute}/evidence", response_model=None, summary="Change the draft",
    responses={200: {"model": DisputeOut}}, **cell(*WHO),
)  # fmt: skip
def draft_evidence(request: Request, dispute: str, body: EvidenceIn) -> Response:  # type: ignore[valid-type]
    """Nothing goes to the bank before it is submitted."""
    env, key = env_of(request), _key(request, dispute)
    one = dispute_evidence.save_draft(
        env, *key, body.model_dump(exclude_unset=True), by=who_of(request).caller
    )
    return reply(dispute_shape(one, request))


_FILE_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": {
            "type": "object", "required": ["field", "file"],
            "properties": {"field": {"type": "string", "enum": list(FILE_FIELDS)},
                           "file": {"type": "string", "format": "binary"}},
        }},
        **{kind: {"schema": {"type": "string", "format": "binary"}} for kind in FILE_TYPES},
    },
}  # fmt: skip
_FILES_CELL = cell(*WHO)
_FILES_CELL["openapi_extra"]["requestBody"] = _FILE_BODY


@disputes_v1.post(
    "/v1/disputes/{dispute}/files", response_model=None, summary="Add a file",
    responses={200: {"model": DisputeOut}}, **_FILES_CELL,
)  # fmt: skip
async def add_file(
    request: Request,
    dispute: str,
    field: Annotated[str | None, Query(max_length=64)] = None,
    name: Annotated[str | None, Query(max_length=255)] = None,
) -> Response:
    """A PDF, PNG or JPEG: as the part `file` of a form, or as the body itself with `field` and
    `name` in the address. One for each field; all together have at most 4.5 MB."""
    kind = (request.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        field, name, kind, content = await _form(request, field)
    else:
        content = await request.body()
    if not field or not content:
        raise InvalidRequest("Send a file and the field that it is for.", param="field")
    bodies.check_text(name or field, ("name",))

    def work() -> Response:
        one = dispute_evidence.add_file(
            env_of(request), *_key(request, dispute), field=field, name=name or field,
            content=content, content_type=kind, by=who_of(request).caller,
        )  # fmt: skip
        return reply(dispute_shape(one, request))

    return await at_provider(request, work)


async def _form(request: Request, field: str | None) -> tuple[str | None, str | None, str, bytes]:
    """(field, name, content type, content) of a form's parts."""
    try:
        async with request.form(max_files=1, max_fields=4) as form:
            file, named = form.get("file"), form.get("field", field)
            if file is None or isinstance(file, str) or (named and not isinstance(named, str)):
                raise InvalidRequest("The form needs the parts field and file.", param="file")
            content = await file.read()
            return str(named or ""), file.filename, file.content_type or "", content
    except HTTPException as exc:
        raise MalformedRequest(f"The form cannot be read: {exc.detail}") from None


@disputes_v1.delete(
    "/v1/disputes/{dispute}/files/{file}", response_model=None, summary="Take a file out",
    responses={200: {"model": DisputeOut}}, **cell(*WHO),
)  # fmt: skip
def remove_file(request: Request, dispute: str, file: str) -> Response:
    one = dispute_evidence.remove_file(
        env_of(request), *_key(request, dispute), ids.parse("dispute_file", file),
        by=who_of(request).caller,
    )  # fmt: skip
    return reply(dispute_shape(one, request))


@disputes_v1.post(
    "/v1/disputes/{dispute}/submit", response_model=None, summary="Submit the evidence",
    responses={200: {"model": DisputeOut}}, **cell(*WHO),
)  # fmt: skip
async def submit_evidence(request: Request, dispute: str) -> Response:
    """Once, and for good. A repeat goes on with what was begun."""
    return await at_provider(request, _end, request, dispute, dispute_evidence.submit)


@disputes_v1.post(
    "/v1/disputes/{dispute}/accept", response_model=None, summary="Give the dispute up",
    responses={200: {"model": DisputeOut}}, **cell(*MAY_ACCEPT),
)  # fmt: skip
async def accept_dispute(request: Request, dispute: str) -> Response:
    """It is lost then: the money stays with the bank."""
    return await at_provider(request, _end, request, dispute, dispute_evidence.accept)


def _end(request: Request, dispute: str, step: Callable[..., DisputeView]) -> Response:
    env, who = env_of(request), who_of(request)
    key = _key(request, dispute)

    def work() -> Response:
        return reply(dispute_shape(step(env, *key, by=who.caller), request))

    return once(env, attempt_of(request, who), key[0], work)


def _key(request: Request, dispute: str) -> tuple[UUID, UUID]:
    env = env_of(request)
    with env.db.read() as tx:
        return disputes.find(env, tx, dispute)
