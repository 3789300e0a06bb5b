"""The trigger form: made from a schema, switchable, and nothing typed is ever lost."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import unescape
from typing import Any

import pytest
from django.test import Client

from runs import Step, job
from runs.dashboard.schema_fields import form_of, skeleton
from runs.models import Run
from runs.registry import JobDefinition, registry
from tests.pages import factories
from tests.pages.orders import FILLED, VALUE, Order

pytestmark = pytest.mark.django_db

PATH = "/jobs/ship/"


@pytest.fixture(autouse=True)
def ship() -> Iterator[JobDefinition]:
    @job(name="ship")
    def ship(step: Step, payload: Order) -> None:
        """Send an order."""

    yield ship
    registry.remove("ship")


def post(client: Client, data: dict[str, Any], status: int = 200, **more: Any) -> str:
    response = client.post(PATH, data | {name.rstrip("_"): value for name, value in more.items()})
    assert response.status_code == status
    return unescape(response.content.decode())


def value_of(page: str, name: str) -> str:
    """What a field shows."""
    tag = re.search(rf'<(input|textarea|select)[^>]* name="{re.escape(name)}"[^>]*>', page)
    assert tag, name
    if tag[1] == "input":
        found = re.search(r' value="([^"]*)"', tag[0])
        return found[1] if found else ""
    rest = page[tag.end() :]
    if tag[1] == "textarea":
        return rest.split("</textarea>")[0].removeprefix("\n")
    chosen = re.search(r'value="([^>]*)" selected', rest.split("</select>")[0])
    return chosen[1] if chosen else ""


def as_json(page: str) -> Any:
    return json.loads(value_of(page, "input"))


# -- what it asks for


def test_nested_models_are_fieldsets_and_lists_have_rows(operator: Client) -> None:
    page = unescape(operator.get(PATH).content.decode())
    assert "<legend>ship_to" in page
    assert "With the number." in page
    assert value_of(page, "input.ship_to.country") == '"de"'
    assert value_of(page, "rows.items") == "1", "the schema demands one"
    assert value_of(page, "input.items[0].quantity") == "1"
    assert "At least 1. At most 99." in page
    assert 'type="date"' in page
    assert 'not_before <span class="sub">optional, UTC</span>' in page
    assert '<textarea class="input mono" id="input-payment"' in page, "a union is asked for as JSON"
    assert '<textarea class="input mono" id="input-limits"' in page


def test_a_model_within_itself_ends(operator: Client) -> None:
    page = operator.get(PATH).content.decode()
    assert 'name="input.tree.name"' in page
    assert 'name="input.tree.left"' in page
    assert "input.tree.left.name" not in page


def test_it_triggers_with_what_was_typed(operator: Client) -> None:
    operator.post(PATH, FILLED)
    assert Run.objects.get().input == VALUE


def test_an_object_that_may_be_left_out_counts_when_ticked_or_typed_into(operator: Client) -> None:
    operator.post(PATH, {**FILLED, "input.bill_to.country": '"de"'})
    operator.post(PATH, {**FILLED, "given.bill_to": "1", "input.bill_to.street": "A"})
    operator.post(PATH, {**FILLED, "input.bill_to.street": "B", "input.bill_to.country": '"de"'})
    found = [run.input["bill_to"] for run in Run.objects.order_by("id")]
    assert found == [None, {"street": "A", "country": "de"}, {"street": "B", "country": "de"}]


def test_dates_and_times_are_of_the_viewers_zone(operator: Client) -> None:
    operator.cookies["zone"] = "Asia/Tokyo"
    times = {"input.deliver_on": "2031-01-02", "input.not_before": "2031-01-02 10:00"}
    operator.post(PATH, FILLED | times)
    found = Run.objects.get().input
    assert found["deliver_on"] == "2031-01-02"
    assert found["not_before"] == "2031-01-02T10:00:00+09:00"


def test_line_breaks_in_a_text_are_those_of_the_text(operator: Client) -> None:
    operator.post(PATH, {**FILLED, "input.note": "one\r\ntwo"})
    assert Run.objects.get().input["note"] == "one\ntwo"


# -- errors


def test_errors_stand_at_their_fields_however_deep(operator: Client) -> None:
    typed = {
        **FILLED,
        "input.items[1].quantity": "0",
        "input.items[1].sku": "",
        "input.payment": "{nope",
        "input.not_before": "soon",
    }
    page = post(operator, typed, 400)
    assert 'id="input-payment-e">This is no JSON' in page
    assert value_of(page, "input.payment") == "{nope"
    page = post(operator, {**typed, "input.payment": '{"number": 1}'}, 400)
    assert 'id="input-items-1-quantity-e">Input should be greater than or equal to 1' in page
    assert 'id="input-items-1-sku-e">Field required' in page
    assert 'id="input-not_before-e">Input should be a valid datetime' in page
    assert "payment.Card.number" in page, "what lies within JSON is named"
    assert '<a href="#input-items-1-quantity">items[1].quantity</a>' in page
    assert value_of(page, "input.not_before") == "soon"
    assert re.findall(r'name="([^"]*)"[^>]* autofocus', page.split("</main>")[0]) == [
        "input.items[1].sku"
    ]
    assert value_of(page, "input.items[0].tags[0]") == "x"
    assert not Run.objects.exists()


def test_a_date_that_is_none_stays_visible(operator: Client) -> None:
    page = post(operator, {**FILLED, "input.deliver_on": "tomorrow"}, 400)
    assert value_of(page, "input.deliver_on") == "tomorrow"
    assert 'type="date"' not in page


# -- rows


def test_a_row_is_added_and_all_that_was_typed_stays(operator: Client) -> None:
    typed = {**FILLED, "labels": "no colon", "input.payment": "{nope", "input.note": " n "}
    page = post(operator, typed, add="items")
    assert value_of(page, "rows.items") == "3"
    assert value_of(page, "input.items[2].quantity") == "1", "a new row has its defaults"
    assert re.search(r'name="input.items\[2\].gift" value="true" checked', page)
    assert not re.search(r'name="input.items\[0\].gift" value="true" checked', page)
    assert re.search(r'name="input.items\[2\].sku"[^>]* autofocus', page)
    assert value_of(page, "input.items[0].tags[0]") == "x"
    assert value_of(page, "input.payment") == "{nope"
    assert value_of(page, "input.note") == " n "
    assert value_of(page, "labels") == "no colon"
    assert not Run.objects.exists()


def test_rows_of_rows_are_added(operator: Client) -> None:
    page = post(operator, FILLED, add="items[1].tags")
    assert value_of(page, "input.items[1].tags[0]") == ""
    assert value_of(page, "rows.items[0].tags") == "2"


def test_a_row_is_removed_and_those_below_move_up(operator: Client) -> None:
    page = post(operator, FILLED, remove="items[0]")
    assert value_of(page, "rows.items") == "1"
    assert value_of(page, "input.items[0].sku") == "b"
    assert re.search(r'name="input.items\[0\].gift" value="true" checked', page)
    assert "items[1]" not in page
    page = post(operator, FILLED, remove="items[0].tags[0]")
    assert value_of(page, "rows.items[0].tags") == "1"
    assert value_of(page, "input.items[0].tags[0]") == ""


@pytest.mark.parametrize(
    "more",
    [
        {"add": "nothing"},
        {"add": "items[7].tags"},
        {"remove": "x"},
        {"remove": "items[99]"},
        {"remove": f"items[{'9' * 5000}]"},
        {"rows.items": "99999999"},
        {"rows.items": "-1"},
        {"as": "xml"},
    ],
)
def test_nonsense_changes_nothing(operator: Client, more: dict[str, str]) -> None:
    response = operator.post(PATH, {**FILLED, **more})
    assert response.status_code in (200, 302, 400)


def test_the_first_button_triggers_so_that_enter_does_not_remove_a_row(operator: Client) -> None:
    page = operator.get(PATH).content.decode()
    buttons = re.findall(r"<button[^>]*>", page.split('aria-labelledby="tr"')[1])
    assert "name=" not in buttons[0]
    assert 'form="trigger"' in buttons[0]


# -- form and JSON


def test_switching_there_and_back_keeps_what_was_typed(operator: Client) -> None:
    page = post(operator, {**FILLED, "labels": "a:b"}, as_="json")
    typed = as_json(page)
    assert typed["items"][0] == {"sku": "a", "quantity": 2, "tags": ["x"], "gift": False}
    assert value_of(page, "labels") == "a:b"
    page = post(operator, {"input": json.dumps(typed), "labels": "a:b"}, as_="form")
    assert value_of(page, "input.items[0].quantity") == "2"
    assert value_of(page, "input.items[0].tags[0]") == "x"
    assert value_of(page, "input.ship_to.country") == '"jp"'
    assert value_of(page, "labels") == "a:b"


def test_what_is_unreadable_goes_into_the_json_as_it_was_typed(operator: Client) -> None:
    typed = {**FILLED, "input.items[0].quantity": "many", "input.payment": "{nope"}
    found = as_json(post(operator, typed, as_="json"))
    assert found["items"][0]["quantity"] == "many"
    assert found["payment"] == "{nope"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"color": "red"}, "the form has no field color"),
        ({"items": [{"size": 1}]}, "the form has no field size in items[0]"),
        ({"items": 5}, "items is not a list"),
        ({"items": [{}] * 101}, "items has more than 100 rows"),
        ([], "The input is not an object"),
        ({"ship_to": "x"}, "ship_to is not an object"),
        ({"note": None}, "note is null"),
        ({"ship_to": {"country": "fr"}}, 'ship_to.country is "fr"'),
    ],
)
def test_json_that_the_form_cannot_hold_stays_json_and_says_why(
    operator: Client, value: Any, why: str
) -> None:
    text = json.dumps(value)
    page = post(operator, {"input": text}, as_="form")
    assert f"Shown as JSON: {why}" in page
    assert value_of(page, "input") == text


def test_broken_json_stays_as_it_is(operator: Client) -> None:
    page = post(operator, {"input": '{"note": '}, as_="form")
    assert value_of(page, "input") == '{"note": '
    assert "This is no JSON" in page


# -- from a run


def test_it_starts_from_a_run(operator: Client) -> None:
    run = factories.failed_run(
        job="ship",
        input=VALUE
        | {"bill_to": {"street": "C", "country": "de"}, "not_before": "2031-01-02T10:00Z"},
        labels={"tenant": "acme"},
        concurrency_key="k",
        priority=7,
        idempotency_key="only once",
    )
    factories.run(job="ship", input={})
    page = unescape(operator.get(f"{PATH}?from={run.pk}").content.decode())
    assert value_of(page, "input.items[0].sku") == "a"
    assert value_of(page, "input.bill_to.street") == "C"
    assert re.search(r'name="given.bill_to" value="1" checked', page)
    assert value_of(page, "input.not_before") == "2031-01-02T10:00Z"
    assert value_of(page, "labels") == "tenant:acme"
    assert value_of(page, "concurrency_key") == "k"
    assert value_of(page, "priority") == "7"
    assert value_of(page, "idempotency_key") == ""
    assert f"/runs/{run.pk}/" in page


def test_it_starts_from_the_last_run(operator: Client) -> None:
    assert "from=last" not in operator.get(PATH).content.decode()
    factories.run(job="ship", input=VALUE)
    factories.run(job="ship", input=VALUE | {"note": "the last"})
    assert "from=last" in operator.get(PATH).content.decode()
    page = operator.get(f"{PATH}?from=last").content.decode()
    assert value_of(page, "input.note") == "the last"


def test_an_input_that_the_form_cannot_hold_starts_as_json(operator: Client) -> None:
    run = factories.failed_run(job="ship", input={"old_name": 1})
    page = unescape(operator.get(f"{PATH}?from={run.pk}").content.decode())
    assert as_json(page) == {"old_name": 1}
    assert "the form has no field old_name" in page


@pytest.mark.parametrize("asked", ["x", "01a201aa-0000-7000-8000-000000000000", "other"])
def test_a_run_that_is_not_there_or_of_another_job_is_said(operator: Client, asked: str) -> None:
    other = factories.run(job="other")
    page = operator.get(f"{PATH}?from={other.pk if asked == 'other' else asked}")
    assert "The run to start from is not there" in page.content.decode()


def test_who_holds_the_key_is_told(operator: Client) -> None:
    holder = factories.run("running", job="ship", concurrency_key="k", held_key="k")
    page = post(operator, {**FILLED, "concurrency_key": "k", "input.items[0].quantity": "0"}, 400)
    assert "Held now by" in page
    assert f"/runs/{holder.pk}/" in page


# -- schemas


@pytest.mark.parametrize("schema", [{}, {"type": "array"}, {"type": "object"}, {"anyOf": []}])
def test_an_input_without_known_properties_is_asked_for_as_json(schema: dict[str, Any]) -> None:
    assert form_of(schema) is None
    json.loads(skeleton(schema))


def test_references_are_followed_and_loops_survived() -> None:
    loop = {"$ref": "#/$defs/X"}
    schema = {
        "$ref": "#/$defs/In",
        "$defs": {
            "In": {"type": "object", "properties": {"c": {"$ref": "#/$defs/C"}, "x": loop}},
            "C": {"enum": ["a", 1]},
            "X": loop,
        },
    }
    form = form_of(schema)
    assert form is not None
    assert [field.kind for field in form.children] == ["choice", "json"]
    assert form.children[0].choices == [("", "none"), ('"a"', "a"), ("1", "1")]
    assert json.loads(skeleton(schema)) == {"c": "a", "x": None}


def test_the_skeleton_has_every_property() -> None:
    found = json.loads(skeleton(Order.model_json_schema()))
    assert found["ship_to"] == {"street": "", "country": "de"}
    assert found["items"] == []
    assert found["payment"] == 0


def test_a_run_made_from_another_is_linked_to_it(operator: Client) -> None:
    run = factories.failed_run(job="ship", input=VALUE)
    page = operator.get(f"{PATH}?from={run.pk}").content.decode()
    assert f'name="source" value="{run.pk}"' in page
    operator.post(PATH, {"input": json.dumps(VALUE), "source": str(run.pk)})
    assert Run.objects.newest_first()[0].source_id == run.pk


@pytest.mark.parametrize("source", ["", "x", "01a203c5-e33a-746d-bb06-39fb296984fe"])
def test_a_source_that_is_not_there_is_no_source(operator: Client, source: str) -> None:
    operator.post(PATH, {"input": json.dumps(VALUE), "source": source})
    assert Run.objects.get().source_id is None
