"""Search parameters of R4 that the sandbox's store does not know, and our own ``task-due``.

Each line is ``name:kind:element path[|path][:target type]``, as the store writes them. A server that lacks one of these
answers 400, as a strict one does; they are what the flows and an integration engineer ask for.
"""

from __future__ import annotations

from typing import Final

from sekmet.fhir.search_params import PARAMS, SearchParam

_CANONICAL: Final = """
    identifier:token:identifier
    url:uri:url
    version:token:version
    name:string:name
    title:string:title
    status:token:status
    date:date:date
"""
_MISSING: Final[dict[str, str]] = {
    "QuestionnaireResponse": """
        identifier:token:identifier
        patient:reference:subject:Patient
        subject:reference:subject
        source:reference:source
        author:reference:author
        authored:date:authored
        status:token:status
        questionnaire:uri:questionnaire
        based-on:reference:basedOn
        part-of:reference:partOf
        encounter:reference:encounter
    """,
    "Goal": """
        identifier:token:identifier
        patient:reference:subject:Patient
        subject:reference:subject
        lifecycle-status:token:lifecycleStatus
        achievement-status:token:achievementStatus
        category:token:category
        start-date:date:startDate
        target-date:date:target.dueDate
    """,
    "CarePlan": """
        part-of:reference:partOf
        goal:reference:goal
        activity-reference:reference:activity.reference
        condition:reference:addresses
        care-team:reference:careTeam
        instantiates-canonical:uri:instantiatesCanonical
    """,
    "Task": "task-due:date:restriction.period.end",
    **dict.fromkeys(
        (
            "Questionnaire",
            "PlanDefinition",
            "ActivityDefinition",
            "StructureDefinition",
            "CodeSystem",
            "ValueSet",
            "SearchParameter",
            "CapabilityStatement",
            "ImplementationGuide",
        ),
        _CANONICAL,
    ),
}


def complete() -> None:
    """Add what is missing to the store's table. Harmless when repeated."""
    for type_, block in _MISSING.items():
        known = PARAMS.setdefault(type_, {})
        for line in block.strip().splitlines():
            name, kind, paths, *target = line.strip().split(":")
            known.setdefault(name, SearchParam(name, kind, tuple(paths.split("|")), target[0] if target else None))
