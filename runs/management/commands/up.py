"""``manage.py up``: everything, from one command."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from runs import conf, startup
from runs.supervisor import Part, Supervisor, manage_command

#: Beyond SHUTDOWN_SECONDS, for a worker that has to leave bodies behind.
_MARGIN = 6.0


class Command(BaseCommand):
    """Migrates, then runs web server and worker together until Ctrl-C."""

    help = (
        "Migrate, then run the web server and a worker together until Ctrl-C; "
        "a part that dies is started again."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            listener = startup.open_socket("127.0.0.1", settings.PORT)
            path = self._prepare()
        except startup.StartupError as error:
            raise CommandError(str(error)) from error
        self._greet(path)
        # The web server inherits the open socket: a visitor who comes while it starts, or
        # starts again, waits a moment instead of being turned away.
        fd = listener.fileno()
        parts = [
            Part("web server", manage_command("web", "--fd", str(fd)), pass_fds=(fd,)),
            Part("worker", manage_command("worker")),
        ]
        grace = conf.shutdown_seconds() + _MARGIN
        with listener:
            Supervisor(parts, grace=grace, say=self.stdout.write).run()
        self.stdout.write("Stopped.")

    def _prepare(self) -> str:
        """All that must be there before the parts start; the path to open."""
        from runs.dashboard.signin import one_time_path

        startup.prepare_database()  # which also syncs the jobs' table with the code
        operator = startup.ensure_operator()
        return "/" if operator is None else one_time_path(operator)

    def _greet(self, path: str) -> None:
        address = f"http://127.0.0.1:{settings.PORT}"
        if path == "/":
            self.stdout.write(f"Open {address}/")
        else:
            self.stdout.write(f"Sign in as operator, once, within the hour: {address}{path}")
            self.stdout.write(f"Later: {address}/ (each start prints a new link)")
        self.stdout.write("Ctrl-C stops web server and worker.")
        self.stdout.flush()
