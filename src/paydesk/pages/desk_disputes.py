"""The dashboard's disputes: what is due when, the evidence, and its submission."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import File, Form, Request, UploadFile
from fastapi.responses import Response

from paydesk import ids
from paydesk.errors import InvalidRequest
from paydesk.flows import desk_lists, dispute_evidence, dispute_suggestions, disputes, heads
from paydesk.flows.dispute_views import DisputeView
from paydesk.pages import desk, session, story
from paydesk.pages.routing import new_router
from paydesk.rules.disputes import FILE_FIELDS, FILE_TYPES, MAX_TEXT, TEXT_FIELDS

router = new_router()

HOME = "/dashboard/disputes"
TABS = [
    ("open", "To answer"), ("under_review", "Under review"), ("won", "Won"), ("lost", "Lost"),
    ("", "All"),
]  # fmt: skip
LIMIT = 25
#: Texts that are a name, a day or a number.
SHORT = frozenset({
    "customer_name", "customer_email_address", "customer_purchase_ip", "duplicate_charge_id",
    "service_date", "shipping_carrier", "shipping_date", "shipping_tracking_number",
})  # fmt: skip
Csrf = Annotated[str, Form(max_length=100)]


@router.get(HOME)
def dispute_list(request: Request, tab: str = "open", before: str = "") -> Response:
    env, who = request.app.state.env, session.operator(request)
    tab = tab if tab in dict(TABS) else "open"
    found = disputes.list_(
        env, status=tab if tab not in ("", "open") else None,
        is_open=True if tab == "open" else None, limit=LIMIT + 1,
        after=ids.parse("dispute", before) if before else None,
    )  # fmt: skip
    rows = found[:LIMIT]
    with env.db.read() as tx:
        people = desk_lists.people(tx, [one.customer_id for one in rows])
    cursor = ids.show("dispute", rows[-1].id) if len(found) > LIMIT else ""
    return desk.show(
        request, "disputes.html", who=who, rows=rows, people=people, tab=tab, tabs=TABS,
        shown=ids.show, next_url=desk.older(HOME, cursor, tab=tab), is_first=not before,
        first_url=desk.address(HOME, tab=tab),
    )  # fmt: skip


@router.get(HOME + "/{ident}")
def dispute(request: Request, ident: str) -> Response:
    env, who = request.app.state.env, session.operator(request)
    one = disputes.get(env, None, ident)
    now = heads.now(env, one.customer_id)
    open_ = one.takes_evidence(now)
    with env.db.read() as tx:
        person = desk_lists.people(tx, [one.customer_id])[one.customer_id]
        rows = desk_lists.told(tx, one.customer_id, [one.id])
    ideas = dispute_suggestions.suggest(env, *one.key) if open_ else {}
    first = [name for name in TEXT_FIELDS if name in one.evidence or name in ideas]
    return desk.show(
        request, "dispute.html", who=who, d=one, ident=ids.show("dispute", one.id), person=person,
        payment=ids.show("payment", one.payment_id), steps=[story.of_event(row) for row in rows],
        at=now, is_open=open_, ideas=ideas, first=first, short=SHORT,
        most=MAX_TEXT,
        rest=[name for name in TEXT_FIELDS if name not in first], shown=ids.show,
        file_fields=[f for f in FILE_FIELDS if f not in {file.field for file in one.files}],
        file_types=",".join(FILE_TYPES),
    )  # fmt: skip


def _key(request: Request, ident: str) -> tuple[Any, Any]:
    env = request.app.state.env
    with env.db.read() as tx:
        return disputes.find(env, tx, ident)


@router.post(HOME + "/{ident}/evidence")
async def draft(request: Request, ident: str) -> Response:
    """Every text field as the form has it; an empty one is taken out."""
    from starlette.concurrency import run_in_threadpool

    form = await request.form(max_fields=60)
    told = {name: str(form.get(name, "")) for name in ("csrf", *TEXT_FIELDS) if name in form}
    return await run_in_threadpool(_draft, request, ident, told)


def _draft(request: Request, ident: str, told: dict[str, str]) -> Response:
    who = desk.actor(request, told.pop("csrf", ""), "disputes.evidence")
    key = _key(request, ident)
    kept = disputes.get(request.app.state.env, None, ident).evidence
    texts = {
        name: text.replace("\r\n", "\n").strip() or None
        for name, text in told.items() if text.strip() or name in kept
    }  # fmt: skip
    if texts:
        dispute_evidence.save_draft(request.app.state.env, *key, texts, by=who.caller)
    return desk.done(f"{HOME}/{ident}", "drafted")


@router.post(HOME + "/{ident}/files")
def add_file(
    request: Request, ident: str, file: Annotated[UploadFile, File()],
    field: Annotated[str, Form(max_length=64)], csrf: Csrf = "",
) -> Response:  # fmt: skip
    who = desk.actor(request, csrf, "disputes.evidence")
    content = file.file.read()
    if not content:
        raise InvalidRequest("Choose a file.", param="file")
    dispute_evidence.add_file(
        request.app.state.env, *_key(request, ident), field=field, name=file.filename or field,
        content=content, content_type=file.content_type or "", by=who.caller,
    )  # fmt: skip
    return desk.done(f"{HOME}/{ident}", "filed")


@router.post(HOME + "/{ident}/files/{file}/remove")
def remove_file(request: Request, ident: str, file: str, csrf: Csrf = "") -> Response:
    who = desk.actor(request, csrf, "disputes.evidence")
    dispute_evidence.remove_file(
        request.app.state.env, *_key(request, ident), ids.parse("dispute_file", file),
        by=who.caller,
    )  # fmt: skip
    return desk.done(f"{HOME}/{ident}", "unfiled")


@router.post(HOME + "/{ident}/submit")
def submit(request: Request, ident: str, csrf: Csrf = "") -> Response:
    who = desk.actor(request, csrf, "disputes.evidence")
    _ended(request, ident, dispute_evidence.submit, who.caller)
    return desk.done(f"{HOME}/{ident}", "submitted")


@router.post(HOME + "/{ident}/accept")
def accept(request: Request, ident: str, csrf: Csrf = "") -> Response:
    who = desk.actor(request, csrf, "disputes.accept")
    _ended(request, ident, dispute_evidence.accept, who.caller)
    return desk.done(f"{HOME}/{ident}", "accepted")


def _ended(request: Request, ident: str, step: Any, by: str) -> DisputeView:
    found: DisputeView = step(request.app.state.env, *_key(request, ident), by=by)
    return found
