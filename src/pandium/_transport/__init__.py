"""
Turn a request spec into a value or an error.

In come a `RequestSpec` and a function that reads the response; out goes what that function
returns, after as many attempts as the retry policy allows, or one of `pandium.errors`.
"""
