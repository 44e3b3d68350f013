"""Commands for the people of the staff, who sign in to the dashboard."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from paydesk import ids
from paydesk.cli import context, output
from paydesk.cli.output import Column, Output

users = typer.Typer(help="People who sign in to the dashboard.", no_args_is_help=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(users, name="users")


def _row(one: Any) -> dict[str, Any]:
    return {
        "id": ids.show("staff", one.id), "email": one.email, "name": one.name, "role": one.role,
        "has_password": one.has_password, "disabled_at": one.disabled_at,
        "last_seen_at": one.last_seen_at,
    }  # fmt: skip


_PASSWORD = typer.Option(
    prompt=True, hide_input=True, confirmation_prompt=True, envvar="PAYDESK_NEW_PASSWORD",
    help="Asked for where it is not given; 12 characters or more.",
)  # fmt: skip


@users.command("add")
def users_add(
    email: Annotated[str, typer.Argument(help="Whom it is, by e-mail address.")],
    password: Annotated[str, _PASSWORD],
    role: Annotated[str, typer.Option(help="admin, finance or support.")] = "support",
    name: Annotated[str, typer.Option(help="The name that others see.")] = "",
    output_: Output = "",
) -> None:
    """Add a person, who may sign in at once."""
    from paydesk.flows import staff

    with context.opened() as env:
        made = staff.add(env, email, name or email.partition("@")[0], role, password)
    output.one(_row(made), output_)


@users.command("list")
def users_list(output_: Output = "") -> None:
    """Everybody, newest first."""
    from paydesk.flows import staff

    with context.opened() as env:
        found = staff.list_(env)
    columns = [
        Column("E-MAIL", "email"), Column("NAME", "name"), Column("ROLE", "role"),
        Column("LAST SEEN", "last_seen_at", rank=1), Column("DISABLED", "disabled_at", rank=1),
        Column("ID", "id", rank=2),
    ]  # fmt: skip
    output.rows([_row(one) for one in found], columns, output_)


@users.command("password")
def users_password(
    email: Annotated[str, typer.Argument()], password: Annotated[str, _PASSWORD],
    output_: Output = "",
) -> None:
    """Set a password. Every open session of this person ends."""
    from paydesk.flows import staff

    with context.opened() as env:
        changed = staff.set_password(env, staff.get(env, email).id, password)
    output.one(_row(changed), output_)


@users.command("change")
def users_change(
    email: Annotated[str, typer.Argument()],
    role: Annotated[str, typer.Option(help="admin, finance or support.")] = "",
    name: Annotated[str, typer.Option()] = "",
    disable: Annotated[bool, typer.Option("--disable", help="No sign-in any more.")] = False,
    enable: Annotated[bool, typer.Option("--enable", help="May sign in again.")] = False,
    output_: Output = "",
) -> None:
    """Change somebody's role or name, or let them in no more."""
    from paydesk.errors import InvalidRequest
    from paydesk.flows import staff

    if disable and enable:
        raise InvalidRequest("Give one of --disable and --enable.")
    with context.opened() as env:
        changed = staff.change(
            env, staff.get(env, email).id, name=name or None, role=role or None,
            disabled=True if disable else (False if enable else None),
        )  # fmt: skip
    output.one(_row(changed), output_)
