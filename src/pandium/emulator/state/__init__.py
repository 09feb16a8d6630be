"""
The records of the emulated service, the rules for them, and seeds and saved states.

Takes arguments, seeds and saved states, and returns records or the problems that were found.
"""
