"""
One class per resource of the API.

The arguments of an operation come in and are validated. A request spec goes out to the transport,
and the response comes back as a model, a listing or the results of a wait.
"""
