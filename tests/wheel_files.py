"""Check a wheel's list of files: every module of the source tree and nothing else. Run as `python tests/wheel_files.py WHEEL`."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent


def wanted() -> set[str]:
    """Names that the wheel must hold, by the layout: the four families are installed below ragkit/."""
    found = {"ragkit/py.typed"}
    for top in ("ragkit", "indexes", "rerankers", "memory", "pipelines"):
        for path in (ROOT / top).rglob("*.py"):
            relative = path.relative_to(ROOT)
            through_link = top == "ragkit" and any((ROOT / p).is_symlink() for p in relative.parents)
            if not through_link:
                found.add(relative.as_posix() if top == "ragkit" else f"ragkit/{relative.as_posix()}")
    return found


def main(wheel: str) -> int:
    """0 if the wheel holds just what it should."""
    names = zipfile.ZipFile(wheel).namelist()
    code = {n for n in names if ".dist-info/" not in n}
    info = {n.split("/", 1)[1] for n in names if ".dist-info/" in n}
    print("\n".join(sorted(names)))
    wrong = [f"missing: {n}" for n in sorted(wanted() - code)] + [f"not wanted: {n}" for n in sorted(code - wanted())]
    if not {"METADATA", "RECORD", "entry_points.txt", "licenses/LICENSE"} <= info:
        wrong.append(f"metadata is incomplete: {sorted(info)}")
    print("\n".join(wrong) or f"{len(names)} files, as the source tree has them")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
