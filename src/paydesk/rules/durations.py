"""Lengths of time as people write them: 31d, 1w, 12h, 1d12h."""

from __future__ import annotations

import re
from datetime import timedelta

from paydesk.errors import InvalidRequest

_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_PART = re.compile(r"([0-9]{1,9})([wdhms])")


def duration(text: str, param: str = "by") -> timedelta:
    """The time that a text such as `31d` or `1d12h` stands for: weeks, days, hours, minutes,
    seconds, each once, the longest first. Raises InvalidRequest."""
    parts = _PART.findall(text)
    units = "".join(unit for _, unit in parts)
    is_whole = bool(parts) and "".join(n + unit for n, unit in parts) == text
    if not is_whole or [u for u in _UNITS if u in units] != list(units):
        raise InvalidRequest("A length of time is written like 31d, 12h or 1d12h.", param=param)
    try:
        return timedelta(**{_UNITS[unit]: int(number) for number, unit in parts})
    except OverflowError:
        raise InvalidRequest("That is longer than there is time.", param=param) from None
