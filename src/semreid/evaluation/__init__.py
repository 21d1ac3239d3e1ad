"""Judging models by protocol."""
