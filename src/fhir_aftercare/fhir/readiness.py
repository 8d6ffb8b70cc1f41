"""The readiness panel as one Observation with twelve components (profiles/StructureDefinition-aftercare-readiness-…).

Each component is true, false, or absent because nothing was recorded; the reasons are a note. Whether the patient may
leave is ``care.readiness``'s to judge and a person's to decide: the Observation itself has no value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.care.readiness import Criterion, State
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.notes import written_by
from fhir_aftercare.fhir.observations import frame
from fhir_aftercare.fhir.setting import SOFTWARE
from fhir_aftercare.fhir.tasks import instant

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from fhir_aftercare.care.readiness import Judged, Override, Panel
    from fhir_aftercare.fhir.setting import Setting

Resource = dict[str, Any]

CRITERIA: Final[Mapping[Criterion, terms.Code]] = {
    Criterion.MIN_OBSERVATION: terms.MIN_OBSERVATION,
    Criterion.BLOOD_PRESSURE: terms.BP_ACCEPTABLE,
    Criterion.SPO2: terms.SPO2_ACCEPTABLE,
    Criterion.SEDATION: terms.SEDATION_RESOLVED,
    Criterion.DISSOCIATION: terms.DISSOCIATION_RESOLVED,
    Criterion.ORIENTED: terms.ORIENTED,
    Criterion.WALKS_UNAIDED: terms.WALKS_UNAIDED,
    Criterion.NAUSEA: terms.NAUSEA_CONTROLLED,
    Criterion.NO_SUICIDAL_INTENT: terms.NO_SUICIDAL_INTENT,
    Criterion.ESCORT: terms.ESCORT_PRESENT,
    Criterion.WRITTEN_INSTRUCTIONS: terms.WRITTEN_INSTRUCTIONS,
    Criterion.EMERGENCY_CONTACT: terms.EMERGENCY_CONTACT,
}


def readiness_observation(panel: Panel, setting: Setting, at: datetime) -> Resource:
    """Give the Observation of a panel judged ``at`` (aware). There is one for each infusion: judging anew amends it.

    The identifier's key is ``setting.key`` and the readiness code. ``derivedFrom`` are the Observations it rests on.
    """
    sources = dict.fromkeys(each for judged in panel.judged for each in judged.rests_on if _is_observation(each))
    found = {
        **frame(
            terms.READINESS.concept(),
            terms.EXAM,
            setting,
            key=(terms.READINESS.code,),
            at=instant(at),
            performer=setting.performer,
        ),
        "meta": {"profile": [terms.PROFILE_READINESS]},
        "note": _notes(panel),
        "derivedFrom": [{"reference": each} for each in sources],
        "component": [_component(each) for each in panel.judged],
    }
    return {name: value for name, value in found.items() if value != []}


def _is_observation(reference: str) -> bool:
    return reference.startswith("Observation/")


def _component(judged: Judged) -> Resource:
    code = CRITERIA[judged.criterion].concept()
    if judged.state is State.NOT_RECORDED:
        return {"code": code, "dataAbsentReason": terms.NOT_PERFORMED.concept()}
    return {"code": code, "valueBoolean": judged.state is State.MET}


def _notes(panel: Panel) -> list[Resource]:
    open_ = [each.reason for each in panel.judged if each.state is not State.MET]
    text = "\n\n".join(open_) if open_ else "Every criterion is met."
    notes: list[Resource] = [{"authorString": SOFTWARE, "text": text}]
    if panel.override is not None:
        notes.append(_override(panel.override))
    return notes


def _override(override: Override) -> Resource:
    return {
        **written_by(override.by, override.by_name),
        "time": instant(override.at),
        "text": override.reason,
    }
