"""Tables of the example jobs."""

from __future__ import annotations

from django.db import models


class ImportedRow(models.Model):
    """A row that ``import-csv`` took from a file: column names to cells.

    It outlives its run, so ``run_id`` is no foreign key. That a line is in the table once
    is forbidden to be otherwise: a batch may be inserted again after a crash.
    """

    run_id = models.UUIDField()
    line_number = models.PositiveBigIntegerField()
    data = models.JSONField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("run_id", "line_number"), name="one_row_per_line"),
        )

    def __str__(self) -> str:
        return f"line {self.line_number} of {self.run_id}"
