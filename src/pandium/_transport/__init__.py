"""
Turn a request spec into a value or an error.

Takes a `RequestSpec` and a function that reads the response. Makes as many attempts as the retry
policy allows, then returns the result of that function or raises one of `pandium.errors`.
"""
