"""
The MCP server, which offers operations of the API to AI agents as tools.

Receives the names and arguments of tools. Returns short, structured results.
"""
