"""report/network.py: what lines to a server add, from made up records."""

from __future__ import annotations

from report_sessions import LINUX, Session, outcome

from pxarbench_harness.report import build, network
from pxarbench_harness.report.model import Table, words

#: Seconds of an unchanged metadata run, by subject and the line of its server.
UNCHANGED = {
    ("pxarbench", ""): 1.0, ("pxarbench@near", "loopback"): 1.1, ("pxarbench@wan", "loopback:30ms,1000"): 1.55,
    ("pxarbench@far", "loopback:100ms,1000"): 2.6, ("pxarbench@netem-wan", "netem:30ms,1000"): 1.52,
}  # fmt: skip


def made(only: frozenset[str] = frozenset()) -> Session:
    session = Session()
    for (subject, server), seconds in UNCHANGED.items():
        if only and subject not in only:
            continue
        told = {"requests": 30, "round_trips": 13, "sent_bytes": 900, "received_bytes": 800, "wire_sent_bytes": 125_000_000,
                "wire_received_bytes": 0} if server else {}  # fmt: skip
        over = {"settings": {"server": server} if server else {}, "outcome": outcome(network=told)}
        session.record(LINUX, "none", (subject, "metadata"), "reference", wall_ns=round(seconds * 5e9), **over)
        for number in (1, 2, 3):
            session.record(LINUX, "none", (subject, "metadata"), "measured", round=number, wall_ns=round(seconds * 1e9), **over)
    return session


def table(session: Session) -> Table | None:
    blocks = build(session.records).blocks
    return next((b for b in blocks if isinstance(b, Table) and "round trips" in b.columns), None)


def test_what_a_line_adds_is_told_in_round_trips() -> None:
    found = table(made())
    assert found is not None
    rows = {(words(row[0]), words(row[2])): [words(cell) for cell in row] for row in found.rows}
    at = found.columns.index
    assert [key[1] for key in rows if key[0] == "unchanged"] == [
        "folder", "loopback", "30 ms, 1 Gbit/s", "30 ms, 1 Gbit/s, by the kernel", "100 ms, 1 Gbit/s",
    ]  # fmt: skip
    wan = rows["unchanged", "30 ms, 1 Gbit/s"]
    assert (wan[at("added s")], wan[at("round trips")], wan[at("s of its bytes")]) == ("+0.450", "15.0", "1.000")
    assert (wan[at("chain")], wan[at("requests")], wan[at("n")]) == ("13", "30", "3")
    # Bytes of TCP where the kernel told them, else those within TLS.
    assert (wan[at("sent")], wan[at("received")]) == ("119.21 MiB", "800 B")
    assert rows["unchanged", "30 ms, 1 Gbit/s, by the kernel"][at("round trips")] == "14.0"
    assert rows["unchanged", "100 ms, 1 Gbit/s"][at("round trips")] == "15.0"
    assert rows["first", "30 ms, 1 Gbit/s"][at("added s")] == "+2.250" and rows["first", "loopback"][at("n")] == "1"
    # The line that others are compared with adds nothing itself; without it, the folder is that.
    assert rows["unchanged", "loopback"][at("added s")] == "–"
    found = table(made(frozenset({"pxarbench", "pxarbench@far"})))
    assert found is not None
    (far,) = [row for row in found.rows if "100 ms" in words(row[2]) and row[0] == "unchanged"]
    assert (far[at("added s")], far[at("round trips")]) == ("+1.600", "16.0")


def test_sessions_without_a_server_do_not_mention_it() -> None:
    assert table(made(frozenset({"pxarbench"}))) is None


def test_places() -> None:
    assert [network.Place(text).text for text in ("", "loopback", "elsewhere", "loopback:0.3ms")] == [
        "folder", "loopback", "elsewhere", "0.3 ms",
    ]  # fmt: skip
    assert network.Place("netem:100ms,10").bytes_per_second == 1_250_000
    assert network.Place("netem:100ms,10").text == "100 ms, 10 Mbit/s, by the kernel"
