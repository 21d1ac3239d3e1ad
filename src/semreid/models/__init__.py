"""Trunks, heads, and the compositions of both."""
