"""Semantics-aligned person re-identification: train, judge and use."""

__version__ = "0.1.0"
