"""Huey's tasks: one, which carries nothing."""

from __future__ import annotations


def work() -> None:
    """Execute runs until none is due."""
    from runs.engine.worker import execute_due_runs

    execute_due_runs()
