"""The command line: ``fhir-aftercare``. Each command is a file; this one only lists them."""

from fhir_aftercare.cli.app import app

__all__ = ["app"]
