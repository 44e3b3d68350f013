"""The dashboard's wallets: everybody's, one with its history, frozen, opened and closed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import Form, Request
from fastapi.responses import Response

from paydesk import ids
from paydesk.flows import desk_lists, wallet_history, wallets
from paydesk.pages import desk, look, session
from paydesk.pages.routing import new_router

if TYPE_CHECKING:
    from paydesk.flows.wallet_history import WalletLine
    from paydesk.flows.wallets import Wallet

router = new_router()

HOME = "/dashboard/wallets"
TABS = [("", "All"), ("open", "Open"), ("frozen", "Frozen"), ("closed", "Closed")]
LINES = 50
_WORDS = {"freeze": "frozen", "unfreeze": "opened", "close": "closed"}


@router.get(HOME)
def wallet_list(
    request: Request, tab: str = "", currency: str = "", q: str = "", before: str = ""
) -> Response:
    env, who = request.app.state.env, session.operator(request)
    tab = tab if tab in dict(TABS) else ""
    q, currency = q.replace("\x00", "")[:100], currency.replace("\x00", "").strip()[:3]
    rows, cursor = desk_lists.wallets_page(env, state=tab, currency=currency, q=q, before=before)
    return desk.show(
        request, "wallets.html", who=who, rows=rows, tab=tab, tabs=TABS, q=q, currency=currency,
        next_url=desk.older(HOME, cursor, tab=tab, currency=currency, q=q), is_first=not before,
        first_url=desk.address(HOME, tab=tab, currency=currency, q=q),
    )  # fmt: skip


def _read(request: Request, ident: str) -> Wallet:
    wallet_id = ids.parse("wallet", ident)
    with request.app.state.env.db.read() as tx:
        return wallets.get(tx, ids.customer_of(wallet_id), wallet_id)


@router.get(HOME + "/{ident}")
def wallet(request: Request, ident: str, before: int | None = None) -> Response:
    env, who = request.app.state.env, session.operator(request)
    one = _read(request, ident)
    with env.db.read() as tx:
        person = desk_lists.people(tx, [one.customer_id])[one.customer_id]
        lines = wallet_history.history(
            tx, one.customer_id, one.currency, limit=LINES + 1, before_seq=before
        )
    home = f"{HOME}/{ident}"
    cursor = str(lines[LINES - 1].seq) if len(lines) > LINES else ""
    return desk.show(
        request, "wallet.html", who=who, w=one, ident=ids.show("wallet", one.id), person=person,
        lines=[_line(line) for line in lines[:LINES]], is_first=before is None, first_url=home,
        next_url=desk.older(home, cursor), is_empty=not (one.balance or one.held or one.owed),
    )  # fmt: skip


def _line(line: WalletLine) -> dict[str, Any]:
    about = wallet_history.SUBJECTS.get(line.type)
    href = ""
    if line.subject_id is not None and about in ("payment", "customer"):
        href = f"/dashboard/{about}s/{ids.show(about, line.subject_id)}"
    return {"line": line, "href": href}


@router.get(HOME + "/{ident}/statement.csv")
def statement(request: Request, ident: str, last: str = "90d") -> Response:
    """The lines of the last days, as CSV with exact decimals."""
    session.operator(request)
    one = _read(request, ident)
    found = wallet_history.statement(
        request.app.state.env, one.customer_id, one.currency, last=last[:20]
    )
    name = f"wallet-{one.currency}-{found.over.first_day}-{found.over.last_day}.csv"
    headers = look.HEADERS | {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(found.csv(), media_type="text/csv; charset=utf-8", headers=headers)


@router.post(HOME + "/{ident}/{action}")
def set_state(
    request: Request, ident: str, action: str,
    reason: Annotated[str, Form(max_length=500)] = "",
    csrf: Annotated[str, Form(max_length=100)] = "",
) -> Response:  # fmt: skip
    """freeze, unfreeze, close."""
    if action not in _WORDS:
        return look.go(f"{HOME}/{ident}")
    who = desk.actor(request, csrf, "wallets.freeze" if action == "freeze" else "wallets.open")
    wallet_id: UUID = ids.parse("wallet", ident)
    wallets.set_state(
        request.app.state.env, ids.customer_of(wallet_id), wallet_id, action, actor=who.caller,
        reason=reason.strip() or None,
    )  # fmt: skip
    return desk.done(f"{HOME}/{ident}", _WORDS[action])
