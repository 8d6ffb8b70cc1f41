"""Which scopes a request may have: what the client is registered for, in a syntax taken here, less what is withheld."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fhir_aftercare.sandbox.ehr import scopes
from fhir_aftercare.sandbox.ehr.requests import Refused

if TYPE_CHECKING:
    from fhir_aftercare.sandbox.ehr.faults import Faults
    from fhir_aftercare.sandbox.ehr.scopes import Scopes
    from fhir_aftercare.sandbox.ehr.settings import EhrClient


class ScopePolicy:
    """Each method gives what is granted, and raises ``Refused`` (``invalid_scope``)."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def for_launch(self, text: str, client: EhrClient, *, from_chart: bool) -> Scopes:
        """Judge an authorization request. ``launch`` is for those opened in a chart, and they need it."""
        asked = _parsed(text)
        if "system" in asked.levels:
            raise Refused("invalid_scope", "system/ scopes are for backend services")
        if ("launch" in asked.words) != from_chart:
            raise Refused("invalid_scope", "the launch parameter and the launch scope go together")
        return self._granted(asked, client)

    def for_backend(self, text: str, client: EhrClient, *, of_fhir: bool) -> Scopes:
        """Judge a request of a client for itself: ``system/`` scopes for FHIR, words alone for another API."""
        asked = _parsed(text)
        if (asked.levels != {"system"} or asked.words) if of_fhir else asked.resources:
            raise Refused("invalid_scope", "system/ scopes for FHIR, words for an API, and nothing else")
        return self._granted(asked, client)

    def for_refresh(self, text: str | None, earlier: Scopes) -> Scopes:
        """Judge a refresh: at most what was granted before, all of it if nothing is said."""
        if text is None:
            return earlier
        asked = _parsed(text)
        if not asked.within(earlier):
            raise Refused("invalid_scope", "more than was granted")
        texts = {scope.text for scope in asked.resources}
        return scopes.Scopes(tuple(scope for scope in earlier.resources if scope.text in texts), asked.words)

    def _granted(self, asked: Scopes, client: EhrClient) -> Scopes:
        version = self._faults.scope_version
        if version != "both" and any(scope.old == (version == "v2") for scope in asked.resources):
            raise Refused("invalid_scope", f"only {version} scopes are taken here")
        try:
            registered = scopes.parse(client.scopes)
            granted = scopes.withheld(scopes.allowed(asked, registered), self._faults.withheld)
        except ValueError as fault:
            raise Refused("invalid_scope", str(fault)) from None
        if not granted.resources and not granted.words:
            raise Refused("invalid_scope", "nothing of it is granted")
        return granted


def _parsed(text: str) -> Scopes:
    try:
        return scopes.parse(text)
    except ValueError as fault:
        raise Refused("invalid_scope", str(fault)) from None
