"""
Records, notes and progress go in.

Tables, JSON, CSV, a progress bar and messages for the terminal come out.
"""
