"""Django's ASGI application, with one way into a thread and back for each request."""

from __future__ import annotations

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase


class Application(ASGIHandler):
    """Django's, but a request meets all middleware, and its view, in one thread.

    Django's own goes from the event loop to the thread and back for each middleware, some twenty
    times a request. Each way waits its turn, which takes long while many streams are served.
    """

    def load_middleware(self, is_async: bool = False) -> None:
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        return await sync_to_async(self.get_response)(request)
