#!/usr/bin/python3
"""Which parts of the C core may talk to the outside, checked from what their object files ask the linker for.

Pure folders (formats and decisions) make no system calls: bytes come in and go out as arguments. Whatever their objects
leave undefined must be on the list below, or be defined by an object of ours that is pure in the same sense, however
far down. A list of what is allowed is used, not one of what is forbidden: a new system call is then caught by itself.

Threads and processes are started by flow alone.
"""

import argparse
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

# The C library without system calls. gmtime_r and its kin are missing on purpose: they read the time zone's file.
ALLOWED = set(
    """
    malloc calloc realloc reallocarray free
    memcpy memmove memset memcmp bcmp memchr memrchr memmem mempcpy
    strlen strnlen strcmp strncmp strcasecmp strncasecmp strchr strrchr strchrnul strstr strspn strcspn strcpy strncpy
    stpcpy strdup strndup strtol strtoll strtoul strtoull strtod strsep strtok_r strerror_r __xpg_strerror_r
    __isoc23_strtol __isoc23_strtoll __isoc23_strtoul __isoc23_strtoull
    snprintf vsnprintf __isoc99_sscanf __isoc23_sscanf
    qsort qsort_r bsearch abs labs llabs
    inet_pton __divti3 __modti3 __udivti3 __umodti3
    tolower toupper __ctype_b_loc __ctype_tolower_loc __ctype_toupper_loc
    floor ceil round llround log log2 pow exp sqrt
    __errno_location __stack_chk_fail _GLOBAL_OFFSET_TABLE_
    __memcpy_chk __memmove_chk __memset_chk __snprintf_chk __vsnprintf_chk __strcpy_chk __stpcpy_chk
    pthread_once OPENSSL_cleanse CRYPTO_memcmp SHA256 crc32 crc32_z
    """.split()
)
# Libraries by prefix, less their functions that open files, read entropy or start threads.
ALLOWED_PREFIX = re.compile(r"^(EVP_|OSSL_PARAM_|ZSTD_|json_|jansson_|nghttp2_|ERR_)")
REFUSED = re.compile(r"^(json_(load|dump)_?(file|fd|f)$|ZSTD_createThreadPool$|EVP_PKEY_keygen|ERR_print_errors)")

# What a failed assertion does may be reached from everywhere.
EXCEPTIONS = {("pxb_base", "status.c.o"): {"stderr", "fprintf", "fputs", "fwrite", "abort"}}

STARTS = {"pthread_create", "thrd_create", "fork", "vfork", "clone", "posix_spawn", "posix_spawnp", "system", "popen"}
MAY_START = {"pxb_flow"}


@dataclass
class Object:
    """One member of a folder's library."""

    library: str
    name: str
    defined: set[str] = field(default_factory=set)
    undefined: set[str] = field(default_factory=set)

    @property
    def label(self) -> str:
        return f"{self.library}({self.name})"


def parse_nm(text: str, library: str) -> list[Object]:
    """Objects from the output of `nm -A -P -g`, whose lines read `lib.a[member.o]: symbol type ...`."""
    objects: dict[str, Object] = {}
    for line in text.splitlines():
        match = re.match(r"^.*\[([^\]]+)\]: (\S+) (\S)", line)
        if not match:
            continue
        member, symbol, kind = match.groups()
        found = objects.setdefault(member, Object(library, member))
        (found.undefined if kind in "Uwv" else found.defined).add(symbol)
    return list(objects.values())


def read_library(path: Path, nm: str) -> list[Object]:
    library = path.stem.removeprefix("lib")
    # check=True: an archive that nm cannot read must not pass for one without symbols.
    output = subprocess.run([nm, "-A", "-P", "-g", str(path)], check=True, capture_output=True, text=True)
    return parse_nm(output.stdout, library)


def allowed(symbol: str, found: Object) -> bool:
    if symbol in EXCEPTIONS.get((found.library, found.name), ()):
        return True
    return symbol in ALLOWED or (ALLOWED_PREFIX.match(symbol) is not None and not REFUSED.match(symbol))


def check_pure(objects: list[Object], pure: set[str]) -> list[str]:
    """Walks from the objects of the pure libraries through our own symbols; names the road to every offence."""
    home = {symbol: found for found in objects for symbol in found.defined}
    problems = []
    seen: set[int] = set()
    waiting = [(found, "") for found in objects if found.library in pure]
    while waiting:
        found, road = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        for symbol in sorted(found.undefined):
            if symbol in home:
                waiting.append((home[symbol], f"{road or found.label} uses {symbol}"))
            elif not allowed(symbol, found):
                problems.append(f"{found.label} uses {symbol}" + (f", reached because {road}" if road else ""))
    return problems


def check_starts(objects: list[Object]) -> list[str]:
    return [
        f"{found.label} uses {symbol}: only flow starts threads"
        for found in objects
        if found.library not in MAY_START
        for symbol in sorted(found.undefined & STARTS)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pure", nargs="+", type=Path, required=True, metavar="LIB.a")
    parser.add_argument("--other", nargs="*", type=Path, default=[], metavar="LIB.a")
    parser.add_argument("--nm", default="nm")
    args = parser.parse_args()
    objects = [found for path in [*args.pure, *args.other] for found in read_library(path, args.nm)]
    pure = {path.stem.removeprefix("lib") for path in args.pure}
    problems = check_pure(objects, pure) + check_starts(objects)
    count = sum(found.library in pure for found in objects)
    if count == 0:
        problems.append("no objects in the pure libraries: the check saw nothing")
    for problem in problems:
        print(problem)
    print(f"purity: {count} pure objects of {len(objects)}, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
