"""
The systems behind the connector proxy.

Takes the connector calls of a tenant, and returns the result of the registered handler.
"""
