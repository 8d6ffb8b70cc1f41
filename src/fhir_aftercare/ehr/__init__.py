"""A FHIR server behind one port."""
