"""
The control API under `/_emulator` and the page at `/`.

Takes requests from this machine only, and returns or changes the state of a service.
"""
