"""The words that stand on no chart, by language: read once from ``locale/<language>.toml``, and looked up by their key.

What they say is the clinic's to approve; dates are put into them by ``wording``. Every key is there in each language.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.wording import LANGUAGES
from fhir_aftercare.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER: Final = Path(__file__).parents[1] / "locale"


@dataclass(frozen=True, slots=True)
class Texts:
    """The words of one language. ``twice`` gives, for a text, all that says the same where it is on a page."""

    language: str
    said: Mapping[str, str]
    twice: Mapping[str, tuple[str, ...]]

    def say(self, key: str, **values: str) -> str:
        """Give the text of a key such as ``today.heading``, with what is put into it."""
        return self.said[key].format(**values)

    def lines(self, key: str) -> tuple[str, ...]:
        """Give a text that stands on several lines."""
        return tuple(self.said[key].split("\n"))


def texts_in(language: str) -> Texts:
    """Give the words of a language. Raises ``InvalidInput`` for one that we have none in."""
    try:
        return _ALL[language]
    except KeyError:
        raise InvalidInput(
            f"There are no texts in this language; known are {', '.join(LANGUAGES)}.", where="language"
        ) from None


def _read(language: str) -> Texts:
    tables: dict[str, Any] = tomllib.loads((FOLDER / f"{language}.toml").read_text("utf-8"))
    twice = {each["text"]: tuple(each["by"]) for each in tables.pop("twice")}
    said = {f"{table}.{key}": text for table, texts in tables.items() for key, text in texts.items()}
    return Texts(language, said, twice)


_ALL: Final = {language: _read(language) for language in LANGUAGES}
