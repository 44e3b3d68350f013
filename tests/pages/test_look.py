"""How money, times and files are shown."""

from __future__ import annotations

import hashlib
import re
import tomllib
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest

from paydesk.pages import charts, look

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("minor", "currency", "shown"),
    [(4905, "usd", "$49.05"), (-545, "usd", "−$5.45"), (123456789, "eur", "€1,234,567.89"),
     (500, "jpy", "¥500"), (1500, "kwd", "KWD 1.500"), (125000, "htg", "HTG 1,250.00"),
     (0, "usd", "$0.00"), (2**63 - 1, "usd", "$92,233,720,368,547,758.07")],
)  # fmt: skip
def test_amounts_are_exact_in_every_currency(minor, currency, shown):
    assert look.amount(minor, currency) == shown


@pytest.mark.parametrize(
    ("minor", "shown"),
    [(0, "$0"), (95000, "$950"), (400000, "$4k"), (250000, "$2.5k"), (120000000, "$1.2M")],
)
def test_an_axis_has_short_amounts(minor, shown):
    assert look.short_amount(minor, "usd") == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(3, "just now"), (125, "2 min ago"), (7300, "2 h ago"), (86400, "1 day ago"),
     (86400 * 3, "3 days ago"), (86400 * 40, "Oct 12, 2026"), (-1800, "in 30 min"),
     (-86400 * 12, "in 12 days"), (-86400 * 365 + 60, "in 365 days"), (-1790, "in 30 min")],
)  # fmt: skip
def test_times_are_relative_and_then_dates(seconds, shown):
    assert look.ago(NOW - timedelta(seconds=seconds), NOW) == shown


def test_a_time_tag_has_the_exact_instant():
    tag = look.time_tag(NOW - timedelta(minutes=2), NOW)
    assert 'datetime="2026-11-21T11:58:00Z"' in tag
    assert "Nov 21, 2026, 11:58:00 UTC" in tag


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil", "https://evil.example", "/a b", ""])
def test_a_way_back_leads_nowhere_else(path):
    assert look.local_path(path, "/dashboard") == "/dashboard"
    assert look.local_path("/dashboard?tab=all", "/") == "/dashboard?tab=all"


@pytest.mark.parametrize("highest", [0, 1, 3, 7, 99, 101, 4_999, 86_803, 10**12])
def test_an_axis_has_few_round_steps_that_reach_the_highest(highest):
    marks = charts.steps(highest)
    assert 2 <= len(marks) <= 6
    assert marks[0] == 0
    assert marks[-1] >= highest


def test_vendored_files_are_what_their_manifest_says():
    folder = files("paydesk.pages") / "static" / "vendor"
    listed = tomllib.loads((folder / "VENDOR.toml").read_text())["files"]
    there = {entry.name for entry in folder.iterdir()} - {"VENDOR.toml"}
    assert there == set(listed)
    for name, told in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == told["sha256"], name


def test_templates_hold_nothing_that_the_policy_refuses():
    """No inline script, style or handler, and no address of another site."""
    folder = files("paydesk.pages") / "templates"
    for entry in folder.iterdir():
        text = entry.read_text()
        assert not re.search(r"\sstyle=|<style|\son\w+=|javascript:", text), entry.name
        assert not re.search(r"<script(?![^>]*src=)", text), entry.name
        assert "http://" not in text and "https://" not in text, entry.name


def test_no_page_of_ours_asks_for_a_card():  # S4.33
    """Card fields stand on the provider's page alone."""
    folder = files("paydesk.pages") / "templates"
    asked = re.compile(r'autocomplete="cc-|name="(card|number|cvc|exp)', re.IGNORECASE)
    for entry in folder.iterdir():
        assert not asked.search(entry.read_text()), entry.name
    hosted = (files("paydesk.simulator") / "templates" / "checkout.html").read_text()
    assert asked.search(hosted)


def test_every_icon_that_a_template_names_is_there():
    folder = files("paydesk.pages") / "templates"
    named = set()
    for entry in folder.iterdir():
        named |= set(re.findall(r'icon\("([a-z0-9-]+)"', entry.read_text()))
    assert named
    for name in named:
        assert "<svg" in look.icon(name)


def test_states_that_the_schema_knows_have_words():
    from paydesk.db import migrate

    text = next(s.text for s in migrate.packaged() if s.name == "0001_desk")
    for states in re.findall(r"state text not null check \(state in \(([^)]+)\)", text):
        for state in re.findall(r"'(\w+)'", states):
            assert state in look.STATES, state
