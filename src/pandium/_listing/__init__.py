"""
Read listings page by page.

A function that requests one page flows in. Records, or whole pages of them, flow out in the
server's order, each record once.
"""
