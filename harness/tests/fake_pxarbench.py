#!/usr/bin/python3 -IS
"""Stands in for pxarbench where the harness itself is tested: same command line, same JSON, no archive at all.

Its interpreter is named, and is told to import nothing of its own accord: it is started a thousand times. Snapshots are copies made by cp. $FAKE_LIE makes it misbehave in one of the ways that the harness has to notice.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

LIE = os.environ.get("FAKE_LIE", "")
HEADER = 16


def listing(tree: Path) -> dict[str, list[int]]:
    """Regular files, each inode once: path -> [size, mtime]."""
    found: dict[str, list[int]] = {}
    seen = set()
    for folder, _, names in sorted(os.walk(tree)):
        for name in sorted(names):
            path = os.path.join(folder, name)
            st = os.lstat(path)
            if stat.S_ISREG(st.st_mode) and st.st_ino not in seen:
                seen.add(st.st_ino)
                found[os.path.relpath(path, tree)] = [st.st_size, st.st_mtime_ns]
    return found


def fill(file: Path, data: bytes) -> None:
    """Contents without a change of anything else."""
    st, xattrs = file.stat(), {name: os.getxattr(file, name) for name in os.listxattr(file)}
    file.chmod(st.st_mode | 0o200)
    file.write_bytes(data)
    file.chmod(st.st_mode & 0o7777)
    for name, value in xattrs.items():
        os.setxattr(file, name, value)
    os.utime(file, ns=(st.st_atime_ns, st.st_mtime_ns))


def text_of_time(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def named(path: str) -> dict[str, str]:
    try:
        path.encode()
    except UnicodeEncodeError:
        return {"path_b64": base64.b64encode(os.fsencode(path)).decode()}
    return {"path": path}


def backup(args: argparse.Namespace) -> int:
    tree = Path(args.source.split(":", 1)[1])
    group = args.repository / "host" / args.backup_id
    before = sorted(group.iterdir()) if group.exists() else []
    snapshot = group / text_of_time(args.backup_time)
    if before and before[-1].name >= snapshot.name:
        print(f"error: snapshot {snapshot.name} is not newer than the last", file=sys.stderr)
        return 1
    if LIE == "fails":
        print("error: the dog ate the archive", file=sys.stderr)
        return 1
    mode = args.mode
    if LIE == "other-mode":
        mode = "data" if mode == "metadata" else "metadata"
    now = listing(tree)
    old = json.loads((before[-1] / "listing.json").read_text()) if before else None
    trusted = mode == "metadata" and old is not None
    reused = {p for p in now if trusted and old is not None and (LIE == "blind" or old.get(p) == now[p])}
    encoded = set(now) - reused

    snapshot.mkdir(parents=True)
    chunks = args.repository / ".chunks"
    chunks.mkdir(exist_ok=True)
    new_bytes = 0
    # Only what is encoded is read, for the kernel counts; the rest of a file's contents is looked up when it is restored.
    subprocess.run(["cp", "-a", "--attributes-only", str(tree), str(snapshot / "tree")], check=True)
    for path in encoded:
        data = (tree / path).read_bytes()
        fill(snapshot / "tree" / path, data)
        digest = hashlib.sha256(data).hexdigest()
        if not (chunks / digest).exists():
            (chunks / digest).write_bytes(data)
            new_bytes += len(data)
    if LIE == "alters-store" and before:
        (before[-1] / "listing.json").write_text("{}")
    origins = json.loads((before[-1] / "origins.json").read_text()) if before else {}
    (snapshot / "origins.json").write_text(json.dumps({p: origins[p] if p in reused else snapshot.name for p in now}))
    if LIE == "reads-in-secret":
        for path in now:
            for _ in range(20):
                (tree / path).read_bytes()
    (snapshot / "listing.json").write_text(json.dumps(now))

    read = sum(now[p][0] for p in encoded)
    csum = hashlib.sha256(json.dumps(now).encode() + (os.urandom(8) if LIE == "unstable" else b"")).hexdigest()
    stream = {
        "size": sum(s for s, _ in now.values()), "chunks": len(now), "known_chunks": 0, "known_bytes": 0,
        "injected_chunks": len(reused), "injected_bytes": 0, "new_chunks": len(encoded), "new_bytes": new_bytes,
        "duplicate_chunks": 0, "compressed_bytes": new_bytes, "duration_ns": 1, "csum": csum,
    }  # fmt: skip
    if trusted:
        reasons = {"unchanged": len(reused), "mtime": len(encoded)}
    else:
        reasons = {"no-reference": len(encoded)}
    claimed_read = read
    if LIE == "reads-all" and trusted:
        claimed_read = sum(s for s, _ in now.values())
    stats = {
        "schema": "pxarbench-stats/1", "version": "fake", "result": "ok", "error": None,
        "snapshot": f"host/{args.backup_id}/{snapshot.name}", "mode": args.mode if LIE == "other-mode" else mode,
        "profile": "tight", "padding_threshold": 0.1, "max_instances": 8,
        "duration_ns": 1, "user_ns": 1, "system_ns": 1, "peak_rss_bytes": 1, "warnings": 0,
        "archives": [{
            "name": "root",
            "reference": {"reason": "used" if trusted else ("no-previous-snapshot" if mode == "metadata" else "not-asked"),
                          "detail": "", "snapshot": ""},
            "reused_files": len(reused), "reused_bytes": sum(now[p][0] + HEADER for p in reused),
            "reencoded_files": len(encoded), "reencoded_bytes": read + HEADER * len(encoded),
            "injected_chunks": len(reused), "injected_bytes": 0, "padding_bytes": 32 if trusted else 0,
            "partial_chunks": 0, "unreferenced_chunks": 0, "file_bytes_read": claimed_read,
            "reasons": {k: v for k, v in reasons.items() if v}, "metadata": {**stream, "size": 1}, "payload": stream,
        }],
    }  # fmt: skip
    Path(args.stats).write_text(json.dumps(stats))
    if args.decisions:
        wrong = {min(reused): max(encoded)} if LIE == "wrong-decisions" and reused and encoded else {}
        wrong |= {value: key for key, value in wrong.items()}
        with open(args.decisions, "w") as out:
            for path in now:
                asked = wrong.get(path, path)
                out.write(json.dumps({**named(path), "action": "reused" if asked in reused else "reencoded"}) + "\n")
    return 0


def restore(args: argparse.Namespace) -> int:
    snapshot = args.repository / args.snapshot
    if LIE == "restores-another":
        snapshot = min(snapshot.parent.iterdir())
    subprocess.run(["cp", "-a", str(snapshot / "tree"), str(args.target)], check=True)
    for path, origin in json.loads((snapshot / "origins.json").read_text()).items():
        if origin != snapshot.name:
            fill(args.target / path, (snapshot.parent / origin / "tree" / path).read_bytes())
    files = listing(args.target)
    victim = args.target / max(files, key=lambda p: files[p][0])
    st = victim.stat()
    if LIE == "flips-a-bit":
        data = bytearray(victim.read_bytes())
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
        os.utime(victim, ns=(st.st_atime_ns, st.st_mtime_ns))
    elif LIE == "forgets-nanoseconds":
        os.utime(victim, ns=(st.st_atime_ns, st.st_mtime_ns - 1))
    elif LIE == "loses-a-file":
        os.unlink(victim)
    elif LIE == "adds-a-file":
        (args.target / "edges" / "surplus").write_bytes(b"")
    elif LIE == "breaks-a-hardlink":
        second = args.target / "links" / "b-second-name"
        data, st = second.read_bytes(), second.stat()
        second.unlink()
        second.write_bytes(data)
        second.chmod(st.st_mode & 0o7777)
        os.utime(second, ns=(st.st_atime_ns, st.st_mtime_ns))
    elif LIE == "restores-nothing":
        subprocess.run(["rm", "-r", str(args.target)], check=True)
    return 0


def main() -> int:
    p = argparse.ArgumentParser()
    commands = p.add_subparsers(dest="command", required=True)
    b = commands.add_parser("backup")
    b.add_argument("source")
    b.add_argument("--repository", type=Path)
    b.add_argument("--backup-id")
    b.add_argument("--change-detection-mode", dest="mode")
    b.add_argument("--backup-time", type=int)
    b.add_argument("--stats")
    b.add_argument("--decisions")
    r = commands.add_parser("restore")
    r.add_argument("snapshot")
    r.add_argument("archive")
    r.add_argument("target", type=Path)
    r.add_argument("--repository", type=Path)
    a = commands.add_parser("analyze")
    a.add_argument("snapshot")
    a.add_argument("--repository", type=Path)
    a.add_argument("--lru")
    a.add_argument("--output-format")
    commands.add_parser("version")
    args = p.parse_args()
    if args.command == "version":
        print("pxarbench fake")
        return 0
    if args.command == "analyze":
        reads = {"restored_bytes": 1, "full": [{"bytes": 1, "chunks": 1}]}
        print(json.dumps({"archives": [{"snapshots": [{"reads": reads}]}]}))
        return 0
    return backup(args) if args.command == "backup" else restore(args)


if __name__ == "__main__":
    sys.exit(main())
