"""The main job, told step by step on a running FHIR server, with patients of its own. TEST DATA only."""
