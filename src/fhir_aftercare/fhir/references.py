"""Whether a Reference points to a resource: relative or absolute, versioned or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Resource = dict[str, Any]


def target_of(reference: Mapping[str, Any] | None) -> str:
    """Give the ``Type/id`` a Reference points to, on whatever server; one that is not there points to nothing."""
    given = str((reference or {}).get("reference", "")).partition("/_history/")[0]
    return "/".join(given.rsplit("/", 2)[-2:])


def refers_to(reference: Mapping[str, Any] | None, resource: Resource) -> bool:
    """Tell whether a Reference points to a resource; one that is not there points to nothing."""
    return target_of(reference) == f"{resource['resourceType']}/{resource['id']}"


def by_target(resources: Iterable[Resource], element: str) -> dict[str, list[Resource]]:
    """Give resources by the ``Type/id`` that a list of References in them points to, such as ``basedOn``; in order."""
    found: dict[str, list[Resource]] = {}
    for each in resources:
        for target in {target_of(reference) for reference in each.get(element) or ()}:
            found.setdefault(target, []).append(each)
    return found
