"""The operations that sequences are made of.

Each one has three targets, for its first, second and third time in a sequence: before, at and behind the edges of chunks.
One whose target is no longer what it needs does not apply; the sequence is skipped then, as what is left of it is a
shorter sequence. New times and names belong to an operation and its count, not to a place in the sequence.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from .base import noise
from .garden import EPOCH_NS, Directory, Fifo, File, Garden, Names, Node, Symlink


class NotApplicable(Exception):
    """The target is gone, or is something else by now."""


@dataclass(frozen=True)
class Step:
    """An operation for the `count`-th time, from 0."""

    garden: Garden
    word: str
    count: int

    @property
    def stamp(self) -> int:
        """A time that nothing else has."""
        return EPOCH_NS + 500_000_000 + (NUMBERS[self.word] * 8 + self.count) * 1000

    def noise(self, size: int, more: str = "") -> bytes:
        return noise(f"{self.word} {self.count} {more}", size)

    def files(self, *paths: bytes) -> None:
        if any(not isinstance(self.garden.names.get(path), File) for path in paths):
            raise NotApplicable(paths)

    def free(self, *paths: bytes) -> None:
        """Nothing there, but a directory to put it in."""
        names = self.garden.names
        for path in paths:
            folder = path.rpartition(b"/")[0]
            if path in names or (folder and not isinstance(names.get(folder), Directory)):
                raise NotApplicable(path)

    def is_named(self, path: bytes, kind: type[Node]) -> None:
        if not isinstance(self.garden.names.get(path), kind):
            raise NotApplicable(path)


def append(step: Step) -> None:
    path, more = ((b"c/r", 500), (b"d/big", 1), (b"b/d", 30000))[step.count]
    step.files(path)
    step.garden.write(path, step.garden.file(path).content + step.noise(more), step.stamp)


def truncate(step: Step) -> None:
    path, size = ((b"b/e", 7000), (b"d/big", 100000), (b"e/m11", 0))[step.count]
    step.files(path)
    content = step.garden.file(path).content
    if len(content) <= size:
        raise NotApplicable(path)
    step.garden.write(path, content[:size], step.stamp)


def overwrite(step: Step) -> None:
    """Other bytes, as many as before."""
    path = (b"b/b0", b"c/q", b"z")[step.count]
    step.files(path)
    step.garden.write(path, step.noise(len(step.garden.file(path).content)), step.stamp)


def touch(step: Step) -> None:
    path = (b"a0", b"c/p", b"e/m05")[step.count]
    step.files(path)
    step.garden.touch(path, step.stamp)


def content_restored(step: Step) -> None:
    """As overwrite, and the old time is put back: what metadata mode cannot see."""
    path = (b"c/q", b"d/t", b"e/m00")[step.count]
    step.files(path)
    file = step.garden.file(path)
    step.garden.write(path, step.noise(len(file.content)), file.mtime_ns)


def size_restored(step: Step) -> None:
    """Longer or shorter, and the old time is put back."""
    path, by = ((b"b/b1", 1), (b"c/r", -1), (b"d/s", 20000))[step.count]
    step.files(path)
    file = step.garden.file(path)
    content = file.content + step.noise(by) if by > 0 else file.content[:by]
    step.garden.write(path, content, file.mtime_ns)


def chmod(step: Step) -> None:
    path, mode = ((b"d/s", 0o600), (b"b/e", 0o4755), (b"z", 0o444))[step.count]
    step.files(path)
    step.garden.chmod(path, mode)


def xattr(step: Step) -> None:
    """One more; another value; the last file of its chunk gets one."""
    path, name = ((b"c/p", "user.new"), (b"c/q", "user.a"), (b"d/t", "user.z"))[step.count]
    step.files(path)
    step.garden.set_xattr(path, name, b"new")


def delete_tiny(step: Step) -> None:
    path = (b"b/d", b"d/s", b"b/c")[step.count]
    step.files(path)
    step.garden.unlink(path)


def delete_chunk(step: Step) -> None:
    """All files of a chunk: from edge to edge."""
    paths = ((b"c/p", b"c/q", b"c/r"), (b"b/b0", b"b/b1"), (b"d/u",))[step.count]
    step.files(*paths)
    for path in paths:
        step.garden.unlink(path)


def _insert(step: Step, path: bytes, size: int) -> None:
    step.free(path)
    step.garden.create(path, File(step.noise(size), step.stamp))


def insert_first(step: Step) -> None:
    _insert(step, *((b"A0", 50), (b"A1", 17000), (b"b/a", 40000))[step.count])


def insert_middle(step: Step) -> None:
    _insert(step, *((b"c/pp", 700), (b"d/bigger", 20000), (b"e/m05x", 0))[step.count])


def insert_last(step: Step) -> None:
    _insert(step, *((b"zz0", 100), (b"zz1", 30000), (b"f/z", 3000))[step.count])


def rename_file(step: Step) -> None:
    old, new = ((b"c/q", b"c/qq"), (b"b/b0", b"d/zz"), (b"e/m03", b"Am03"))[step.count]
    step.files(old)
    step.free(new)
    step.garden.rename(old, new)


def rename_directory(step: Step) -> None:
    old, new = ((b"c", b"cc"), (b"e", b"b/x"), (b"f", b"Af"))[step.count]
    step.is_named(old, Directory)
    step.free(new)
    step.garden.rename(old, new)


def swap(step: Step) -> None:
    """Of other size; alike in all but the contents, which metadata mode cannot see; with other times."""
    a, b = ((b"b/b0", b"c/p"), (b"s0", b"s1"), (b"e/m01", b"e/m02"))[step.count]
    step.files(a, b)
    step.garden.swap(a, b)


def hardlink_add(step: Step) -> None:
    """A later name; an earlier one, which becomes the first; one in between of a file that already has two."""
    old, new = ((b"c/q", b"c/ql"), (b"d/u", b"b/u"), (b"f/i1", b"f/i15"))[step.count]
    step.files(old)
    step.free(new)
    step.garden.link(old, new)


def hardlink_break(step: Step) -> None:
    """The later name, or the first, gets a copy with all attributes; or the first is deleted."""
    first, later = ((b"f/h1", b"f/h2"), (b"f/i1", b"f/i2"), (b"f/j1", b"f/j2"))[step.count]
    step.files(first, later)
    file = step.garden.file(first)
    if file is not step.garden.names[later]:
        raise NotApplicable(first)
    gone = (later, first, first)[step.count]
    step.garden.unlink(gone)
    if step.count < 2:
        step.garden.create(gone, File(file.content, file.mtime_ns, file.mode, file.xattrs))


def replace_type(step: Step) -> None:
    """A file by a symlink; a symlink and a FIFO by files; a file by a directory with something in it."""
    if step.count == 0:
        step.files(b"c/p")
        step.garden.unlink(b"c/p")
        step.garden.create(b"c/p", Symlink(b"q"))
    elif step.count == 1:
        step.is_named(b"f/link", Symlink)
        step.is_named(b"f/pipe", Fifo)
        for path, size in ((b"f/link", 2), (b"f/pipe", 18000)):
            step.garden.unlink(path)
            step.garden.create(path, File(step.noise(size), step.stamp))
    else:
        step.files(b"d/s")
        step.garden.unlink(b"d/s")
        step.garden.create(b"d/s", Directory())
        step.garden.create(b"d/s/a", File(step.noise(10), step.stamp))


def duplicate(step: Step) -> None:
    """The contents of existing files at two more places: new chunks whose bytes the store may know."""
    sources, places = (
        ((b"b/e",), ((b"Ae",), (b"d/ue",))),
        ((b"c/p", b"c/q", b"c/r"), ((b"a1p", b"a1q", b"a1r"), (b"y1p", b"y1q", b"y1r"))),
        ((b"d/u",), ((b"b/cc",), (b"d/u1",))),
    )[step.count]
    step.files(*sources)
    for place in places:
        step.free(*place)
    for place in places:
        for source, path in zip(sources, place, strict=True):
            step.garden.create(path, File(step.garden.file(source).content, step.stamp))


OPERATIONS: dict[str, Callable[[Step], None]] = {
    "append": append,
    "truncate": truncate,
    "overwrite": overwrite,
    "touch": touch,
    "content-restored": content_restored,
    "size-restored": size_restored,
    "chmod": chmod,
    "xattr": xattr,
    "delete-tiny": delete_tiny,
    "delete-chunk": delete_chunk,
    "insert-first": insert_first,
    "insert-middle": insert_middle,
    "insert-last": insert_last,
    "rename-file": rename_file,
    "rename-directory": rename_directory,
    "swap": swap,
    "hardlink-add": hardlink_add,
    "hardlink-break": hardlink_break,
    "replace-type": replace_type,
    "duplicate": duplicate,
}
WORDS = tuple(OPERATIONS)
NUMBERS = {word: number for number, word in enumerate(WORDS)}

Sequence_ = tuple[str, ...]


def apply_next(garden: Garden, before: Sequence[str], word: str) -> bool:
    """Applies `word` behind the sequence `before`; False, and nothing done, if it does not apply."""
    try:
        OPERATIONS[word](Step(garden, word, Counter(before)[word]))
    except NotApplicable:
        return False
    return True


def apply_all(garden: Garden, words: Iterable[str]) -> bool:
    """A whole sequence; False as soon as an operation does not apply."""
    done: list[str] = []
    for word in words:
        if not apply_next(garden, done, word):
            return False
        done.append(word)
    return True


def names_after(garden: Garden, base: Names, words: Iterable[str]) -> Names | None:
    garden.become(base)
    return garden.names if apply_all(garden, words) else None
