"""What a server announces, by the scripted client: for bench/spec/protocol.md 7.3, 7.4 and 20. Needs an API token."""

from __future__ import annotations

import hashlib

import h2.settings

from . import client, objects
from .accounts import Account
from .objects import Chunk


def look(
    host: str, port: int, store: str, account: Account, id: str, time: int, fingerprint: str | None
) -> list[str]:
    """Sentences. The session is given up, so that nothing stays."""
    with client.Line(port, host=host) as line:
        if fingerprint is None or line.fingerprint != fingerprint.lower():
            raise AssertionError(f"the certificate is {line.fingerprint}, PBS_FINGERPRINT says {fingerprint or 'nothing'}")
        reply = line.upgrade(client.backup_target(store, id, time), account.headers)
        if reply.status != 101:
            raise AssertionError(f"the upgrade was answered {reply.status}: {reply.text[:200]}")
        seen = [f"101 with {', '.join(sorted(reply.headers))}"]
        with client.Session(line) as session:
            session.get("/previous_backup_time")
            codes = h2.settings.SettingCodes
            told = {int(number): value for number, value in session.h2.remote_settings.items() if int(number) in range(1, 7)}
            seen.append("SETTINGS " + ", ".join(f"{codes(n).name}={v}" for n, v in sorted(told.items())))
            seen.append(f"connection window {session.h2.outbound_flow_control_window}")
            raw = hashlib.shake_128(b"early").digest(8 << 20)
            late = Chunk(raw, objects.blob(raw))
            path = f"/dynamic_chunk?{late.query(99)}"
            stream = session.submit("POST", path, body=late.encoded, content_type=client.BINARY, insists=True)
            (refusal,) = session.wait(stream)
            session.pump(lambda: session.streams[stream].reset is not None or session.streams[stream].said_end)
            seen.append(f"an early refusal is {refusal.status}, reset with {session.streams[stream].reset}")
        return seen
