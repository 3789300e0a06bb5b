"""Addresses under ``/api/``."""

from __future__ import annotations

from django.urls import include, path, re_path

from runs.api import jobs, runs, streams
from runs.api.app import api
from runs.api.boundary import bounded, nothing_here

api.add_router("", runs.router)
api.add_router("", jobs.router)
api.add_router("", streams.router)

_patterns, _app, _namespace = api.urls

urlpatterns = [
    path("", include(([bounded(each) for each in _patterns], _app), _namespace)),
    re_path(r"^.*$", nothing_here),
]
