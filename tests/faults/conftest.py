"""What tests of faults share with those of flows: a desk with a pack on sale."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "flows"))
sys.path.insert(0, str(Path(__file__).parent.parent / "http"))

from purchase import Desk

from paydesk import crash


@pytest.fixture
def desk(env, sim, make, clock) -> Iterator[Desk]:
    """A desk with the pack `creator` on sale, and the simulator as its provider."""
    make.pack()
    yield Desk(env, sim, make, clock)
    crash.disarm()
