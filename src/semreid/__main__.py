"""Run the command line with ``python -m semreid``, as torchrun does."""

from semreid.cli import main

if __name__ == "__main__":
    main()
