"""
The synchronous client, which runs the asynchronous client in a background thread.

A call comes in from any thread. It runs in the event loop of the background thread, and its result
or error comes out in the calling thread.
"""
