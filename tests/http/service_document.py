"""The service's OpenAPI document as it is checked in.

Making it anew takes seconds, in every process and for every file that asks; a test compares the
two (`test_the_document_that_is_checked_in_is_the_service_s`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FILE = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
