"""Semantics-aligned person re-identification: train, judge and use."""
