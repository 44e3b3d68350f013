"""Four eyes: which person is behind a caller, and whether two callers are two persons."""

from __future__ import annotations

from collections.abc import Sequence

#: How a caller of the staff is named.
STAFF = "staff:"
#: How the subject of an application's token is named.
USER = "user:"


def person_of(by: str) -> str:
    """The person that a caller's name stands for: a staff member by the address alone, in
    whatever way he came. A key, an application's user and a free name stand for themselves."""
    name = by.removeprefix(STAFF)
    return name.lower() if "@" in name else name


def persons_of(by: str, persons: Sequence[str] | None = None) -> list[str]:
    """Who is behind a caller, the person himself first; without more knowledge his name alone."""
    return list(persons) if persons else [person_of(by)]


def are_two(asked: Sequence[str], decides: Sequence[str]) -> bool:
    """Whether somebody else decides than who asked.

    Neither may be who could act in the other's place, such as who made the other's key. That one
    colleague made the keys of two others makes these no one person.
    """
    if not asked or not decides:
        return False
    return _himself(asked).isdisjoint(decides) and _himself(decides).isdisjoint(asked)


def _himself(persons: Sequence[str]) -> set[str]:
    """The first person's names: an application's user stands beside the address of the moment,
    which he may change."""
    is_user = len(persons) > 1 and persons[1].startswith(USER)
    return set(persons[:2] if is_user else persons[:1])
