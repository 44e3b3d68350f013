"""The house rules, kept as tests: floors, sizes, purity, who writes what."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "paydesk"

#: Floors by the first matching prefix; imports point down or stay on the floor.
FLOORS = [
    ("paydesk.testing", 9),
    ("paydesk.cli", 5),
    ("paydesk.__main__", 5),
    ("paydesk.http", 4),
    ("paydesk.pages", 4),
    ("paydesk.worker", 4),
    ("paydesk.client", 4),
    ("paydesk.fastapi", 4),
    ("paydesk.client_async", 4),
    ("paydesk.client_parts", 4),
    ("paydesk.client_parts_async", 4),
    ("paydesk.client_threads", 4),
    ("paydesk.client_disputes", 4),
    ("paydesk.client_disputes_async", 4),
    ("paydesk.client_catalog", 4),
    ("paydesk.client_catalog_async", 4),
    ("paydesk.client_clocks", 4),
    ("paydesk.client_clocks_async", 4),
    ("paydesk.client_goods", 4),
    ("paydesk.client_goods_async", 4),
    ("paydesk.client_methods", 4),
    ("paydesk.client_methods_async", 4),
    ("paydesk.client_analytics", 4),
    ("paydesk.client_analytics_async", 4),
    ("paydesk.client_invoices", 4),
    ("paydesk.client_invoices_async", 4),
    ("paydesk.client_plans", 4),
    ("paydesk.client_plans_async", 4),
    ("paydesk.client_subscriptions", 4),
    ("paydesk.client_subscriptions_async", 4),
    ("paydesk.client_refills", 4),
    ("paydesk.client_refills_async", 4),
    ("paydesk.client_refunds", 4),
    ("paydesk.client_refunds_async", 4),
    ("paydesk.client_wallets", 4),
    ("paydesk.client_wallets_async", 4),
    ("paydesk.results", 4),
    ("paydesk.delivery", 4),
    ("paydesk.assemble", 4),
    ("paydesk.flows", 3),
    ("paydesk.env", 2),
    ("paydesk.providers", 2),
    ("paydesk.simulator", 0),
    ("paydesk.tracker", 1),
    ("paydesk.rules", 1),
    ("paydesk.db", 1),
    ("paydesk", 1),
]
MAX_FUNCTION_LINES = 70
MAX_FILE_LINES = 600


def module_name(path: Path) -> str:
    parts = list(path.relative_to(SOURCE.parent).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@lru_cache(maxsize=1)
def modules() -> dict[str, tuple[Path, ast.Module]]:
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        found[module_name(path)] = (path, ast.parse(path.read_text(encoding="utf-8")))
    return found


def floor_of(name: str) -> int:
    return next(f for prefix, f in FLOORS if name == prefix or name.startswith(prefix + "."))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports_of(name: str, *, top_only: bool = False) -> set[str]:
    """Modules of ours that this module imports; without those only for the type checker."""
    path, tree = modules()[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if is_type_checking(node):
            continue
        if top_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        todo.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                parts = parts[: len(parts) - node.level + 1]
                base = ".".join([*parts, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                found.add(whole if whole in modules() else base)
    return {n for n in found if n in modules() and n != name}


def test_imports_point_down_only():  # S3.14 S4.1
    """A module imports from its own floor or a lower one; parts that stand apart stay apart."""
    wrong = []
    for name in modules():
        for other in imports_of(name):
            if name == "paydesk" or other == "paydesk":
                continue
            if floor_of(other) > floor_of(name):
                wrong.append(f"{name} -> {other}")
    assert not wrong, wrong


def test_the_tracker_and_the_simulator_import_nothing_else_of_ours():
    """S2.8: both are portable parts."""
    for part in ("paydesk.tracker", "paydesk.simulator"):
        for name in modules():
            if name == part or name.startswith(part + "."):
                outside = {o for o in imports_of(name) if not (o + ".").startswith(part + ".")}
                assert outside <= {"paydesk"}, (name, outside)


def test_no_import_makes_a_circle():
    graph = {name: imports_of(name, top_only=True) - {"paydesk"} for name in modules()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name in done:
            return
        for other in sorted(graph[name]):
            visit(other, (*trail, name))
        done.add(name)

    for name in graph:
        visit(name, ())


def test_functions_and_files_stay_small():
    wrong = []
    for path, tree in modules().values():
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > MAX_FILE_LINES:
            wrong.append(f"{path.name}: {lines} lines")
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    wrong.append(f"{path.name}:{node.lineno} {node.name}: {length} lines")
    assert not wrong, wrong


def test_rules_hold_no_clock_no_float_and_no_input_or_output():
    forbidden = {"time", "datetime.datetime.now", "os", "io", "socket", "random", "secrets",
                 "psycopg", "httpx", "pathlib", "threading", "asyncio", "logging"}
    wrong = []
    for name, (path, tree) in modules().items():
        if not name.startswith("paydesk.rules"):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                wrong += [f"{path.name}: {a.name}" for a in node.names if a.name in forbidden]
            elif isinstance(node, ast.ImportFrom) and (node.module or "") in forbidden:
                wrong.append(f"{path.name}: {node.module}")
            elif isinstance(node, ast.Constant) and isinstance(node.value, float):
                wrong.append(f"{path.name}:{node.lineno}: a float")
            elif isinstance(node, ast.Name) and node.id in {"float", "open", "print"}:
                wrong.append(f"{path.name}:{node.lineno}: {node.id}")
            elif isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}:
                wrong.append(f"{path.name}:{node.lineno}: .{node.attr}")
            elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                wrong.append(f"{path.name}:{node.lineno}: a true division")
    assert not wrong, wrong


PROVIDER_CALLS = {"create_checkout", "expire_checkout", "charge", "capture", "void", "fetch",
                  "search", "refund"}


def test_a_function_that_takes_tx_neither_commits_nor_calls_a_provider():
    wrong = []
    for path, tree in modules().values():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if "tx" not in [a.arg for a in node.args.args]:
                continue
            for call in [n for n in ast.walk(node) if isinstance(n, ast.Call)]:
                text = ast.unparse(call.func)
                if text.endswith((".commit", ".rollback")) or (
                    "provider" in text and text.rpartition(".")[2] in PROVIDER_CALLS
                ):
                    wrong.append(f"{path.name}:{call.lineno} {node.name}: {text}")
    assert not wrong, wrong


def test_no_provider_is_called_inside_a_transaction():
    wrong = []
    for path, tree in modules().values():
        for node in ast.walk(tree):
            if not isinstance(node, ast.With):
                continue
            if not any(".transaction(" in ast.unparse(i.context_expr) for i in node.items):
                continue
            for call in [n for n in ast.walk(node) if isinstance(n, ast.Call)]:
                text = ast.unparse(call.func)
                if "provider" in text and text.rpartition(".")[2] in PROVIDER_CALLS:
                    wrong.append(f"{path.name}:{call.lineno}: {text}")
    assert not wrong, wrong


def writers_of(table: str) -> set[str]:
    pattern = re.compile(
        rf"\b(insert\s+into|update|delete\s+from)\s+(?:only\s+)?{table}\b", re.IGNORECASE
    )
    found = set()
    for path in [*SOURCE.rglob("*.py"), *SOURCE.rglob("functions/*.sql")]:
        if pattern.search(path.read_text(encoding="utf-8")):
            found.add(path.relative_to(SOURCE).as_posix())
    return found


def test_only_the_trackers_stores_write_payments():
    assert writers_of("payments") <= {
        p for p in writers_of("payments") if p.startswith("tracker/stores/")
    }
    assert any(p.startswith("tracker/stores/") for p in writers_of("payments"))


@pytest.mark.parametrize("table", ["accounts", "transfers", "batches", "draws"])
def test_only_the_ledger_and_credits_write_balances(table):
    allowed = re.compile(r"flows/(ledger|credits\w*)\.py|db/functions/\w+\.sql")
    wrong = {p for p in writers_of(table) if not allowed.fullmatch(p)}
    assert not wrong, wrong


def test_only_the_tracker_changes_a_payments_state():
    """One TRANSITIONS table: no other file sets `state` on a payment record."""
    wrong = []
    for name, (path, _) in modules().items():
        if name.startswith(("paydesk.tracker", "paydesk.simulator", "paydesk.testing")):
            continue
        text = path.read_text(encoding="utf-8")
        if re.search(r"model_copy\(update=\{[^}]*['\"]state['\"]", text):
            wrong.append(path.name)
    assert not wrong, wrong


def test_sql_is_literal_and_parameters_are_named():
    """No value is ever formatted into a statement."""
    wrong = []
    sql = re.compile(r"^\s*(select|insert into|update|delete from|with)\b", re.IGNORECASE)
    for path, tree in modules().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr) and node.values:
                first = node.values[0]
                if isinstance(first, ast.Constant) and sql.match(str(first.value)):
                    if "tracker/stores" in path.as_posix() or "simulator" in path.as_posix():
                        continue  # table names of an application; values stay parameters
                    wrong.append(f"{path.name}:{node.lineno}")
    assert not wrong, wrong


def test_every_file_says_what_it_is_for():
    wrong = [p.name for p, tree in modules().values() if not ast.get_docstring(tree)]
    assert not wrong, wrong


def test_nothing_is_left_unfinished():
    words = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|X{3}|NotImplemented" + r"Error)\b")
    wrong = []
    for path in [*SOURCE.rglob("*.py"), *SOURCE.rglob("*.sql"), *(ROOT / "docs").rglob("*.md")]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if words.search(line):
                wrong.append(f"{path.name}:{number}: {line.strip()[:80]}")
    assert not wrong, wrong


def test_every_test_with_a_long_form_is_run_by_prove():
    """`./run prove` picks by mark: a long form without it would never run."""
    wrong = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        has_form = re.search(r"if _?PROVE\b", text)
        if has_form and path.name != Path(__file__).name and "pytest.mark.prove" not in text:
            wrong.append(path.name)
    assert not wrong, wrong


#: Settings that are kept for others: for front ends, and for a tracker on its own.
KEPT_FOR_OTHERS = {"stripe_publishable_key", "check_duplicates_before_credit"}


def test_every_setting_is_read():
    """A setting that nothing reads would promise what does not happen."""
    from paydesk.settings import all_fields

    skipped = {"settings.py", "sources.py"}
    text = "\n".join(
        path.read_text(encoding="utf-8")
        for path in SOURCE.rglob("*.py")
        if path.name not in skipped and "tracker" not in path.parts
    ) + "\n".join(line for line in (SOURCE / "settings.py").read_text().splitlines()
                  if "self." in line)  # fmt: skip
    names = {one.name for one in all_fields()}
    read = {name for name in names if re.search(rf"(\.|\"){name}\b", text)}
    assert names - read == KEPT_FOR_OTHERS


#: What a dependency is imported as, where its name does not say so. Empty: others import it.
IMPORTED_AS = {"argon2-cffi": "argon2", "opentelemetry-api": "opentelemetry", "pyjwt": "jwt",
               "pyyaml": "yaml", "python-dotenv": "dotenv",
               "python-multipart": "", "websockets": "", "tzdata": ""}  # fmt: skip


def test_every_dependency_is_used():
    """What nothing imports is not worth its place in the lock file."""
    import tomllib

    text = "\n".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    unused = []
    for line in project["dependencies"]:
        name = re.split(r"[\[<>=~ ;]", line)[0].lower()
        module = IMPORTED_AS.get(name, name.replace("-", "_"))
        if not re.search(rf"(import|from) {module}\b|\"{module}\"", text):
            unused.append(name)
    assert not unused, unused
    assert set(project["optional-dependencies"]) <= {
        "analytics", "django", "flask", "supabase", "firestore"}  # fmt: skip
