/* What differs between two archives, of either version each. A merge join of two sequential readers: members of a
 * directory are sorted by name in both, memory does not grow with the archives. No system calls: the streams are the
 * caller's. Not thread-safe.
 *
 * An entry is compared field by field: kind, mode, uid, gid, mtime, flags, size, content, target, major, minor,
 * xattr (each name), xattr_order, acl.users, acl.groups, acl.group_obj, acl.default, acl.default_users,
 * acl.default_groups, fcaps, quota_project_id; with `offsets` also filename_offset, entry_offset, payload_offset,
 * content_offset, link_offset. The preludes of two split archives are compared (path ""). Where an archive has no
 * contents at hand, contents are not compared and counted as such.
 * ".pxarexclude-cli" of the root is compared wherever it stands: version 1 has it last (pxar.md 12.2).
 *
 *   text   only in A: /x (file)
 *          /y: mode 0100644 -> 0100755
 *          /y: xattr "user.k" "dg==" -> null            values in base64, null: there is none
 *   JSON   {"kind":"file","only":"a","path":"/x"}
 *          {"a":"0100644","b":"0100755","field":"mode","path":"/y"}
 *          {"a":"dg==","b":null,"field":"xattr","name":"user.k","path":"/y"}   path_b64, name_b64: not UTF-8 */
#ifndef PXB_PXAR_DIFF_H
#define PXB_PXAR_DIFF_H

#include "base/buffer.h"
#include "base/io.h"

enum diff_format { DIFF_TEXT, DIFF_JSON };

struct diff_options {
    enum diff_format format;
    bool offsets; /* where things stand counts, too */
};

struct diff_counts {
    uint64_t same; /* entries; the root is one */
    uint64_t different;
    uint64_t only_a, only_b;
    uint64_t contents_compared, contents_not_compared; /* files that are in both */
    bool preludes_differ;
};

/* `payload` NULL: a unified archive, or one without contents. */
struct diff_input {
    struct source metadata;
    const struct source *payload;
};

/* Both archives are read and checked to their ends. What was found before an error is written. Errors: those of the
 * decoder, and ERR_FORMAT for members that are not sorted. */
MUST_CHECK enum status diff_archives(const struct diff_input *a, const struct diff_input *b,
                                     const struct diff_options *options, struct sink out, struct diff_counts *counts,
                                     struct error *err);
/* Whether the two are the same as far as they were compared. */
bool diff_same(const struct diff_counts *counts);
/* The last line, without newline: "12 same, 1 different, 0 only in A, 2 only in B", and how many contents were not
 * compared, if any; or a JSON object. */
MUST_CHECK enum status diff_summary(const struct diff_counts *counts, enum diff_format format, struct buffer *out,
                                    struct error *err);

#endif
