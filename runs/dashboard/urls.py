"""Addresses of the pages."""

from __future__ import annotations

from django.urls import path, register_converter
from django.urls.converters import StringConverter

from runs.dashboard import (
    auth,
    bulk,
    failures,
    jobs,
    live,
    overview,
    payload,
    preferences,
    run,
    runs,
    storage,
    tokens,
    workers,
)


class FieldConverter(StringConverter):
    """The values of a run that can be downloaded."""

    regex = "input|output|step"


class FingerprintConverter(StringConverter):
    """What is equal for failures that look alike."""

    regex = "[0-9a-f]{32}"


register_converter(FieldConverter, "run_field")
register_converter(FingerprintConverter, "fingerprint")

urlpatterns = [
    path("", overview.home, name="home"),
    path("login/", auth.sign_in, name="login"),
    path("login/once/<str:uidb64>/<str:token>/", auth.sign_in_once, name="login-once"),
    path("password/", auth.change_password, name="password"),
    path("logout/", auth.sign_out, name="logout"),
    path("live/", live.live, name="live"),
    path("preferences/", preferences.save_preferences, name="preferences"),
    path("runs/", runs.run_list, name="runs"),
    path("runs/live/", runs.run_list_live, name="runs-live"),
    path("runs/counts/", runs.run_list_counts, name="runs-counts"),
    path("runs/<uuid:id>/", run.run_page, name="run"),
    path("runs/<uuid:id>/live/", run.run_live, name="run-live"),
    path("runs/<uuid:id>/log/", run.run_log, name="run-log"),
    path("runs/<uuid:id>/<run_field:field>.json", payload.run_payload, name="run-payload"),
    path("bulk/", bulk.bulk_list, name="bulk"),
    path("bulk/<uuid:id>/", bulk.bulk_page, name="bulk-action"),
    path("bulk/<uuid:id>/live/", bulk.bulk_live, name="bulk-live"),
    path("failures/", failures.failure_list, name="failures"),
    path("failures/<fingerprint:fingerprint>/", failures.failure_page, name="failure"),
    path("tokens/", tokens.token_list, name="tokens"),
    path("workers/", workers.worker_list, name="workers"),
    path("storage/", storage.storage_page, name="storage"),
    path("jobs/", jobs.job_list, name="jobs"),
    path("jobs/<str:name>/", jobs.job_page, name="job"),
    path("jobs/<str:name>/live/", jobs.job_live, name="job-live"),
]
