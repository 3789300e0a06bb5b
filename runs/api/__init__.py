"""The HTTP API: what pages do, for programs, in JSON.

``app`` is the API itself, ``auth`` says who asks, ``problems`` how errors look, ``boundary``
what every answer has in common; ``runs.api.urls`` puts them under ``/api/``.
"""
