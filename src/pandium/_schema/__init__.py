"""
The comparison of the service's own description of its API with the client.

Receives an OpenAPI document. Returns the differences, and what each of them means for the user.
"""
