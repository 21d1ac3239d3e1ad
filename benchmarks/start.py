"""How long a fresh process takes to embed its first crop with people-s, against one that only imports torch.

python benchmarks/start.py            the best of five rounds
python benchmarks/start.py --quick    one round; for a test

Seconds are those of the processor, user and system, so that other work disturbs little.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from functools import partial

from _timing import best_of, command_line

HEAVY = "torch._dynamo.convert_frame torch._inductor numba pyarrow sklearn scipy pandas matplotlib onnxruntime openvino"
"""What embedding has no use for, and takes long to load."""
EMBED = f"""
import sys
import numpy as np
import semreid
semreid.load_model().embed([np.zeros((128, 64, 3), np.uint8)])
print(*[name for name in {HEAVY.split()} if name in sys.modules])
"""


def run(program: str) -> str:
    """What a program prints in a process of its own."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def of_children() -> float:
    """Seconds of the processor that processes which ended took."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    rounds, loaded = 1 if command_line(__doc__).parse_args().quick else 5, run(EMBED)
    works = {"alone": partial(run, "import torch"), "embedding": partial(run, EMBED)}
    alone, embedding = best_of(works, rounds, of_children).values()
    print(f"import torch {alone:.2f} s; with semreid, people-s and a crop {embedding:.2f} s, {embedding / alone:.2f}x")
    print(f"loaded needlessly: {loaded or 'nothing'}")


if __name__ == "__main__":
    main()
