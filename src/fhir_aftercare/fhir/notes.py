"""Who wrote a note: FHIR R4 lets an Annotation refer to some and only name others, a PractitionerRole among them."""

from __future__ import annotations

from typing import Any, Final

Resource = dict[str, Any]

_REFERRED_TO: Final = frozenset({"Practitioner", "Patient", "RelatedPerson", "Organization"})


def written_by(reference: str, name: str | None = None) -> Resource:
    """Give an Annotation's author for a reference (``PractitionerRole/1``); ``name`` is shown with it."""
    type_ = reference.rpartition("/")[0].rpartition("/")[2]
    if type_ in _REFERRED_TO:
        return {"authorReference": {"reference": reference, **({"display": name} if name else {})}}
    return {"authorString": f"{name} ({reference})" if name else reference}
