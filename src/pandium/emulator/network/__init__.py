"""
The server, the request log, the faults and drift that tests inject, and outgoing notifications.

Takes requests from the socket and passes them to an application, unless a fault replaces
the response. Sends notifications of events to a URL.
"""
