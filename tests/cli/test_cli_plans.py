"""Plans, their versions, tax rates and codes for plans on the command line."""

from __future__ import annotations

import json


def answered(run, *arguments: str):
    """The JSON lines of a command that must succeed."""
    code, out, err = run(*arguments)
    assert code == 0, err
    return [json.loads(line) for line in out.splitlines()]


def test_plans_are_made_changed_shown_and_archived(paydesk):
    """S1.25: changed terms are the next version."""
    pro = ("plans", "upsert", "pro", "--name", "Pro")
    made = answered(paydesk, *pro, "--price", "19.99", "--price", "18.00 EUR", "--trial-days", "14",
                    "--grant", "course:*", "--retry", "2,4", "--final", "unpaid")[0]  # fmt: skip
    assert made["prices"] == {"eur": 1800, "usd": 1999}
    assert (made["version"], made["family"]) == (1, "plan")
    assert answered(paydesk, *pro, "--price", "24.99")[0]["version"] == 2
    shown = answered(paydesk, "plans", "show", "pro")[0]
    assert (shown["trial_days"], shown["dunning"]["days"]) == (0, [1, 3, 5, 7])
    both = answered(paydesk, "plans", "show", "pro", "--versions")
    assert [one["version"] for one in both] == [2, 1]
    assert both[1]["dunning"] == {"days": [2, 4], "final": "unpaid"}
    gold = answered(paydesk, "plans", "upsert", "gold", "--name", "Gold", "--price", "9", "--kind",
                    "membership", "--credits", "100", "--rollover", "capped", "--cap",
                    "300")[0]  # fmt: skip
    assert answered(paydesk, "plans", "list", "--kind", "membership")[0]["id"] == gold["id"]
    assert "USD 24.99 a month" in paydesk("plans", "list", "-o", "table")[1]
    answered(paydesk, "plans", "archive", "pro")
    assert [one["key"] for one in answered(paydesk, "plans", "list")] == ["gold"]
    assert len(answered(paydesk, "plans", "list", "--all")) == 2


def test_a_wrong_plan_is_refused_in_one_line(paydesk):
    code, _, err = paydesk("plans", "upsert", "x", "--name", "X", "--price", "5", "--retry", "a")
    assert code == 2 and "--retry" in err
    code, _, err = paydesk("plans", "upsert", "x", "--name", "X", "--price", "5", "--cap", "3")
    assert code == 2 and "credits_cap" in err and "Traceback" not in err
    code, _, err = paydesk("plans", "upsert", "x", "--name", "X", "--price", "9.995 KWD")
    assert code == 2 and "multiples of KWD 0.010" in err and "Traceback" not in err  # I12
    assert paydesk("plans", "show", "x")[0] == 1


def test_codes_for_plans_are_made(paydesk):
    """S4.40"""
    answered(paydesk, "plans", "upsert", "pro", "--name", "Pro", "--price", "19.99")
    free = answered(paydesk, "promos", "create", "TRY", "--free-trial-days", "14", "--plan",
                    "pro")[0]  # fmt: skip
    assert (free["gives"], free["plans"]) == ("14 days free", ["pro"])
    three = answered(paydesk, "promos", "create", "THREE", "--percent", "20", "--duration",
                     "repeating", "--periods", "3")[0]  # fmt: skip
    assert three["gives"] == "20% 3 times"
    ever = answered(paydesk, "promos", "create", "EVER", "--off", "5", "--duration", "forever")[0]
    assert ever["gives"] == "USD 5.00 for ever"
    assert paydesk("promos", "create", "X", "--percent", "5", "--free-trial-days", "3")[0] == 2


def test_tax_rates_are_entered_listed_and_taken_back(paydesk):
    made = answered(paydesk, "tax", "add", "VAT", "19", "--country", "de", "--inclusive",
                    "--since", "2026-01-01")[0]  # fmt: skip
    assert (made["percent"], made["country"], made["inclusive"]) == ("19", "DE", True)
    assert made["valid_from"] == "2026-01-01T00:00:00Z"
    assert answered(paydesk, "tax", "list", "--country", "DE") == [made]
    assert answered(paydesk, "tax", "remove", made["id"])[0]["active"] is False
    assert answered(paydesk, "tax", "list") == []
    assert len(answered(paydesk, "tax", "list", "--all")) == 1
    assert paydesk("tax", "add", "VAT", "many")[0] == 2
    assert paydesk("tax", "add", "VAT", "5", "--since", "soon")[0] == 2


def test_the_demo_sells_plans_and_a_membership(env):
    from paydesk.flows import demo_catalog, plans, promos

    for _ in range(2):
        demo_catalog.load(env)
    found = {one.key: one for one in plans.list_(env)}
    assert set(found) == {"pro", "pro-yearly", "team", "gold"}
    assert {one.version for one in found.values()} == {1}
    assert promos.get_promo(env, "TRY30").plans == ("pro",)
