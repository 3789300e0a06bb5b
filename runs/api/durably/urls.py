"""Addresses under ``/api/durably/``, exactly as the client asks for them: without a slash."""

from __future__ import annotations

from django.urls import path, re_path

from runs.api.durably import streams, views
from runs.api.durably.door import endpoint, nothing_here
from runs.api.durably.sse import stream

urlpatterns = [
    path("trigger", endpoint(POST=views.trigger)),
    path("retrigger", endpoint(POST=views.retrigger)),
    path("cancel", endpoint(POST=views.cancel)),
    path("run", endpoint(GET=views.run, DELETE=views.delete)),
    path("runs", endpoint(GET=views.runs)),
    path("steps", endpoint(GET=views.steps)),
    path("subscribe", stream(streams.of_run)),
    path("runs/subscribe", stream(streams.of_runs)),
    re_path("", nothing_here),
]
