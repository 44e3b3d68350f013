"""Writes the library's asynchronous front from its synchronous one; `--check` compares.

Every public method becomes one that runs in a worker thread, with the same parameters, types and
docstring. A method that answers a Listing answers an AsyncListing; one that answers Joined, an
AsyncJoined; decorators and properties of the front stay as they are.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
import textwrap
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "paydesk"
FRONT = "Paydesk"
#: The groups of methods, by the module that they are in.
MODULES = {
    "client_parts": ["Packs", "Promos", "Credits", "Payments", "Customers", "Events", "Joined"],
    "client_wallets": ["Wallets", "Rates", "Holds"],
    "client_refunds": ["Refunds"],
    "client_refills": ["Refills"],
    "client_invoices": ["Invoices", "CreditNotes"],
    "client_analytics": ["Analytics"],
    "client_catalog": ["Catalog"],
    "client_clocks": ["Clocks"],
    "client_disputes": ["Disputes", "Reconciliations"],
    "client_methods": ["Methods", "Setups"],
    "client_goods": ["Items", "Purchases", "Services", "AccessGrants"],
    "client_plans": ["Plans", "TaxRates"],
    "client_subscriptions": ["Subscriptions"],
}
#: Methods that do no I/O, or are written by hand below.
AS_THEY_ARE = {"on", "price_item"}
BY_HAND = {"open", "close"}

#: First lines of the files that are made.
HEAD = '''"""{about} Made by tools/make_async.py."""

# Do not edit: run `python tools/make_async.py`.

from __future__ import annotations

{imports}


'''

#: What made code may name: module and names. Only what a file uses is imported there.
IMPORTS = {
    "asyncio": [],
    "collections.abc": ["Callable", "Iterable", "Mapping", "Sequence"],
    "datetime": ["date", "datetime", "timedelta"],
    "decimal": ["Decimal"],
    "typing": ["Any"],
    "uuid": ["UUID"],
    "psycopg": [],
    "paydesk": [
        "client_analytics", "client_catalog", "client_clocks", "client_disputes", "client_goods",
        "client_invoices", "client_methods", "client_parts", "client_plans", "client_refills",
        "client_refunds", "client_subscriptions", "client_wallets",
    ],
    "paydesk.client": ["Paydesk"],
    "paydesk.client_analytics": ["Frame", "When"],
    "paydesk.client_analytics_async": [],
    "paydesk.client_catalog_async": [],
    "paydesk.client_clocks": ["ClockRef"],
    "paydesk.client_clocks_async": [],
    "paydesk.client_disputes": ["APPLICATION", "Dispute", "DisputeRef"],
    "paydesk.client_disputes_async": [],
    "paydesk.client_goods": ["ItemRef"],
    "paydesk.client_goods_async": [],
    "paydesk.client_invoices": ["CreditNote", "Invoice", "InvoiceItem", "InvoiceRef", "NoteRef"],
    "paydesk.client_invoices_async": [],
    "paydesk.client_methods": ["MethodRef", "PaymentMethod", "Setup"],
    "paydesk.client_methods_async": [],
    "paydesk.client_parts": ["CustomerRef", "PackRef"],
    "paydesk.client_parts_async": [],
    "paydesk.client_plans": ["PlanRef"],
    "paydesk.client_plans_async": [],
    "paydesk.client_refills": ["Refill", "RefillRef"],
    "paydesk.client_refills_async": [],
    "paydesk.client_refunds": ["PaymentRef", "Refund", "RefundRef"],
    "paydesk.client_refunds_async": [],
    "paydesk.client_subscriptions": [
        "ChangePreview", "NewPreview", "Subscription", "SubscriptionRef",
    ],
    "paydesk.client_subscriptions_async": [],
    "paydesk.client_threads": ["AsyncHold", "AsyncListing", "Threads"],
    "paydesk.client_wallets": ["HoldRef", "WithdrawalRef"],
    "paydesk.client_wallets_async": [],
    "paydesk.clock": ["Clock"],
    "paydesk.delivery": ["Handler"],
    "paydesk.env": ["Env"],
    "paydesk.flows.access": ["Access", "GrantView"],
    "paydesk.flows.catalog_sync": [
        "Change as CatalogChange", "Drift as CatalogDrift",
        "Progress as SyncProgress", "Synced as CatalogSynced",
    ],
    "paydesk.flows.clocks": ["ClockView"],
    "paydesk.flows.customers": ["Customer"],
    "paydesk.flows.holds": ["Hold as HoldView"],
    "paydesk.flows.items": ["Item", "PriceHook", "Quote as ItemQuote"],
    "paydesk.flows.plans": ["Plan", "Terms"],
    "paydesk.flows.purchases": ["PurchaseView"],
    "paydesk.flows.rates": ["Imported"],
    "paydesk.flows.reconcile": ["Drift", "Reconciliation"],
    "paydesk.flows.refunds": ["Preview"],
    "paydesk.flows.services": ["ServiceView"],
    "paydesk.flows.subscription_views": ["Why"],
    "paydesk.flows.wallet_history": ["Statement as WalletStatement", "WalletLine"],
    "paydesk.flows.wallet_moves": ["Conversion", "Quote", "Transferred as MoneyTransferred"],
    "paydesk.flows.wallets": ["Wallet"],
    "paydesk.flows.withdrawals": ["Withdrawal"],
    "paydesk.results": [
        "Balance", "Batch", "CreditLine", "Discount", "Event", "Granted", "Pack", "Payment",
        "Promo", "Refunded", "Reservation", "Session", "Spent", "Transferred",
    ],
    "paydesk.rules.money": ["Money"],
    "paydesk.rules.rates": ["Rate"],
    "paydesk.rules.taxes": ["Rate as TaxRate"],
    "paydesk.settings": ["Settings"],
}
#: Modules of others, in the order in which they are imported.
GROUPS = (("asyncio", "collections", "datetime", "decimal", "typing", "uuid"), ("psycopg",),
          ("paydesk",))  # fmt: skip

FRONT_CLASS = '''class AsyncPaydesk:
    """Paydesk for asynchronous applications: the same methods, each in a worker thread.

    `paydesk` is the synchronous object under it, for code that runs in threads anyway.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Clock | None = None,
        env: Env | None = None,
        background: bool = True,
        paydesk: Paydesk | None = None,
        **overrides: Any,
    ) -> None:
        """As Paydesk, or around one. Nothing is opened before the first use."""
        self.paydesk = paydesk or Paydesk(
            settings, clock=clock, env=env, background=background, **overrides
        )
        self._threads = Threads()
        self.packs = AsyncPacks(self._threads, self.paydesk.packs)
        self.promos = AsyncPromos(self._threads, self.paydesk.promos)
        self.credits = AsyncCredits(self._threads, self.paydesk.credits)
        self.payments = AsyncPayments(self._threads, self.paydesk.payments)
        self.customers = AsyncCustomers(self._threads, self.paydesk.customers)
        self.clocks = AsyncClocks(self._threads, self.paydesk.clocks)
        self.events = AsyncEvents(self._threads, self.paydesk.events)
        self.items = AsyncItems(self._threads, self.paydesk.items)
        self.plans = AsyncPlans(self._threads, self.paydesk.plans)
        self.tax_rates = AsyncTaxRates(self._threads, self.paydesk.tax_rates)
        self.subscriptions = AsyncSubscriptions(self._threads, self.paydesk.subscriptions)
        self.purchases = AsyncPurchases(self._threads, self.paydesk.purchases)
        self.services = AsyncServices(self._threads, self.paydesk.services)
        self.access = AsyncAccessGrants(self._threads, self.paydesk.access)
        self.wallets = AsyncWallets(self._threads, self.paydesk.wallets)
        self.rates = AsyncRates(self._threads, self.paydesk.rates)
        self.holds = AsyncHolds(self._threads, self.paydesk.holds)
        self.refunds = AsyncRefunds(self._threads, self.paydesk.refunds)
        self.refills = AsyncRefills(self._threads, self.paydesk.refills)
        self.invoices = AsyncInvoices(self._threads, self.paydesk.invoices)
        self.credit_notes = AsyncCreditNotes(self._threads, self.paydesk.credit_notes)
        self.analytics = AsyncAnalytics(self._threads, self.paydesk.analytics)
        self.methods = AsyncMethods(self._threads, self.paydesk.methods)
        self.catalog = AsyncCatalog(self._threads, self.paydesk.catalog)
        self.setups = AsyncSetups(self._threads, self.paydesk.setups)
        self.disputes = AsyncDisputes(self._threads, self.paydesk.disputes)
        self.reconciliations = AsyncReconciliations(self._threads, self.paydesk.reconciliations)

    @property
    def env(self) -> Env:
        """Everything with side effects; opened by the first use, in the calling thread."""
        return self.paydesk.env

    async def open(self) -> None:
        """Open now what the first use would open; handlers run in this event loop from now on."""
        self.paydesk.delivery.loop = asyncio.get_running_loop()
        await self._threads.run(self.paydesk.open)

    async def close(self) -> None:
        """End handlers and everything that was started. A later use opens anew."""
        await self._threads.run(self.paydesk.close)
        self.paydesk.delivery.loop = None

    async def __aenter__(self) -> AsyncPaydesk:
        await self.open()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Async{repr(self.paydesk)[1:]}"
'''


def classes() -> dict[str, ast.ClassDef]:
    """The synchronous classes by name."""
    found = {}
    for file in ("client.py", *(f"{name}.py" for name in MODULES)):
        for node in ast.parse((SOURCE / file).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = node
    return found


def methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    """Public methods, without properties."""
    return [
        one
        for one in node.body
        if isinstance(one, ast.FunctionDef)
        and not one.name.startswith("_")
        and not one.decorator_list
        and not (node.name == FRONT and one.name in BY_HAND)
    ]


def method(node: ast.FunctionDef, target: str) -> str:
    """The asynchronous twin's text, indented for a class."""
    answer = ast.unparse(node.returns) if node.returns else "None"
    listing = re.fullmatch(r"Listing\[(.+)\]", answer)
    docstring = ast.get_docstring(node, clean=False) or ""
    call = f"{target}.{node.name}"
    given = "".join(f", {a}" for a in passed(node))
    body = [f'        """{docstring}"""'] if docstring else []
    if listing:
        answer = f"AsyncListing[{listing[1]}]"
        body += wrapped("return AsyncListing(self._threads, ", call, given, ")")
    elif answer == "Joined":
        answer = "AsyncJoined"
        body += wrapped("return AsyncJoined(self._threads, ", call, given, ")")
    elif answer == "Hold":
        answer = "AsyncHold"
        body += wrapped("return AsyncHold(self._threads, lambda: ", call, given, ")")
    elif node.name in AS_THEY_ARE:
        body += wrapped("return ", call, given, "")
    else:
        body += wrapped("return await ", "self._threads.run", f", {call}{given}", "")
        return "\n".join([*signature(node, "async def", answer), *body])
    return "\n".join([*signature(node, "def", answer), *body])


def wrapped(before: str, call: str, given: str, after: str) -> list[str]:
    """One line where it fits, else the arguments in lines that are as full as can be."""
    line = f"        {before}{call}({given[2:]}){after}"
    if len(line) <= 100:
        return [line]
    return [
        f"        {before}{call}(",
        *textwrap.wrap(given[2:] + ",", 100, initial_indent=" " * 12, subsequent_indent=" " * 12),
        f"        ){after}  # fmt: skip",
    ]


def passed(node: ast.FunctionDef) -> list[str]:
    """How the parameters are handed on."""
    found = [a.arg for a in node.args.args[1:]]
    if node.args.vararg:
        found.append(f"*{node.args.vararg.arg}")
    return found + [f"{a.arg}={a.arg}" for a in node.args.kwonlyargs]


def signature(node: ast.FunctionDef, how: str, answer: str) -> list[str]:
    """The head of the method, a parameter a line."""
    parts = ["self"]
    plain = node.args.args[1:]
    defaults = [None] * (len(plain) - len(node.args.defaults)) + list(node.args.defaults)
    for one, default in zip(plain, defaults, strict=True):
        parts.append(parameter(one, default))
    if node.args.vararg:
        parts.append("*" + parameter(node.args.vararg, None))
    elif node.args.kwonlyargs:
        parts.append("*")
    for one, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True):
        parts.append(parameter(one, default))
    line = f"    {how} {node.name}({', '.join(parts)}) -> {answer}:"
    if len(line) <= 100:
        return [line]
    return [f"    {how} {node.name}(", *(f"        {p}," for p in parts), f"    ) -> {answer}:"]


def parameter(one: ast.arg, default: ast.expr | None) -> str:
    text = one.arg + (f": {ast.unparse(one.annotation)}" if one.annotation else "")
    return text + (f" = {ast.unparse(default)}" if default is not None else "")


def part(node: ast.ClassDef, module: str) -> str:
    """The class of a group of methods."""
    docstring = ast.get_docstring(node, clean=False) or ""
    head = f'''class Async{node.name}:
    """{docstring}"""

    def __init__(self, threads: Threads, part: {module}.{node.name}) -> None:
        self._threads = threads
        self._part = part
'''
    return head + "".join(f"\n{method(m, 'self._part')}\n" for m in methods(node))


def imports(body: str, own: str) -> str:
    """The import lines of what a file's code names."""
    groups = []
    for group in GROUPS:
        lines = []
        for module, names in IMPORTS.items():
            if module.partition(".")[0] not in group or module == own:
                continue
            if not names and re.search(rf"\b{module}\.", body):
                lines.append(f"import {module}")
            made = [f"Async{n}" for n in MODULES.get(module.removeprefix("paydesk.")[:-6], ())]
            used = [n for n in [*names, *made] if re.search(rf"\b{n.split()[-1]}\b", body)]
            plain = sorted(n for n in used if " as " not in n)
            renamed = [f"from {module} import {n}" for n in used if " as " in n]
            lines += sorted([*listed(module, plain), *renamed])
        groups.append("\n".join(sorted(lines, key=lambda line: line.startswith("from "))))
    return "\n\n".join(group for group in groups if group)


def listed(module: str, names: list[str]) -> list[str]:
    """One import of some names, in one line where it fits."""
    if not names:
        return []
    line = f"from {module} import {', '.join(names)}"
    if len(line) <= 100:
        return [line]
    return [f"from {module} import (\n" + "".join(f"    {n},\n" for n in names) + ")"]


def generated() -> dict[Path, str]:
    """The made files by their path."""
    found = classes()
    front = FRONT_CLASS.lstrip("\n")
    front += "".join(f"\n{method(m, 'self.paydesk')}\n" for m in methods(found[FRONT]))
    bodies = {"client_async": ("AsyncPaydesk: every method of Paydesk in a thread.", front)}
    for module, names in MODULES.items():
        parts = "\n\n".join(part(found[name], module) for name in names)
        bodies[f"{module}_async"] = (f"{module}, each method in a thread.", parts)
    return {
        SOURCE / f"{name}.py": HEAD.format(about=about, imports=imports(body, f"paydesk.{name}"))
        + body.replace("\n\n\n\n", "\n\n\n")
        for name, (about, body) in bodies.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail when the files are not current")
    files = generated()
    if parser.parse_args().check:
        stale = [p.name for p, text in files.items()
                 if not p.exists() or p.read_text(encoding="utf-8") != text]  # fmt: skip
        print(f"not current: {', '.join(stale)}: run make_async.py" if stale else "current")
        return 1 if stale else 0
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
