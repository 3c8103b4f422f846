"""Who asks a server: names, secrets, and the headers that carry them. Source: bench/spec/protocol.md 6."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

#: Beside letters, digits and `_.-~`: what is not percent-encoded. `%` is among them.
_SAFE = "%!$&'()*+,-./:;=@[]\\^_|~"


def token(id: str, secret: str, separator: str = " ") -> dict[str, str]:
    return {"Authorization": f"PBSAPIToken{separator}{id}:{quote(secret, safe=_SAFE)}"}


def ticket(value: str, csrf: str | None = None) -> dict[str, str]:
    headers = {"Cookie": f"PBSAuthCookie={quote(value, safe=_SAFE)}"}
    return headers if csrf is None else {**headers, "CSRFPreventionToken": csrf}


@dataclass(frozen=True)
class Account:
    id: str
    secret: str
    privileges: tuple[str, ...] = ()  # audit, read, backup, modify, prune; (): all

    @property
    def is_token(self) -> bool:
        return "!" in self.id.rpartition("@")[2]

    @property
    def headers(self) -> dict[str, str]:
        """Of a token."""
        return token(self.id, self.secret)
