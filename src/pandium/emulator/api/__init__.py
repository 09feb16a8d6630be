"""
The emulated API: its routes, schemas and responses.

Takes requests, changes the state of a service, and returns the responses of the API.
"""
