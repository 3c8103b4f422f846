#include "flow/summary.h"

#include "base/size_text.h"

#include <inttypes.h>

static bool reference_in_use(enum reference_reason reason)
{
    /* With an unreadable root nothing could be compared, and a reference that broke did serve until then: both ran with
     * a reference, so the summary explains what became of it (section 4, rows 14 and 15). */
    return reason == REFERENCE_USED || reason == REFERENCE_METADATA_BROKE || reason == REFERENCE_ROOT_UNREADABLE;
}

enum status summary_change_detection(const struct archive_stats *a, struct buffer *out, struct error *err)
{
    if (!reference_in_use(a->reference))
        return OK;
    char reused[SIZE_TEXT_SIZE], reencoded[SIZE_TEXT_SIZE], padding[SIZE_TEXT_SIZE];
    /* Later names are what the archive stores as hardlinks. The reference client counts first names instead, which
     * gives the number of names only if every such file has exactly two (D8). */
    uint64_t names = a->reused_files + a->reencoded_files + a->hardlink_names;
    return buffer_printf(out, err,
                         "Change detection summary:\n"
                         " - %" PRIu64 " total files (%" PRIu64 " hardlinks)\n"
                         " - %" PRIu64 " unchanged, reusable files with %s data\n"
                         " - %" PRIu64 " changed or non-reusable files with %s data\n"
                         " - %s padding in %" PRIu64 " partially reused chunks",
                         names, a->hardlink_names, a->reused_files, size_text(a->reused_bytes, reused),
                         a->reencoded_files, size_text(a->reencoded_bytes, reencoded),
                         size_text(a->padding_bytes, padding), a->partial_chunks);
}

/* NULL: the name says it. */
static const char *explanation(const struct archive_stats *a, enum file_reason reason)
{
    switch (reason) {
    case FILE_NO_REFERENCE:
        return a->reference == REFERENCE_METADATA_BROKE ? "the previous metadata archive became unreadable"
                                                        : "nothing to compare with";
    case FILE_NEW: return "not there in the previous snapshot";
    case FILE_TYPE: return "no regular file in the previous snapshot";
    case FILE_HARDLINK: return "a hardlink in the previous snapshot, or its first name vanished";
    case FILE_NON_MONOTONE: return "unchanged; the previous archive has its contents out of order";
    case FILE_OUT_OF_RANGE: return "unchanged; the previous archive has its contents outside of its payload";
    case FILE_THRESHOLD:
        return a->rejected_ranges > 0 ? "unchanged; range rejected: too large a part of its old chunks is of no use"
                                      : "unchanged; old chunk given up: too large a part of it is of no use";
    case FILE_INSTANCES: return "unchanged; old chunk given up: it would be listed too often";
    case FILE_ABSORBED: return "unchanged; small old chunk given up: written anew with what is beside it";
    case FILE_UNCHANGED:
    case FILE_SIZE:
    case FILE_MTIME:
    case FILE_MODE:
    case FILE_OWNER:
    case FILE_FLAGS:
    case FILE_XATTR:
    case FILE_XATTR_VALUE:
    case FILE_ACL:
    case FILE_FCAPS:
    case FILE_PROJECT_ID:
    case FILE_REASON_COUNT: break;
    }
    return NULL;
}

static bool is_before(const struct archive_stats *a, enum file_reason one, enum file_reason other)
{
    if (a->reasons[one] != a->reasons[other])
        return a->reasons[one] > a->reasons[other];
    if (a->reason_bytes[one] != a->reason_bytes[other])
        return a->reason_bytes[one] > a->reason_bytes[other];
    return one < other;
}

/* Those with files, reused ones apart, in the order of the report. */
static size_t sort_reasons(const struct archive_stats *a, enum file_reason sorted[FILE_REASON_COUNT])
{
    size_t count = 0;
    for (int i = FILE_UNCHANGED + 1; i < FILE_REASON_COUNT; i++) {
        enum file_reason reason = (enum file_reason)i;
        if (a->reasons[reason] == 0)
            continue;
        size_t at = count++;
        for (; at > 0 && is_before(a, reason, sorted[at - 1]); at--)
            sorted[at] = sorted[at - 1];
        sorted[at] = reason;
    }
    return count;
}

static const char *files_word(uint64_t count)
{
    return count == 1 ? "file" : "files";
}

static enum status reason_line(const struct archive_stats *a, enum file_reason reason, struct buffer *out,
                               struct error *err)
{
    char bytes[SIZE_TEXT_SIZE];
    const char *text = explanation(a, reason);
    return buffer_printf(out, err, " - %s: %" PRIu64 " %s, %s%s%s%s\n", file_reason_name(reason), a->reasons[reason],
                         files_word(a->reasons[reason]), size_text(a->reason_bytes[reason], bytes), text ? " (" : "",
                         text ? text : "", text ? ")" : "");
}

enum status summary_reasons(const struct archive_stats *a, struct buffer *out, struct error *err)
{
    if (a->reference == REFERENCE_NOT_ASKED)
        return OK;
    char bytes[SIZE_TEXT_SIZE];
    enum file_reason sorted[FILE_REASON_COUNT];
    size_t count = sort_reasons(a, sorted);
    if (count > 0)
        TRY(buffer_printf(out, err, "Reasons for storing file data anew:\n"));
    for (size_t i = 0; i < count; i++)
        TRY(reason_line(a, sorted[i], out, err));
    if (a->touched_identical_files > 0)
        TRY(buffer_printf(out, err, "Touched, but identical: %" PRIu64 " of these files, %s\n",
                          a->touched_identical_files, size_text(a->touched_identical_bytes, bytes)));
    if (a->file_bytes_read == 0)
        return buffer_printf(out, err, "No file data was read.");
    return buffer_printf(out, err, "File data read: %s.", size_text(a->file_bytes_read, bytes));
}

/* floor(bytes * 10^6 / us) without 128-bit integers. */
static uint64_t bytes_per_second(uint64_t bytes, uint64_t duration_ns)
{
    uint64_t us = duration_ns / 1000;
    if (us == 0)
        us = 1;
    uint64_t whole, rest;
    if (__builtin_mul_overflow(bytes / us, UINT64_C(1000000), &whole))
        return UINT64_MAX;
    if (__builtin_mul_overflow(bytes % us, UINT64_C(1000000), &rest))
        return whole + bytes % us / (us / 1000000); /* such a `us` is months: the error is far below a byte */
    return whole + rest / us;
}

static uint64_t reused_bytes(const struct stream_stats *s)
{
    return s->known_bytes + s->injected_bytes;
}

static enum status increment_line(const char *archive, const struct stream_stats *s, struct buffer *out,
                                  struct error *err)
{
    uint64_t reused = reused_bytes(s);
    if (reused == 0 || s->size <= 1048576)
        return OK;
    char text[SIZE_TEXT_SIZE];
    return buffer_printf(out, err, "\n%s: backup was done incrementally, reused %s (%.1f%%)", archive,
                         size_text(reused, text), (double)reused * 100.0 / (double)s->size);
}

enum status summary_upload(const char *archive, const struct stream_stats *s, struct buffer *out, struct error *err)
{
    char first[SIZE_TEXT_SIZE], second[SIZE_TEXT_SIZE], third[SIZE_TEXT_SIZE], fourth[SIZE_TEXT_SIZE];
    uint64_t dirty = s->size - reused_bytes(s);
    if (s->injected_chunks > 0)
        TRY(buffer_printf(out, err, "%s: reused %s from previous snapshot for unchanged files (%" PRIu64 " chunks)\n",
                          archive, size_text(s->injected_bytes, first), s->injected_chunks));
    TRY(buffer_printf(out, err, "%s: had to backup %s of %s (compressed %s) in %.2f s (average %s/s)", archive,
                      size_text(dirty, first), size_text(s->size, second), size_text(s->compressed_bytes, third),
                      (double)s->duration_ns / 1e9, size_text(bytes_per_second(dirty, s->duration_ns), fourth)));
    return increment_line(archive, s, out, err);
}

enum status summary_catalog(const struct stream_stats *s, struct buffer *out, struct error *err)
{
    char size[SIZE_TEXT_SIZE];
    TRY(buffer_printf(out, err, "Uploaded backup catalog (%s)", size_text(s->size, size)));
    return increment_line("catalog.pcat1", s, out, err);
}
