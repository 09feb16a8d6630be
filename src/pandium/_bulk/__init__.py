"""
Trigger a sync for each of many tenants and record progress in a journal.

Takes an iterable of tenants. Returns one result per tenant, and leaves a journal from which an
interrupted job can be resumed.
"""
