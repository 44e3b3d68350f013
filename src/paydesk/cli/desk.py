"""Commands for developers: events, and the API keys of servers."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Annotated, Any

import typer

from paydesk import ids
from paydesk.cli import context, output
from paydesk.cli.output import Column, Output
from paydesk.errors import InvalidRequest, NotFound

events = typer.Typer(help="Events and the webhooks that came in.", no_args_is_help=True)
keys = typer.Typer(help="API keys of servers.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(events, name="events")
    app.add_typer(keys, name="keys")


# Events -------------------------------------------------------------------------------------------


def event_row(event: Any) -> dict[str, Any]:
    return {
        "id": event.id, "type": event.type, "subject": event.subject,
        "customer": ids.show("customer", event.customer_id), "sequence": event.seq,
        "data": event.data, "created_at": event.created_at,
    }  # fmt: skip


_EVENTS = [
    Column("WHEN", "created_at"), Column("TYPE", "type"), Column("ABOUT", "subject"),
    Column("EVENT", "id", rank=1), Column("DATA", "data", rank=2),
]  # fmt: skip


@events.command("tail")
def events_tail(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as they come.")] = False,
    type_: Annotated[list[str] | None, typer.Option("--type", help="Only this type.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    output_: Output = "",
) -> None:
    """The last events, oldest first; with -f those to come, until Ctrl-C."""
    from paydesk.flows import events as flow

    with context.opened() as env:
        found = flow.list_events(env, limit=limit, types=type_)
        output.rows([event_row(e) for e in reversed(found)], _EVENTS, output_)
        seen = {e.id for e in found}
        while follow:
            time.sleep(0.5)
            fresh = [e for e in flow.list_events(env, limit=50, types=type_) if e.id not in seen]
            if fresh:
                output.rows([event_row(e) for e in reversed(fresh)], _EVENTS, output_)
                seen |= {e.id for e in fresh}


@events.command("show")
def events_show(
    event: Annotated[str, typer.Argument(help="evt_…")], output_: Output = ""
) -> None:
    """One event with its data."""
    from paydesk.flows import events as flow

    with context.opened() as env:
        found = flow.get_event(env, event)
    output.one({**event_row(found), "cause": found.cause}, output_)


_INBOX = [
    Column("RECEIVED", "received_at"), Column("TYPE", "type"), Column("STATE", "state"),
    Column("EVENT", "id"), Column("TRIES", "tries", right=True, rank=1),
    Column("WHY", "why", rank=2),
]  # fmt: skip


@events.command("inbox")
def events_inbox(
    state: Annotated[str, typer.Option(help="parked, waiting, new, done; empty: all.")] = "parked",
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    output_: Output = "",
) -> None:
    """Webhooks that came in and could not be applied, newest first, with the reason."""
    from paydesk.flows import reports

    if state not in ("", "parked", "waiting", "new", "done"):
        raise InvalidRequest(f"No webhook is {state[:40]!r}: parked, waiting, new, done.")
    with context.opened() as env:
        found = reports.inbox_page(env, state=state, limit=limit)
    output.rows([{
        "id": row["event_id"], "provider": row["provider"], "account": row["account"],
        "type": row["type"], "state": row["state"], "tries": row["tries"],
        "deliveries": row["deliveries"], "why": row["error"], "settled_by": row["settled_by"],
        "received_at": row["received_at"], "next_try_at": row["try_at"],
    } for row in found], _INBOX, output_)  # fmt: skip


@events.command("replay")
def events_replay(
    event: Annotated[
        str, typer.Argument(help="The provider's id of a webhook that came in.")
    ] = "",
    provider: Annotated[str, typer.Option()] = "stripe",
    parked: Annotated[bool, typer.Option("--parked", help="All that are parked.")] = False,
    output_: Output = "",
) -> None:
    """Apply webhooks from the inbox again. What they did before is not done twice."""
    from paydesk.flows import inbox

    if bool(event) == parked:
        raise InvalidRequest("Name one webhook, or say --parked.")
    if parked:
        with context.opened() as env:
            found = inbox.replay_parked(env)
        columns = [Column("EVENT", "event"), Column("TYPE", "type"), Column("STATE", "state"),
                   Column("WHY", "why", rank=1)]  # fmt: skip
        output.rows([{"event": one.event_id, "type": one.type, "state": one.state, "why": why}
                     for one, why in found], columns, output_)  # fmt: skip
        is_done = all(one.state == "done" for one, _ in found)
        raise typer.Exit(output.OK if is_done else output.PROBLEM)
    with context.opened() as env:
        if provider not in env.providers:
            raise NotFound(f"There is no provider {provider[:40]!r}.")
        state = inbox.replay(env, provider, env.providers[provider].account, event)
    output.one({"event": event, "state": state}, output_)
    raise typer.Exit(output.OK if state == "done" else output.PROBLEM)


# Keys ---------------------------------------------------------------------------------------------


def _key(key: Any) -> dict[str, Any]:
    return {
        "id": ids.show("key", key.id), "name": key.name, "key": key.hint, "role": key.role,
        "owner": key.owner,
        "created_at": key.created_at, "expires_at": key.expires_at, "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }  # fmt: skip


@keys.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="Whose it is, like web-prod.")],
    role: Annotated[str, typer.Option(help="service, admin, finance or support.")] = "service",
    days: Annotated[int | None, typer.Option(help="Days until it ends.", min=1)] = None,
    owner: Annotated[str | None, typer.Option(help="Address of the person it is for.")] = None,
    output_: Output = "",
) -> None:
    """Make a key. It is shown this once."""
    from paydesk.flows import api_keys

    with context.opened() as env:
        ends = env.now() + timedelta(days=days) if days else None
        made, secret = api_keys.create(env, name, role, ends, owner=owner)
    output.one({**_key(made), "key": secret}, output_)


@keys.command("list")
def keys_list(output_: Output = "") -> None:
    """Keys, newest first; only their first and last letters are kept."""
    from paydesk.flows import api_keys

    with context.opened() as env:
        found = api_keys.list_(env)
    columns = [
        Column("ID", "id"), Column("NAME", "name"), Column("KEY", "key"), Column("ROLE", "role"),
        Column("OWNER", "owner", rank=1),
        Column("LAST USED", "last_used_at", rank=1),
        Column("ENDS", "expires_at", rank=1), Column("REVOKED", "revoked_at", rank=1),
    ]  # fmt: skip
    output.rows([_key(k) for k in found], columns, output_)


@keys.command("roll")
def keys_roll(
    key: Annotated[str, typer.Argument(help="key_…")],
    overlap_hours: Annotated[
        int, typer.Option(min=0, max=720, help="So long the old one still works.")
    ] = 24,
    output_: Output = "",
) -> None:
    """Make a new key of the same name and role. It is shown this once; the old one ends soon."""
    from paydesk.flows import api_keys

    with context.opened() as env:
        made, secret = api_keys.roll(env, ids.parse("key", key), overlap_hours)
    output.one({**_key(made), "key": secret}, output_)


@keys.command("revoke")
def keys_revoke(
    key: Annotated[str, typer.Argument(help="key_…")], output_: Output = ""
) -> None:
    """End a key. It is refused everywhere within seconds."""
    from paydesk.flows import api_keys

    with context.opened() as env:
        found = api_keys.revoke(env, ids.parse("key", key))
    output.one(_key(found), output_)
