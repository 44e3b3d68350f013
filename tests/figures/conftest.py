"""Fixtures of figures: the desk of the flows' tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "flows"))
sys.path.insert(0, str(Path(__file__).parent.parent / "http"))

from purchase import Desk
from refunding import Refunding

from paydesk import crash


@pytest.fixture
def refunding(env, sim, make, clock):
    """A desk with the pack `creator` on sale whose payments are refunded."""
    make.pack()
    yield Refunding(Desk(env, sim, make, clock))
    crash.disarm()
