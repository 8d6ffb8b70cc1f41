"""Lint of a protocol: everything that is wrong with it, at once, before any patient meets it (fhir-model §2.4).

Loading (``loading``) refuses a protocol at its first fault; here each definition is read part by part, and all rules
are asked of what is sound. Pure: reading files, and which clinic, are the caller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fhir_aftercare.errors import ProtocolFault
from fhir_aftercare.fhir.lint_rules import RULES, Finding, Severity, Sheet, error
from fhir_aftercare.fhir.lint_rules_forms import forms
from fhir_aftercare.fhir.lint_rules_links import links, names
from fhir_aftercare.fhir.lint_rules_reach import reach
from fhir_aftercare.fhir.lint_rules_reading import read_all
from fhir_aftercare.fhir.lint_rules_times import times
from fhir_aftercare.fhir.lint_rules_words import words
from fhir_aftercare.fhir.loading import load_protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import date

    from fhir_aftercare.care.clinic import Clinic

__all__ = ["RULES", "Finding", "Severity", "is_clean", "lint"]

Resource = dict[str, Any]

_RANK = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


def lint(files: Mapping[str, Resource], clinic: Clinic, *, since: date, known: Collection[str] = ()) -> list[Finding]:
    """Give all findings in definitions by file name, the gravest first.

    Times are tried at ``clinic`` (its zone, call hours and policy) for a year from ``since``. ``known`` are canonicals
    ``url|version`` that need not be among the files: what every installation has. A protocol without ERROR loads.
    """
    reading = read_all(files)
    sheet = Sheet(
        files=files,
        protocol=reading.protocol,
        places=reading.places,
        broken=frozenset(reading.broken),
        clinic=clinic,
        since=since,
        known=frozenset(known),
    )
    named = [*names(sheet)]
    found = [*reading.findings, *named, *links(sheet, _actions_at_fault(sheet, named))]
    found += [*reach(sheet), *times(sheet), *forms(sheet), *words(sheet)]
    if not any(each.severity is Severity.ERROR for each in found):
        found += _refused(files)
    return sorted(dict.fromkeys(found), key=lambda each: (_RANK[each.severity], each.file))


def is_clean(findings: Iterable[Finding]) -> bool:
    """Tell whether there is nothing to mend: what is only worth knowing does not count."""
    return all(each.severity is Severity.INFO for each in findings)


def _actions_at_fault(sheet: Sheet, findings: list[Finding]) -> frozenset[tuple[str, str]]:
    return frozenset(
        (file, action)
        for (file, action), path in sheet.places.items()
        if any(each.file == file and each.path.startswith(f"{path}.") for each in findings)
    )


def _refused(files: Mapping[str, Resource]) -> list[Finding]:
    """Whatever the service would refuse is a finding, also if no rule here knows it."""
    try:
        load_protocol(files)
    except ProtocolFault as fault:
        return [error((fault.file, fault.action), "definition", fault.message, fault.remedy)]
    return []
