"""JSON encoding of records and responses."""

import json

import msgspec

# Records are encoded as objects of their fields.
_encoder = msgspec.json.Encoder(enc_hook=dict)


def encode(value: object) -> bytes:
    """Encode a value as JSON, including lone surrogates."""
    try:
        return _encoder.encode(value)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(value, enc_hook=dict)).encode()
