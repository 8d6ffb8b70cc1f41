"""A pretend EHR on this machine: a strict SMART authorization server and FHIR proxy, with a start page. TEST DATA only.

app = create_ehr(EhrSettings(origin=…, clients=(EhrClient(…),), users=(EhrUser(…),)), FhirStore(base_url, transport))
app.state.ehr.faults.token_error = "invalid_grant"      # from a test; POST /faults from outside
"""

from __future__ import annotations

from fhir_aftercare.sandbox.ehr.app import create_ehr
from fhir_aftercare.sandbox.ehr.faults import AUTHORIZE_ERRORS, TOKEN_ERRORS, Faults
from fhir_aftercare.sandbox.ehr.launches import Launch
from fhir_aftercare.sandbox.ehr.names import LocalNames
from fhir_aftercare.sandbox.ehr.settings import EhrClient, EhrSettings, EhrUser, FhirStore
from fhir_aftercare.sandbox.ehr.state import PretendEhr

__all__ = [
    "AUTHORIZE_ERRORS",
    "TOKEN_ERRORS",
    "EhrClient",
    "EhrSettings",
    "EhrUser",
    "Faults",
    "FhirStore",
    "Launch",
    "LocalNames",
    "PretendEhr",
    "create_ehr",
]
