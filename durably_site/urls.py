"""All addresses of this site."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from runs.api import health
from runs.api.boundary import nothing_here
from runs.dashboard import auth

urlpatterns = [
    path("admin/login/", auth.admin_sign_in),
    path("admin/password_change/", RedirectView.as_view(pattern_name="password")),
    path("admin/", admin.site.urls),
    path("api/durably/", include("runs.api.durably.urls")),
    path("api/", include("runs.api.urls")),
    path("api", nothing_here),
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("", include("runs.dashboard.urls")),
]

handler400 = "durably_site.handlers.bad_request"
handler500 = "durably_site.handlers.server_error"
