"""Where the protocol's files are, and reading them: the folder a clinic names, or the one that is shipped.

A file is only taken for what it says it is; what it says is checked by ``fhir.loading``. Files in folders below
(examples) are not read.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fhir_aftercare.errors import ConfigFault
from fhir_aftercare.fhir import exact_json

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

Resource = dict[str, Any]

_REMEDY = "Each *.json file of the protocol must be one FHIR definition, with resourceType and url."


def read_protocol_files(folder: Path | None) -> dict[str, Resource]:
    """Give the FHIR definitions of a folder by file name; None is the shipped one. Decimals stay as they are written.

    Raises ``ConfigFault`` naming every file that cannot be read, is not JSON, or is no FHIR definition.
    """
    place: Traversable = _shipped() if folder is None else folder
    if not place.is_dir():
        raise ConfigFault([f"{place}: there is no such folder of protocol files."], where="AFTERCARE_PROFILES")
    found: dict[str, Resource] = {}
    faults: dict[str, str] = {}
    for path in sorted(place.iterdir(), key=lambda each: each.name):
        if path.name.endswith(".json") and path.is_file():
            try:
                found[path.name] = _read(path)
            except (OSError, ValueError) as fault:
                faults[path.name] = f"{path.name}: {fault} {_REMEDY}"
    if faults:
        raise ConfigFault(list(faults.values()), where=list(faults))
    if not found:
        raise ConfigFault([f"{place}: the folder holds no protocol files. {_REMEDY}"], where="AFTERCARE_PROFILES")
    return found


def _shipped() -> Traversable:
    """Give the folder in an installed package, else the one of a checkout."""
    installed = files("fhir_aftercare") / "_profiles"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[2] / "profiles"


def _read(path: Traversable) -> Resource:
    """Raises ``ValueError`` in words that follow the file's name."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
        resource = exact_json.loads(text)
        json.loads(text, object_pairs_hook=_no_doubles)
    except ValueError as fault:
        raise ValueError(f"it is not JSON ({fault}).") from fault
    if not isinstance(resource, dict) or not all(isinstance(resource.get(k), str) for k in ("resourceType", "url")):
        raise ValueError("it is no FHIR definition.")
    return resource


def _no_doubles(members: list[tuple[str, Any]]) -> dict[str, Any]:
    """JSON readers keep the last of two members with one name: half of a rule would be gone without a word."""
    found = dict(members)
    if len(found) < len(members):
        raise ValueError("a member is there twice in one object")
    return found
