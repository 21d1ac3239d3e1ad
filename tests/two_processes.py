"""Commands on two processes: `run_by_two` starts torchrun, whose processes run this file."""

import json
import os
import subprocess
import sys

from semreid.cli import main
from semreid.distributed import by_first, process_group, rank


def run_by_two(*commands: list[object]) -> list[int]:
    """Run command lines one after the other on two processes; exit codes, which must be the same of both."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", __file__]
    told = json.dumps([[str(argument) for argument in command] for command in commands])
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launcher, told], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stderr, file=sys.stderr)
    codes: list[int] = json.loads(done.stdout.splitlines()[-1])
    return codes


def _code_of(command: list[str]) -> int:
    sys.argv = ["semreid", *command]
    try:
        main()
    except SystemExit as done:
        return int(done.code or 0)
    return 0


if __name__ == "__main__":
    with process_group():
        codes = [_code_of(command) for command in json.loads(sys.argv[1])]
        assert codes == by_first(lambda: codes)
        if rank() == 0:
            print(json.dumps(codes))
