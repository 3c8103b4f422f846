"""fixtures/reject/: all files that readers must refuse, and the list of what they must say.

    /usr/bin/python3 harness/tests/reject_cases.py --write

writes the files and expected.json anew from reject_archives.py and reject_stored.py.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import reject_archives
import reject_stored
from reject_archives import Case

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "reject"
INDEX = FOLDER / "expected.json"


def all_cases() -> list[Case]:
    cases = [*reject_archives.cases(), *reject_stored.cases()]
    assert len({case.name for case in cases}) == len(cases), "two cases of one name"
    return cases


def file_names(case: Case) -> list[str]:
    return [f"{case.name}.{extension}" for extension in case.files]


def contents() -> dict[str, bytes]:
    """Everything the folder must hold, by file name."""
    cases = all_cases()
    files = {f"{case.name}.{extension}": data for case in cases for extension, data in case.files.items()}
    lines = ",\n".join(f" {json.dumps(described(case), ensure_ascii=False)}" for case in cases)
    return files | {INDEX.name: f"[\n{lines}\n]\n".encode()}


def described(case: Case) -> dict[str, object]:
    """A line of expected.json."""
    document = "pxar.md" if case.reader.startswith("pxar") else "datastore.md"
    return {
        "files": file_names(case),
        "rule": f"{document} {case.rule}",
        "reader": case.reader,
        **({"arguments": list(case.arguments)} if case.arguments else {}),
        "error": case.error,
    }


def write() -> None:
    FOLDER.mkdir(exist_ok=True)
    wanted = contents()
    for path in FOLDER.iterdir():
        if path.name not in wanted:
            path.unlink()
    for name, data in wanted.items():
        (FOLDER / name).write_bytes(data)
    print(f"{len(wanted)} files, {sum(map(len, wanted.values()))} bytes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", required=True, help="write fixtures/reject/")
    parser.parse_args()
    write()


if __name__ == "__main__":
    main()
