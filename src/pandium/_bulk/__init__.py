"""
Trigger a sync for each of many tenants, and keep a journal of it.

In come tenants from any iterable. Out come one result per tenant, and a journal from which an
interrupted job can be resumed.
"""
