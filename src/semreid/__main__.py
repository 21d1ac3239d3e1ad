"""The program: what ``semreid`` and ``python -m semreid`` (as torchrun does) run.

Loading modules takes seconds, in which a Python program may swallow Ctrl-C, or answer with a traceback; so until the
command line is there, and once it has done its work, the system ends the process.
"""

import signal
import sys


def main() -> None:
    """Load the command line, and run it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from semreid.cli import main as run
    from semreid.console import INTERRUPTED, say

    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:  # before a command has begun, or after its end
        say("interrupted", style="yellow")
        sys.exit(INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    main()
