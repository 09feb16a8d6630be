"""
Terminal and file output.

Renders records as tables, JSON or CSV. Shows progress bars and messages on standard error.
"""
