"""JSON encoding of records and responses."""

import json

import msgspec

# `dict` converts a record to an object with its fields.
_encoder = msgspec.json.Encoder(enc_hook=dict)


def encode(value: object) -> bytes:
    """Encode a value as JSON, including lone surrogates."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value, enc_hook=dict)).encode()
