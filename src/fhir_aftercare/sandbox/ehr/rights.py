"""What a token may do with FHIR resources: its scopes, the conditions in them, and the one patient it is bound to.

``patient/`` scopes reach the launch's patient only; so do ``user/`` scopes of a user who is a patient. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from fhir_aftercare.sandbox.ehr import scopes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fhir_aftercare.sandbox.ehr.grants import Token
    from fhir_aftercare.sandbox.ehr.scopes import ResourceScope

Resource = dict[str, Any]

# Belong to no patient: a token bound to one may read them, and never write them.
SHARED: Final = frozenset(
    {
        "ActivityDefinition", "CapabilityStatement", "CodeSystem", "HealthcareService", "Library", "Location",
        "Medication", "Organization", "PlanDefinition", "Practitioner", "PractitionerRole", "Questionnaire",
        "SearchParameter", "StructureDefinition", "Substance", "ValueSet",
    }
)  # fmt: skip
_POINTERS: Final = ("patient", "subject", "for", "beneficiary")
# Parameters that look into resources beside the ones asked for, or leave out what is judged.
_SIDEWAYS: Final = ("_has", "_filter", "_query", "_list", "_contained", "_elements", "_summary")


class Denied(Exception):
    """A FHIR call that is refused; ``issue`` is a FHIR issue code. The text names rules and scopes, no values."""

    def __init__(self, status: int, issue: str, text: str) -> None:
        super().__init__(text)
        self.status, self.issue, self.text = status, issue, text


class Rights:
    """The rights of one access token. ``bases`` are the FHIR bases absolute references may begin with."""

    def __init__(self, token: Token, bases: Iterable[str]) -> None:
        self._lines = token.scopes.resources
        user = token.grant.user
        self._signed_in = user.patient if user is not None else None
        self._launched = token.grant.context.get("patient")
        self._prefixes = ("", *(f"{base}/" for base in bases))

    def demand(self, letters: str, type_: str) -> None:
        """Raise ``Denied`` (403) unless each letter is granted for the type in some way."""
        for letter in letters:
            if not self._fitting(letter, type_):
                wanted = f"{type_}.{letter}"
                raise Denied(403, "forbidden", f"The token has no scope for {wanted}.")
        if not letters and not any(line.type in {type_, "*"} for line in self._lines):
            raise Denied(403, "forbidden", f"The token has no scope for {type_}.")

    def are_free(self, letter: str, type_: str) -> bool:
        """Tell whether the letter is granted for every resource of the type, whoever's it is."""
        return any(not line.where and self._bound_to(line) is None for line in self._fitting(letter, type_))

    def permit(self, letters: str, resource: Resource) -> bool:
        """Tell whether one of the letters is granted for this resource as it stands."""
        type_ = str(resource.get("resourceType"))
        return any(
            scopes.holds(line.where, resource) and self._reaches(line, letter, type_, resource)
            for letter in letters
            for line in self._fitting(letter, type_)
        )

    def narrowing(self, type_: str, asks: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """Give the parameters that keep a search within what may be seen.

        Raises ``Denied`` (403) for a bound token's search that looks sideways: chains, ``_has`` and their like.
        """
        if self.are_free("s", type_):
            return ()
        for name, _ in asks:
            if name.partition(":")[0] in _SIDEWAYS or "." in name:
                raise Denied(403, "forbidden", f"{name.partition(':')[0]} is not open to this token's scopes.")
        lines = self._fitting("s", type_)
        bound = {self._bound_to(line) for line in lines}
        if None in bound or type_ in SHARED:
            return ()
        patients = sorted(each for each in bound if each)
        if not patients:
            raise Denied(403, "forbidden", "The token is bound to no patient.")
        if type_ == "Patient":
            return (("_id", ",".join(patients)),)
        return (("patient", ",".join(f"Patient/{each}" for each in patients)),)

    def _fitting(self, letter: str, type_: str) -> list[ResourceScope]:
        return [line for line in self._lines if line.covers(letter, type_)]

    def _bound_to(self, line: ResourceScope) -> str | None:
        """Give the patient a scope is bound to. One that is bound to nobody known reaches nothing (an empty id)."""
        if line.level == "patient":
            return self._launched or ""
        return self._signed_in

    def _reaches(self, line: ResourceScope, letter: str, type_: str, resource: Resource) -> bool:
        patient = self._bound_to(line)
        if patient is None:
            return True
        if type_ in SHARED:
            return letter in "rs"
        if type_ == "Patient":
            return letter != "c" and resource.get("id") == patient
        pointers = [resource[name] for name in _POINTERS if name in resource]
        own = {f"{prefix}Patient/{patient}" for prefix in self._prefixes}
        return bool(pointers) and all(isinstance(to, dict) and to.get("reference") in own for to in pointers)
