"""The documentation is complete and true: every block runs, every name is there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def blocks(page: Path, *languages: str) -> list[str]:
    found = BLOCK.findall(page.read_text(encoding="utf-8"))
    return [code for language, code in found if language in languages]


def tool(name: str, *args: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / name), *args],
        capture_output=True, text=True, env=environ, cwd=ROOT,
    )


def test_the_reference_pages_say_what_the_code_says():
    """Every setting, error code, event and endpoint stands there as it is."""
    done = tool("reference.py", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_coverage_names_every_requirement_and_its_test():
    done = tool("coverage.py", "--check")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (DOCS / "coverage.md").read_text(encoding="utf-8")
    families = {"S0": 38, "S1": 60, "S2": 19, "S3": 25, "S4": 50}
    expected = {f"{f}.{n}" for f, last in families.items() for n in range(1, last + 1)}
    expected |= {f"I{n}" for n in range(1, 47)}
    rows = re.findall(r"^\| ((?:S\d\.\d+)|(?:I\d+)) \| (.+) \| (.+) \|$", text, re.MULTILINE)
    assert {number for number, _, _ in rows} == expected
    assert len(rows) == len(expected)
    assert all(wording.strip() for _, wording, _ in rows)


def test_every_relative_link_leads_somewhere():
    broken = []
    for page in PAGES:
        for target in LINK.findall(page.read_text(encoding="utf-8")):
            is_local = not re.match(r"[a-z]+:|/", target)
            if is_local and not (page.parent / target).exists():
                broken.append(f"{page.name}: {target}")
    assert not broken, broken


# S1.54!
def test_the_go_live_page_names_what_is_there():  # S1.54
    """Its addresses are routes, its settings are settings, and no step of a set-up is missing."""
    import json

    from paydesk.settings import all_fields

    text = (DOCS / "go-live.md").read_text(encoding="utf-8")
    paths = json.loads((DOCS / "openapi.json").read_text(encoding="utf-8"))["paths"]
    assert "/api/webhooks/stripe" in text and "/api/webhooks/stripe" in paths
    named = set(re.findall(r"`([A-Z][A-Z_]+_[A-Z]+)`", text))
    known = {name for one in all_fields() for name in one.metadata["names"]}
    assert named and named <= known, named - known
    for step in ("test mode", "production account", "Front end", "paydesk serve", "paydesk worker"):
        assert step in text, step


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 120


def test_every_dependency_is_explained():
    """docs/dependencies.md names each direct requirement of the project."""
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (DOCS / "dependencies.md").read_text(encoding="utf-8").lower()
    for line in project["dependencies"]:
        name = re.split(r"[\[<>=~ ;]", line)[0].lower()
        assert f"`{name}`" in text, name


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p, "python", "py")], ids=lambda p: p.stem
)
def test_every_python_block_runs(page: Path, docs_namespace):
    """Blocks of a page run in order in one namespace; its fixture file supplies the rest."""
    names = docs_namespace(page.stem)
    for number, code in enumerate(blocks(page, "python", "py"), 1):
        exec(compile(code, f"{page.name}, block {number}", "exec"), names)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "sh")], ids=lambda p: p.stem)
def test_every_shell_block_runs(page: Path, docs_shell):
    """Blocks of a page run line by line against a running desk; each line must succeed."""
    for number, code in enumerate(blocks(page, "sh"), 1):
        docs_shell(page.stem, code, f"{page.name}, block {number}")


def test_blocks_are_tagged_with_what_they_are():
    """An untagged block would escape the tests."""
    allowed = {"python", "py", "sh", "json", "sql", "text", "toml", "yaml", "http", "ini"}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        fences = re.findall(r"^```(.*)$", text, re.MULTILINE)
        for opening in fences[::2]:
            assert opening.split(" ")[0] in allowed, f"{page.name}: ```{opening}"
