"""One class per noun of the API, each a thin layer of names over the transport."""
