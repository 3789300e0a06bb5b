"""Tokens of programs, and what was refused to whom."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from runs.fields import JSONTextField


class ApiToken(models.Model):
    """What a program shows to be let in. The secret itself is never stored.

    With a user, it may do what is named in ``permissions`` and the user may too; without
    one, it is a service of its own.
    """

    name = models.CharField(max_length=100, unique=True)
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the secret.")
    hint = models.CharField(max_length=8, help_text="The secret's last characters.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="api_tokens",
    )
    permissions = JSONTextField(default=list, help_text="Such as runs.view_run.")
    labels = JSONTextField(default=dict, help_text="For the access policy, such as a tenant.")
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=200)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the minute.")
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("-id",)
        verbose_name = "API token"
        permissions = (("manage_tokens", "Can create and revoke API tokens of anybody"),)

    def __str__(self) -> str:
        return self.name


class DeniedAttempt(models.Model):
    """Something that somebody tried and was not allowed to do."""

    actor = models.CharField(max_length=200)
    operation = models.CharField(max_length=50)
    target = models.CharField(max_length=300, blank=True, help_text="The run or job.")
    detail = models.TextField(blank=True, help_text="Why it was refused.")
    address = models.GenericIPAddressField(null=True, blank=True)
    count = models.PositiveIntegerField(default=1, help_text="Times within that minute.")
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-id",)
        indexes = (models.Index(fields=("created_at",), name="denied_by_time"),)

    def __str__(self) -> str:
        return f"{self.actor}: {self.operation} {self.target}"
