"""What a job raises where nothing is wrong and nothing can be done yet: the work waits, as after a failure."""

from __future__ import annotations

from fhir_aftercare.errors import AftercareError


class NotYet(AftercareError):
    """What the work is about is not there yet, or not in the state that was announced. Later it may be."""

    code, status, issue = "not-yet", 503, "transient"
    default_remedy = "Nothing needs to be done unless it stays so: then look at the record in the EHR."
