"""An extension of griffe: our docstrings head their doctests with `Example:`, which it knows as `Examples:`."""

import re

import griffe


class Examples(griffe.Extension):
    """Read `Example:` as the section of doctests that it is."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrite the docstring of an object before it is parsed."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
