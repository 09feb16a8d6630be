"""
Wait for the runs that triggers start.

The ids of triggers and the options of a wait flow in. The result of each run, with the counters
behind a progress bar, flows out in order of completion.
"""
