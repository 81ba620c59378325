"""Metrics as numbers of a JSON file, which has no words for NaN and infinity."""

from __future__ import annotations

import math
from typing import Any


def json_numbers(value: Any) -> Any:
    """Content for a JSON file, which has no words for NaN (null) and infinity ("inf", "-inf").

    An infinite distance is a result, that of a label which was missed entirely; NaN is none.
    """
    if isinstance(value, dict):
        return {key: json_numbers(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_numbers(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
