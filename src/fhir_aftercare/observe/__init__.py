"""What operators see: logs, metrics and traces. None of it ever holds data of a patient, by allow-list."""
