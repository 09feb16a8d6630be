"""
Wait for the runs that triggers start.

Takes trigger ids and the options of a wait. Returns the result of each run in order of completion,
and counts them for a progress bar.
"""
