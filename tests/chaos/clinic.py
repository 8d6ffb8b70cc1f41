"""The clinic's file of a chaos run: every road open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chaos.hospital import MRN_SYSTEM, VISIT_SYSTEM

if TYPE_CHECKING:
    from pathlib import Path


def clinic_file(folder: Path, clinic: str, base: str, organization: str) -> None:
    """Write the file; the secrets are in the environment."""
    folder.mkdir(parents=True)
    days = "".join(f'{day} = "00:00-24:00"\n' for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun"))
    (folder / f"{clinic}.toml").write_text(
        f'''name = "Harbor Clinic"
fhir_base_url = "{base}"
identifier_base = "https://chaos.harbor.example.org"
zone = "America/New_York"
organization = "{organization}"
phone = "+1 555 0100"
[call_hours]
{days}
[subscription]
header = "X-Aftercare-Secret"
[work]
concurrency = 8
[[hl7v2.senders]]
application = "CHAOS"
facility = "HARBOR"
zone = "America/New_York"
patients = {{ "{MRN_SYSTEM}" = "{MRN_SYSTEM}" }}
visits = {{ "{VISIT_SYSTEM}" = "{VISIT_SYSTEM}" }}
'''
    )
