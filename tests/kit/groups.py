"""Which tests of a run over several processes stay together in one, because they share what is dear
to start. `--dist loadgroup` takes this list and no marks: what a mark says does not reach the
process that hands the tests out."""

from __future__ import annotations

import re
from typing import Any

from xdist.scheduler import LoadGroupScheduling

#: Name of the group -> what the ids of its tests begin with.
GROUPS = {
    # A desk with a shop in it, and Chromium. While that is open, no other test of the process can
    # run an event loop.
    "browser": r"tests/browser/|tests/simulator/test_hosted_page_browser\.py",
    # Real processes, one after another, because each needs the whole machine.
    "journeys": r"tests/journeys/",
    # A desk that every block of the documentation's shells talks to.
    "docs-shell": r"tests/test_docs\.py::test_every_shell_block_runs",
    # Half a year that one process lives, once.
    "half-year": r"tests/figures/test_sums\.py",
}
_BEGINNINGS = {name: re.compile(begins) for name, begins in GROUPS.items()}


def group_of(nodeid: str) -> str | None:
    """The group of the test with this id; None for one that any process may take."""
    return next((name for name, begins in _BEGINNINGS.items() if begins.match(nodeid)), None)


class Groups(LoadGroupScheduling):
    """Hands tests out one by one, and those of a group at once, the largest group first."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid) or nodeid


def torn(reports: list[Any]) -> list[str]:
    """The groups that more than one process had tests of."""
    had: dict[str, set[str]] = {}
    for report in reports:
        group, node = group_of(report.nodeid), getattr(report, "node", None)
        if group and node:
            had.setdefault(group, set()).add(node.gateway.id)
    return sorted(group for group, processes in had.items() if len(processes) > 1)
