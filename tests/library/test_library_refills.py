"""The library's front for refills, synchronous and not."""

from __future__ import annotations

import asyncio

import pytest

from paydesk import USD
from paydesk.client_async import AsyncPaydesk
from paydesk.errors import NotFound


@pytest.fixture
def maya(pay):
    pay.packs.upsert("creator", name="Creator Pack", credits=150, price=USD("9.99"))
    pay.methods.add("maya", "pm_card_visa")
    return "maya"


# S3.21
def test_refills_are_set_listed_and_turned_off(pay, maya):
    one = pay.refills.set(maya, pack="creator", threshold=50, day_count=2, day_amount=USD("30"))
    assert (one.status, one.threshold, one.pack, one.day_count) == ("active", 50, "creator", 2)
    wallet = pay.refills.set(maya, wallet=USD("20.00"), threshold=USD("5.00"))
    assert (wallet.threshold, wallet.wallet, wallet.credits) == (USD("5.00"), USD("20.00"), None)
    assert {two.id for two in pay.refills.list(maya)} == {one.id, wallet.id}
    assert pay.refills.off(one).status == "off"
    assert [two.id for two in pay.refills.list(status="off")] == [one.id]
    assert pay.refills.get(wallet.id) == wallet
    with pytest.raises(NotFound):
        pay.refills.get("rfl_0344QCT8RQJ5T9R7VHA8PSE1H4")


# S3.21
def test_the_asynchronous_front_does_the_same(pay, maya):
    async def story():
        desk = AsyncPaydesk(paydesk=pay)
        one = await desk.refills.set(maya, credits=80, threshold=50)
        return one, await desk.refills.off(one)

    one, off = asyncio.run(story())
    assert (one.credits, one.status, off.status) == (80, "active", "off")
