"""The two CarePlans: of one infusion, and of the course it belongs to (design §5.1).

Made, activated and extended here; what stands in them is ``apply``'s. The narrative is generated from the same facts,
for readers that show nothing else.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from html import escape
from math import inf
from typing import TYPE_CHECKING, Any, Literal

from fhir_aftercare.care.status import check_move
from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.tasks import instant, moment, period

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

Resource = dict[str, Any]
Kind = Literal["infusion", "course"]

_CATEGORY = {"infusion": terms.INFUSION_PLAN, "course": terms.COURSE_PLAN}
_PROFILE = {"infusion": terms.PROFILE_INFUSION_PLAN, "course": terms.PROFILE_COURSE_PLAN}
# Extensions that no one but this software writes.
_OURS = frozenset({terms.EXT_PLAN_TIMEZONE, terms.EXT_ANCHOR_ESTIMATED, terms.EXT_POLICY_HASH})
ENDED = frozenset({"revoked", "entered-in-error"})


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What a plan says of itself. ``title`` and ``lines`` in the patient's language, ``zone`` an IANA name."""

    kind: Kind
    identifier: Resource
    canonical: str
    title: str
    patient: str
    author: str
    zone: str
    created: datetime
    start: datetime | None
    end: datetime | None = None
    encounter: str | None = None
    part_of: str | None = None
    addresses: Sequence[str] = ()
    goals: Sequence[str] = ()
    activities: Sequence[str] = ()
    lines: Sequence[str] = ()
    policy_hash: str = ""
    estimated: bool = False
    active: bool = True


def make_plan(facts: PlanFacts) -> Resource:
    """Give a new CarePlan: ``draft`` or ``active``."""
    plan: Resource = {
        "resourceType": "CarePlan",
        "meta": {"profile": [_PROFILE[facts.kind]]},
        "text": narrative(facts.title, facts.lines),
        "extension": _extensions(facts),
        "identifier": [facts.identifier],
        "instantiatesCanonical": [facts.canonical],
        "partOf": [{"reference": facts.part_of}] if facts.part_of else None,
        "status": "active" if facts.active else "draft",
        "intent": "plan",
        "category": [{"coding": [terms.ASSESS_PLAN.coding()]}, _CATEGORY[facts.kind].concept()],
        "title": facts.title,
        "subject": {"reference": facts.patient},
        "encounter": {"reference": facts.encounter} if facts.encounter else None,
        "period": period(facts.start, facts.end) or None,
        "created": instant(facts.created),
        "author": {"reference": facts.author},
        "addresses": [{"reference": each} for each in facts.addresses],
        "goal": [{"reference": each} for each in facts.goals],
        "activity": [{"reference": {"reference": each}} for each in facts.activities],
    }
    return {name: value for name, value in plan.items() if value not in (None, [])}


def activated(draft: Resource, facts: PlanFacts) -> Resource:
    """Give a draft as the active plan it becomes; what a clinician added or changed in it stays.

    Ours are the narrative (a clinician's own follows it), the start of the period, our extensions, and what is missing.
    Raises ``IllegalMove`` if it is no draft any more.
    """
    check_move("CarePlan", draft["status"], "active")
    found, wanted = copy.deepcopy(draft), make_plan(facts)
    found["status"] = "active"
    found["text"] = _narrative_with(found.get("text"), wanted["text"])
    found.setdefault("title", wanted["title"])
    if "period" in wanted:
        found["period"] = _period_with(found.get("period") or {}, wanted["period"])
    # The version it is activated by comes first: by that one its activities are made.
    found["instantiatesCanonical"] = list(
        dict.fromkeys([*wanted["instantiatesCanonical"], *(found.get("instantiatesCanonical") or ())])
    )
    for name in ("partOf", "addresses", "goal"):
        given = found.get(name) or []
        added = [each for each in wanted.get(name) or () if each not in given]
        if added:
            found[name] = [*given, *added]
    found["extension"] = [e for e in found.get("extension") or () if e.get("url") not in _OURS] + wanted["extension"]
    return with_activities(found, facts.activities)


def _narrative_with(before: Resource | None, ours: Resource) -> Resource:
    """A narrative that was generated is made anew; the words of a person are kept, below ours."""
    if not before or before.get("status") == "generated" or not before.get("div"):
        return ours
    opening, closing = ours["div"].split(">", 1)[0] + ">", "</div>"
    inside = ours["div"][len(opening) : -len(closing)]
    return {**before, "status": "additional", "div": f"{opening}{inside}{before['div']}{closing}"}


def _period_with(before: Resource, ours: Resource) -> Resource:
    """Start where the infusion ended; end with the last thing that is asked, or later if somebody said so."""
    ends = [each["end"] for each in (before, ours) if "end" in each]
    return {**before, **ours, "end": max(ends, key=_end_order)} if ends else {**before, **ours}


def _end_order(text: str) -> tuple[str, float]:
    """A date without a time of day ends after every instant of it."""
    at = moment(text)
    return (text[:10], at.timestamp() if at is not None else inf)


def with_activities(plan: Resource, references: Sequence[str]) -> Resource:
    """Give the plan with activities that it does not list yet."""
    found = copy.deepcopy(plan)
    listed = {(each.get("reference") or {}).get("reference") for each in found.get("activity") or ()}
    fresh = [{"reference": {"reference": each}} for each in dict.fromkeys(references) if each not in listed]
    if fresh:
        found["activity"] = [*(found.get("activity") or ()), *fresh]
    return found


def is_kind(plan: Resource, kind: Kind) -> bool:
    """Tell whether a CarePlan is one of ours, of this kind."""
    code = _CATEGORY[kind]
    return any(
        coding.get("system") == code.system and coding.get("code") == code.code
        for category in plan.get("category") or ()
        for coding in category.get("coding") or ()
    )


def narrative(title: str, lines: Sequence[str]) -> Resource:
    """Give a generated Narrative: the title and one line for each thing the plan asks."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    body = f"<p>{escape(title)}</p>" + (f"<ul>{items}</ul>" if items else "")
    return {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{body}</div>'}


def _extensions(facts: PlanFacts) -> list[Resource]:
    found: list[Resource] = [{"url": terms.EXT_PLAN_TIMEZONE, "valueString": facts.zone}]
    if facts.estimated:
        found.append({"url": terms.EXT_ANCHOR_ESTIMATED, "valueBoolean": True})
    if facts.policy_hash:
        found.append({"url": terms.EXT_POLICY_HASH, "valueString": facts.policy_hash})
    return found
