"""What is wrong with a configuration, in words that name the key: pydantic finds it, this says it."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

from pydantic import ValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

#: A key, relative to where it was found ("" for the whole), and what is wrong with it.
Mistake = tuple[str, str]

#: What pydantic says in its own words, said in those of TOML.
_PLAINER: Final = {
    "model_type": "expected a table with keys of its own",
    "dict_type": "expected a table with keys of its own",
    "tuple_type": "expected tables in double brackets, such as [[drop]]",
    "missing": "is missing",
    "string_type": "expected a text in quotes",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "path_type": "expected a path in quotes",
}


class MistakesError(ValueError):
    """Several mistakes, found at once."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = list(mistakes)
        super().__init__("; ".join(map(in_words, self.mistakes)))


def mistakes_in(error: ValidationError, known_keys: Iterable[str]) -> list[Mistake]:
    """Every mistake with its key: what was expected, and what was found. `known_keys`: for "did you mean"."""
    keys = sorted(known_keys)
    return [mistake for item in error.errors() for mistake in _in_item(item, keys)]


def below(key: str, mistakes: Iterable[Mistake]) -> list[Mistake]:
    """The same mistakes, seen from the table that `key` is in."""
    return [(f"{key}.{inner}" if key and inner else key or inner, what) for inner, what in mistakes]


def in_words(mistake: Mistake) -> str:
    """`drop.1.path: expected an absolute path`."""
    key, what = mistake
    return f"{key}: {what}" if key else what


def _in_item(item: ErrorDetails, known_keys: list[str]) -> list[Mistake]:
    key = ".".join(str(part + 1) if isinstance(part, int) else part for part in item["loc"])
    cause = item.get("ctx", {}).get("error")
    if isinstance(cause, MistakesError):
        return below(key, cause.mistakes)
    if isinstance(cause, ValidationError):
        return below(key, mistakes_in(cause, known_keys))
    if item["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(item["loc"][-1]), known_keys, n=1)
        return [(key, "there is no such key" + (f"; did you mean {near[0]!r}?" if near else ""))]
    said = item["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    found = f" (found {item['input']!r})" if isinstance(item["input"], (str, int, float)) else ""
    return [(key, _PLAINER.get(item["type"], said) + found)]
