"""/dev/mailbox: in development, every mail as it is or would have been sent."""

from __future__ import annotations

from fastapi import Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

from paydesk import ids
from paydesk.env import Env
from paydesk.errors import NotFound
from paydesk.flows import notifications
from paydesk.pages import look, session
from paydesk.pages.routing import new_router

router = new_router()

#: A mail brings its styles with it; it may do nothing else, and stands in our own frame only.
_MAIL_HEADERS = {
    **look.HEADERS,
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:;"
                               " sandbox; frame-ancestors 'self'; base-uri 'none'",
    "X-Frame-Options": "SAMEORIGIN",
}  # fmt: skip


def _check(request: Request) -> session.Operator:
    if not session.is_development(request):
        raise NotFound("There is no such page.")
    return session.operator(request)


@router.get("/dev/mailbox")
def mailbox(request: Request) -> Response:
    """The newest hundred."""
    env, who = request.app.state.env, _check(request)
    found = notifications.list_(env, limit=100)
    mails = [_row(env, one) for one in found]
    return look.page(request, "mailbox.html", who=who, mails=mails)


@router.get("/dev/mailbox/{mail}")
def one_mail(request: Request, mail: str) -> Response:
    env, who = request.app.state.env, _check(request)
    one = notifications.get(env, mail)
    shown = notifications.rendered(env, one, with_pdf=False)
    answer = look.page(
        request, "mailbox_mail.html", who=who, mail=_row(env, one), text=shown.text,
        papers=[name for name, _ in shown.papers], error=one.error,
    )  # fmt: skip
    policy = answer.headers["Content-Security-Policy"]
    answer.headers["Content-Security-Policy"] = f"{policy}; frame-src 'self'"
    return answer


@router.get("/dev/mailbox/{mail}/html")
def html(request: Request, mail: str) -> Response:
    """The HTML alone, for the frame of its page."""
    _check(request)
    env = request.app.state.env
    shown = notifications.rendered(env, notifications.get(env, mail), with_pdf=False)
    html = shown.html.replace("cid:logo", shown.logo.data_url) if shown.logo else shown.html
    return HTMLResponse(html, headers=_MAIL_HEADERS)


@router.get("/dev/mailbox/{mail}/text")
def text(request: Request, mail: str) -> Response:
    _check(request)
    env = request.app.state.env
    shown = notifications.rendered(env, notifications.get(env, mail), with_pdf=False)
    return PlainTextResponse(shown.text, headers=look.HEADERS)


@router.get("/dev/mailbox/{mail}/pdf")
def pdf(request: Request, mail: str, number: int = 0) -> Response:
    """The PDF of this number, from 0 on, that comes with the mail."""
    _check(request)
    env = request.app.state.env
    papers = notifications.rendered(env, notifications.get(env, mail)).papers
    name, content = papers[number] if 0 <= number < len(papers) else ("", None)
    if content is None:
        raise NotFound("This mail has no such PDF.")
    return look.pdf(name, content)


def _row(env: Env, one: notifications.Notification) -> dict[str, object]:
    is_written = one.data is not None
    return {
        "id": ids.show("notification", one.id), "kind": one.kind.replace("_", " "),
        "subject": notifications.rendered(env, one, with_pdf=False).subject if is_written else None,
        "recipient": one.recipient or ("staff" if one.is_staff else None),
        "state": one.state, "locale": one.locale, "at": one.created_at, "error": one.error,
    }  # fmt: skip
