"""Teachers label what nobody labelled: part masks and textures of real crops, learned on synthetic people."""
