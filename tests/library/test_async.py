"""AsyncPaydesk: the same methods, typed, in worker threads."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from paydesk import (
    USD,
    InsufficientCredits,
    Paydesk,
    client_async,
    client_goods,
    client_parts,
    client_wallets,
)

ROOT = Path(__file__).resolve().parents[2]


def test_the_generated_file_is_current():
    done = subprocess.run([sys.executable, ROOT / "tools" / "make_async.py", "--check"],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def public(kind):
    return {n: f for n, f in vars(kind).items() if callable(f) and not n.startswith("_")}


@pytest.mark.parametrize(
    ("sync", "other"),
    [(Paydesk, client_async.AsyncPaydesk)]
    + [(getattr(client_parts, n), getattr(client_async, f"Async{n}"))
       for n in ("Packs", "Promos", "Credits", "Payments", "Customers", "Events", "Joined")]
    + [(getattr(client_wallets, n), getattr(client_async, f"Async{n}"))
       for n in ("Wallets", "Rates", "Holds")]
    + [(getattr(client_goods, n), getattr(client_async, f"Async{n}"))
       for n in ("Items", "Purchases", "Services", "AccessGrants")],
)  # fmt: skip
def test_both_fronts_have_the_same_methods_and_parameters(sync, other):
    assert public(sync).keys() == public(other).keys()
    for name, method in public(sync).items():
        twin = public(other)[name]
        assert (inspect.signature(method).parameters == inspect.signature(twin).parameters), name
        assert inspect.getdoc(twin), name


def test_a_purchase_in_an_event_loop(apay, sim, run):
    async def buy():
        await apay.packs.upsert("creator", name="Creator", credits=150, price=USD("9.99"))
        session = await apay.checkout("user_1", pack="creator",
                                      success_url="https://app.example.com/thanks")  # fmt: skip
        sim.pay(session.payment.provider_session)
        session = await apay.verify(session)
        assert session.payment.status == "succeeded"
        await apay.spend("user_1", 50)
        with pytest.raises(InsufficientCredits):
            await apay.spend("user_1", 101)
        lines = [line.amount async for line in apay.credits.history("user_1")]
        assert lines == [-50, 150]
        assert (await apay.payments.list(customer="user_1").first()).id == session.payment.id
        return await apay.credits.balance("user_1")

    assert run(buy()) == 100


def test_async_handlers_run_in_the_applications_loop(apay, run):
    seen = []

    @apay.on("credits.granted")
    async def handle(event):
        seen.append((event.type, threading.current_thread() is threading.main_thread()))

    async def work():
        async with apay:
            await apay.deliver()
            await apay.credits.grant("user_1", 10)
            await apay.deliver()

    run(work())
    assert seen == [("credits.granted", True)]


def test_many_calls_at_once_give_each_its_own_answer(apay, run):
    import asyncio

    async def work():
        await apay.credits.grant("user_1", 60)
        spends = [apay.spend("user_1", 1, key=f"k{n}") for n in range(100)]
        return await asyncio.gather(*spends, return_exceptions=True)

    done = run(work())
    refused = [one for one in done if isinstance(one, InsufficientCredits)]
    assert len(refused) == 40 and len({one.id for one in done if one not in refused}) == 60
