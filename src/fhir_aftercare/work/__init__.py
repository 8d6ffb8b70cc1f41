"""Durable work: what was taken is done, whatever process dies. Knows jobs by name, and nothing of what they do."""
