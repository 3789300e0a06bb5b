"""``typing.TypedDict`` on Python 3.11, which pydantic refuses: it wants that of
``typing_extensions``, which knows more. What it would ask for is here, so it can be made.
"""

from __future__ import annotations

import types
import typing
from typing import Any

import typing_extensions


def replace_typed_dicts(type_: Any) -> Any:
    """``type_`` with each ``typing.TypedDict`` in it replaced by pydantic's kind.

    Raises NameError for one that refers to a name that can't be resolved, or to itself.
    """
    return _replace(type_, ())


def _replace(type_: Any, inside: tuple[Any, ...]) -> Any:
    if typing.is_typeddict(type_) and type(type_).__module__ == "typing":
        return _rebuild(type_, inside)
    arguments = typing.get_args(type_)
    if not arguments:
        return type_
    replaced = tuple(_replace(argument, inside) for argument in arguments)
    if replaced == arguments:
        return type_
    if isinstance(type_, types.UnionType):
        return typing.Union[replaced]  # noqa: UP007 (made from a tuple)
    if hasattr(type_, "copy_with"):  # typing's own, such as Annotated and Required
        return type_.copy_with(replaced[: len(type_.__args__)])
    return typing.get_origin(type_)[replaced]


def _rebuild(typed_dict: Any, inside: tuple[Any, ...]) -> Any:
    if typed_dict in inside:
        raise NameError(f"{typed_dict.__name__} refers to itself; use typing_extensions.TypedDict")
    fields = {}
    for name, hint in typing.get_type_hints(typed_dict, include_extras=True).items():
        if typing.get_origin(hint) not in (typing.Required, typing.NotRequired):
            required = name in typed_dict.__required_keys__
            hint = typing.Required[hint] if required else typing.NotRequired[hint]  # noqa: PLW2901
        fields[name] = _replace(hint, (*inside, typed_dict))
    make: Any = typing_extensions.TypedDict
    found = make(typed_dict.__name__, fields)
    found.__doc__ = typed_dict.__doc__
    found.__module__ = typed_dict.__module__
    return found
