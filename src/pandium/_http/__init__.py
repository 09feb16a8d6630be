"""
Exchange bytes over HTTP.

Takes a request and a timeout. Returns a complete, size-limited response, or raises a
`TransportError` that records whether the request may have been executed.
"""
