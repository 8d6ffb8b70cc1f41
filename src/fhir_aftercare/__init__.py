"""Closes the loop after a ketamine infusion, on FHIR R4."""

from importlib.metadata import version

__version__ = version("fhir-aftercare")
