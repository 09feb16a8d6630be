"""
Turn JSON into models and back.

JSON bytes of a response flow in, and models, plain data or a ``DecodeError`` flow out. For a
request, plain data flows in and JSON bytes flow out.
"""
