"""Who wrote it, why, and by which version of the protocol: one Provenance for each decision (design §2.7, §5.3).

R4's Provenance has no identifier, so its decision is a ``meta.tag``; targets carry no version, because the transaction
itself gives them theirs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from fhir_aftercare.fhir import terms
from fhir_aftercare.fhir.tasks import instant

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from fhir_aftercare.fhir.bundles import Transaction
    from fhir_aftercare.fhir.identifiers import Identifiers

Resource = dict[str, Any]
Activity = Literal["CREATE", "UPDATE", "NULLIFY"]

SIGNATURE = "Reviewed and signed"
_DISPLAYS: dict[str, str] = {"CREATE": "create", "UPDATE": "revise", "NULLIFY": "nullify"}


@dataclass(frozen=True, slots=True)
class Author:
    """On whose behalf a decision is written. ``person`` is a FHIR reference, or None (design §9.6, §9.7)."""

    organization: str
    version: str
    person: str | None = None


def device(identifiers: Identifiers, version: str) -> tuple[Resource, str]:
    """Give the Device that stands for this release of the software, and its ``urn:uuid``."""
    key = ("fhir-aftercare", version)
    resource: Resource = {
        "resourceType": "Device",
        "identifier": [identifiers.identifier("device", *key)],
        "status": "active",
        "deviceName": [{"name": "fhir-aftercare", "type": "model-name"}],
        "version": [{"value": version}],
    }
    return resource, identifiers.full_url("device", *key)


def add_device(transaction: Transaction, identifiers: Identifiers, version: str) -> str:
    """Put the Device into a transaction and give its ``urn:uuid``."""
    resource, urn = device(identifiers, version)
    return transaction.create(resource, urn, shared=True)


def sign(
    transaction: Transaction,
    identifiers: Identifiers,
    author: Author,
    *,
    at: datetime,
    policy: Sequence[str],
    sources: Sequence[str] = (),
    activity: Activity = "CREATE",
    reason: str | None = None,
) -> None:
    """Add the Provenance of all that a transaction writes; nothing if it writes nothing.

    ``policy`` names protocol or rule as ``url|version``, ``sources`` are references of what the decision rests on,
    ``reason`` the words of a person (an override, a correction).
    """
    written = transaction.written()
    if not written:
        return
    decision = _decision_key(transaction)
    targets = [reference for reference, _ in written]
    resource = _provenance(transaction, identifiers, author, decision, targets, at=at, policy=policy, activity=activity)
    if reason:
        resource["reason"] = [{"text": reason}]
    if sources:
        resource["entity"] = [{"role": "source", "what": {"reference": source}} for source in sources]
    transaction.create(resource, identifiers.full_url("decision", *decision), tag=True)


def countersign(
    transaction: Transaction,
    identifiers: Identifiers,
    author: Author,
    *,
    plan: str,
    at: datetime,
    policy: Sequence[str],
) -> None:
    """Add the Provenance by which ``author.person`` stands for a plan that is there (design §9.7): one for each."""
    decision = ("signature", plan, author.person or author.organization)
    resource = _provenance(transaction, identifiers, author, decision, [plan], at=at, policy=policy, activity="UPDATE")
    resource["reason"] = [{"text": SIGNATURE}]
    transaction.create(resource, identifiers.full_url("decision", *decision), tag=True)


def signers(resources: Sequence[Resource]) -> list[tuple[str, str]]:
    """Give who stands for what these Provenances are about: (reference of a person, instant), the first one first."""
    found = [(str(each.get("recorded", "")), who) for each in resources for who in authors(each)]
    return [(who, at) for at, who in sorted(found)]


def authors(provenance: Resource) -> list[str]:
    """Give who stands for what a Provenance is about: references of persons; empty where one is not named."""
    return [
        str((agent.get("who") or {}).get("reference", ""))
        for agent in provenance.get("agent") or ()
        if any(coding.get("code") == "author" for coding in (agent.get("type") or {}).get("coding") or ())
    ]


def _provenance(
    transaction: Transaction,
    identifiers: Identifiers,
    author: Author,
    decision: tuple[str, ...],
    targets: Sequence[str],
    *,
    at: datetime,
    policy: Sequence[str],
    activity: Activity,
) -> Resource:
    who = add_device(transaction, identifiers, author.version)
    agents: list[Resource] = [_agent("assembler", "Assembler", who, author.organization)]
    if author.person:
        agents.append(_agent("author", "Author", author.person, author.organization))
    return {
        "resourceType": "Provenance",
        "meta": {"profile": [terms.PROFILE_PROVENANCE], "tag": [identifiers.tag(*decision)]},
        "target": [{"reference": reference} for reference in targets],
        "recorded": instant(at),
        "policy": list(policy),
        "activity": {
            "coding": [{"system": terms.DATA_OPERATION, "code": activity, "display": _DISPLAYS[activity]}],
        },
        "agent": agents,
    }


def _decision_key(transaction: Transaction) -> tuple[str, ...]:
    """The same difference against the same versions is the same decision, whoever makes it, with which release.

    Of what is created only its identifier counts: whoever comes second finds it there, with whatever content.
    """
    parts: list[str] = []
    for entry in transaction.own:
        request = entry["request"]
        if request["method"] == "PUT":
            content = json.dumps(entry["resource"], sort_keys=True, default=str)
            parts.append(f"{request['url']} {request['ifMatch']} {content}")
        else:
            parts.append(f"{request['url']}?{request['ifNoneExist']}")
    return tuple(sorted(parts))


def _agent(code: str, display: str, who: str, organization: str) -> Resource:
    coding = {"system": terms.PROVENANCE_AGENT, "code": code, "display": display}
    agent: Resource = {"type": {"coding": [coding]}, "who": {"reference": who}}
    if not who.startswith("Organization/"):
        agent["onBehalfOf"] = {"reference": organization}
    return agent
