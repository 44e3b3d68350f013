"""Charts drawn on the server as SVG: coordinates only, so that pages need no script for them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from paydesk.flows.reports import Day
from paydesk.pages import look

WIDTH, HEIGHT = 1110, 230
LEFT, BOTTOM = 44, 24


def steps(highest: int, least_step: int = 1) -> list[int]:
    """Round numbers from 0 to at least `highest`, five or fewer of them above 0."""
    sizes = (least_step * factor * 10**power for power in range(18) for factor in (1, 2, 5))
    step = next(size for size in sizes if size * 5 >= highest)
    top = max(-(-highest // step), 1)
    return [step * n for n in range(top + 1)]


def spark(values: Sequence[int], width: int = 84, height: int = 30) -> str:
    """The points of a small line; flat in the middle where nothing varies."""
    if len(values) < 2:
        return ""
    values = _thinned(values, 16)
    low, high = min(values), max(values)
    span = (high - low) or 1
    middle = height / 2 if high == low else None
    points = []
    for number, value in enumerate(values):
        x = number * width / (len(values) - 1)
        y = middle if middle else height - 2 - (value - low) * (height - 4) / span
        points.append(f"{x:.1f},{y:.1f}")
    return " ".join(points)


def _thinned(values: Sequence[int], most: int) -> list[int]:
    """Neighbors summed so that at most `most` points remain."""
    if len(values) <= most:
        return list(values)
    size = -(-len(values) // most)
    return [sum(values[i : i + size]) for i in range(0, len(values), size)]


def revenue(days: Sequence[Day], currency: str) -> dict[str, Any]:
    """Two lines over the days: this period and the one before, in minor units."""
    unit = 10 ** look.money.exponent(currency)
    highest = max((max(d.volume, d.before) for d in days), default=0)
    marks = steps(max(highest, unit), least_step=unit)
    top = marks[-1]
    plot_w, plot_h = WIDTH - LEFT, HEIGHT - BOTTOM - 8

    def point(number: int, value: int) -> tuple[float, float]:
        x = LEFT + (number * plot_w / max(len(days) - 1, 1))
        return x, 8 + plot_h - value * plot_h / top

    this = [point(n, d.volume) for n, d in enumerate(days)]
    before = [point(n, d.before) for n, d in enumerate(days)]
    base = 8 + plot_h
    slot = plot_w / max(len(days) - 1, 1)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "rules": [
            {"y": f"{8 + plot_h - m * plot_h / top:.1f}", "text": look.short_amount(m, currency)}
            for m in marks
        ],
        "line": _path(this),
        "before": _path(before),
        "area": f"{_path(this)} L{this[-1][0]:.1f},{base:.1f} L{this[0][0]:.1f},{base:.1f} Z",
        "labels": _labels([(x, d.day) for (x, _), d in zip(this, days, strict=True)]),
        "hits": [
            {
                "x": f"{x - slot / 2:.1f}", "width": f"{slot:.1f}",
                "title": f"{d.day:%b} {d.day.day}: {look.amount(d.volume, currency)},"
                         f" before {look.amount(d.before, currency)}",
            }
            for (x, _), d in zip(this, days, strict=True)
        ],
    }  # fmt: skip


def _path(points: Sequence[tuple[float, float]]) -> str:
    """A smooth line that is level at each point, so that it never shows more than there was."""
    first = points[0]
    path = [f"M{first[0]:.1f},{first[1]:.1f}"]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        path.append(f"C{middle:.1f},{y0:.1f} {middle:.1f},{y1:.1f} {x1:.1f},{y1:.1f}")
    return " ".join(path)


def _labels(points: Sequence[tuple[float, Any]]) -> list[dict[str, str]]:
    every = max(-(-len(points) // 7), 1)
    last = len(points) - 1
    return [
        {"x": f"{x:.1f}", "text": f"{at:%b} {at.day}",
         "anchor": "end" if n == last and last else "start" if n == 0 else "middle"}
        for n, (x, at) in enumerate(points)
        if n % every == 0
    ]  # fmt: skip


def outcomes(days: Sequence[Day]) -> dict[str, Any]:
    """Stacked bars: payments that succeeded and failed. Long periods are summed by neighbors."""
    width, height = 340, 200
    size = -(-len(days) // 31)
    groups = [days[i : i + size] for i in range(0, len(days), size)]
    sums = [(g[0].day, sum(d.succeeded for d in g), sum(d.failed for d in g)) for g in groups]
    marks = steps(max((ok + bad for _, ok, bad in sums), default=0) or 1)
    top, left = marks[-1], 30
    plot_w, plot_h = width - left, height - BOTTOM - 8
    slot = plot_w / len(sums)
    bars = []
    for number, (at, ok, bad) in enumerate(sums):
        x = left + number * slot + slot * 0.15
        ok_h, bad_h = ok * plot_h / top, bad * plot_h / top
        bars.append({
            "x": f"{x:.1f}", "width": f"{slot * 0.7:.1f}",
            "ok_y": f"{8 + plot_h - ok_h:.1f}", "ok_h": f"{ok_h:.1f}",
            "bad_y": f"{8 + plot_h - ok_h - bad_h:.1f}", "bad_h": f"{bad_h:.1f}",
            "title": f"{at:%b} {at.day}: {ok} succeeded, {bad} failed",
        })  # fmt: skip
    middles = [(left + n * slot + slot / 2, at) for n, (at, _, _) in enumerate(sums)]
    every = max(-(-len(middles) // 4), 1)
    return {
        "width": width,
        "height": height,
        "rules": [
            {"y": f"{8 + plot_h - m * plot_h / top:.1f}", "text": look.count(m)} for m in marks
        ],
        "bars": bars,
        "labels": [
            {"x": f"{x:.1f}", "text": f"{at:%b} {at.day}", "anchor": "middle" if n else "start"}
            for n, (x, at) in enumerate(middles)
            if n % every == 0
        ],
    }
