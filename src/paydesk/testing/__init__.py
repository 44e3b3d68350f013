"""What tests of applications and extensions need: contracts, databases, a pytest plug-in."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

#: Each public name and its module, loaded on first use: pytest need not be installed.
_MODULES = {
    "ProviderBench": "provider_bench",
    "ProviderContract": "provider_contract",
    "StoreContract": "store_contract",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = f"{__name__}.{_MODULES[name]}"
    if "pytest" in sys.modules and module not in sys.modules:
        # A failing contract then shows the values it compared.
        sys.modules["pytest"].register_assert_rewrite(module)
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return sorted(_MODULES)
