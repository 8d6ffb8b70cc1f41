"""Reading the protocol's FHIR JSON element by element, so that a fault is named with its file, action and remedy.

Strict on purpose, unlike the reading of charts: a definition that is understood only in part is not applied at all
(design §2.4). It knows types, extensions, translations and expressions; what a protocol may say is ``loading``'s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.expression import parse

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from fhir_aftercare.fhir.expression import Expression

Resource = dict[str, Any]

_FHIRPATH = "text/fhirpath"
_VULCAN = terms.EXT_ACCEPTABLE_OFFSET.rpartition("/")[0]
_EXPRESSION = {"description", "name", "language", "expression"}


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a definition. ``action`` is the id of the action, goal or activity it belongs to.

    Every method raises ``ProtocolFault`` if what is there has another type than it asks for.
    """

    data: Resource
    file: str
    action: str = ""

    def fault(self, message: str, remedy: str, *, expression: str = "") -> ProtocolFault:
        """Give the fault of this element, to be raised."""
        return ProtocolFault(message, file=self.file, action=self.action, expression=expression, remedy=remedy)

    def within(self, action: str) -> Element:
        """Give the same element, its faults named with ``action``."""
        return replace(self, action=action)

    def text(self, name: str) -> str | None:
        """Give a string that says something, if it is there."""
        value = self.data.get(name)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise self.fault(f"`{name}` must be text.", f"Write `{name}` as a JSON string that is not empty.")
        return value

    def required(self, name: str) -> str:
        """Give a string that must be there."""
        value = self.text(name)
        if value is None:
            raise self.fault(f"`{name}` is missing.", f"Add `{name}`.")
        return value

    def code(self, name: str, allowed: Collection[str]) -> str | None:
        """Give a code, one of ``allowed``, if it is there."""
        value = self.text(name)
        if value is not None and value not in allowed:
            raise self.fault(f"`{name}` is unknown here: {value}.", f"Use one of {', '.join(sorted(allowed))}.")
        return value

    def flag(self, name: str) -> bool:
        """Give a boolean; what is not there is false."""
        value = self.data.get(name, False)
        if not isinstance(value, bool):
            raise self.fault(f"`{name}` must be a boolean.", f"Write `{name}` as true or false, without quotes.")
        return value

    def whole(self, name: str) -> int | None:
        """Give a whole number above 0, if it is there."""
        value = self.data.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise self.fault(f"`{name}` must be a whole number above 0.", f"Write `{name}` as 1, 2, 3 …")
        return value

    def decimal(self, name: str) -> Decimal:
        """Give a number that must be there."""
        value = self.data.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise self.fault(f"`{name}` must be a number.", f"Write `{name}` as a number, without quotes.")
        return Decimal(str(value))

    def child(self, name: str) -> Element | None:
        """Give an object, if it is there."""
        value = self.data.get(name)
        return None if value is None else self._object(name, value)

    def children(self, name: str) -> tuple[Element, ...]:
        """Give the objects of an array; one that is not there is empty."""
        value = self.data.get(name, [])
        if not isinstance(value, list):
            raise self.fault(f"`{name}` must be an array.", f"Write `{name}` in brackets, also if it is only one.")
        return tuple(self._object(name, each) for each in value)

    def _object(self, name: str, value: Any) -> Element:
        if not isinstance(value, dict) or not value:
            raise self.fault(f"`{name}` must be an object.", f"Write `{name}` in braces, and not empty.")
        return replace(self, data=value)

    def concept(self, name: str) -> Resource | None:
        """Give a CodeableConcept that has a coding with system and code, or words; if it is there."""
        found = self.child(name)
        if found is None:
            return None
        codings = [(coding.required("system"), coding.required("code")) for coding in found.children("coding")]
        if found.text("text") is None and not codings:
            raise self.fault(f"`{name}` says nothing.", f"Give `{name}` a coding or a text.")
        return found.data

    def extensions(self, url: str) -> tuple[Element, ...]:
        """Give all extensions of one kind."""
        return tuple(each for each in self.children("extension") if each.data.get("url") == url)

    def extension(self, url: str) -> Element | None:
        """Give the only extension of its kind, if it is there."""
        found = self.extensions(url)
        if len(found) > 1:
            raise self.fault(f"The extension {url} is there {len(found)} times.", "Keep one of them.")
        return found[0] if found else None

    def texts(self, name: str) -> dict[str, str]:
        """Give a text that must be there, in English and in every language it is translated into."""
        found = {"en": self.required(name)}
        beside = self.child(f"_{name}")
        for each in beside.extensions(terms.EXT_TRANSLATION) if beside else ():
            parts = {part.required("url"): part for part in each.children("extension")}
            if not {"lang", "content"} <= parts.keys():
                raise self.fault(f"A translation of `{name}` is not complete.", "Give it `lang` and `content`.")
            language = parts["lang"].required("valueCode")
            if language in found:
                raise self.fault(f"`{name}` is there twice in {language}.", "Keep one of them; English is `en`.")
            found[language] = parts["content"].required("valueString")
        return found

    def only(self, allowed: Collection[str], remedy: str) -> None:
        """Refuse any element but ``allowed``: what is not understood must not be left out in silence."""
        unknown = {name.removeprefix("_") for name in self.data} - {*allowed, "id", "extension"}
        if unknown:
            raise self.fault(f"Not supported here: {', '.join(f'`{name}`' for name in sorted(unknown))}.", remedy)

    def only_extensions(self, *allowed: str) -> None:
        """Refuse an extension of the protocol's own that is misspelt or misplaced; those of others may be left out."""
        for each in self.children("extension"):
            url = each.required("url")
            if url not in allowed and url.startswith((f"{terms.BASE}/", _VULCAN)):
                raise self.fault(f"The extension {url} means nothing here.", "Correct its url, or move it.")

    def expressions(self) -> dict[str, Expression]:
        """Give the element's ``expression`` in English and every language it is translated into: all of one type."""
        expression = self.child("expression")
        if expression is None:
            raise self.fault("An expression is missing.", "Add `expression` with `language` and `expression`.")
        expression.only(_EXPRESSION, f"Write `language` as {_FHIRPATH}, and the `expression`.")
        if expression.code("language", {_FHIRPATH}) is None:
            raise self.fault("The language of an expression is missing.", f"Write `language` as {_FHIRPATH}.")
        found = {
            language: parse(text, file=self.file, action=self.action)
            for language, text in expression.texts("expression").items()
        }
        for language, each in found.items():
            if each.type is not found["en"].type:
                raise self.fault(
                    f"The expression in {language} is {each.type.value}, the English one {found['en'].type.value}.",
                    "Give both the same type.",
                    expression=each.text,
                )
        return found

    def no_doubles(self, ids: Sequence[str]) -> None:
        """Refuse an id that two parts of this element have."""
        seen: set[str] = set()
        for each in ids:
            if each in seen:
                raise self.within(each).fault("An id is there twice.", "Give one of the two another id.")
            seen.add(each)
