#include "detect/reason.h"

const char *reference_reason_name(enum reference_reason reason)
{
    static const char *const names[] = {
        "used",
        "not-asked",
        "no-previous-snapshot",
        "manifest-unreadable",
        "manifest-keyed",
        "snapshot-unreadable",
        "no-metadata-index",
        "metadata-index-bad",
        "no-payload-index",
        "crypt-mode-mismatch",
        "payload-index-bad",
        "metadata-unreadable",
        "metadata-broke-midway",
        "root-unreadable",
    };
    _Static_assert(sizeof names / sizeof *names == REFERENCE_REASON_COUNT, "a name for every reason");
    return (size_t)reason < REFERENCE_REASON_COUNT ? names[reason] : "unknown";
}

const char *file_reason_name(enum file_reason reason)
{
    static const char *const names[] = {
        "unchanged", "no-reference", "new",          "type",      "hardlink",    "size",     "mtime",
        "mode",      "owner",        "flags",        "xattr",     "xattr-value", "acl",      "caps",
        "project",   "non-monotone", "out-of-range", "threshold", "instances",   "absorbed",
    };
    _Static_assert(sizeof names / sizeof *names == FILE_REASON_COUNT, "a name for every reason");
    return (size_t)reason < FILE_REASON_COUNT ? names[reason] : "unknown";
}
