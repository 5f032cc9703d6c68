"""Short hashes of what a result depends on."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any


def fingerprint_of(value: Any) -> str:
    """Return a short hash of anything JSON can express; equal values give equal hashes."""
    return fingerprint_of_each([value])


def fingerprint_of_each(values: Iterable[Any]) -> str:
    """Return a short hash of values in their order; only one of them is in memory at a time."""
    digest = hashlib.sha256()
    for number, value in enumerate(values):
        text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
        digest.update(f"\n{text}".encode() if number else text.encode())
    return digest.hexdigest()[:16]
