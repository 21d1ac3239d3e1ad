"""Why crops matched, for people: ranked lists with marks, heat over the images, curves; as page and picture."""

from semreid.explain.explanation import Candidate, Explanation, explain

__all__ = ["Candidate", "Explanation", "explain"]
