"""One text for one value, so that a name can follow from content."""

from __future__ import annotations

import json
from hashlib import blake2b
from typing import Any


def canonical_json(value: Any) -> str:
    """The JSON text of `value` that is the same on every machine: sorted keys, no spaces, no NaN.

    Raises:
        ValueError: `value` holds NaN or an infinity.
        TypeError: `value` holds something that JSON has no word for.

    Examples:
        >>> canonical_json({"b": 1, "a": [2, None]})
        '{"a":[2,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def fingerprint(value: Any, *, digits: int = 12) -> str:
    """The first `digits` hexadecimal digits of the BLAKE2b digest of `canonical_json(value)`.

    Examples:
        >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
        True
    """
    return blake2b(canonical_json(value).encode(), digest_size=32).hexdigest()[:digits]
