"""The REST door: turns HTTP into calls of flows and their results into answers. Decides nothing clinical."""
