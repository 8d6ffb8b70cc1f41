"""What the pages ask an EHR for when they are launched: one table, written as v2 or v1 scopes by ``smart.scopes``.

Reading only: that is all the pages do. What is not granted is named on the page and not offered (integration §1.2).
"""

from __future__ import annotations

from typing import Final

from fhir_aftercare.smart.scopes import Access, ScopeTable

_READ: Final = ("Patient", "CarePlan", "Goal", "Observation", "ServiceRequest", "Task")

PAGE_SCOPES: Final = ScopeTable(
    access=tuple(Access("user", type_, "rs") for type_ in _READ),
    context=("patient",),
    refresh="online_access",
)
