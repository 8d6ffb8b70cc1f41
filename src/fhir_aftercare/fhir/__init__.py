"""FHIR JSON to and from the domain: the only place that knows FHIR shapes. Does no I/O."""
