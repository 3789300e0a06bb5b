"""The API object, on which routers hang."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from ninja import NinjaAPI
from ninja.openapi.docs import ABS_TPL_PATH, Swagger
from ninja.openapi.schema import OpenAPISchema

from runs.api import openapi
from runs.api.auth import credentials
from runs.api.bodies import StrictParser
from runs.api.problems import problem_of
from runs.errors import FieldError, ValidationError
from runs.payloads import clean_text


class LocalSwagger(Swagger):
    """The page of the API with its files from this site, although ninja is no installed app."""

    template_cdn = str(ABS_TPL_PATH / "swagger.html")


class Api(NinjaAPI):
    """Ninja's API, with errors of ours."""

    def on_exception(self, request: HttpRequest, exc: Any) -> HttpResponse:
        return problem_of(request, exc)

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        document = super().get_openapi_schema(**options)
        openapi.complete(document)
        return document


def strict_query(view: Callable[..., Any]) -> Callable[..., Any]:
    """The view, but for requests with query parameters that it can't mean.

    A misspelt filter must not list everything, nor one of two values be ignored.
    """
    models = view._ninja_operation.models  # type: ignore[attr-defined]
    queries = [model for model in models if model.__ninja_param_source__ == "query"]
    known = {name for model in queries for name in model.__ninja_flatten_map__}
    repeatable = {name for model in queries for name in model.__ninja_collection_fields__}

    def check(request: HttpRequest) -> None:
        found = []
        for name, values in request.GET.lists():
            if name not in known:
                found.append(FieldError(clean_text(name), "is no parameter here"))
            elif len(values) > 1 and name not in repeatable:
                found.append(FieldError(name, "is given more than once"))
            elif any("\x00" in value for value in values):
                found.append(FieldError(name, "holds a character that can't be stored"))
        if found:
            raise ValidationError.from_fields("The query", tuple(found))

    @wraps(view)
    def checked(request: HttpRequest, **values: Any) -> Any:
        check(request)
        return view(request, **values)

    @wraps(view)
    async def checked_async(request: HttpRequest, **values: Any) -> Any:
        check(request)
        return await view(request, **values)

    return checked_async if iscoroutinefunction(view) else checked


api = Api(
    title="Durably for Django",
    version="0.1.0",
    description=openapi.DESCRIPTION,
    urls_namespace="api",
    auth=credentials,
    parser=StrictParser(),
    docs=LocalSwagger({"validatorUrl": None}),
    docs_decorator=lambda view: csrf_exempt(require_safe(view)),
    openapi_extra={"tags": openapi.TAGS},
)
api.add_decorator(strict_query)
