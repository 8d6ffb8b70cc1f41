"""The chart's words in the language a patient reads: put into it by the protocol that they came from.

A step of ``open_handout``. What the protocol does not say (a person's own words, an older version's) is kept as it is
written, and counted: nobody here knows its language, nor how long it holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care import wording
from fhir_aftercare.care.handout import Restriction
from fhir_aftercare.care.wording import LANGUAGES
from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir import tasks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from fhir_aftercare.care.handout import Driving
    from fhir_aftercare.fhir.definitions import Dynamic
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]

_INSTRUCTION: Final = "patientInstruction"


class Words:
    """Puts the chart's words into a language, by the protocol that knows them in each. ``unknown`` counts the rest."""

    def __init__(self, context: ClinicContext, language: str, zone: ZoneInfo) -> None:
        protocol = context.protocol
        self.language, self.unknown = language, 0
        self._protocol, self._zone, self._phone = protocol, zone, context.clinic.phone
        taught = (each.texts for activity in protocol.activities.values() for each in activity.inputs)
        asked = (action.titles for plan in protocol.plans.values() for action in plan.actions)
        self._known: list[Mapping[str, str]] = [*taught, *asked]

    def of(self, written: str) -> str:
        """Give a text in the language, or as it is written."""
        found = next((texts for texts in self._known if written in texts.values()), {})
        if self.language not in found:
            self.unknown += 1
        return found.get(self.language, written)

    def restriction(self, request: Resource) -> Restriction:
        """Give a restriction: with its end, unless its words are none that the protocol would say of it."""
        written = str(request.get(_INSTRUCTION) or (request.get("code") or {}).get("text") or "")
        until = tasks.moment((request.get("occurrencePeriod") or {}).get("end"))
        if until is not None:
            for driving, texts in self._instructions(request, until):
                if written in texts.values() and self.language in texts:
                    return Restriction(texts[self.language], until, driving)
        self.unknown += 1
        return Restriction(written)

    def _instructions(self, request: Resource, until: datetime) -> Iterator[tuple[Driving, Mapping[str, str]]]:
        """Give what the protocol may have said: in each language, and whether time or a person releases."""
        for canonical in request.get("instantiatesCanonical") or ():
            try:
                dynamic = self._protocol.activity(str(canonical)).dynamic
                for each in (each for each in dynamic if each.path == _INSTRUCTION):
                    yield from self._said(each, until)
            except ProtocolFault:  # of a version that is no longer here, or of other facts than the release
                continue

    def _said(self, dynamic: Dynamic, until: datetime) -> Iterator[tuple[Driving, Mapping[str, str]]]:
        spoken = dynamic.expressions
        releases = any("releaseText" in each.names for each in spoken.values())
        cases: tuple[Driving, ...] = ("time", "clinic") if releases else ("no",)
        for driving in cases:
            texts = {}
            # As ``fhir.apply`` says it: an expression that is not translated may still hold the release, which is.
            for language in LANGUAGES if releases else spoken:
                release = wording.release_text(
                    until, self._zone, language, needs_human=driving == "clinic", phone=self._phone
                )
                expression = spoken.get(language) or spoken["en"]
                texts[language] = str(expression.evaluate({"releaseText": release}))
            yield driving, texts
