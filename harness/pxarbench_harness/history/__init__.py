"""What earlier runs found: one line per run, when a number changed, and which commit did it."""
