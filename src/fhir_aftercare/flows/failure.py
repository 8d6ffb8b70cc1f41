"""Fail closed, and never in silence: the Task that says that there is no plan (design §10.8).

It comes from this code and not from the protocol, which is what failed. It names file, action and expression, so that
whoever keeps the protocol can mend it, and asks a person to look after the patient meanwhile.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from fhir_aftercare.care.timing import Window
from fhir_aftercare.fhir import tasks, terms

if TYPE_CHECKING:
    from fhir_aftercare.care.plan import Episode
    from fhir_aftercare.errors import ProtocolFault
    from fhir_aftercare.flows.draft import Draft

# The escort and the driving rule are owed within this time whatever the software does (design §10.10).
WITHIN = timedelta(hours=2)


def protocol_failed(draft: Draft, episode: Episode, fault: ProtocolFault) -> str:
    """Add the asap Task "aftercare could not be created", once for an episode, and give its reference."""
    context, now = draft.context, draft.now
    key = (*episode.key, terms.AFTERCARE_FAILED.code)
    where = "; ".join(fault.where)
    task = tasks.make(
        tasks.Work(
            identifier=context.identifiers.identifier("activity", *key),
            code=terms.AFTERCARE_FAILED.concept(),
            priority="asap",
            description=(
                "The aftercare plan could not be created, because the protocol has a fault. Give the patient the "
                f"discharge instructions by hand and arrange the follow-up call. {fault.message} ({where})"
            ),
            patient=draft.patient,
            encounter=draft.encounter,
            requester=context.clinic.organization,
            owner=context.clinic.owner("nurse", draft.patient),
            authored_on=now,
            window=Window(opens=now, target=now + WITHIN, due=now + WITHIN, expires=None),
            inputs=[tasks.text_input(terms.INPUT_REASON, f"{fault.message} ({where})")],
        )
    )
    return draft.ensure(task, context.identifiers.full_url("activity", *key))
