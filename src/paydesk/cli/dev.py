"""`paydesk dev`: the whole desk in one command, on this machine, with a sandbox."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from paydesk import __version__, sources
from paydesk.cli import context, output
from paydesk.errors import Misconfigured, PaydeskError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from paydesk.env import Env
    from paydesk.settings import Settings

#: How many ports after the wanted one are tried.
_PORTS = 50
_TOKEN_S = 12 * 3600
_BACKLOG = 2048
_COLORS = {"ok": "green", "bad": "red", "warn": "yellow", "accent": "cyan"}


@dataclass
class Desk:
    """What the screen tells of."""

    env: Env
    url: str
    folder: Path
    wanted_port: int
    port: int
    has_demo: bool
    has_simulator: bool
    checkout: str = ""


def run(overrides: Mapping[str, Any], *, demo: bool = True, simulator: bool = True) -> int:
    """Start everything, serve until Ctrl-C or SIGTERM, stop everything. Returns the exit code."""
    started_s = time.monotonic()
    loaded = sources.load(overrides)
    settings = replace(loaded.settings, data_dir=str(Path(loaded.settings.data_dir).absolute()))
    for warning in loaded.warnings:
        output.note(f"[yellow]warning[/yellow]: {warning}")
    if settings.live:
        raise Misconfigured(
            "STRIPE_SECRET_KEY is a live key: `paydesk dev` moves no real money. Use a test key, "
            "or `paydesk serve` with a database of yours."
        )
    folder = Path(settings.data_dir)
    folder.mkdir(parents=True, exist_ok=True)
    # SIGTERM must unwind like Ctrl-C, so that the children are ended in order.
    signal.signal(signal.SIGTERM, _leave)
    with contextlib.ExitStack() as stack:
        if not _is_alone(folder, stack):
            return _say_running(folder)
        sock = stack.enter_context(_bind(settings.host, settings.port))
        port = sock.getsockname()[1]
        context.write_private(folder / context.RUNNING_FILE, {"port": port, "pid": os.getpid()})
        stack.callback((folder / context.RUNNING_FILE).unlink, missing_ok=True)
        wanted, settings = settings.port, _completed(replace(settings, port=port), folder)
        desk = _assembled(settings, wanted, folder, stack, simulator=simulator)
        if demo:
            from paydesk.flows import demo_catalog

            demo_catalog.load(desk.env)
            desk.has_demo = True
        _serve(desk, sock, started_s)
    Console(highlight=False).print("\n  Stopped. The data stays in " + _near(folder))
    return 0


def _leave(*_: object) -> None:
    raise SystemExit(0)


# Before it runs -----------------------------------------------------------------------------------


def _is_alone(folder: Path, stack: contextlib.ExitStack) -> bool:
    """One desk a folder. The lock goes with the process, however that ends."""
    handle = os.open(folder / "dev.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    stack.callback(os.close, handle)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _say_running(folder: Path) -> int:
    running = context.read_json(folder / context.RUNNING_FILE)
    where = f" at http://localhost:{running['port']}" if running.get("port") else ""
    who = f" (process {running['pid']})" if running.get("pid") else ""
    output.note(
        f"Paydesk runs already with the data in {_near(folder)}{where}{who}.\n"
        "Use that one, stop it first, or start another beside it: paydesk dev --data-dir OTHER"
    )
    return output.PROBLEM


def _bind(host: str, wanted: int) -> socket.socket:
    """A listening socket on the wanted port or the next free one; 0 takes any."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last = wanted if wanted == 0 else min(wanted + _PORTS, 65_535)
    for port in range(wanted, last + 1):
        sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
            sock.listen(_BACKLOG)
            return sock
        except OSError as exc:
            sock.close()
            if exc.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise Misconfigured(f"Cannot listen on {host}: {exc.strerror}.") from exc
    raise Misconfigured(f"No port from {wanted} to {last} is free on {host}.")


def _completed(settings: Settings, folder: Path) -> Settings:
    """The settings with development's secrets where none are given."""
    kept = context.development_secrets(folder, settings.host)
    return replace(
        settings,
        jwt_secret=settings.jwt_secret or kept["jwt_secret"],
        secret_key=settings.secret_key or kept["secret_key"],
        stripe_webhook_secret=settings.stripe_webhook_secret or (
            kept["stripe_webhook_secret"] if settings.simulated else ""
        ),
    )  # fmt: skip


def _assembled(
    settings: Settings, wanted: int, folder: Path, stack: contextlib.ExitStack, *, simulator: bool
) -> Desk:
    """The environment, with the simulator started first: it gets ready while PostgreSQL starts."""
    from paydesk import children

    has_simulator = simulator and settings.simulated and not settings.simulator_url
    url = f"http://localhost:{settings.port}"
    if has_simulator:
        secret = settings.stripe_webhook_secret.partition(",")[0].strip()
        child = children.start_simulator(
            folder, merchant=settings.business_name,
            webhooks=[(f"http://127.0.0.1:{settings.port}/payment/webhooks/stripe", secret)],
        )  # fmt: skip
        stack.callback(child.close)
        settings = replace(settings, simulator_url=child.url)
    from paydesk.assemble import build_env
    from paydesk.http import logs

    logs.configure("warning" if settings.log_level == "info" else settings.log_level)
    if settings.simulated and not settings.simulator_url:
        settings = replace(settings, simulator_url="http://127.0.0.1:9")  # told to have none
    env = build_env(settings, start_missing=True, name="dev")
    stack.callback(env.close)
    return Desk(env, url, folder, wanted, settings.port, False, has_simulator)


# While it runs ------------------------------------------------------------------------------------


def _serve(desk: Desk, sock: socket.socket, started_s: float) -> None:
    from paydesk.http import server
    from paydesk.http.app import create_app

    app: FastAPI = create_app(desk.env, with_worker=True)
    app.state.is_development = True
    serving = server.server(app, host=desk.env.settings.host, port=desk.port)
    done = threading.Event()
    screen = threading.Thread(
        target=_screen, args=(desk, serving, started_s, done), name="screen", daemon=True
    )
    screen.start()
    try:
        serving.run(sockets=[sock])
    except (KeyboardInterrupt, SystemExit):
        pass  # asked to stop: uvicorn has shut down and gave the signal on
    finally:
        done.set()
        screen.join(timeout=5)


def _screen(desk: Desk, serving: Any, started_s: float, done: threading.Event) -> None:
    """The links, once requests are answered; then a line for each event."""
    while not serving.started:
        if done.wait(0.02):
            return
    seen = _last_events(desk.env)
    if desk.has_demo and desk.has_simulator:
        desk.checkout = _ready_checkout(desk.env)
    say = Console(highlight=False, soft_wrap=True)
    for line in _lines(desk, time.monotonic() - started_s):
        say.print(line)
    while not done.wait(0.4):
        try:
            for event in _fresh(desk.env, seen):
                say.print(_event_line(event))
        except PaydeskError:
            continue  # the database is away; the requests themselves say so


def _ready_checkout(env: Env) -> str:
    """The page of a checkout to try; "" where none can be made, which the screen survives."""
    from paydesk.pages.sandbox import start_demo

    try:
        return start_demo(env, "creator", "WELCOME10")
    except PaydeskError:
        return ""


def _last_events(env: Env) -> set[str]:
    from paydesk.flows import events

    return {event.id for event in events.list_events(env, limit=50)}


def _fresh(env: Env, seen: set[str]) -> Iterator[Any]:
    from paydesk.flows import events

    for event in reversed(events.list_events(env, limit=50)):
        if event.id not in seen:
            seen.add(event.id)
            yield event


def _lines(desk: Desk, took_s: float) -> Iterator[str]:
    settings, base = desk.env.settings, desk.url
    yield ""
    title = f"  [bold]paydesk {__version__}[/bold] · {_mode(settings)}"
    yield f"{title}{' ' * 30}[dim]ready in {took_s:.1f} s[/dim]"
    if desk.wanted_port not in (0, desk.port):
        yield f"  [yellow]Port {desk.wanted_port} is taken; this is {desk.port}.[/yellow]"
    yield ""
    yield _line("Start", f"[link]{base}/dev[/link]", "everything to click")
    yield _line("Dashboard", f"{base}/dashboard", "signed in as dev@localhost")
    yield _line("API", f"{base}/v1", f"key {settings.secret_key}   docs {base}/docs")
    if desk.checkout:
        yield _line("Checkout", base + desk.checkout)
        yield _line("", "[green]try it with card 4242 4242 4242 4242[/green]")
    if desk.has_simulator:
        yield _line("Stripe", settings.simulator_url, "the simulator; STRIPE_SECRET_KEY to change")
    yield _line("Database", *_database(desk))
    yield _line("Token", _token(settings), "customer user_123, 12 h")
    if desk.has_demo:
        yield _line("Demo", "4 packs, 3 items, 4 plans, 4 codes", "--no-demo to start empty")
    yield ""
    yield "  [dim]Ctrl-C stops everything. Events as they happen:[/dim]"


def _line(name: str, value: str, note: str = "") -> str:
    return f"  [dim]{name:<10}[/dim] {value}" + (f"  [dim]{note}[/dim]" if note else "")


def _mode(settings: Settings) -> str:
    return "sandbox" if settings.simulated else "Stripe test mode"


def _database(desk: Desk) -> tuple[str, str]:
    loaded = sources.load().settings.database_url
    if loaded:
        return "PostgreSQL of DATABASE_URL", ""
    return f"embedded PostgreSQL, {_near(desk.folder)}", "DATABASE_URL to change"


def _token(settings: Settings) -> str:
    from paydesk.http.auth import make_token
    from paydesk.pages.sandbox import DEMO_CUSTOMER

    return make_token(settings, DEMO_CUSTOMER, expires_in_s=_TOKEN_S)


def _near(folder: Path) -> str:
    """A path as people write it: relative where that is shorter."""
    try:
        return f"./{folder.relative_to(Path.cwd())}"
    except ValueError:
        return str(folder)


def _event_line(event: Any) -> str:
    from paydesk.pages import story

    step = story.of_event({"type": event.type, "data": event.data, "created_at": event.created_at})
    at = event.created_at.astimezone().strftime("%H:%M:%S")
    color = _COLORS.get(step.tone, "white")
    told = f"{step.title}{' · ' if step.text else ''}{step.text}".replace("[", "\\[")
    return f"  [dim]{at}[/dim]  [{color}]{event.type:<26}[/{color}] {event.subject}  {told}"
