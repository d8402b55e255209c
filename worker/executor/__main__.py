"""`python -m worker.executor <descriptor>`: the zygote of one worker, at the other end of an inherited socket."""

import sys

from worker.executor import zygote

if __name__ == "__main__":
    zygote.main(int(sys.argv[1]))
