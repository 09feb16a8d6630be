"""
The server, the request log, faults, drift and outgoing notifications.

Takes requests from the socket and passes them to an application, unless a fault replaces the
response. Sends notifications of events to a URL.
"""
