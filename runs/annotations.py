"""Reading a function's annotations, one at a time and on every Python."""

from __future__ import annotations

import builtins
import functools
import inspect
import sys
import types
from typing import Any

#: A type that says nothing: the value is plain JSON.
UNTYPED: Any = Any

#: Decorators and partials around a function, at the most. Some objects answer any name, and
#: so would be unwrapped for ever.
_MAX_WRAPPERS = 100


def unwrap(fn: Any) -> Any:
    """The plain function behind partials, bound methods, decorators and callable objects."""
    for _ in range(_MAX_WRAPPERS):
        if isinstance(fn, functools.partial):
            fn = fn.func
        elif inspect.ismethod(fn):
            fn = fn.__func__
        elif "__wrapped__" in getattr(fn, "__dict__", ()):
            fn = fn.__wrapped__
        elif isinstance(fn, types.FunctionType | types.BuiltinFunctionType | type):
            return fn
        elif isinstance(vars(type(fn)).get("__call__"), types.FunctionType):
            fn = vars(type(fn))["__call__"]
        else:
            return fn
    return fn


def annotations_of(fn: Any) -> dict[str, Any]:
    """The annotations of a function as they are written; names may be unknown still."""
    if sys.version_info >= (3, 14):
        # Plain access would evaluate all of them, also names imported only for type checkers.
        import annotationlib

        if callable(fn):
            return annotationlib.get_annotations(fn, format=annotationlib.Format.FORWARDREF)
        return {}
    return getattr(fn, "__annotations__", None) or {}


def resolve_annotation(fn: Any, name: str) -> Any:
    """One annotation of ``fn`` as a type, UNTYPED if it has none.

    One alone, because ``get_type_hints`` fails for the whole signature if any name in
    it is local or imported only for type checking. Raises NameError if this one is.
    """
    annotation = annotations_of(fn).get(name, UNTYPED)
    if type(annotation).__name__ == "ForwardRef":
        raise NameError(f"name {annotation.__forward_arg__!r} is not defined")
    if isinstance(annotation, str):
        namespace = inspect.getclosurevars(fn).nonlocals if fn.__closure__ else {}
        annotation = eval(annotation, {**vars(builtins), **fn.__globals__}, dict(namespace))  # nosec B307 # noqa: S307 (the author's own annotation)
    return types.NoneType if annotation is None else annotation


def positional_parameters(fn: Any) -> list[str]:
    """The names of the parameters that may be given by position."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p.name for p in _signature(fn).parameters.values() if p.kind in kinds]


def _signature(fn: Any) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        import annotationlib

        return inspect.signature(fn, annotation_format=annotationlib.Format.FORWARDREF)
    return inspect.signature(fn)
