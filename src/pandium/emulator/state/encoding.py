"""JSON encoding of records and responses."""

import json
import re
from datetime import datetime
from typing import Any

import msgspec


def to_builtins(value: object) -> Any:
    """Return a value as JSON-compatible data."""
    return msgspec.to_builtins(value, enc_hook=_convert)


def _convert(value: Any) -> object:
    # Libraries that replace the clock in tests, such as freezegun, have a subclass of datetime.
    if isinstance(value, datetime):
        return re.sub(r"\+00:00\Z", "Z", value.isoformat())
    return dict(value)  # a record


_encoder = msgspec.json.Encoder(enc_hook=_convert)


def encode(value: object) -> bytes:
    """Encode a value as JSON, including lone surrogates."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return json.dumps(to_builtins(value)).encode()
