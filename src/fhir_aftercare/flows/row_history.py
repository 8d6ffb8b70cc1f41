"""The history of a row's values: every version of each Observation, and who said why, from one batch.

A part that could not be read, or that the EHR does not let this software read (Provenance), is a gap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from fhir_aftercare.fhir import tasks
from fhir_aftercare.fhir.findings import read_findings
from fhir_aftercare.fhir.provenance import authors
from fhir_aftercare.fhir.references import refers_to

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from fhir_aftercare.care.readiness import Finding
    from fhir_aftercare.flows.context import ClinicContext

Resource = dict[str, Any]

_ONE_TRANSACTION: Final = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class Said:
    """What a Provenance tells: who (a reference) and why, in the words of a person."""

    who: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a value, written ``at``: what it said (None: not readable), and ``by`` whom it was found."""

    status: str
    at: datetime | None
    finding: Finding | None
    by: str | None
    said: Said | None


@dataclass(frozen=True, slots=True)
class RowHistory:
    """The versions of each Observation, newest first; None where they could not be read. ``people`` by reference."""

    versions: Mapping[str, tuple[Version, ...] | None]
    people: Mapping[str, Resource]


async def row_history(context: ClinicContext, observations: Sequence[Resource], *, reads_reasons: bool) -> RowHistory:
    """Read the history of some Observations; ``reads_reasons``: the token may look for Provenances.

    Raises what a failure of the whole batch becomes.
    """
    references = [f"Observation/{each['id']}" for each in observations]
    people = _people(observations)
    queries = [f"{each}/_history?_count=50" for each in references]
    if reads_reasons:
        targets = quote(",".join(references), safe="/,")
        queries.append(f"Provenance?target={targets}&_include=Provenance:agent&_count=200")
    answers = await context.fhir.batch([*queries, *people])
    persons = answers[len(queries) :]
    provenances, authors = await _said_of(context, answers[len(references)].resource if reads_reasons else None)
    versions = {
        reference: _versions(answer.resource, provenances) if answer.resource else None
        for reference, answer in zip(references, answers, strict=False)
    }
    found = {who: each.resource for who, each in zip(people, persons, strict=True) if each.resource}
    return RowHistory(versions, {**authors, **found})


def _people(observations: Iterable[Resource]) -> list[str]:
    """Give who recorded these: the people whose names the page needs."""
    named = (str(who.get("reference", "")) for each in observations for who in each.get("performer") or ())
    return list(dict.fromkeys(each for each in named if each.startswith("Practitioner/")))


async def _said_of(context: ClinicContext, bundle: Resource | None) -> tuple[list[Resource], dict[str, Resource]]:
    """Give the Provenances, and the people they name by reference."""
    if bundle is None:
        return [], {}
    found = await context.fhir.collect("Provenance", bundle)
    people = [each for each in found.included if each["resourceType"] == "Practitioner"]
    return found.matches, {f"Practitioner/{each['id']}": each for each in people}


def _versions(history: Resource, provenances: Iterable[Resource]) -> tuple[Version, ...]:
    kept = [each["resource"] for each in history.get("entry") or () if each.get("resource")]
    own = [each for each in provenances if kept and any(refers_to(to, kept[0]) for to in each.get("target") or ())]
    own = sorted((each for each in own if _written(each)), key=_written, reverse=True)
    # Which Provenance belongs to which version is not written. Each of ours has one, of the same transaction; whoever
    # else wrote a version left none.
    if len(own) == len(kept):
        return tuple(_version(each, why) for each, why in zip(kept, own, strict=True))
    return tuple(_version(each, next((why for why in own if _at_once(each, why)), None)) for each in kept)


def _version(resource: Resource, why: Resource | None) -> Version:
    """A value that was taken back is read like one that stands: it is shown as what stood there."""
    readable = read_findings([{**resource, "status": "final"}])
    performers = [each.get("reference") for each in resource.get("performer") or ()]
    recorded = tasks.moment(why.get("recorded")) if why else None
    return Version(
        status=str(resource.get("status")),
        at=recorded or tasks.moment((resource.get("meta") or {}).get("lastUpdated")),
        finding=readable[0] if readable else None,
        by=next((str(each) for each in performers if each), None),
        said=Said(next(iter(authors(why)), None) or None, _reason(why)) if why else None,
    )


def _written(resource: Resource) -> float:
    """Give when the server wrote a resource, by its own clock; 0 if it does not say."""
    at = tasks.moment((resource.get("meta") or {}).get("lastUpdated"))
    return at.timestamp() if at is not None else 0.0


def _at_once(version: Resource, why: Resource) -> bool:
    return abs(_written(version) - _written(why)) <= _ONE_TRANSACTION


def _reason(provenance: Resource) -> str | None:
    return next((str(each["text"]) for each in provenance.get("reason") or () if each.get("text")), None)
