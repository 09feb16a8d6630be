"""
Convert JSON into models and back.

Decodes the JSON bytes of a response into models or plain data, or raises a ``DecodeError``. Encodes
models and request data as JSON bytes.
"""
