"""Synthetic people: bodies, clothes, cameras and places from a seed, with exact labels, masks and textures."""
