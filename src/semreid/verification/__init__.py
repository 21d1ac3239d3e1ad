"""Same person or not: calibrating what scores mean, verifying pairs, judging matches."""
