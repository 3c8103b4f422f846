"""Mail folders, one file per message. Flags are part of the name, so reading a message renames its file."""

from __future__ import annotations

from .planting import DAY_NS, SECOND_NS, Data, Dice, Encoded, Exactly, File, Folder, Plan, Weighted, timestamp
from .recipe import Recipe

#: Folder, share of all messages.
_FOLDERS = (
    ("", 5.0), (".Sent", 2.0), (".Archive.2023", 3.0), (".Archive.2024", 4.0), (".Lists.kernel", 5.0), (".Drafts", 0.2),
    (".Trash", 0.8),
)  # fmt: skip
_ACCOUNTS = ("alice", "bob")
_FLAGS: dict[str, float] = {"S": 60, "RS": 15, "": 10, "FS": 5, "ST": 4, "PS": 3, "FRS": 2, "DS": 1}
_NAMES = ("anna", "bela", "chris", "dora", "emil", "fatima", "georg", "hana")


def _header(dice: Dice, number: int, seconds: int, attachment: bool) -> bytes:
    kind = "multipart/mixed; boundary=frontier" if attachment else "text/plain; charset=utf-8"
    return (
        f"Return-Path: <{dice.pick(_NAMES)}@example.org>\n"
        f"Received: from mx{dice.below(4)}.example.org (mx.example.org [192.0.2.{dice.below(250)}]); {seconds}\n"
        f"Message-ID: <{seconds}.{number}@example.org>\nFrom: {dice.pick(_NAMES)}@example.org\n"
        f"To: {dice.pick(_NAMES)}@example.net\n"
        f"Subject: Re: number {dice.below(5000)}\nMIME-Version: 1.0\nContent-Type: {kind}\n\n"
    ).encode()


def plan(recipe: Recipe) -> Plan:
    values = recipe.values
    dice = Dice(values["seed"], "mail")
    newest = timestamp(values["newest"])
    days = values["days"]
    folders, flags = Weighted(_FOLDERS), Weighted(_FLAGS)
    out = Plan(epoch_ns=newest - days * DAY_NS)
    for account in _ACCOUNTS:
        for name, _ in _FOLDERS:
            place = f"{account}/Maildir" + (f"/{name}" if name else "")
            for part in ("cur", "new", "tmp"):
                out.folders[f"{place}/{part}".encode()] = Folder(0o700)
            out.folders[place.encode()] = Folder(0o700)
            # The server's list of messages grows with every delivery.
            list_size = 40 * values["files"] // (len(_FOLDERS) * len(_ACCOUNTS))
            list_text = Data(list_size, f"{values['seed']}/list/{place}", values["compressibility"])
            out.nodes.append(File(f"{place}/dovecot-uidlist".encode(), newest, (list_text,), 0o600))
        out.nodes.append(
            File(f"{account}/Maildir/subscriptions".encode(), out.epoch_ns,
                 (Exactly("".join(f"{name[1:]}\n" for name, _ in _FOLDERS[1:]).encode()),), 0o600)
        )  # fmt: skip
    smallest, largest = values["size_min"], values["size_max"]
    for number in range(values["files"]):
        # Evenly through the days, so that the order of delivery is the order of numbers.
        mtime = newest - days * DAY_NS + round((number + dice.unit()) * days * DAY_NS / values["files"])
        seconds, micro = mtime // SECOND_NS, mtime % SECOND_NS // 1000
        size = round(smallest * (largest / smallest) ** dice.unit())
        attachment = dice.chance(values["attachment_share"])
        header = _header(dice, number, seconds, attachment)
        seed, body = f"{values['seed']}/mail/{number}", max(size - len(header), 0)
        text = Data(body // 4 if attachment else body, seed, values["compressibility"])
        contents = (Exactly(header), text, *((Encoded(body - text.size, seed + "/a"),) if attachment else ()))
        is_new = dice.chance(0.02)
        name = f"{seconds}.M{micro:06d}P{1000 + dice.below(30000)}.mail,S={len(header) + body}"
        place = f"{dice.pick(_ACCOUNTS)}/Maildir/{folders.pick(dice)}".rstrip("/")
        tail = f"new/{name}" if is_new else f"cur/{name}:2,{flags.pick(dice)}"
        out.nodes.append(File(f"{place}/{tail}".encode(), mtime, contents, 0o600))
    return out
