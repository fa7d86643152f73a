"""``python -m tests.fuzz --inputs 10000 --seed 1 --jobs 2``, from the repository's root."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "support"), str(Path(__file__).parents[2])]

from fuzzing.campaign import main  # noqa: E402  # its folder is on the path from here on

if __name__ == "__main__":
    sys.exit(main())
