"""
Provide the API's operations, in one class per resource.

Each operation validates its arguments and builds a request spec for the transport. It returns a
model, a listing or the results of a wait.
"""
