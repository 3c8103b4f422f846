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
