"""The product's addresses, and the React app that a test has built, as files."""

from __future__ import annotations

from pathlib import Path

from django.conf import settings
from django.urls import path
from django.views.static import serve

from durably_site import urls

#: Where the app lies once it is built.
REACT = Path(settings.VAR_DIR) / "react"

urlpatterns = [
    path("react/<path:path>", serve, {"document_root": REACT}),
    *urls.urlpatterns,
]
