"""The program: what ``semreid`` and ``python -m semreid`` (as torchrun does) run.

Loading modules takes seconds, in which a Python program may swallow Ctrl-C, or answer with a traceback; so until the
command line is there, the system ends the process.
"""

import signal


def main() -> None:
    """Load the command line, and run it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from semreid.cli import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
