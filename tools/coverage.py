"""Fill the test column of docs/coverage.md from the comments in tests that name a requirement.

`python tools/coverage.py` rewrites the page, `--check` exits with 1 when it is out of date.
A comment like `# S2.13 I1` names the test function that it stands in, or the next one below; the
docstring of a test names it too. `S2.13!` says that no test shows it better.
"""

from __future__ import annotations

import ast
import re
import sys
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "coverage.md"
ROW = re.compile(r"^\| ((?:S\d\.\d+)|(?:I\d+)) \| (.*) \| ([^|]*) \|$")
RANGE = re.compile(r"\b(S\d)\.(\d+)\s*[–-]\s*(?:S\d\.)?(\d+)\b")
RANGE_I = re.compile(r"\bI(\d+)\s*[–-]\s*I(\d+)\b")
NAME = re.compile(r"\b(S\d\.\d+|I\d{1,2})\b")
BEST = re.compile(r"\b(S\d\.\d+|I\d{1,2})!")
NOT_YET = "not yet"
#: How many tests of one item the page names.
SHOWN = 3

#: (whether another may show it better, how many items the test names, the test).
Found = tuple[bool, int, str]


def names_in(comment: str) -> set[str]:
    """Requirement numbers in a comment, ranges such as `S2.1–S2.8` unfolded; `I1!` also as that."""
    found = set(NAME.findall(comment)) | {f"{name}!" for name in BEST.findall(comment)}
    for family, first, last in RANGE.findall(comment):
        found |= {f"{family}.{n}" for n in range(int(first), int(last) + 1)}
    for first, last in RANGE_I.findall(comment):
        found |= {f"I{n}" for n in range(int(first), int(last) + 1)}
    return found


def tests_in(path: Path) -> list[tuple[str, set[str]]]:
    """(test, the numbers it names) in order, for one file."""
    text = path.read_text(encoding="utf-8")
    where = path.relative_to(ROOT).as_posix()
    spans, named = [], {}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
            "test_"
        ):
            start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            spans.append((start, node.end_lineno or start, node.name))
            named[node.name] = names_in(ast.get_docstring(node) or "")
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            spans.append((node.lineno, node.lineno, node.name))
            named[node.name] = set()
    spans.sort()
    for number, line in enumerate(text.splitlines(), 1):
        names = names_in(line[line.index("#") :]) if "#" in line else set()
        inside = [s for s in spans if s[0] <= number <= s[1]]
        below = [s for s in spans if s[0] > number]
        if names and (inside or below):
            named[(inside[-1] if inside else below[0])[2]] |= names
    return [(f"{where}::{name}", named[name]) for _, _, name in spans if named[name]]


def scan() -> dict[str, list[str]]:
    """Requirement number -> tests that name it, the most telling first.

    A file with many tests of an item is about it, and a test that names few others shows it best:
    one test of each file, the files with the most first, then the others. What a test says to be
    best comes before.
    """
    found: dict[str, dict[Path, list[Found]]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for test, names in tests_in(path):
            for name in (one for one in names if not one.endswith("!")):
                row = (f"{name}!" not in names, len(names), test)
                found.setdefault(name, {}).setdefault(path, []).append(row)
    return {name: _telling(list(files.values())) for name, files in found.items()}


def _telling(files: list[list[Found]]) -> list[str]:
    for some in files:
        some.sort(key=lambda found: found[:2])
    files.sort(key=lambda some: (some[0][0], -len(some)))
    rows = zip_longest(*files)
    return [found[2] for row in rows for found in row if found]


def render(text: str, tests: dict[str, list[str]]) -> str:
    """The page with its last column filled."""
    lines = []
    for line in text.splitlines():
        row = ROW.match(line)
        if row:
            shown = ", ".join(f"`{test}`" for test in tests.get(row[1], [])[:SHOWN])
            line = f"| {row[1]} | {row[2]} | {shown or NOT_YET} |"
        lines.append(line)
    return "\n".join(lines) + "\n"


def main() -> int:
    old = PAGE.read_text(encoding="utf-8")
    new = render(old, scan())
    if "--check" in sys.argv:
        print("up to date" if old == new else "out of date: run python tools/coverage.py")
        return 0 if old == new else 1
    PAGE.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
