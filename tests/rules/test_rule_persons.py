"""Two persons: keys, sessions and names that stand for the same one."""

from __future__ import annotations

import pytest

from paydesk.rules.persons import are_two, person_of, persons_of


@pytest.mark.parametrize(
    ("by", "person"),
    [("staff:rosa@example.com", "rosa@example.com"), ("Rosa@Example.com", "rosa@example.com"),
     ("key:own", "key:own"), ("user:u_1", "user:u_1"), ("rosa", "rosa")],
)  # fmt: skip
def test_a_name_stands_for_its_person(by, person):
    assert person_of(by) == person
    assert persons_of(by) == [person]
    assert persons_of(by, ("omar@example.com", by)) == ["omar@example.com", by]


def test_nobody_decides_alone():  # S3.20
    assert are_two(["rosa"], ["omar"])
    assert not are_two(["rosa"], ["rosa"])
    assert not are_two([], ["omar"]) and not are_two(["rosa"], [])


def test_whoever_made_a_key_is_no_other_person_than_its_owner():  # S3.20
    nora = ["nora@example.com", "rosa@example.com"]  # Rosa made Nora's key.
    assert not are_two(["rosa@example.com"], nora)
    assert not are_two(nora, ["rosa@example.com"])
    assert are_two(nora, ["omar@example.com"])


def test_an_applications_user_stays_one_person_whatever_his_address_is():  # S3.20
    before, after = ["old@example.com", "user:u_1"], ["new@example.com", "user:u_1"]
    assert not are_two(before, after) and not are_two(after, before)
    assert not are_two(before, ["old@example.com"]) and not are_two(["old@example.com"], before)
    assert are_two(before, ["new@example.com", "user:u_2"])
    key = ["omar@example.com", "key:1", *before]  # Omar's key, made by that user.
    assert not are_two(after, key) and not are_two(key, before)
    assert are_two(key, ["nora@example.com", "key:2", *before])


def test_a_colleague_who_made_both_keys_makes_them_no_one_person():  # S3.20
    nora, omar = ["nora", "rosa"], ["omar", "rosa"]
    assert are_two(nora, omar) and are_two(omar, nora)
