"""The guest SDK in Python is a package of its own, beside ours: put it where tests can import it."""

import sys
from pathlib import Path

SDK = Path(__file__).resolve().parents[3] / "sdk" / "python-guest"
if str(SDK) not in sys.path:
    sys.path.insert(0, str(SDK))
