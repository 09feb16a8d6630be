"""
The runs of the emulated service: clocks, schedules, scripts and queues.

Takes triggers and the current time, and returns the status of each trigger and run.
"""
