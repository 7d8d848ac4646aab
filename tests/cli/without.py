"""The command line in a process that lacks some libraries."""

import subprocess
import sys

CODE = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from mien.cli import main
main()
"""

TORCH = ("torch", "torchvision", "timm", "onnx", "onnxscript", "sklearn")
"""What the extra "lab" brings beyond the extra "report"."""


def mien(*words, cwd, missing=TORCH):
    """Run `mien` without those modules; the exit code, what it printed, and what it complained."""
    code = CODE.format(missing=missing)
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr
