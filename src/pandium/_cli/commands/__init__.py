"""
Command-line arguments go in.

Each command calls one operation of the client and returns what the session writes.
"""
