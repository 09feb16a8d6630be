"""
Read listings page by page.

Takes a function that requests one page. Returns records or whole pages in the server's order,
without duplicates.
"""
