"""
The arguments and options of a command go in.

A call of one operation of the client, and the kind of the records to write, come out.
"""
