"""Closes the loop after a ketamine infusion, on FHIR R4."""
