"""Commands that run something or say how it stands: serve, worker, config, doctor, db, token …"""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from paydesk.cli import context, output
from paydesk.cli.output import Column, Output
from paydesk.errors import InvalidRequest, Misconfigured, NotFound, Unavailable, all_errors

db = typer.Typer(help="The database's schema.", no_args_is_help=True)

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def add_to(app: typer.Typer) -> None:
    app.command()(dev)
    app.command()(serve)
    app.command()(worker)
    app.command(name="simulator", help="A Stripe that runs on this machine; `pay SESSION_ID` pays.",
                context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
                )(_simulator)
    app.command()(config)
    app.command()(token)
    app.command()(doctor)
    app.add_typer(db, name="db")
    app.command()(explain)
    app.command()(openapi)
    app.command(name="open")(open_page)


def _simulator(ctx: typer.Context) -> None:
    from paydesk.cli.simulate import run

    raise typer.Exit(run(ctx.args))


def dev(
    port: Annotated[int | None, typer.Option(help="Port; the next free one when taken.")] = None,
    data_dir: Annotated[str | None, typer.Option(help="Folder for all data.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    demo: Annotated[bool, typer.Option(help="Packs and codes to try with.")] = True,
    simulator: Annotated[bool, typer.Option(help="A Stripe that runs beside it.")] = True,
) -> None:
    """The whole desk on this machine: database, API, worker, pages and a sandbox."""
    from paydesk.cli.dev import run

    overrides = {"port": port, "data_dir": data_dir, "host": host}
    raise typer.Exit(run(overrides, demo=demo, simulator=simulator))


def serve(
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    with_worker: Annotated[
        bool, typer.Option("--with-worker/--no-worker", help="Run the sweeps in it too.")
    ] = False,
) -> None:
    """The API and the pages, for production: nothing is started that is missing."""
    from paydesk.assemble import build_env
    from paydesk.db import migrate
    from paydesk.http import logs, server
    from paydesk.http.app import create_app

    loaded = context.sources.load({"port": port, "host": host})
    settings = loaded.settings
    logs.configure(settings.log_level)
    if not settings.database_url:
        raise Misconfigured("serve needs DATABASE_URL; `paydesk dev` brings a database.")
    if not migrate.status(settings.database_url).is_current:
        raise Misconfigured("The schema is not up to date: run `paydesk db migrate` first.")
    env = build_env(settings, start_missing=False, name="serve")
    try:
        app = create_app(env, with_worker=with_worker)
        output.note(f"paydesk serves on http://{settings.host}:{settings.port}")
        server.serve(app, host=settings.host, port=settings.port)
    finally:
        env.close()


def worker() -> None:
    """The sweeps and the publisher in a process of their own."""
    import signal
    import threading

    from paydesk.assemble import build_env
    from paydesk.http import logs
    from paydesk.worker import Worker, settle_in

    settings = context.sources.load().settings
    logs.configure(settings.log_level)
    if not settings.database_url:
        raise Misconfigured("worker needs DATABASE_URL; `paydesk dev` has a worker of its own.")
    env = build_env(settings, start_missing=False, name="worker")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    running = Worker(env)
    settle_in()
    running.start()
    output.note("paydesk works")
    try:
        stop.wait()
    finally:
        running.stop()
        env.close()


def config(output_: Output = "") -> None:
    """Every setting, its value, and where that came from. Secrets are masked."""
    from paydesk import sources
    from paydesk.settings import all_fields

    loaded = context.load()
    rows = [
        {
            "setting": spec.name,
            "value": sources.masked(spec, getattr(loaded.settings, spec.name)),
            "from": loaded.origins[spec.name],
            "names": ", ".join(sources.names_of(spec)),
        }
        for spec in all_fields()
    ]
    columns = [Column("SETTING", "setting"), Column("VALUE", "value"), Column("FROM", "from"),
               Column("NAMES", "names", rank=1)]  # fmt: skip
    output.rows(rows, columns, output_)
    for warning in loaded.warnings:
        output.note(f"[yellow]warning[/yellow]: {warning}")


def token(
    user: Annotated[str, typer.Argument(help="Your application's own id of the customer.")],
    role: Annotated[str | None, typer.Option(help="admin, finance or support.")] = None,
    expires: Annotated[str, typer.Option(help="Like 30m, 12h or 7d.")] = "12h",
) -> None:
    """A token such as your application would issue, signed with JWT_SECRET."""
    from paydesk.http.auth import ROLES, make_token

    loaded = context.load()
    if not loaded.settings.jwt_secret:
        raise Misconfigured("JWT_SECRET is not set, and no `paydesk dev` has made one here.")
    if loaded.settings.live:
        raise Misconfigured("Tokens of a live desk are issued by your application.")
    if role is not None and role not in ROLES:
        raise typer.BadParameter(f"a role is one of {', '.join(ROLES)}", param_hint="--role")
    typer.echo(make_token(loaded.settings, user, role=role, expires_in_s=seconds(expires)))


def seconds(text: str) -> int:
    """`30m`, `12h`, `7d` or plain seconds. Raises typer.BadParameter."""
    found = re.fullmatch(r"([0-9]{1,7})([smhd]?)", text.strip())
    if found is None or int(found[1]) == 0:
        raise typer.BadParameter("write a time like 30m, 12h or 7d", param_hint="--expires")
    return int(found[1]) * _UNITS[found[2] or "s"]


def doctor(output_: Output = "") -> None:
    """Prove that the books balance and nothing was lost or doubled; look at what is set up."""
    from paydesk.flows import doctor as flow

    with context.opened() as env:
        found = [{"check": f.check, "ok": f.ok, "detail": f.detail} for f in flow.check(env.db)]
        found += _surroundings(env)
    if output.is_table(output_):
        signs = {True: "[green]✓[/green]", False: "[red]✗[/red]", None: "[dim]–[/dim]"}
        width = max(len(f["check"]) for f in found)
        for f in found:
            output.console().print(f"{f['check'].ljust(width)}  {signs[f['ok']]}  {f['detail']}")
    else:
        output.rows(found, [], "json")
    wrong = sum(f["ok"] is False for f in found)
    if output.is_table(output_):
        text = "1 problem" if wrong == 1 else f"{wrong} problems" if wrong else "All is well"
        output.console().print(text)
    raise typer.Exit(output.PROBLEM if wrong else output.OK)


def _surroundings(env) -> list[dict]:
    """What is set up around the books. None in `ok` is something that need not be there."""
    from paydesk.db import migrate

    settings = env.settings
    with env.db.read() as tx:
        version = tx.value("select current_setting('server_version')")
    schema = migrate.status(settings.database_url)
    found: list[dict] = [{
        "check": "database", "ok": schema.is_current,
        "detail": f"PostgreSQL {version}, "
        + ("schema up to date" if schema.is_current else f"missing: {', '.join(schema.pending)}"),
    }]  # fmt: skip
    if settings.simulated:
        found.append({"check": "stripe", "ok": None,
                      "detail": f"no key: the simulator at {settings.simulator_url}"})
    else:
        mode = "live" if settings.live else "test"
        found.append({"check": "stripe", "ok": True, "detail": f"{mode} mode"})
    has_secret = bool(settings.stripe_webhook_secret)
    found.append({
        "check": "webhook_secret", "ok": has_secret,
        "detail": "set" if has_secret else "STRIPE_WEBHOOK_SECRET is not set: webhooks are refused",
    })  # fmt: skip
    found.append({
        "check": "redis", "ok": True if settings.redis_url else None,
        "detail": "configured" if settings.redis_url
        else "not configured: PostgreSQL carries events and limits",
    })  # fmt: skip
    return found


@db.command("migrate")
def db_migrate(
    owner_url: Annotated[
        str, typer.Option(help="The tables' owner, where DATABASE_URL may not change them.")
    ] = "",
) -> None:
    """Bring the schema up to date. A second run does nothing."""
    from paydesk.db import migrate

    with _owner_dsn(owner_url) as dsn:
        done = migrate.migrate(dsn, on_step=lambda name: output.note(f"applying {name}"))
    typer.echo(f"{len(done)} applied" if done else "up to date")


@db.command("status")
def db_status(output_: Output = "") -> None:
    """What is applied, missing or changed. Exit code 1 when it is not up to date."""
    from paydesk.db import migrate

    with _owner_dsn("") as dsn:
        found = migrate.status(dsn)
    rows = [{"name": name, "state": "applied"} for name in found.applied]
    rows += [{"name": name, "state": "missing"} for name in found.pending]
    rows += [{"name": name, "state": "changed"} for name in found.changed]
    rows += [{"name": name, "state": "of a newer version"} for name in found.unknown]
    output.rows(rows, [Column("FILE", "name"), Column("STATE", "state")], output_)
    for warning in found.warnings:
        output.note(f"[yellow]warning[/yellow]: {warning}")
    raise typer.Exit(output.OK if found.is_current else output.PROBLEM)


class _owner_dsn:
    """The owner's address: as told, DATABASE_URL, or that of the embedded server, kept running."""

    def __init__(self, told: str) -> None:
        settings = context.load().settings
        self._dsn = told or settings.database_url
        self._folder = Path(settings.data_dir).absolute()
        self._server = None

    def __enter__(self) -> str:
        if self._dsn:
            return self._dsn
        from paydesk.db import embedded

        self._server = embedded.start(self._folder)
        return self._server.owner_dsn

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.stop()


def explain(
    code: Annotated[str, typer.Argument(help="An error's code, like insufficient_credits.")],
) -> None:
    """What an error means and what to do about it."""
    known = all_errors()
    by_legacy = {kind.legacy_code: kind for kind in known.values() if kind.legacy_code}
    kind = known.get(code) or by_legacy.get(code.upper())
    if kind is None:
        near = [c for c in known if code.lower() in c or c in code.lower()]
        hint = f" Did you mean {', '.join(near)}?" if near else ""
        raise NotFound(f"There is no error {code[:64]!r}.{hint}")
    about = inspect.cleandoc(kind.__doc__) if "__doc__" in vars(kind) and kind.__doc__ else ""
    say = output.console()
    say.print(f"[bold]{kind.code}[/bold]  HTTP {kind.http_status}"
              + (f"  {kind.legacy_code}" if kind.legacy_code else ""))  # fmt: skip
    say.print(f"{kind.title}.")
    if about:
        say.print(about)
    say.print(f"[dim]In Python: paydesk.errors.{kind.__name__}[/dim]")


def openapi() -> None:
    """The OpenAPI document of this version, on standard output."""
    from paydesk.http.app import document

    sys.stdout.write(json.dumps(document(), indent=2, ensure_ascii=False) + "\n")


def open_page(
    page: Annotated[str, typer.Argument(help="dashboard, docs, dev or portal:USER.")] = "dashboard",
    browse: Annotated[bool, typer.Option(help="Open a browser, not only print.")] = True,
) -> None:
    """Open a page of the desk that runs now; prints its address."""
    import webbrowser

    loaded = context.load()
    name, _, user = page.partition(":")
    if name == "portal":
        if not user:
            raise InvalidRequest("Write portal:USER, with your own id of the customer.")
        url = _portal(user)
    elif name in ("dashboard", "docs", "dev"):
        url = f"{loaded.settings.base_url}/{name}"
    else:
        raise InvalidRequest(f"No page {name[:40]!r}: dashboard, docs, dev or portal:USER.")
    typer.echo(url)
    if browse and sys.stdout.isatty() and not webbrowser.open(url):
        raise Unavailable("No browser could be opened; the address is above.")


def _portal(user: str) -> str:
    from paydesk.flows import customers
    from paydesk.pages.session import portal_link

    with context.opened() as env:
        return portal_link(env, customers.ensure(env, user, create=False).external_id)
