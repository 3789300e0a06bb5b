"""Several reads that see one state of the database."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from django.db import DatabaseError, connection, transaction

from runs.engine import database
from runs.models import Run
from tests.pages import factories

pytestmark = pytest.mark.django_db(transaction=True)


def in_another_thread(function: Callable[[], object]) -> None:
    def call() -> None:
        try:
            function()
        finally:
            connection.close()

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()


def test_all_reads_see_the_same_whatever_others_commit() -> None:
    with database.snapshot():
        assert Run.objects.count() == 0
        in_another_thread(factories.run)
        assert Run.objects.count() == 0
    assert Run.objects.count() == 1


def test_an_error_inside_ends_it() -> None:
    with pytest.raises(LookupError), database.snapshot():
        raise LookupError
    assert not database.in_callers_transaction()
    factories.run()
    assert Run.objects.count() == 1


def test_a_statement_that_fails_inside_ends_it() -> None:
    with pytest.raises(DatabaseError), database.snapshot(), connection.cursor() as cursor:
        cursor.execute("SELECT nothing FROM nowhere")
    assert Run.objects.count() == 0


def test_inside_a_transaction_it_sees_what_that_sees() -> None:
    with transaction.atomic():
        run = factories.run()
        with database.snapshot():
            assert Run.objects.get() == run
