"""The doors for discharge signals: each speaks its sender's protocol, and hands ids to the inbox."""
