"""The main job, told step by step on a FHIR server, and a house to look at it in: an EHR, the app. TEST DATA only."""
