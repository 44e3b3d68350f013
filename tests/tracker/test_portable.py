"""A copy of the folder works in a project that has pydantic and PyYAML, and nothing of ours."""

import ast
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from paydesk.tracker import MIGRATION

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "src" / "paydesk" / "tracker"

#: Runs before the project's code: whatever is neither the standard library, nor pydantic, PyYAML
#: and what these two need, nor the project itself cannot be imported.
BLOCKER = """
import sys

ALLOWED = {"pydantic", "pydantic_core", "annotated_types", "typing_extensions",
           "typing_inspection", "yaml", "_yaml", "shared", "__main__"}


class Only:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        known = top in ALLOWED or top in sys.stdlib_module_names
        if not known and not top.startswith("_sysconfigdata"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Only())
"""

#: The document's own lines, with a client and a session supplied by the application.
DOCUMENTED = """
from shared.payments import get_payment_tracker

{client}

# Get a configured tracker
tracker = get_payment_tracker(
    store_type='supabase',
    supabase_client=your_supabase_client,
    session_expiry_minutes=30
)

# Create a pending payment BEFORE redirecting to Stripe
payment = tracker.create_pending_payment(
    user_id='user_123',
    amount_cents=999,
    credits_to_add=150,
    provider='stripe',
    session_id='cs_xxx',  # From Stripe checkout session
    package_id='creator',
    package_name='Creator Pack'
)

# After webhook confirms payment (or via verify-payment endpoint)
tracker.mark_completed(payment.id)
tracker.mark_credits_added(payment.id)

session_id = 'cs_xxx'
# Check for duplicates before adding credits
if tracker.is_duplicate(session_id):
    print("Already processed!")
"""

#: A client with the table interface, small enough for a project without any package.
CLIENT = """
class Answer:
    def __init__(self, data):
        self.data = data


class Request:
    def __init__(self, rows, found=None, change=None):
        self.rows, self.change = rows, change
        self.found = rows if found is None else found

    def select(self, *columns):
        return Request(self.rows)

    def insert(self, row):
        self.rows.append(dict(row))
        return Request(self.rows, self.rows[-1:])

    def update(self, change):
        return Request(self.rows, change=change)

    def eq(self, column, value):
        return Request(self.rows, [r for r in self.found if r[column] == value], self.change)

    def limit(self, count):
        return Request(self.rows, self.found[:count], self.change)

    def execute(self):
        for row in self.found if self.change else ():
            row.update(self.change)
        return Answer([dict(row) for row in self.found])


class Client:
    def __init__(self):
        self.tables = {}

    def table(self, name):
        return Request(self.tables.setdefault(name, []))


your_supabase_client = Client()
"""

OWN_STORE = """
from typing import Optional
from shared.payments import PaymentTracker, get_payment_tracker as make
from shared.payments.tracker import PaymentStore, PaymentRecord


class MyDatabasePaymentStore(PaymentStore):
    def __init__(self):
        self.rows = {}

    def create(self, payment: PaymentRecord) -> PaymentRecord:
        self.rows[payment.id] = payment.to_dict()
        return payment

    def get_by_id(self, payment_id: str) -> Optional[PaymentRecord]:
        row = self.rows.get(payment_id)
        return row and PaymentRecord.from_dict(row)

    def get_by_session_id(self, session_id: str) -> Optional[PaymentRecord]:
        found = [row for row in self.rows.values() if row["provider_session_id"] == session_id]
        return PaymentRecord.from_dict(found[0]) if found else None

    def update(self, payment: PaymentRecord) -> PaymentRecord:
        self.rows[payment.id] = payment.to_dict()
        return payment


def get_payment_tracker(store_type='my_database', **options):
    if store_type == 'my_database':
        store = MyDatabasePaymentStore(**options)
        return PaymentTracker(store)


tracker = get_payment_tracker()
payment = tracker.create_pending_payment('user_123', 999, 150, 'stripe', 'cs_1')
tracker.mark_completed(payment.id)
tracker.mark_credits_added(payment.id)
print(tracker.is_duplicate('cs_1'), tracker.get(payment.id).status)

import os
sqlite = make('sqlite', path=os.path.join(os.path.dirname(__file__), 'payments.db'))
sqlite.create_pending_payment('user_123', 999, 150, 'stripe', 'cs_2')
print(sqlite.complete_once('cs_2', lambda payment: None))
print(sqlite.statistics('user_123').total_spent_usd)
try:
    make('postgres', dsn='')
except ImportError as exc:
    print(exc.name)
"""


@pytest.fixture
def project(tmp_path):
    """A project that copied the folder, as the document says, and runs a script of its own."""
    shutil.copytree(
        FOLDER, tmp_path / "shared" / "payments", ignore=shutil.ignore_patterns("__pycache__")
    )

    def run(code):
        script = tmp_path / "app.py"
        script.write_text(BLOCKER + code, encoding="utf-8")
        command = [sys.executable, "-W", "error", str(script)]
        environ = {"PATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", env=environ)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


# S2.1 S2.2 S2.8
def test_the_documents_own_lines_run_in_a_copy(project):
    assert project(DOCUMENTED.replace("{client}", CLIENT)) == ["Already processed!"]


# S2.7
def test_a_store_of_ones_own_runs_in_a_copy_and_drivers_are_asked_for_late(project):
    assert project(OWN_STORE) == ["True completed", "True", "9.99", "psycopg"]


def test_the_blocker_blocks(project):
    code = """
        try:
            import psycopg
        except ImportError as exc:
            print(exc.name)
    """
    assert project(textwrap.dedent(code)) == ["psycopg"]


def test_the_folder_has_the_documented_files():
    for name in (
        "__init__.py",
        "tracker.py",
        "base.py",
        "models.py",
        "exceptions.py",
        "config.yaml",
        "stores/__init__.py",
        "stores/supabase.py",
    ):
        assert (FOLDER / name).is_file(), name


def test_the_folder_imports_nothing_else_of_ours():
    for path in FOLDER.rglob("*.py"):
        depth = len(path.relative_to(FOLDER).parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not any(alias.name.startswith("paydesk") for alias in node.names), path
            elif isinstance(node, ast.ImportFrom):
                assert node.level <= depth, path
                assert node.level or not (node.module or "").startswith("paydesk"), path


def test_the_migration_lies_where_the_document_runs_it():
    documented = ROOT / "database" / "migrations" / "002_payment_tracking.sql"
    assert documented.read_text(encoding="utf-8") == MIGRATION.read_text(encoding="utf-8")
