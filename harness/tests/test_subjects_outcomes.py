"""What subjects make of what programs report: --stats of every mode of ours, and the sentences of the reference client."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pxarbench_harness import cliff_reference, locate, record, run, tree
from pxarbench_harness.subjects import Outcome, ProxmoxBackupClient, Pxarbench, Settings, SubjectFailed
from subject_tools import Runs, flip, subject

#: Stands in for the reference client: it says what $STAND_IN_SAYS holds, and restores the copy that a backup made.
STAND_IN = """#!/bin/sh
[ "$1" = version ] && { echo "client version: 0.0.0"; exit 0; }
printf '%s\\n' "$*" >>"$STAND_IN_HOME/log"
if [ "$1" = backup ]; then
    cp -a "${2#*:}" "$STAND_IN_HOME/copy" || exit 1
    cat "$STAND_IN_SAYS" >&2
else
    cp -a "$STAND_IN_HOME/copy" "$4"
fi
"""

METADATA = """\
Starting backup: host/x/2023-11-14T22:13:21Z
Client name: machine
Starting backup protocol: Tue Nov 14 22:13:21 2023
Downloading previous manifest (Tue Nov 14 22:13:20 2023)
Upload directory '/tree' to 'server' as root.mpxar.didx
Using previous index as metadata reference for 'root.mpxar.didx'
Change detection summary:
 - 100 total files (3 hardlinks)
 - 90 unchanged, reusable files with 1.5 MiB data
 - 7 changed or non-reusable files with 2 KiB data
 - 32 B padding in 2 partially reused chunks
root.mpxar: had to backup 1 KiB of 1 KiB (compressed 512 B) in 0.00 s (average 215.623 KiB/s)
root.ppxar: reused 1.5 MiB from previous snapshot for unchanged files (3 chunks)
root.ppxar: had to backup 3 KiB of 1.503 MiB (compressed 1 KiB) in 0.01 s (average 6.166 KiB/s)
Duration: 0.50s
End Time: Tue Nov 14 22:13:21 2023
"""

LEGACY = """\
Starting backup: [name/space]:host/x/2023-11-14T22:13:20Z
No previous manifest available.
root.pxar: had to backup 2 MiB of 2 MiB (compressed 1 MiB) in 0.00 s (average 21.491 MiB/s)
Uploaded backup catalog (100 B)
Duration: 0.25s
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in in $PATH; what it says is read from the returned file."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "proxmox-backup-client"
    program.write_text(STAND_IN)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_HOME", str(tmp_path))
    monkeypatch.setenv("STAND_IN_SAYS", str(tmp_path / "says"))
    monkeypatch.setenv("PBS_REPOSITORY", "user@pbs@server:store")
    monkeypatch.setenv("PBS_PASSWORD", "secret")
    return tmp_path / "says"


def outcome_of(mode: str, said: str) -> Outcome:
    return ProxmoxBackupClient(mode, Path("/home"), Settings()).outcome(said.encode())


def test_reference_client_is_missing_without_program_or_server(client: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ProxmoxBackupClient.missing(Settings()) == ""
    monkeypatch.delenv("PBS_PASSWORD")
    assert ProxmoxBackupClient.missing(Settings()) == "proxmox-backup-client: PBS_PASSWORD not set: no server to back up to"
    monkeypatch.setenv("PATH", "/nowhere")
    assert "is not installed" in ProxmoxBackupClient.missing(Settings())


def test_reference_client_from_backup_to_restore(client: Path, tmp_path: Path) -> None:
    client.write_text(METADATA)
    root = tmp_path / "tree"
    root.mkdir()
    (root / "file").write_bytes(b"contents")
    made = ProxmoxBackupClient("metadata", tmp_path / "home", Settings())
    made.create()
    runs = Runs(made, root, tmp_path)
    outcome = runs.backup(decisions=True)
    assert runs.reread is None, "it tells no decisions"
    assert tree.differences(tree.scan(root), tree.scan(runs.restored())) == []
    backup, restore = (tmp_path / "log").read_text().splitlines()
    assert backup.startswith(f"backup root.pxar:{root} --backup-id pxarbench-")
    assert backup.endswith(f"--backup-time {runs.time} --change-detection-mode metadata --crypt-mode none")
    assert restore.startswith(f"restore {outcome.snapshot} root.pxar ")
    assert made.state() == [] and made.rewinds == "never"


def test_reference_client_in_mode_metadata() -> None:
    said = outcome_of("metadata", METADATA)
    assert (said.snapshot, said.reference) == ("host/x/2023-11-14T22:13:21Z", "used")
    assert (said.files, said.reused_files, said.reencoded_files, said.changed_files) == (97, 90, 7, None)
    assert (said.new_bytes, said.uploaded_bytes, said.padding_bytes, said.partial_chunks) == (4096, 1536, 32, 2)
    assert (said.injected_chunks, said.injected_bytes, said.own_duration_ns) == (3, 1_572_864, 500_000_000)
    first = METADATA.replace("Using previous index as metadata reference for 'root.mpxar.didx'\n", "")
    assert outcome_of("metadata", first).reference == "none that it could use"
    first = first.replace("Downloading previous manifest (Tue Nov 14 22:13:20 2023)", "No previous manifest available.")
    assert outcome_of("metadata", first).reference == "no-previous-snapshot"


def test_reference_client_in_one_stream() -> None:
    said = outcome_of("legacy", LEGACY)
    assert (said.snapshot, said.reference) == ("host/x/2023-11-14T22:13:20Z", "not-asked")
    assert (said.files, said.new_bytes, said.uploaded_bytes) == (None, 2 << 20, 1 << 20)


@pytest.mark.parametrize("broken", ["", "Starting backup: host/x/2023-11-14T22:13:21Z\n", "Duration: 0.5s\n"])
def test_reference_client_that_says_too_little(broken: str) -> None:
    with pytest.raises(SubjectFailed, match="no summary in its output"):
        outcome_of("metadata", broken)


def test_reference_client_as_it_spoke_in_its_own_runs() -> None:
    vectors = locate.vectors()
    if vectors is None or not (vectors / cliff_reference.RUNS).exists():
        pytest.skip("vectors are not here: reference-runs")
    for item in json.loads((vectors / cliff_reference.RUNS).read_text()):
        said = outcome_of("metadata", "\n".join(["Starting backup: host/x/2023-11-14T22:13:21Z", *item["summary"]]))
        assert said.files == item["files"]
        assert said.reused_files is not None and said.reencoded_files is not None
        assert said.reused_files + said.reencoded_files == item["files"]
        assert said.new_bytes and said.uploaded_bytes and said.payload_bytes and said.padding_bytes


# ---- ours ----


@pytest.mark.parametrize("mode", Pxarbench.modes)
def test_every_mode_of_ours_is_understood_and_fits_the_schema(tmp_path: Path, mode: str) -> None:
    root = tmp_path / "tree"
    root.mkdir()
    for number in range(20):
        (root / f"{number:02d}").write_bytes(bytes([number]) * 10_000)
    runs = Runs(subject("pxarbench", mode, tmp_path / "home"), root, tmp_path)
    runs.backup()
    flip(root / "07")
    said = runs.backup()
    one_stream = mode == "legacy"
    assert set(said.checksums) == ({"stream", "catalog"} if one_stream else {"metadata", "payload"})
    assert said.files == 20 and said.listed_chunks and said.new_bytes and said.uploaded_bytes
    assert said.payload_bytes is not None and said.payload_bytes > 200_000
    assert bool(said.ledger) != one_stream
    if runs.subject.reads_everything:
        assert (said.reused_files, said.file_bytes_read, said.reasons) == (0, 200_000, {"no-reference": 20})
    else:
        assert (said.reused_files, said.changed_files, said.file_bytes_read) == (19, 1, 10_000)
        assert said.reasons == {"unchanged": 19, "mtime": 1}
    known = record.schema()["properties"]["outcome"]["properties"]
    assert set(Outcome.__dataclass_fields__) == set(known)


def test_another_profile_than_was_asked_for_is_noticed(tmp_path: Path) -> None:
    made = subject("pxarbench", "metadata-stored", tmp_path / "home")
    (tmp_path / "tree").mkdir()
    command = made.backup(tmp_path / "tree", 1_700_000_000)
    words = [word if word != "stored" else "upstream" for word in command.argv]
    assert words[words.index("--absorb-below") :][:2] == ["--absorb-below", "0"]
    words = [word for word in words if word not in ("--absorb-below", "0")]  # only for the profile that was asked for
    run.run(words).check_ok()
    with pytest.raises(SubjectFailed, match="ran with --reuse-profile upstream, asked for stored"):
        made.outcome(b"")


def test_pxarbench_that_wrote_no_report(tmp_path: Path) -> None:
    made = Pxarbench("data", tmp_path, Settings(binary=Path("/bin/true")))
    with pytest.raises(SubjectFailed, match="--stats"):
        made.outcome(b"")
    made.stats.write_text('{"schema": "other/1"}')
    with pytest.raises(SubjectFailed, match="has schema 'other/1'"):
        made.outcome(b"")


def test_borg_and_restic_that_say_nothing(tmp_path: Path) -> None:
    from pxarbench_harness.subjects import Borg, Restic

    for made in (Borg("default", tmp_path, Settings()), Restic("default", tmp_path, Settings())):
        with pytest.raises(SubjectFailed, match="no summary in its output: oh dear"):
            made.outcome(b"oh dear")
