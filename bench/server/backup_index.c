/* Indexes of a backup session: made, appended to, closed. */
#include "server/backup_session.h"

#include "index/dynamic_index.h"
#include "store/local_server.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PIECE_SLOTS = 1024,
    FIXED_INDEX_SIZES_OFFSET = 64,   /* of the image, and of its chunks */
    DYNAMIC_WRITER_SIZE = 128 << 10, /* of memory, with the store's half of it */
};

/* ---- names ---- */

bool name_is_taken(const struct backup_session *b, const char *name)
{
    for (const struct index_writer *w = b->writers; w; w = w->next)
        if (strcmp(w->name, name) == 0)
            return true;
    for (size_t i = 0; i < b->file_count; i++)
        if (strcmp(b->files[i].name, name) == 0)
            return true;
    return false;
}

enum status add_file(struct backup_session *b, const char *name, uint64_t size, const struct digest *csum,
                     struct error *err)
{
    void *files = b->files;
    TRY(array_grow(&files, b->file_count, &b->file_capacity, sizeof *b->files, BACKUP_FILES_MAX, "files of a backup",
                   err));
    b->files = files;
    struct stored_name *f = &b->files[b->file_count++];
    *f = (struct stored_name){.size = size, .csum = *csum};
    snprintf(f->name, sizeof f->name, "%s", name);
    return OK;
}

/* ---- writers ---- */

static void writer_free(struct backup_session *b, struct index_writer *w)
{
    store_index_abort(w->dynamic);
    store_fixed_index_abort(w->fixed);
    free(w->written);
    budget_give(&b->shared->tables, w->charged);
    budget_give(&b->shared->indexes, w->is_extra);
    b->slots -= w->slots;
    free(w);
}

void index_writers_free(struct backup_session *b)
{
    while (b->writers) {
        struct index_writer *w = b->writers;
        b->writers = w->next;
        writer_free(b, w);
    }
    b->writer_count = 0;
}

struct index_writer *index_find(struct backup_session *b, struct call *c, bool is_fixed)
{
    uint32_t wid = (uint32_t)param_get(&c->params, "wid")->integer;
    for (struct index_writer *w = b->writers; w; w = w->next) {
        if (w->wid != wid)
            continue;
        if (w->is_fixed == is_fixed)
            return w;
        break;
    }
    call_reply_error(c, 400,
                     is_fixed ? "there is no open fixed index with this wid"
                              : "there is no open dynamic index with this wid");
    return NULL;
}

static void poison(struct backup_session *b, struct index_writer *w, struct call *c, const char *text)
{
    b->poisoned = w->poisoned = true;
    call_reply_error(c, 400, text);
}

/* ---- create ---- */

static void close_file(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* Memory of a writer beside the known chunks: what it gathers of entries, or a bit per slot, here and in the store. */
static enum status charge(struct backup_session *b, struct index_writer *w, uint64_t size, struct error *err)
{
    if (!budget_take(&b->shared->tables, size))
        return fail(err, ERR_LIMIT, "the server has no memory for another index now");
    w->charged += size;
    return OK;
}

/* `count` digests of a fixed index from slot `k` on. */
static enum status read_slots(int fd, uint64_t k, size_t count, struct digest *out, const char *name, struct error *err)
{
    uint8_t *at = out->bytes;
    uint64_t offset = INDEX_HEADER_SIZE + k * FIXED_ENTRY_SIZE;
    for (size_t left = count * FIXED_ENTRY_SIZE; left > 0;) {
        ssize_t got = pread(fd, at, left, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return fail(err, ERR_IO, "read %s of the base", name);
        at += got;
        offset += (uint64_t)got;
        left -= (size_t)got;
    }
    return OK;
}

static_assert(sizeof(struct digest) == FIXED_ENTRY_SIZE, "a slot is a digest");

static void digest_cleanup(struct digest_state **d)
{
    digest_free(*d);
}

static enum status check_base(const struct index_writer *w, int fd, const struct digest *csum, struct error *err)
{
    uint8_t sizes[16];
    if (pread(fd, sizes, sizeof sizes, FIXED_INDEX_SIZES_OFFSET) != sizeof sizes)
        return fail(err, ERR_IO, "read %s of the base", w->name);
    if (load_u64le(sizes) != w->size || load_u64le(sizes + 8) != WIRE_FIXED_CHUNK_SIZE)
        return fail(err, ERR_MISMATCH, "%s of the base has another size", w->name);
    CLEANUP(digest_cleanup) struct digest_state *digest = NULL;
    TRY(digest_new(&digest, err));
    digest_begin(digest);
    for (uint64_t k = 0; k < w->slots;) {
        struct digest piece[PIECE_SLOTS];
        size_t count = w->slots - k < PIECE_SLOTS ? (size_t)(w->slots - k) : PIECE_SLOTS;
        TRY(read_slots(fd, k, count, piece, w->name, err));
        digest_update(digest, piece, count * sizeof *piece);
        k += count;
    }
    struct digest real;
    digest_finish(digest, &real);
    if (!digest_equal(&real, csum))
        return fail(err, ERR_MISMATCH, "%s of the base has another checksum than the named one", w->name);
    return OK;
}

/* The base's index of the same name, whose checksum the client named. It stays where it is until the close: the
 * session holds the base, so nobody takes it away. */
static enum status reuse_base(struct backup_session *b, struct index_writer *w, const struct digest *csum,
                              struct error *err)
{
    CLEANUP(close_file) int fd = -1;
    uint64_t size = 0;
    TRY(local_open_previous(b->writer, w->name, &fd, &size, err));
    TRY(register_index(&b->known, fd, size, w->name, err));
    TRY(check_base(w, fd, csum, err));
    w->is_copy = true;
    return OK;
}

static enum status prepare_fixed(struct backup_session *b, struct index_writer *w, struct call *c, struct error *err)
{
    const struct param_value *reuse = param_get(&c->params, "reuse-csum");
    uint64_t slots;
    w->size = (uint64_t)param_get(&c->params, "size")->integer;
    TRY(fixed_index_count(w->size, WIRE_FIXED_CHUNK_SIZE, w->name, &slots, err));
    /* What one image may have is enough for all that are open. */
    if (slots > INDEX_ENTRIES_MAX - b->slots)
        return fail(err, ERR_LIMIT, "the open fixed indexes of a session have more than %d chunks", INDEX_ENTRIES_MAX);
    w->slots = slots;
    b->slots += slots;
    TRY(charge(b, w, 2 * (slots / 8 + 1), err));
    if (reuse->present) {
        struct digest csum;
        bool parsed = digest_parse(reuse->text.data, reuse->text.size, &csum);
        ASSERT(parsed);
        TRY(reuse_base(b, w, &csum, err));
    }
    void *written;
    TRY(array_new((size_t)(w->slots / 8 + 1), 1, INDEX_ENTRIES_MAX / 8 + 1, "index entries", &written, err));
    w->written = written;
    return store_fixed_index_begin(b->writer, w->name, w->size, WIRE_FIXED_CHUNK_SIZE, &w->fixed, err);
}

static enum status prepare_dynamic(struct backup_session *b, struct index_writer *w, struct error *err)
{
    TRY(charge(b, w, DYNAMIC_WRITER_SIZE, err));
    return store_index_begin(b->writer, w->name, &w->dynamic, err);
}

void index_create(struct backup_session *b, struct call *c, bool is_fixed)
{
    struct error err = {0};
    const char *name = param_get(&c->params, "archive-name")->text.data;
    if (b->last_wid >= WIRE_WID_MAX) {
        call_reply_error(c, 400, "too many indexes in one session");
        return;
    }
    if (name_is_taken(b, name)) {
        call_reply_error(c, 400, "an index of this name exists already in this session");
        return;
    }
    struct index_writer *w = calloc(1, sizeof *w);
    if (!w) {
        call_reply_error(c, 400, "out of memory");
        return;
    }
    w->is_extra = b->writer_count >= INDEXES_OPEN_OWN;
    if (w->is_extra && !budget_take(&b->shared->indexes, 1)) {
        free(w);
        call_reply_error(c, 400, "too many open indexes: close some before others are begun");
        return;
    }
    w->is_fixed = is_fixed;
    snprintf(w->name, sizeof w->name, "%s", name);
    enum status status = is_fixed ? prepare_fixed(b, w, c, &err) : prepare_dynamic(b, w, &err);
    if (status != OK) {
        writer_free(b, w);
        call_reply_failure(c, &err);
        return;
    }
    w->wid = ++b->last_wid;
    w->next = b->writers;
    b->writers = w;
    b->writer_count++;
    call_reply_data(c, "%" PRIu32, w->wid);
}

/* ---- append ---- */

static enum status append_dynamic(struct index_writer *w, uint64_t offset, uint64_t size, const struct digest *digest,
                                  struct error *err)
{
    uint64_t end;
    if (offset != w->end)
        return fail(err, ERR_USAGE, "dynamic index %s: offset %" PRIu64 " where %" PRIu64 " is expected", w->name,
                    offset, w->end);
    if (__builtin_add_overflow(offset, size, &end) || end > INT64_MAX)
        return fail(err, ERR_LIMIT, "dynamic index %s: longer than any stream", w->name);
    TRY(store_index_append(w->dynamic, end, digest, false, err));
    w->end = end;
    w->count++;
    return OK;
}

static enum status append_fixed(struct index_writer *w, uint64_t offset, uint64_t size, const struct digest *digest,
                                struct error *err)
{
    uint64_t end, k;
    if (__builtin_add_overflow(offset, size, &end))
        return fail(err, ERR_USAGE, "fixed index %s: offset %" PRIu64 " is behind its end", w->name, offset);
    TRY(fixed_index_slot(w->size, WIRE_FIXED_CHUNK_SIZE, end, size, &k, err));
    uint8_t bit = (uint8_t)(1u << (k % 8));
    if (!(w->written[k / 8] & bit))
        TRY(store_fixed_index_put(w->fixed, k, digest, false, err));
    w->written_twice |= (w->written[k / 8] & bit) != 0;
    w->written[k / 8] |= bit;
    w->count++;
    return OK;
}

void index_append(struct backup_session *b, struct call *c, bool is_fixed)
{
    struct error err = {0};
    const struct param_value *digests = param_get(&c->params, "digest-list");
    const struct param_value *offsets = param_get(&c->params, "offset-list");
    struct index_writer *w = index_find(b, c, is_fixed);
    if (!w)
        return;
    if (!w->dynamic && !w->fixed) {
        poison(b, w, c, "a close of this index failed");
        return;
    }
    if (digests->count != offsets->count) {
        poison(b, w, c, "digest-list and offset-list have different lengths");
        return;
    }
    for (size_t i = 0; i < digests->count; i++) {
        struct digest digest;
        bool parsed = digest_parse(digests->texts[i].data, digests->texts[i].size, &digest);
        ASSERT(parsed);
        uint32_t size = known_find(&b->known, &digest);
        uint64_t offset = (uint64_t)offsets->integers[i];
        enum status status;
        if (size == 0)
            status = fail(&err, ERR_NOT_FOUND, "chunk %s is not known in this session", digests->texts[i].data);
        else
            status = is_fixed ? append_fixed(w, offset, size, &digest, &err)
                              : append_dynamic(w, offset, size, &digest, &err);
        if (status != OK) {
            poison(b, w, c, err.text);
            return;
        }
    }
    call_reply_data(c, "null");
}

/* ---- close ---- */

static enum status check_close(const struct index_writer *w, uint64_t count, uint64_t size, struct error *err)
{
    if (w->poisoned)
        return fail(err, ERR_FORMAT, "index %s: an earlier append or close failed", w->name);
    if (count != w->count)
        return fail(err, ERR_MISMATCH, "index %s has %" PRIu64 " chunks, not %" PRIu64, w->name, w->count, count);
    uint64_t real = w->is_fixed ? w->size : w->end;
    if (size != real)
        return fail(err, ERR_MISMATCH, "index %s has size %" PRIu64 ", not %" PRIu64, w->name, real, size);
    if (w->is_fixed && w->written_twice)
        return fail(err, ERR_FORMAT, "index %s: a chunk was appended twice", w->name);
    if (w->is_fixed && !w->is_copy && w->count != w->slots)
        return fail(err, ERR_FORMAT, "index %s: %" PRIu64 " of %" PRIu64 " chunks are missing", w->name,
                    w->slots - w->count, w->slots);
    return OK;
}

/* What the client left as it is. */
static enum status write_copy(const struct backup_session *b, struct index_writer *w, struct error *err)
{
    CLEANUP(close_file) int fd = -1;
    uint64_t size = 0;
    TRY(local_open_previous(b->writer, w->name, &fd, &size, err));
    for (uint64_t first = 0; first < w->slots;) {
        struct digest piece[PIECE_SLOTS];
        size_t count = w->slots - first < PIECE_SLOTS ? (size_t)(w->slots - first) : PIECE_SLOTS;
        TRY(read_slots(fd, first, count, piece, w->name, err));
        for (size_t i = 0; i < count; i++) {
            uint64_t k = first + i;
            if (!(w->written[k / 8] & (1u << (k % 8))))
                TRY(store_fixed_index_put(w->fixed, k, &piece[i], false, err));
        }
        first += count;
    }
    return OK;
}

static enum status publish(const struct backup_session *b, struct index_writer *w, struct digest *out_csum,
                           struct error *err)
{
    uint64_t size, count;
    if (w->is_fixed) {
        if (w->is_copy)
            TRY(write_copy(b, w, err));
        struct store_fixed_index *fixed = w->fixed;
        w->fixed = NULL;
        return store_fixed_index_finish(fixed, out_csum, err);
    }
    struct store_index *dynamic = w->dynamic;
    w->dynamic = NULL;
    return store_index_finish(dynamic, out_csum, &size, &count, err);
}

static void add_stats(struct upload_stats *sum, const struct upload_stats *one)
{
    sum->count += one->count;
    sum->size += one->size;
    sum->compressed_size += one->compressed_size;
    sum->duplicates += one->duplicates;
}

static void forget_writer(struct backup_session *b, struct index_writer *w)
{
    struct index_writer **at = &b->writers;
    while (*at != w)
        at = &(*at)->next;
    *at = w->next;
    b->writer_count--;
    writer_free(b, w);
}

void index_close(struct backup_session *b, struct call *c, bool is_fixed)
{
    struct error err = {0};
    uint64_t count = (uint64_t)param_get(&c->params, "chunk-count")->integer;
    uint64_t size = (uint64_t)param_get(&c->params, "size")->integer;
    const struct param_text *text = &param_get(&c->params, "csum")->text;
    struct digest csum, real;
    bool parsed = digest_parse(text->data, text->size, &csum);
    ASSERT(parsed);
    struct index_writer *w = index_find(b, c, is_fixed);
    if (!w)
        return;
    enum status status = check_close(w, count, size, &err);
    if (status == OK)
        status = publish(b, w, &real, &err);
    if (status == OK && !digest_equal(&real, &csum))
        status = fail(&err, ERR_MISMATCH, "index %s has another checksum", w->name);
    if (status == OK)
        status = add_file(b, w->name, size, &real, &err);
    if (status != OK) {
        poison(b, w, c, err.text);
        return;
    }
    add_stats(&b->stats, &w->stats);
    forget_writer(b, w);
    call_reply_data(c, "null");
}
