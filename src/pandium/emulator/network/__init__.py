"""
The server, the request log, and the faults and drift that tests inject.

Takes requests from the socket and passes them to an application, unless a fault replaces
the response.
"""
