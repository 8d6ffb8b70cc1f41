"""Whether a Reference points to a resource: relative or absolute, versioned or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

Resource = dict[str, Any]


def refers_to(reference: Mapping[str, Any] | None, resource: Resource) -> bool:
    """Tell whether a Reference points to a resource; one that is not there points to nothing."""
    target = f"{resource['resourceType']}/{resource['id']}"
    given = str((reference or {}).get("reference", "")).partition("/_history/")[0]
    return given == target or given.endswith(f"/{target}")
