"""
Exchange bytes over HTTP.

In come a request and its time limit; out goes a whole response, bounded in size, or a
`TransportError` that says whether the request may have been carried out.
"""
