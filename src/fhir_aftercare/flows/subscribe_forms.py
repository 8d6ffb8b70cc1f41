"""The Subscriptions a clinic needs, and the topic they may be about, as they are to be on its FHIR server.

R4 criteria for most servers; the R5 backport on R4 where the server has it (fhir-servers §5). What is asked for is what
a sweep looks for. Whether they are there is ``subscribe``'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode

from fhir_aftercare.fhir import terms
from fhir_aftercare.flows.sweep_signals import ENCOUNTERS, drug_codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fhir_aftercare.care.clinic import Clinic
    from fhir_aftercare.fhir.identifiers import Identifiers

Resource = dict[str, Any]

TOPIC: Final = f"{terms.BASE}/SubscriptionTopic/aftercare"
_BACKPORT: Final = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition"
_TOPIC_5: Final = "http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic"
# HAPI 8.8 reads triggers under the name of R4B only, others under that of R5 only.
_TRIGGERS: Final = (
    f"{_TOPIC_5}.resourceTrigger",
    "http://hl7.org/fhir/4.3/StructureDefinition/extension-SubscriptionTopic.resourceTrigger",
)
_TOPIC_CODE: Final = {"system": "http://hl7.org/fhir/fhir-types", "code": "SubscriptionTopic"}
_CHANGES: Final = ("create", "update")
_ANSWERED: Final = {"status": "completed,amended"}
_HEARTBEAT_SECONDS: Final = 300
_PAYLOAD: Final = "application/fhir+json"
_REASON: Final = "Aftercare of infusions: a plan is made when the patient leaves, and follows what is corrected."


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where this service is told, below ``/hooks/{clinic}`` of ``base_url``, and the ``header`` that proves who tells.

    ``header`` is a whole line, such as ``X-Aftercare-Secret: …``.
    """

    base_url: str
    clinic: str
    header: str = field(repr=False)

    def address(self, door: str) -> str:
        """Give the address of a door: ``subscription`` or ``topic``."""
        return f"{self.base_url.rstrip('/')}/hooks/{self.clinic}/{door}"


@dataclass(frozen=True, slots=True)
class Form:
    """One resource that is to be there. ``tag`` finds it again: R4's Subscription has no identifier.

    ``label`` names it for people: its criteria, or its topic.
    """

    label: str
    tag: dict[str, str]
    resource: Resource


def searches(clinic: Clinic, *, answers: bool = False) -> dict[str, dict[str, str]]:
    """Give what a clinic wants to be told of, by resource type, as search parameters.

    ``answers``: answered questionnaires too, for a server whose own portal takes them.
    """
    drug = {"code": drug_codes(clinic)}
    found = {"Encounter": dict(ENCOUNTERS), "MedicationAdministration": drug, "Procedure": drug}
    return {**found, "QuestionnaireResponse": _ANSWERED} if answers else found


def criteria_forms(
    wanted: dict[str, dict[str, str]], receiver: Receiver, identifiers: Identifiers, *, payload: bool = True
) -> list[Form]:
    """Give one R4 Subscription for each type. Without ``payload`` nothing but "something changed" is sent, and each
    time the clinic is swept.
    """
    found = []
    for type_, parameters in wanted.items():
        criteria = _query(type_, parameters)
        channel = _channel(receiver, "subscription")
        if payload:
            channel["payload"] = _PAYLOAD
        tag = identifiers.tag("subscription", receiver.clinic, type_)
        found.append(Form(criteria, tag, _subscription(tag, criteria, channel)))
    return found


def topic_form(wanted: dict[str, dict[str, str]], identifiers: Identifiers) -> Form:
    """Give our own topic as R4 has it: a Basic with the elements of R5's SubscriptionTopic as extensions."""
    tag = identifiers.tag("subscription-topic", TOPIC)
    extensions: list[Resource] = [
        {"url": f"{_TOPIC_5}.url", "valueUri": TOPIC},
        {"url": f"{_TOPIC_5}.title", "valueString": "Infusions, and what becomes of them"},
    ]
    for type_ in wanted:
        trigger = [{"url": "description", "valueMarkdown": f"{type_} made or changed"}]
        trigger += [{"url": "resource", "valueUri": type_}]  # the bare type: HAPI never matches the address
        trigger += [{"url": "supportedInteraction", "valueCode": change} for change in _CHANGES]
        extensions += [{"url": url, "extension": trigger} for url in _TRIGGERS]
    for type_, parameters in wanted.items():
        extensions += [_filter_by(type_, name) for name in parameters]
    resource = {
        "resourceType": "Basic",
        "meta": {"tag": [tag]},
        "extension": extensions,
        "modifierExtension": [{"url": f"{_TOPIC_5}.status", "valueCode": "active"}],
        "code": {"coding": [_TOPIC_CODE]},
    }
    return Form(TOPIC, tag, resource)


def topic_subscription_form(
    topic: str, filters: Sequence[str], receiver: Receiver, identifiers: Identifiers, *, whole: bool = False
) -> Form:
    """Give the Subscription to a topic: ids only, or ``whole`` resources. ``filters`` are searches such as
    ``Encounter?status=finished``.
    """
    tag = identifiers.tag("subscription", receiver.clinic, "topic", topic)
    channel = _channel(receiver, "topic")
    content = "full-resource" if whole else "id-only"
    channel["payload"] = _PAYLOAD
    channel["_payload"] = {"extension": [{"url": f"{_BACKPORT}/backport-payload-content", "valueCode": content}]}
    channel["extension"] = [{"url": f"{_BACKPORT}/backport-heartbeat-period", "valueUnsignedInt": _HEARTBEAT_SECONDS}]
    resource = _subscription(tag, topic, channel)
    resource["meta"]["profile"] = [f"{_BACKPORT}/backport-subscription"]
    if filters:
        url = f"{_BACKPORT}/backport-filter-criteria"
        resource["_criteria"] = {"extension": [{"url": url, "valueString": each} for each in filters]}
    return Form(topic, tag, resource)


def topic_filters(wanted: dict[str, dict[str, str]]) -> list[str]:
    """Give the filters of our own topic."""
    return [_query(type_, parameters) for type_, parameters in wanted.items()]


def _query(type_: str, parameters: dict[str, str]) -> str:
    # Left readable: people look at criteria. Servers parse them as they parse a URL.
    return f"{type_}?{urlencode(parameters, safe=':/|,')}"


def _channel(receiver: Receiver, door: str) -> Resource:
    return {"type": "rest-hook", "endpoint": receiver.address(door), "header": [receiver.header]}


def _subscription(tag: dict[str, str], criteria: str, channel: Resource) -> Resource:
    return {
        "resourceType": "Subscription",
        "meta": {"tag": [tag]},
        "status": "requested",
        "reason": _REASON,
        "criteria": criteria,
        "channel": channel,
    }


def _filter_by(type_: str, name: str) -> Resource:
    parts = [
        {"url": "description", "valueMarkdown": f"{type_} by {name}"},
        {"url": "resource", "valueUri": type_},
        {"url": "filterParameter", "valueString": name},
    ]
    return {"url": f"{_TOPIC_5}.canFilterBy", "extension": parts}
