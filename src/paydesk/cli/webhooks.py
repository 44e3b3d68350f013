"""Commands for outgoing webhooks: endpoints, what was sent to them, and sending it again."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from paydesk import ids
from paydesk.cli import context, output
from paydesk.cli.output import Column, Output
from paydesk.errors import InvalidRequest

webhooks = typer.Typer(help="Webhooks that go out to applications.", no_args_is_help=True)

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
Which = Annotated[str, typer.Argument(help="whe_…")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(webhooks, name="webhooks")


def instant_of(text: str, now: datetime) -> datetime:
    """`2h`, `30m`, `3d` ago, or an RFC 3339 instant. Raises InvalidRequest."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if found:
        return now - timedelta(**{_UNITS[found[2]]: int(found[1])})
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise InvalidRequest("Write 2h, 30m, 3d or an instant like 2026-01-31T12:00:00Z.")
    return at


def _endpoint(one: Any) -> dict[str, Any]:
    return {
        "id": ids.show("endpoint", one.id), "url": one.url, "events": one.events,
        "status": one.state, "reason": one.disabled_reason, "failing_since": one.failing_since,
        "description": one.description, "created_at": one.created_at,
    }  # fmt: skip


def _delivery(one: Any) -> dict[str, Any]:
    return {
        "id": ids.show("delivery", one.id), "type": one.event_type, "status": one.state,
        "http_status": one.status, "tries": one.tries, "sequence": one.seq,
        "customer": ids.show("customer", one.customer_id), "error": one.error,
        "next_try_at": one.try_at if one.state == "waiting" else None, "created_at": one.created_at,
    }  # fmt: skip


def _attempt(one: Any) -> dict[str, Any]:
    return {
        "sent_at": one.sent_at, "http_status": one.status, "duration_ms": one.duration_ms,
        "error": one.error, "response": one.response,
    }  # fmt: skip


@webhooks.command("create")
def create(
    url: Annotated[str, typer.Argument(help="https://…")],
    events: Annotated[
        list[str] | None, typer.Option("--events", help="A type, payment.* or *; repeat it.")
    ] = None,
    description: Annotated[str | None, typer.Option()] = None,
    output_: Output = "",
) -> None:
    """Make an endpoint. Its secret is shown this once."""
    from paydesk.flows import webhook_endpoints as flow

    with context.opened() as env:
        made, secret = flow.create(env, url, events=events or ["*"], description=description)
    output.one({**_endpoint(made), "secret": secret}, output_)


@webhooks.command("list")
def list_(output_: Output = "") -> None:
    """Endpoints, newest first."""
    from paydesk.flows import webhook_endpoints as flow

    with context.opened() as env:
        found = flow.list_(env)
    columns = [
        Column("ID", "id"), Column("URL", "url"), Column("STATUS", "status"),
        Column("EVENTS", "events", rank=1), Column("FAILING SINCE", "failing_since", rank=1),
    ]  # fmt: skip
    output.rows([_endpoint(one) for one in found], columns, output_)


@webhooks.command("test")
def test(
    endpoint: Which,
    type_: Annotated[str, typer.Option("--type", help="Of which event.")] = "payment.succeeded",
    output_: Output = "",
) -> None:
    """Send an example now and show what came back."""
    from paydesk.flows import webhook_deliveries as flow

    with context.opened() as env:
        found = flow.test(env, ids.parse("endpoint", endpoint), type_)
    output.one(_attempt(found), output_)
    raise typer.Exit(output.OK if found.is_success else output.PROBLEM)


@webhooks.command("deliveries")
def deliveries(
    endpoint: Which,
    status: Annotated[str | None, typer.Option(help="waiting, done or parked.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    output_: Output = "",
) -> None:
    """What was sent to an endpoint, newest first."""
    from paydesk.flows import webhook_deliveries as flow

    with context.opened() as env:
        found = flow.list_(env, ids.parse("endpoint", endpoint), limit=limit, state=status)
    columns = [
        Column("WHEN", "created_at"), Column("TYPE", "type"), Column("STATUS", "status"),
        Column("HTTP", "http_status", right=True), Column("TRIES", "tries", right=True, rank=1),
        Column("ID", "id", rank=1), Column("ERROR", "error", rank=2),
    ]  # fmt: skip
    output.rows([_delivery(one) for one in found], columns, output_)


@webhooks.command("redeliver")
def redeliver(
    what: Annotated[str, typer.Argument(help="dlv_… for one; whe_… for those of some time.")],
    since: Annotated[str, typer.Option(help="2h, 3d or an instant; for an endpoint.")] = "",
    until: Annotated[str, typer.Option(help="The same; now where it is left out.")] = "",
    failed: Annotated[bool, typer.Option("--failed", help="Only what was not taken.")] = False,
    output_: Output = "",
) -> None:
    """Queue events again, with the same ids; the worker sends them."""
    from paydesk.flows import webhook_deliveries as flow

    with context.opened() as env:
        if what.startswith("dlv_"):
            output.one(_delivery(flow.redeliver(env, ids.parse("delivery", what))), output_)
            return
        if not since:
            raise InvalidRequest("Say from when on: --since 2h.", param="since")
        now = env.now()
        count = flow.redeliver_range(
            env, ids.parse("endpoint", what), instant_of(since, now),
            instant_of(until, now) if until else None, only_failed=failed,
        )  # fmt: skip
    output.one({"endpoint": what, "count": count}, output_)


@webhooks.command("rotate")
def rotate(
    endpoint: Which,
    overlap_hours: Annotated[
        int, typer.Option(min=0, max=168, help="Hours that the former one signs too.")
    ] = 24,
    output_: Output = "",
) -> None:
    """Replace the secret; the new one is shown this once."""
    from paydesk.flows import webhook_endpoints as flow

    with context.opened() as env:
        one, secret = flow.rotate(
            env, ids.parse("endpoint", endpoint), overlap=timedelta(hours=overlap_hours)
        )
    output.one({**_endpoint(one), "secret": secret}, output_)


@webhooks.command("pause")
def pause(endpoint: Which, output_: Output = "") -> None:
    """Send nothing for now; events wait."""
    _change("pause", endpoint, output_)


@webhooks.command("resume")
def resume(endpoint: Which, output_: Output = "") -> None:
    """Send again, also to one that was disabled."""
    _change("resume", endpoint, output_)


@webhooks.command("delete")
def delete(endpoint: Which, output_: Output = "") -> None:
    """End an endpoint for good."""
    _change("delete", endpoint, output_)


def _change(how: str, endpoint: str, output_: str) -> None:
    from paydesk.flows import webhook_endpoints as flow

    change = {"pause": flow.pause, "resume": flow.resume, "delete": flow.delete}[how]
    with context.opened() as env:
        one = change(env, ids.parse("endpoint", endpoint))
    output.one(_endpoint(one), output_)
