"""
Assertions about the requests that an emulator received.

Takes a request log, and raises an AssertionError that lists the relevant requests.
"""
