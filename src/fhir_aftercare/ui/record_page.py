"""The record page."""

from __future__ import annotations

from typing import Final

from fhir_aftercare.ui.desk import new_router

router: Final = new_router()
