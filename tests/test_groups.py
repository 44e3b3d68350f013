"""The tests that stay together in one process of a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from groups import GROUPS, group_of, torn

ROOT = Path(__file__).resolve().parent.parent


def report(nodeid: str, process: str) -> SimpleNamespace:
    node = SimpleNamespace(gateway=SimpleNamespace(id=process))
    return SimpleNamespace(nodeid=nodeid, node=node)


def test_every_group_is_of_tests_that_are_there():
    """A file that gets another name would leave its group unseen."""
    for name, begins in GROUPS.items():
        for one in begins.replace("\\", "").split("|"):
            path, _, test = one.partition("::")
            assert (ROOT / path).exists(), name
            assert not test or f"def {test}(" in (ROOT / path).read_text(encoding="utf-8"), name
            assert group_of(one) == name
    assert group_of("tests/test_docs.py::test_the_readme_is_short") is None


def test_a_group_in_two_processes_is_noticed():
    pages, alone = "tests/browser/test_browser_pages.py::test_a[{}]", "tests/test_docs.py::test_b"
    together = [report(pages.format(n), "gw0") for n in (0, 1)]
    assert torn([*together, report(alone, "gw0"), report(alone, "gw1")]) == []
    assert torn([*together, report(pages.format(2), "gw1")]) == ["browser"]
