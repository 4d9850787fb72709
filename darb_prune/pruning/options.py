"""The base of what is chosen by options: frozen, checked, and a mistake is one line."""

import re
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from darb_prune.errors import DarbError

__all__ = ["Options"]


class Options(BaseModel):
    """Options, each declared once: a field with its type, default, check and help text (``description``).

    The command line makes its flags from these fields, experiment files their keys.

    Raises
    ------
    DarbError
        For an unknown option or a value that is not legal, in one line that names it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise DarbError(_line(error, type(self))) from error

    @classmethod
    def take(cls, options: dict[str, Any]) -> Self:
        """Made from what ``options`` has of these fields; that is removed from ``options``."""
        return cls(**{name: options.pop(name) for name in cls.model_fields if name in options})

    def explicit(self) -> dict[str, Any]:
        """The options that were set, defaults left out; ready for JSON."""
        return self.model_dump(mode="json", exclude_unset=True)

    def updated(self, options: Mapping[str, Any]) -> Self:
        """The same with some options replaced."""
        return type(self)(**self.explicit() | dict(options))


def _line(error: ValidationError, of: type[Options]) -> str:
    first = error.errors(include_url=False)[0]
    context = first.get("ctx", {})
    if isinstance(context.get("error"), DarbError):
        return str(context["error"])
    name, value = ".".join(map(str, first["loc"])), first["input"]
    message = first["msg"].removeprefix("Value error, ")
    match first["type"]:
        case "extra_forbidden":
            return f"{name}: no such option; choose from {', '.join(of.model_fields) or 'none'}"
        case "literal_error":
            choices = re.findall("'(.*?)'", context["expected"])
            return f"{name} {value!r}: choose one of {', '.join(choices)}"
        case "greater_than_equal":
            return f"{name} {value} must be at least {context['ge']}"
        case "value_error":
            return f"{name} {message}"
    return f"{name} {value!r}: {message[:1].lower()}{message[1:]}"
