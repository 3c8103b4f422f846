#include "flow/old_files.h"

#include "base/buffer.h"
#include "base/log.h"
#include "detect/predicate.h"
#include "flow/chunk_stream.h"
#include "pxar/decoder.h"

#include <stdlib.h>
#include <string.h>

/* Files of the stretch asked about, which is as long as the reach of a chunk's listings: 64 MiB of memory. */
enum { SPANS_MAX = 1 << 22 };

struct span {
    uint64_t start, end; /* of the payload stream */
};

struct old_files {
    struct store_reader *reader; /* NULL: `metadata` was given */
    const struct dynamic_index *index;
    char *name;
    struct source metadata;
    uint64_t payload_size;
    struct chunk_stream *stream; /* owned, as the decoder; NULL: not opened yet */
    struct decoder *decoder;
    struct offset_guard guard;
    bool ended, broken;
    bool has_next; /* read, but not asked about yet */
    struct span next;
    struct span *spans; /* read and asked about, but they may be again */
    size_t first, count, capacity;
};

static enum status make(uint64_t payload_size, struct old_files **out, struct error *err)
{
    struct old_files *f = calloc(1, sizeof *f);
    if (!f)
        return fail(err, ERR_MEMORY, "out of memory for a reader of the previous archive");
    f->payload_size = payload_size;
    *out = f;
    return OK;
}

enum status old_files_new(struct store_reader *reader, const struct dynamic_index *metadata_index, const char *name,
                          uint64_t payload_size, struct old_files **out, struct error *err)
{
    struct old_files *f;
    TRY(make(payload_size, &f, err));
    f->reader = reader;
    f->index = metadata_index;
    f->name = strdup(name);
    if (!f->name) {
        old_files_free(f);
        return fail(err, ERR_MEMORY, "out of memory for a reader of the previous archive");
    }
    *out = f;
    return OK;
}

enum status old_files_over(struct source metadata, uint64_t payload_size, struct old_files **out, struct error *err)
{
    TRY(make(payload_size, out, err));
    (*out)->metadata = metadata;
    return OK;
}

void old_files_free(struct old_files *f)
{
    if (!f)
        return;
    decoder_free(f->decoder);
    chunk_stream_free(f->stream);
    free(f->spans);
    free(f->name);
    free(f);
}

static enum status open_decoder(struct old_files *f, struct error *err)
{
    if (f->decoder)
        return OK;
    if (f->reader) {
        TRY(chunk_stream_new(f->reader, f->index, f->name, 0, &f->stream, err));
        f->metadata = chunk_stream_source(f->stream);
    }
    return decoder_new(f->metadata, NULL, &f->decoder, err);
}

/* The next file with contents of its own, as f->next, or f->ended. */
static enum status read_next(struct old_files *f, struct error *err)
{
    while (!f->has_next && !f->ended) {
        struct archive_entry entry;
        enum status status = decoder_next(f->decoder, &entry, err);
        if (status == ERR_CLOSED) {
            f->ended = true;
            return OK;
        }
        TRY(status);
        f->has_next = entry.kind == ENTRY_FILE &&
                      offset_guard_accept(&f->guard, entry.payload_offset, entry.size, f->payload_size, &f->next.start,
                                          &f->next.end) == FILE_UNCHANGED;
    }
    return OK;
}

/* Afterwards f->spans hold every file that begins within [from, to), and perhaps some behind. */
static enum status read_until(struct old_files *f, uint64_t from, uint64_t to, struct error *err)
{
    TRY(open_decoder(f, err));
    for (;;) {
        TRY(read_next(f, err));
        if (f->ended || f->next.start >= to)
            return OK;
        if (f->next.start >= from) {
            void *spans = f->spans;
            TRY(array_grow(&spans, f->count, &f->capacity, sizeof *f->spans, SPANS_MAX, "files of an old chunk", err));
            f->spans = spans;
            f->spans[f->count++] = f->next;
        }
        f->has_next = false;
    }
}

static void forget_before(struct old_files *f, uint64_t from)
{
    while (f->first < f->count && f->spans[f->first].start < from)
        f->first++;
    /* Questions may always reach beyond the next `from`, so waiting until nothing is left would keep all of them. Half
     * of them: moving costs no more than reading did. */
    if (f->first > f->count / 2) {
        f->count -= f->first;
        memmove(f->spans, f->spans + f->first, f->count * sizeof *f->spans);
        f->first = 0;
    }
}

uint64_t old_files_live(struct old_files *f, uint64_t from, uint64_t to)
{
    if (f->broken || from >= to)
        return 0;
    forget_before(f, from);
    struct error err = {0};
    if (read_until(f, from, to, &err) != OK) {
        log_warning("previous metadata archive cannot be read ahead, unseen files count as gone: %s", err.text);
        f->broken = true;
        return 0;
    }
    uint64_t live = 0;
    for (size_t i = f->first; i < f->count && f->spans[i].start < to; i++)
        live += (f->spans[i].end < to ? f->spans[i].end : to) - f->spans[i].start;
    return live;
}

size_t old_files_held(const struct old_files *f)
{
    return f->count;
}
