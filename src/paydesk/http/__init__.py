"""The HTTP service: the v1 API, the documents' own routes, live feeds, health and limits."""
