"""JSON encoding of records and responses."""

import json

import msgspec

_encoder = msgspec.json.Encoder()


def encode(value: object) -> bytes:
    """Encode a value as JSON, including lone surrogates."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, default=str).encode()
