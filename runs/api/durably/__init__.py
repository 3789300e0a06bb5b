"""The original engine's own protocol, for its React client (``@coji/durably-react``).

Other names and shapes than the API beside it: camelCase, bare arrays, ``leased`` for a run
that was claimed and isn't over, ``{"error": text}`` for whatever goes wrong. The client sends
plain same-origin requests and can add no header, neither a token nor Django's CSRF token.

``door`` lets callers in and turns errors into answers; ``shapes`` and ``events`` are what the
client reads; ``listing`` finds runs, ``jobs`` a job by its name or key; ``views`` are the
requests, ``streams`` the two event streams.
"""
