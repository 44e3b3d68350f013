"""Commands about providers: which there are, and whether one is set up as it should be."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paydesk.cli import context, output
from paydesk.cli.output import Column, Output
from paydesk.errors import NotFound, PaydeskError, ProviderUnavailable, Unavailable
from paydesk.rules.money import EXPONENTS
from paydesk.settings import Settings

if TYPE_CHECKING:
    from paydesk.providers.base import Provider

app_ = typer.Typer(help="The providers that take the money.", no_args_is_help=True)

#: A reference that no provider has, to see whether it answers.
NOBODYS = "paydesk-check"
FINDINGS = [Column("CHECK", "check"), Column("OK", "ok"), Column("DETAIL", "detail")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(app_, name="provider")


@app_.command("list")
def list_(output_: Output = "") -> None:
    """Every provider that is built in or installed; what is not configured is not offered."""
    from paydesk.providers import base

    settings = context.load().settings
    shown = [_shown(name, kind, settings) for name, kind in sorted(base.kinds().items())]
    columns = [
        Column("NAME", "name"), Column("CONFIGURED", "configured"), Column("MODE", "mode"),
        Column("CURRENCIES", "currencies", rank=2), Column("CAN", "can", rank=1),
    ]  # fmt: skip
    output.rows(shown, columns, output_)


def _shown(name: str, kind: type[Provider], settings: Settings) -> dict[str, Any]:
    configured = kind.is_configured(settings)
    mode = ""
    if configured:
        mode = "live" if kind(settings).livemode else "test"
    currencies = "all" if kind.currencies is None else " ".join(sorted(kind.currencies))
    return {
        "name": name, "configured": configured, "mode": mode,
        "can": " ".join(sorted(kind.can)), "currencies": currencies,
    }  # fmt: skip


@app_.command("check")
def check(
    name: Annotated[str, typer.Argument(help="Its name, as `paydesk provider list` shows it.")],
    output_: Output = "",
) -> None:
    """Look at what a provider says of itself and at its settings, and ask it one question.

    Nothing is changed anywhere. Exit code 1: something is wrong; 3: it cannot be reached.
    """
    from paydesk.providers import base

    settings = context.load().settings
    kind = base.kinds().get(name)
    if kind is None:
        raise NotFound(f"No provider is called {name[:64]!r}.", param="provider")
    findings = _declared(kind)
    configured = kind.is_configured(settings)
    findings.append(_finding(
        "settings", configured, "" if configured else "Not configured: it is not offered."
    ))  # fmt: skip
    code = output.OK if all(one["ok"] for one in findings) else output.PROBLEM
    if configured:
        answered = _answers(kind(settings))
        findings.append(answered)
        if not answered["ok"]:
            code = code or output.NOT_REACHABLE
    output.rows(findings, FINDINGS, output_)
    raise typer.Exit(code)


def _finding(check: str, ok: bool, detail: str) -> dict[str, Any]:
    return {"check": check, "ok": ok, "detail": detail}


def _declared(kind: type[Provider]) -> list[dict[str, Any]]:
    """Every word of `can` is known and has its methods; currencies are currencies."""
    from paydesk.providers.base import ABILITIES, Provider

    strange = sorted(set(kind.can) - set(ABILITIES))
    lacking = sorted(
        method for word in kind.can for method in ABILITIES.get(word, ())
        if getattr(kind, method) is getattr(Provider, method)
    )  # fmt: skip
    problems = [f"{word!r} is no ability" for word in strange]
    problems += [f"{method} is promised and not there" for method in lacking]
    found = [_finding("can", not problems, "; ".join(problems) or " ".join(sorted(kind.can)))]
    unknown = sorted(set(kind.currencies or ()) - set(EXPONENTS))
    told = "all" if kind.currencies is None else " ".join(sorted(kind.currencies))
    wrong = f"no currencies: {' '.join(unknown)}" if unknown else told
    return [*found, _finding("currencies", not unknown, wrong)]


def _answers(made: Provider) -> dict[str, Any]:
    """Whether it takes our credentials and answers about something that nobody has."""
    started = time.monotonic()
    try:
        made.warm()
        if "fetch" in made.can:
            answer = made.fetch(NOBODYS)
            if inspect.isawaitable(answer):
                asyncio.run(_awaited(answer))
    except (ProviderUnavailable, Unavailable) as exc:
        return _finding("answers", False, exc.detail)
    except PaydeskError:
        pass  # It knows nothing of that reference, and said so.
    except Exception as exc:
        return _finding("answers", False, f"{type(exc).__name__} in its adapter: {exc}")
    finally:
        made.close()
    if "offline" in made.can:
        return _finding("answers", True, "Nothing is asked: a person or a statement confirms.")
    return _finding("answers", True, f"in {round(1000 * (time.monotonic() - started))} ms")


async def _awaited(answer: Any) -> Any:
    return await answer
