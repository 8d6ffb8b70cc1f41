"""The service's own tables. Never a clinical record: lose them, and nothing clinical is lost."""
