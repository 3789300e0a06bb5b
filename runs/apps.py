"""Wires the package into Django."""

from __future__ import annotations

from django.apps import AppConfig


class RunsConfig(AppConfig):
    name = "runs"
    verbose_name = "Runs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.db.models.signals import post_migrate, pre_migrate

        from runs import checks  # noqa: F401 (registers them)
        from runs.discovery import discover_jobs

        discover_jobs()
        pre_migrate.connect(_be_patient, sender=self)
        post_migrate.connect(_sync_jobs, sender=self)


def _be_patient(using: str, **_kwargs: object) -> None:
    from runs.upgrades import be_patient

    be_patient(using)


def _sync_jobs(**_kwargs: object) -> None:
    from runs.engine.jobsync import sync_jobs

    sync_jobs()
