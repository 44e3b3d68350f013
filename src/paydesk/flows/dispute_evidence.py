"""Evidence of a dispute: drafted here, submitted once, or the dispute is given up.

A draft can change until it is submitted. Files are kept until the provider has them. Each step
at the provider is a row of `provider_calls` that anybody can go on with.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from paydesk import ids
from paydesk.db.postgres import Tx
from paydesk.env import Env
from paydesk.errors import (
    Conflict,
    DisputeClosed,
    IdempotencyInProgress,
    InvalidRequest,
    NotFound,
    OutcomeUnknown,
    PaydeskError,
    ProviderRefused,
    ProviderUnavailable,
)
from paydesk.flows import dispute_views, disputes, heads, provider_calls
from paydesk.flows.dispute_views import DisputeView, FileView
from paydesk.flows.events import emit_many
from paydesk.flows.provider_calls import Action, Call
from paydesk.rules import disputes as rules
from paydesk.rules.disputes import OPEN_STATES

#: A provider that gives no answer keeps nothing from being kept here; the sweep goes on.
_LATER = (ProviderUnavailable, OutcomeUnknown, IdempotencyInProgress)


def save_draft(
    env: Env, customer_id: UUID, dispute_id: UUID, texts: Mapping[str, str | None], *, by: str
) -> DisputeView:
    """Change texts of the draft; None or an empty text takes one out.

    Raises InvalidRequest for a name that is no text of evidence, DisputeClosed.
    """
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        one = _open(tx, customer_id, dispute_id, now)
        draft = rules.check_texts(texts, one.evidence)
        changed = sorted(k for k in draft.keys() | one.evidence.keys()
                         if draft.get(k) != one.evidence.get(k))  # fmt: skip
        if not changed:
            return one
        tx.run(
            "update disputes set evidence = %(evidence)s"
            " where customer_id = %(customer_id)s and id = %(id)s",
            {"evidence": draft, "customer_id": customer_id, "id": dispute_id},
        )
        _changed(tx, now, one, by, changed)
        return dispute_views.view(tx, customer_id, dispute_id)


def add_file(
    env: Env, customer_id: UUID, dispute_id: UUID, *, field: str, name: str, content: bytes,
    content_type: str, by: str,
) -> DisputeView:  # fmt: skip
    """Keep a file and send it to the provider; one for each field, the same file once.

    A provider that does not answer now gets it later. Raises InvalidRequest for what banks do not
    read, DisputeClosed, and ProviderRefused, which leaves the file out.
    """
    digest = hashlib.sha256(content).digest()
    call: Call | None = None
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        one = _open(tx, customer_id, dispute_id, now)
        others = sum(f.size for f in one.files if f.field != field)
        rules.check_file(field, name, content, content_type, others)
        same = tx.value(
            "select id from dispute_files where customer_id = %(customer_id)s"
            " and dispute_id = %(id)s and evidence_field = %(field)s and digest = %(digest)s",
            {"customer_id": customer_id, "id": dispute_id, "field": field, "digest": digest},
        )
        if same is None:
            file_id = _keep(tx, now, one, field, name, content, content_type, digest, by)
            call = _upload_call(tx, now, one, file_id)
            _changed(tx, now, one, by, [field])
    with contextlib.suppress(*_LATER):
        if call is not None:
            provider_calls.run(env, call)
    return dispute_views.get(env, customer_id, dispute_id)


def remove_file(
    env: Env, customer_id: UUID, dispute_id: UUID, file_id: UUID, *, by: str
) -> DisputeView:
    """Take a file out of the draft. Raises NotFound, DisputeClosed."""
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        one = _open(tx, customer_id, dispute_id, now)
        found = next((f for f in one.files if f.id == file_id), None)
        if found is None:
            raise NotFound(f"No such file: {ids.show('dispute_file', file_id)}.")
        _drop(tx, customer_id, file_id)
        _changed(tx, now, one, by, [found.field])
        return dispute_views.view(tx, customer_id, dispute_id)


def submit(env: Env, customer_id: UUID, dispute_id: UUID, *, by: str) -> DisputeView:
    """Send the draft to the bank, once; a repeat goes on with what was begun, or finds it done.

    Raises InvalidRequest for an empty draft, DisputeClosed, ProviderRefused, ProviderUnavailable
    or OutcomeUnknown.
    """
    _send_files(env, customer_id, dispute_id)
    call: Call | None = None
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        begun = _latest(tx, customer_id, dispute_id, "submit")
        submitted = dispute_views.view(tx, customer_id, dispute_id).submissions
        # One that was done for the inquiry before is not this one.
        if begun is None or (begun.is_settled and not submitted) or begun.state == "refused":
            one = _open(tx, customer_id, dispute_id, now)
            if any(file.ref is None for file in one.files):
                raise Conflict("A file has not reached the provider yet; try again.")
            evidence = one.evidence | {f.field: f.ref for f in one.files if f.ref}
            if not evidence:
                raise InvalidRequest("There is no evidence to submit.", param="evidence")
            call = _intend(tx, now, one, "submit", evidence=evidence, by=by)
    if call is not None:
        provider_calls.run(env, call)
    elif begun is not None and not begun.is_settled:
        provider_calls.resume(env, customer_id, begun.id)
    return dispute_views.get(env, customer_id, dispute_id)


def accept(env: Env, customer_id: UUID, dispute_id: UUID, *, by: str) -> DisputeView:
    """Give the dispute up: it counts as lost. A repeat finds it done.

    Raises DisputeClosed, ProviderRefused, ProviderUnavailable or OutcomeUnknown.
    """
    call: Call | None = None
    with env.db.transaction(customer_id) as tx:
        now = heads.decide(tx, env.now(), customer_id)
        begun = _latest(tx, customer_id, dispute_id, "accept")
        if begun is None or begun.state == "refused":
            one = _open(tx, customer_id, dispute_id, now, until_due=False)
            call = _intend(tx, now, one, "accept", by=by)
    if call is not None:
        provider_calls.run(env, call)
    elif begun is not None and not begun.is_settled:
        provider_calls.resume(env, customer_id, begun.id)
    return dispute_views.get(env, customer_id, dispute_id)


# The draft ----------------------------------------------------------------------------------------


def _open(
    tx: Tx, customer_id: UUID, dispute_id: UUID, now: datetime, *, until_due: bool = True
) -> DisputeView:
    """The dispute, which still takes evidence. Raises NotFound, DisputeClosed, Conflict."""
    one = dispute_views.view(tx, customer_id, dispute_id)
    if one.state not in OPEN_STATES:
        raise DisputeClosed(f"The dispute is {one.state.replace('_', ' ')}.")
    if one.submissions:
        raise DisputeClosed("Evidence was submitted already.")
    if until_due and one.due_at is not None and now >= one.due_at:
        raise DisputeClosed("The time for evidence is over.")
    for step in ("submit", "accept"):
        begun = _latest(tx, customer_id, dispute_id, step)
        if begun is not None and not begun.is_settled:
            raise Conflict(f"Another request to {step} this dispute is under way.")
    return one


def _keep(
    tx: Tx, now: datetime, one: DisputeView, field: str, name: str, content: bytes,
    content_type: str, digest: bytes, by: str,
) -> UUID:  # fmt: skip
    """Store the file in place of an earlier one of this field."""
    for before in one.files:
        if before.field == field:
            _drop(tx, one.customer_id, before.id)
    file_id = ids.new_owned(one.customer_id)
    tx.run(
        "insert into dispute_files (customer_id, id, dispute_id, evidence_field, name,"
        " content_type, size, digest, content, uploaded_by, created_at) values (%(customer_id)s,"
        " %(id)s, %(dispute_id)s, %(field)s, %(name)s, %(type)s, %(size)s, %(digest)s,"
        " %(content)s, %(by)s, %(now)s)",
        {
            "customer_id": one.customer_id,
            "id": file_id,
            "dispute_id": one.id,
            "field": field,
            "name": name,
            "type": content_type,
            "size": len(content),
            "digest": digest,
            "content": content,
            "by": by,
            "now": now,
        },
    )
    return file_id


def _drop(tx: Tx, customer_id: UUID, file_id: UUID) -> None:
    tx.run(
        "delete from dispute_files where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": customer_id, "id": file_id},
    )


def _changed(tx: Tx, now: datetime, one: DisputeView, by: str | None, changed: list[str]) -> None:
    emit_many(tx, [disputes.event_of(one, "dispute.evidence_changed", at=now, actor=by,
                                     changed=changed)])  # fmt: skip


def _send_files(env: Env, customer_id: UUID, dispute_id: UUID) -> None:
    """Bring every file to the provider that has not arrived there."""
    with env.db.read() as tx:
        one = dispute_views.view(tx, customer_id, dispute_id)
    for file in one.files:
        if file.ref is None and not one.submissions:
            _send_file(env, one, file)


def _send_file(env: Env, one: DisputeView, file: FileView) -> None:
    with env.db.transaction(one.customer_id) as tx:
        now = heads.decide(tx, env.now(), one.customer_id)
        begun = _latest(tx, one.customer_id, one.id, "upload", file.id)
        call = None
        if begun is None or begun.is_settled:
            call = _upload_call(tx, now, one, file.id)
    if call is not None:
        provider_calls.run(env, call)
    elif begun is not None:
        provider_calls.resume(env, one.customer_id, begun.id)


# Calls --------------------------------------------------------------------------------------------


def _upload_call(tx: Tx, now: datetime, one: DisputeView, file_id: UUID) -> Call:
    return _intend(tx, now, one, "upload", file_id=str(file_id))


def _intend(tx: Tx, now: datetime, one: DisputeView, step: str, **more: Any) -> Call:
    clock_id = tx.value(
        "select clock_id from disputes where customer_id = %(customer_id)s and id = %(id)s",
        {"customer_id": one.customer_id, "id": one.id},
    )
    return provider_calls.intend(
        tx, now, customer_id=one.customer_id, call_id=ids.new_owned(one.customer_id),
        action="evidence", payment_id=one.payment_id, subject_id=one.id, clock_id=clock_id,
        request={"provider": one.provider, "step": step, "ref": one.ref, **more},
    )  # fmt: skip


def _latest(
    tx: Tx, customer_id: UUID, dispute_id: UUID, step: str, file_id: UUID | None = None
) -> Call | None:
    row = tx.one(
        "select id from provider_calls where customer_id = %(customer_id)s"
        " and subject_id = %(id)s and action = 'evidence' and request->>'step' = %(step)s"
        " and (%(file_id)s::text is null or request->>'file_id' = %(file_id)s)"
        " order by created_at desc, id desc limit 1",
        {"customer_id": customer_id, "id": dispute_id, "step": step,
         "file_id": str(file_id) if file_id else None},
    )  # fmt: skip
    return provider_calls.read(tx, customer_id, row["id"]) if row else None


def _send(env: Env, call: Call) -> Any:
    told, key = call.request, str(call.id)
    if told["step"] == "submit":
        return env.providers.call(
            call.provider, "send_evidence", told["ref"], told["evidence"], submit=True, key=key
        )
    if told["step"] == "accept":
        return env.providers.call(call.provider, "accept_dispute", told["ref"], key)
    with env.db.read() as tx:
        file = tx.one(
            "select name, content, content_type, ref from dispute_files"
            " where customer_id = %(customer_id)s and id = %(id)s",
            {"customer_id": call.customer_id, "id": UUID(told["file_id"])},
        )
    if file is None:
        raise ProviderRefused("The file was taken out of the evidence.")
    if file["ref"] is not None:
        return file["ref"]
    return env.providers.call(
        call.provider, "upload_file", file["name"], bytes(file["content"]), file["content_type"],
        key,
    )  # fmt: skip


def _done(env: Env, tx: Tx, now: datetime, call: Call, remote: Any) -> dict[str, Any]:
    step = call.request["step"]
    if step == "upload":
        tx.run(
            "update dispute_files set ref = %(ref)s, content = null"
            " where customer_id = %(customer_id)s and id = %(id)s",
            {"ref": remote, "customer_id": call.customer_id, "id": UUID(call.request["file_id"])},
        )
        return {"ref": remote}
    one, by = _dispute(tx, call), call.request.get("by")
    if step == "submit":
        _note_submission(tx, now, one, by)
    else:
        emit_many(tx, [disputes.event_of(one, "dispute.accepted", at=now, actor=by)])
    disputes.lay(
        tx, now, remote, (one.customer_id, one.payment_id), provider=one.provider,
        account=one.provider_account, path="desk", settings=env.settings, actor=by,
    )  # fmt: skip
    return {"status": remote.status}


def _note_submission(tx: Tx, now: datetime, one: DisputeView, by: str | None) -> None:
    """Ours is noted once, before what the provider shows of it is laid down."""
    changed = tx.run(
        "update disputes set submissions = 1, submitted_at = %(now)s"
        " where customer_id = %(customer_id)s and id = %(id)s and submissions = 0",
        {"now": now, "customer_id": one.customer_id, "id": one.id},
    )
    if changed:
        emit_many(tx, [disputes.event_of(one, "dispute.submitted", at=now, actor=by, by="desk")])


def _refused(
    env: Env, tx: Tx, now: datetime, call: Call, code: str, message: str, unknown: bool
) -> None:
    """Nothing happened: the draft stands as it was, without a file that the provider refuses."""
    if call.request["step"] != "upload" or unknown or code == "never_sent":
        return
    file_id = UUID(call.request["file_id"])
    one = _dispute(tx, call)
    found = next((f for f in one.files if f.id == file_id), None)
    if found is not None:
        _drop(tx, call.customer_id, file_id)
        _changed(tx, now, one, None, [found.field])


def _refusal(call: Call, message: str) -> PaydeskError:
    return ProviderRefused(message[:500])


def _old(env: Env, call: Call) -> Mapping[str, Any] | None:
    """Whether it arrived: a submission shows in the dispute's state, and so does its end. A file
    is sent again under another key when it is needed; a second one harms nobody."""
    if call.request["step"] == "upload":
        return None
    with env.db.read() as tx:
        one = _dispute(tx, call)
    remote = env.providers.call(call.provider, "fetch_dispute", one.ref)
    with env.db.transaction(call.customer_id) as tx:
        now = heads.decide(tx, env.now(), call.customer_id)
        if provider_calls.read(tx, call.customer_id, call.id).is_settled:
            return {"status": remote.status}
        has_ended = remote.status not in OPEN_STATES
        # Lost by the clock is lost without our words.
        is_ours = call.request["step"] == "accept" or bool(remote.evidence)
        return _done(env, tx, now, call, remote) if has_ended and is_ours else None


def _dispute(tx: Tx, call: Call) -> DisputeView:
    assert call.subject_id is not None, "evidence is of a dispute"
    return dispute_views.view(tx, call.customer_id, call.subject_id)


ACTION = Action(send=_send, done=_done, refused=_refused, refusal=_refusal, old=_old)
