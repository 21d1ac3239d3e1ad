"""The program: what ``semreid`` and ``python -m semreid`` (as torchrun does) run.

Loading modules takes seconds, in which a Python program may swallow Ctrl-C, or answer with a traceback; so until the
command line is there, and once it has done its work, the system ends the process.

SIGTERM, by which schedulers and containers end a process, ends the work as Ctrl-C does, so nothing is left half-written
and it says how to go on; then it ends the process. Not below torchrun: whoever waits for other processes hears nothing.
"""

import signal
import sys
from types import FrameType


def main() -> None:
    """Load the command line, and run it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from semreid.cli import main as run
    from semreid.console import INTERRUPTED, say
    from semreid.distributed import launched

    ended = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal ended
        ended = True
        raise KeyboardInterrupt

    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if not launched():
            signal.signal(signal.SIGTERM, end)
        run()
    except KeyboardInterrupt:  # before a command has begun, or after its end
        say("interrupted", style="yellow")
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if ended:
            signal.raise_signal(signal.SIGTERM)


if __name__ == "__main__":
    main()
