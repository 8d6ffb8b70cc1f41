"""What a score on the server is made of: the answers behind it, in whatever shape they are kept (clinical §3.5).

A QuestionnaireResponse that it is derived from, the members of the panel it is or stands in, the items it is derived
from; else it is a bare total. Reading each of them is ``responses``'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fhir_aftercare.errors import InvalidInput
from fhir_aftercare.fhir.answers import CODES_OF, dicts
from fhir_aftercare.fhir.references import refers_to
from fhir_aftercare.fhir.responses import read_panel, read_response, read_total

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fhir_aftercare.fhir.responses import Reading

Resource = dict[str, Any]


def made_of(score: Resource, around: Sequence[Resource], forms: Mapping[str, Resource]) -> Reading:
    """Read a score with its answers; ``around`` is what was read with it, ``forms`` the Questionnaires that are known.

    Raises ``InvalidInput`` if it is no score of an instrument we know or what it is made of cannot be read,
    ``MissingZone`` if a time has no offset, ``WrongSubject`` if a part is another patient's.
    """
    alone = read_total(score)
    if alone.answers is None:
        raise InvalidInput("The Observation is no score that is understood.", where="code")
    instrument = alone.answers.instrument
    for response in (each for each in around if is_named(score.get("derivedFrom"), each)):
        if response["resourceType"] == "QuestionnaireResponse":
            read = read_response(response, forms)
            if read.answers_to(instrument) is not None:
                return read
    panel = panel_of(score, around)
    items = [each for each in around if each["resourceType"] == "Observation"]
    if panel is not None:
        return read_panel(panel, items)
    if any(is_named(score.get("derivedFrom"), each) for each in items):
        # Items it is derived from are its members by another name.
        as_panel = {"code": CODES_OF[instrument.key].panel.concept(), "hasMember": score["derivedFrom"]}
        return read_panel({**score, **as_panel}, items)
    return alone


def panel_of(score: Resource, around: Sequence[Resource]) -> Resource | None:
    """Give the panel that a score is, or stands in; None if there is none."""
    held = (each for each in around if is_named(each.get("hasMember"), score))
    return score if score.get("hasMember") else next(held, None)


def is_named(references: Any, resource: Resource) -> bool:
    """Tell whether a list of References names a resource, relative or absolute, versioned or not."""
    return any(refers_to(each, resource) for each in dicts(references))
