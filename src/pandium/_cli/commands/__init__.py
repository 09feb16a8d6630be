"""
The commands, one module per group.

Each command parses its arguments and options, calls one client operation and prints the result.
"""
