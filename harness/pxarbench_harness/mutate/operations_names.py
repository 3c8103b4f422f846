"""Operations on names: files come, go, move, have several names; and the mixes."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..tree import Entry, Tree
from .draft import Draft, beside, folder_of
from .layouts import count, half
from .operation import SECOND, NotAvailable, Op, Operation, register
from .operations import CHANGE_BYTES, RESIZED, change
from .plan import Mutation
from .primitives import owner_text

#: What may differ between two files of one tree that exchange their names.
EXCHANGED = frozenset({"content", "size", "mtime", "mode", "owner", "xattr", "acl", "fcaps"})


def made(draft: Draft, path: bytes, like: Entry, how: str, *, size: int | None = None, **more: Any) -> Op:
    """A new file owned like another one, a second younger than that."""
    return draft.add(Op(
        path, draft.mutation.operation, size_after=like.size if size is None else size, mtime_ns_after=like.mtime_ns + SECOND,
        how=how, source=like.path, value=owner_text(like, like.mode), seed=draft.seed, **more,
    ))  # fmt: skip


def moved(draft: Draft, e: Entry, to: bytes) -> Op:
    word = draft.mutation.operation
    return draft.add(Op(e.path, word, e.size, e.size, e.mtime_ns, e.mtime_ns, "rename", to, seed=draft.seed))


def deleted(draft: Draft, e: Entry) -> Op:
    return draft.add(Op(e.path, draft.mutation.operation, e.size, 0, e.mtime_ns, 0, "delete", seed=draft.seed))


def inserted(draft: Draft, e: Entry, ordered: list[Entry], at: int) -> Op:
    """A file right behind `e`, of the size of one of the eight files around it, with bytes made from that one's."""
    around = ordered[max(0, at - 4) : at + 5]
    like = around[draft.dice(f"insert {e.path!r}").randrange(len(around))]
    return draft.add(Op(
        draft.free_name(e.path, word=b"new"), draft.mutation.operation, size_after=draft.bytes(like.size),
        mtime_ns_after=e.mtime_ns + SECOND, how="create" if draft.bytes(like.size) <= like.size else "make", source=like.path,
        value=owner_text(e, e.mode & 0o777), seed=draft.seed,
    ))  # fmt: skip


def directories(tree: Tree) -> list[bytes]:
    return [e.path for e in tree.entries.values() if e.kind == "directory"]


@register
class Delete(Operation):
    word, text, makes_gone = "delete", "unlinked", True

    def plan(self, draft: Draft) -> None:
        for e in draft.choose():
            deleted(draft, e)


@register
class Insert(Operation):
    word, text, makes_new = "insert", "a new file right behind the chosen one, sized like one near it (bytes=N: N bytes)", True

    def plan(self, draft: Draft) -> None:
        candidates = self.candidates(draft.tree, draft.mutation)
        ordered = list(candidates.values())
        places = {e.path: n for n, e in enumerate(ordered)}
        for e in draft.choose(candidates):
            inserted(draft, e, ordered, places[e.path])


@register
class Rename(Operation):
    word, text, makes_new, makes_gone = "rename", "another name in the same directory, right behind the old one", True, True

    def plan(self, draft: Draft) -> None:
        for e in draft.choose():
            moved(draft, e, draft.free_name(e.path))


def elsewhere(draft: Draft, e: Entry, folders: list[bytes], more: str) -> bytes:
    """A free name in another directory, drawn by lot."""
    dice = draft.dice(f"{more} {e.path!r}")
    folder = folders[dice.randrange(len(folders))]
    if folder == folder_of(e.path):
        folder = folders[(folders.index(folder) + 1) % len(folders)]
    name = e.path.rpartition(b"/")[2]
    same = name if folder == b"." else folder + b"/" + name
    return same if draft.never_was(same) else draft.free_name(e.path, folder=folder)


@register
class Move(Operation):
    word, text, makes_new, makes_gone = "move", "moved to another directory, drawn by lot", True, True
    needs = "regular file with one link, and two directories"

    @classmethod
    def available(cls, tree: Tree, mutation: Mutation | None = None) -> str:
        return super().available(tree, mutation) or ("" if tree.count("directory") > 1 else "the tree has one directory only")

    def plan(self, draft: Draft) -> None:
        folders = directories(draft.tree)
        for e in draft.choose():
            moved(draft, e, elsewhere(draft, e, folders, "move"))


@register
class RenameDirectory(Operation):
    word, text, makes_new, makes_gone = "rename-directory", "directories with RATE % of the files below them", True, True
    needs = "directory with regular files below, all with one link"

    @classmethod
    def candidates(cls, tree: Tree, mutation: Mutation | None = None) -> dict[bytes, Entry]:
        below: Counter[bytes] = Counter()
        linked: set[bytes] = set()
        for e in tree.entries.values():
            if e.kind != "file":
                continue
            folder = folder_of(e.path)
            while folder != b".":
                below[folder] += 1
                if e.links > 1 or e.flags:
                    linked.add(folder)
                folder = folder_of(folder)
        return {path: tree.entries[path] for path in sorted(below) if path not in linked}

    def plan(self, draft: Draft) -> None:
        folders = self.candidates(draft.tree)
        files = {path: sum(1 for p in draft.below(path) if draft.tree.entries[p].kind == "file") for path in folders}
        wanted = count(sum(1 for e in draft.tree.entries.values() if e.kind == "file"), draft.mutation.rate)
        chosen: list[bytes] = []
        for path in _in_layout(draft, list(folders)):
            if files[path] <= max(wanted, min(files.values())) and not any(_nested(path, other) for other in chosen):
                chosen.append(path)
                wanted -= files[path]
                if wanted <= 0:
                    break
        for path in sorted(chosen):
            e = draft.tree.entries[path]
            moved(draft, e, draft.free_name(path))


def _nested(a: bytes, b: bytes) -> bool:
    return a == b or a.startswith(b + b"/") or b.startswith(a + b"/")


def _in_layout(draft: Draft, paths: list[bytes]) -> list[bytes]:
    """All of them, those first that the layout likes: in a row, from the end, the newest, or by lot."""
    layout = draft.mutation.layout
    if layout == "tail":
        return paths[::-1]
    if layout == "recent":
        return sorted(paths, key=lambda p: (draft.tree.entries[p].mtime_ns, p), reverse=True)
    if layout == "clustered":
        start = len(paths) // 3 if draft.mutation.seed is None else draft.dice("start").randrange(len(paths))
        return paths[start:] + paths[:start]
    order = list(paths)
    draft.dice("directories").shuffle(order)
    return order


class _Pairs(Operation):
    makes_new = False

    def pairs(self, draft: Draft) -> list[tuple[Entry, Entry]]:
        raise NotImplementedError

    def plan(self, draft: Draft) -> None:
        for a, b in self.pairs(draft):
            change(draft, a, "exchange", mtime_ns=a.mtime_ns, to=b.path)


@register
class Swap(_Pairs):
    word, text = "swap", "two files exchange their names"
    needs = "two regular files with one link and different contents"
    facets, sometimes = frozenset({"inode", "ctime"}), EXCHANGED

    @classmethod
    def available(cls, tree: Tree, mutation: Mutation | None = None) -> str:
        digests = {e.digest for e in cls.candidates(tree).values()}
        return "" if len(digests) > 1 else f"the tree has no {cls.needs}"

    def pairs(self, draft: Draft) -> list[tuple[Entry, Entry]]:
        candidates = self.candidates(draft.tree)
        chosen = draft.choose(candidates)
        if len(chosen) == 1:
            (one,) = chosen
            other = next(e for e in [*candidates.values()] if e.digest != one.digest)
            return [(one, other)]
        middle = (len(chosen) + 1) // 2
        pairs = [(a, b) for a, b in zip(chosen, chosen[middle:], strict=False) if a.digest != b.digest]
        if not pairs:
            raise NotAvailable(f"mutation {draft.mutation.text}: the chosen files have equal contents")
        return pairs


@register
class SwapRestored(_Pairs):
    word = "swap-restored"
    text = "two files of equal size and attributes exchange their names; each name keeps its mtime"
    needs = "two regular files with one link, of equal size, owner, mode and attributes, with different contents"
    facets = frozenset({"content", "inode", "ctime"})

    @classmethod
    def groups(cls, tree: Tree) -> list[tuple[Entry, Entry]]:
        """Pairs of equal size; of equal mtime, too, where there are any."""
        alike: dict[Any, list[Entry]] = defaultdict(list)
        for e in cls.candidates(tree).values():
            alike[e.size, e.mode, e.uid, e.gid, e.xattrs].append(e)
        pairs = []
        for members in alike.values():
            members.sort(key=lambda e: (e.mtime_ns, e.path))
            waiting: Entry | None = None
            for e in members:
                if waiting is None or waiting.digest == e.digest:
                    waiting = e
                else:
                    pairs.append((waiting, e))
                    waiting = None
        return sorted(pairs, key=lambda p: p[0].path)

    @classmethod
    def available(cls, tree: Tree, mutation: Mutation | None = None) -> str:
        return "" if cls.groups(tree) else f"the tree has no {cls.needs}"

    def pairs(self, draft: Draft) -> list[tuple[Entry, Entry]]:
        pairs = self.groups(draft.tree)
        equal = [(a, b) for a, b in pairs if a.mtime_ns == b.mtime_ns]
        files = count(len(self.candidates(draft.tree)), draft.mutation.rate)
        pool = equal if len(equal) >= max(1, files // 2) else pairs
        partners = {a.path: (a, b) for a, b in pool}
        chosen = half({a.path: a for a, _ in pool}, draft.mutation.size)
        ordered = draft.in_layout(chosen, min(len(chosen), max(1, files // 2)))
        return [partners[path] for path in ordered]

    def plan(self, draft: Draft) -> None:
        for a, b in self.pairs(draft):
            change(draft, a, "exchange", mtime_ns=b.mtime_ns, to=b.path)
            if a.mtime_ns != b.mtime_ns:
                for old, new in ((b, a), (a, b)):  # now at the other's name
                    draft.add(Op(
                        new.path, self.word, new.size, new.size, old.mtime_ns, new.mtime_ns, "touch", seed=draft.seed,
                    ))  # fmt: skip


@register
class ReplaceType(Operation):
    word, makes_new, makes_gone = "replace-type", True, True
    text = "a file becomes a symlink, the next a directory with a file in it; some symlinks become files"

    def plan(self, draft: Draft) -> None:
        chosen = draft.choose()
        for number, e in enumerate(chosen):
            folder = draft.tree.entries[folder_of(e.path)]
            deleted(draft, e)
            if number % 2 == 0:
                draft.add(Op(
                    e.path, self.word, mtime_ns_after=e.mtime_ns + SECOND, how="symlink", value=f"{e.uid}:{e.gid}:replaced",
                    seed=draft.seed,
                ))  # fmt: skip
                continue
            draft.add(Op(
                e.path, self.word, mtime_ns_after=e.mtime_ns + SECOND, how="mkdir",
                value=owner_text(e, folder.mode & 0o777 | 0o700), seed=draft.seed,
            ))  # fmt: skip
            draft.add(Op(
                e.path + b"/file", self.word, size_after=e.size, mtime_ns_after=e.mtime_ns + SECOND, how="make",
                value=owner_text(e, e.mode & 0o777), seed=draft.seed,
            ))  # fmt: skip
        links = {e.path: e for e in draft.tree.entries.values() if e.kind == "symlink" and e.links == 1}
        if links:
            for path in draft.in_layout(links, min(len(links), max(1, len(chosen) // 3))):
                link = links[path]
                deleted(draft, link)
                draft.add(Op(
                    path, self.word, size_after=draft.bytes(CHANGE_BYTES), mtime_ns_after=link.mtime_ns + SECOND, how="make",
                    value=f"{link.uid}:{link.gid}:644", seed=draft.seed,
                ))  # fmt: skip


@register
class HardlinkAdd(Operation):
    word, makes_new, makes_gone = "hardlink-add", True, True
    text = "one more name, by turns behind the old one and before it: then the new one is the first"
    facets = frozenset({"ctime"})

    def plan(self, draft: Draft) -> None:
        for number, e in enumerate(draft.choose()):
            name = draft.free_name(e.path, word=b"link", first=number % 2 == 1)
            draft.add(Op(e.path, self.word, e.size, e.size, e.mtime_ns, e.mtime_ns, "link", name, seed=draft.seed))


@register
class HardlinkBreak(Operation):
    word = "hardlink-break"
    text = "a name of a file with several becomes a file of its own, with equal contents; by turns the last and the first"
    needs = "regular file with several names, all of them in the tree"
    facets, sometimes = frozenset({"ctime"}), frozenset({"inode", "hardlink"})

    @classmethod
    def candidates(cls, tree: Tree, mutation: Mutation | None = None) -> dict[bytes, Entry]:
        names: dict[bytes, list[Entry]] = defaultdict(list)
        for e in tree.entries.values():
            if e.kind == "file" and e.links > 1 and not e.flags:
                names[e.link_to or e.path].append(e)
        # The first name is the one that a walk meets first, which in sibling folders ("a" and "a-b") is not the least path.
        return {path: next(e for e in group if not e.link_to) for path, group in names.items() if len(group) == group[0].links}

    def plan(self, draft: Draft) -> None:
        last = {e.link_to: e for e in draft.tree.entries.values() if e.link_to}
        for number, e in enumerate(draft.choose()):
            chosen = last[e.path] if number % 2 == 0 else e
            change(draft, chosen, "replace", mtime_ns=e.mtime_ns, to=beside(chosen.path, b".pxarbench-%d" % number))


@register
class HardlinkRemove(Operation):
    word, makes_gone = "hardlink-remove", True
    text = "a name of a file with several is unlinked, by turns the last and the first"
    needs = HardlinkBreak.needs
    facets, sometimes = frozenset({"ctime"}), frozenset({"hardlink"})

    @classmethod
    def candidates(cls, tree: Tree, mutation: Mutation | None = None) -> dict[bytes, Entry]:
        return HardlinkBreak.candidates(tree, mutation)

    def plan(self, draft: Draft) -> None:
        last = {e.link_to: e for e in draft.tree.entries.values() if e.link_to}
        for number, e in enumerate(draft.choose()):
            deleted(draft, last[e.path] if number % 2 == 0 else e)


@register
class Duplicate(Operation):
    word, text, makes_new = "duplicate", "a copy right behind the chosen file", True

    def plan(self, draft: Draft) -> None:
        for e in draft.choose():
            made(draft, draft.free_name(e.path, word=b"copy"), e, "copy")


@register
class DeleteDuplicate(Operation):
    word, text, makes_gone = "delete-duplicate", "RATE % of what earlier `duplicate` steps of the chain made is deleted", True
    needs = "earlier step `duplicate` in the chain"

    @classmethod
    def available(cls, tree: Tree, mutation: Mutation | None = None) -> str:
        return ""  # only the logs tell, and they are known when it is planned

    def plan(self, draft: Draft) -> None:
        copies = {}
        for path in _duplicates(draft.log):
            e = draft.tree.entries.get(path)
            if e is not None and e.kind == "file" and e.links == 1:
                copies[path] = e
        if not copies:
            raise NotAvailable(f"mutation {draft.mutation.text}: needs an {self.needs}")
        for e in draft.choose(copies):
            deleted(draft, e)


def _duplicates(log: Path) -> Iterable[bytes]:
    from .oplog import earlier

    return [op.path for past in earlier(log) for op in past.ops if op.op == Duplicate.word]


@register
class SymlinkRetarget(Operation):
    word, text = "symlink-retarget", "a symlink gets another target"
    needs = "symlink"

    @classmethod
    def candidates(cls, tree: Tree, mutation: Mutation | None = None) -> dict[bytes, Entry]:
        return {e.path: e for e in tree.entries.values() if e.kind == "symlink"}

    def plan(self, draft: Draft) -> None:
        for e in draft.choose():
            target = e.target[:-1] if e.target.endswith(b"~") and len(e.target) > 1 else e.target[:1000] + b"~"
            deleted(draft, e)
            draft.add(Op(
                e.path, self.word, mtime_ns_after=e.mtime_ns + SECOND, how="symlink",
                value=f"{e.uid}:{e.gid}:" + target.decode("utf-8", "surrogateescape"), seed=draft.seed,
            ))  # fmt: skip


@register
class AppendOnly(Operation):
    word, text, makes_new = "append-only", "half: new files behind the last one; half: appended to the newest ones", True
    facets = RESIZED

    def plan(self, draft: Draft) -> None:
        candidates = half(self.candidates(draft.tree), draft.mutation.size)
        ordered = sorted(candidates.values(), key=lambda e: e.path)
        k = min(count(len(ordered), draft.mutation.rate), len(ordered))
        last = ordered[-1]
        for number in range((k + 1) // 2):
            at = len(ordered) - 1 - number % len(ordered)
            like = ordered[at]
            made(draft, draft.free_name(last.path, word=b"z"), like, "create")
        newest = sorted(ordered, key=lambda e: (e.mtime_ns, e.path), reverse=True)[: k // 2]
        more = draft.bytes(CHANGE_BYTES)
        for e in sorted(newest, key=lambda e: e.path):
            change(draft, e, "append", size=e.size + more, at=e.size, amount=more)


_ROTATED = re.compile(rb"\.[12]$")


@register
class Rotate(Operation):
    word, text = "rotate", "x.1 becomes x.2, x becomes x.1, a new x of the old one's size (bytes=N: N bytes); an old x.2 goes"
    makes_new, needs, minimum = True, "regular file with one link that is not empty", 1
    facets = frozenset({"content", "inode", "ctime"})
    sometimes = EXCHANGED

    @classmethod
    def fits(cls, entry: Entry, mutation: Mutation | None) -> bool:
        return not _ROTATED.search(entry.path) and len(entry.path.rpartition(b"/")[2]) < 250

    def plan(self, draft: Draft) -> None:
        def older_are_files(e: Entry) -> bool:
            older = (draft.tree.entries.get(e.path + suffix) for suffix in (b".1", b".2"))
            return all(o is None or (o.kind == "file" and o.links == 1) for o in older)

        for e in draft.choose(fit=older_are_files):
            first, second = (draft.tree.entries.get(e.path + suffix) for suffix in (b".1", b".2"))
            if second is not None and first is not None:
                deleted(draft, second)
            if first is not None:
                moved(draft, first, e.path + b".2")
            moved(draft, e, e.path + b".1")
            made(draft, e.path, e, "make", size=draft.bytes(e.size))


@register
class Mix(Operation):
    word, makes_new, makes_gone = "mix", True, True
    text = "by lot: 30 % written in place, 25 % appended to, 12 % new, 12 % deleted, 8 % moved, 8 % touched, 5 % chmod"
    facets, sometimes = frozenset({"ctime"}), frozenset({"content", "size", "mtime", "mode"})

    def plan(self, draft: Draft) -> None:
        candidates = self.candidates(draft.tree)
        ordered = list(candidates.values())
        places = {e.path: n for n, e in enumerate(ordered)}
        folders = directories(draft.tree)
        dice = draft.dice("mix")
        kinds = ("edit", "append", "new", "delete", "rename", "touch", "chmod")
        drawn = [(dice.choices(kinds, (30, 25, 12, 12, 8, 8, 5))[0], e) for e in draft.choose(candidates)]
        drawn.sort(key=lambda pair: pair[0] != "new")  # new files are made from others, while those are there as they were
        for kind, e in drawn:
            length = draft.bytes(dice.randrange(1, 200))
            if kind == "edit" and e.size:
                length = min(length, e.size)
                change(draft, e, "write", at=dice.randrange(e.size - length + 1), amount=length)
            elif kind in ("edit", "append"):
                change(draft, e, "append", size=e.size + length, at=e.size, amount=length)
            elif kind == "new":
                inserted(draft, e, ordered, places[e.path])
            elif kind == "delete":
                deleted(draft, e)
            elif kind == "rename":
                moved(draft, e, elsewhere(draft, e, folders, "mix"))
            elif kind == "touch" or any(name.startswith("system.posix_acl") for name, _ in e.xattrs):
                change(draft, e, "touch")
            else:
                change(draft, e, "chmod", value=f"{e.mode ^ 0o020:o}")

