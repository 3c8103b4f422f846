"""A server of ours with the scripted client at hand."""

from __future__ import annotations

from . import client
from .accounts import Account
from .serve import OWNER, SECRET, STORE, TOKEN, ServerFailed, Serving, Setup

__all__ = ["OWNER", "SECRET", "STORE", "TOKEN", "Account", "Server", "ServerFailed", "Setup"]


class Server(Serving):
    def line(self) -> client.Line:
        return client.Line(self.port)

    def backup(self, time: int, id: str = "demo", account: Account | None = None, **more: object) -> client.Session:
        headers = (account or self.setup.accounts[0]).headers
        target = client.backup_target(self.setup.store, id, time, **more)  # type: ignore[arg-type]
        return client.opened(self.port, target, headers)

    def reader(self, time: int, id: str = "demo", account: Account | None = None, **more: object) -> client.Session:
        headers = (account or self.setup.accounts[0]).headers
        target = client.reader_target(self.setup.store, id, time, **more)  # type: ignore[arg-type]
        return client.opened(self.port, target, headers, client.READER)

    def rest(self, method: str, path: str, account: Account | None = None, **options: object) -> client.Reply:
        """One call below /api2/json/ on a connection of its own."""
        headers = (account or self.setup.accounts[0]).headers
        with self.line() as line:
            return line.exchange(method, "/api2/json/" + path, headers=headers, **options)  # type: ignore[arg-type]
