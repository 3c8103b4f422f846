/* Indexes of a backup session: made, appended to, closed. */
#include "server/backup_session.h"

#include "index/dynamic_index.h"
#include "store/local_server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { COPY_INDEX_MAX = 256 << 20 };

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

static void writer_free(struct index_writer *w)
{
    store_index_abort(w->dynamic);
    store_fixed_index_abort(w->fixed);
    free(w->written);
    free(w->copy);
    free(w);
}

void index_writers_free(struct backup_session *b)
{
    while (b->writers) {
        struct index_writer *w = b->writers;
        b->writers = w->next;
        writer_free(w);
    }
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

/* The slots of the base's index of the same name, whose checksum the client named. */
static enum status copy_base(struct backup_session *b, struct index_writer *w, const struct digest *csum,
                             struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer bytes = BUFFER_INIT(COPY_INDEX_MAX);
    int fd = -1;
    uint64_t size = 0;
    TRY(local_open_previous(b->writer, w->name, &fd, &size, err));
    enum status status = size <= COPY_INDEX_MAX ? buffer_reserve(&bytes, (size_t)size, err)
                                                : fail(err, ERR_LIMIT, "%s of the base is too large", w->name);
    while (status == OK && bytes.size < size) {
        ssize_t got = pread(fd, bytes.data + bytes.size, (size_t)size - bytes.size, (off_t)bytes.size);
        if (got <= 0)
            status = fail(err, ERR_IO, "read %s of the base", w->name);
        else
            bytes.size += (size_t)got;
    }
    if (status == OK)
        status = register_index(&b->known, fd, size, w->name, err);
    close(fd);
    TRY(status);
    CLEANUP(fixed_index_deinit) struct fixed_index index = {0};
    TRY(fixed_index_parse(bytes.data, bytes.size, w->name, &index, err));
    struct digest real;
    fixed_index_csum(&index, &real);
    if (!digest_equal(&real, csum))
        return fail(err, ERR_MISMATCH, "%s of the base has another checksum than the named one", w->name);
    if (index.size != w->size || index.chunk_size != WIRE_FIXED_CHUNK_SIZE)
        return fail(err, ERR_MISMATCH, "%s of the base has another size", w->name);
    w->copy = index.digests;
    index.digests = NULL;
    return OK;
}

static enum status prepare_fixed(struct backup_session *b, struct index_writer *w, struct call *c, struct error *err)
{
    const struct param_value *reuse = param_get(&c->params, "reuse-csum");
    w->size = (uint64_t)param_get(&c->params, "size")->integer;
    TRY(fixed_index_count(w->size, WIRE_FIXED_CHUNK_SIZE, w->name, &w->slots, err));
    if (reuse->present) {
        struct digest csum;
        bool parsed = digest_parse(reuse->text.data, reuse->text.size, &csum);
        ASSERT(parsed);
        TRY(copy_base(b, w, &csum, err));
    }
    void *written;
    TRY(array_new((size_t)(w->slots / 8 + 1), 1, INDEX_ENTRIES_MAX / 8 + 1, "index entries", &written, err));
    w->written = written;
    return store_fixed_index_begin(b->writer, w->name, w->size, WIRE_FIXED_CHUNK_SIZE, &w->fixed, err);
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
    w->is_fixed = is_fixed;
    snprintf(w->name, sizeof w->name, "%s", name);
    enum status status =
        is_fixed ? prepare_fixed(b, w, c, &err) : store_index_begin(b->writer, name, &w->dynamic, &err);
    if (status != OK) {
        writer_free(w);
        call_reply_failure(c, &err);
        return;
    }
    w->wid = ++b->last_wid;
    w->next = b->writers;
    b->writers = w;
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
    if (w->copy)
        w->copy[k] = *digest;
    else if (!(w->written[k / 8] & bit))
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
    if (w->is_fixed && !w->copy && w->count != w->slots)
        return fail(err, ERR_FORMAT, "index %s: %" PRIu64 " of %" PRIu64 " chunks are missing", w->name,
                    w->slots - w->count, w->slots);
    return OK;
}

static enum status write_copy(struct index_writer *w, struct error *err)
{
    for (uint64_t k = 0; w->copy && k < w->slots; k++)
        TRY(store_fixed_index_put(w->fixed, k, &w->copy[k], false, err));
    return OK;
}

static enum status publish(struct index_writer *w, struct digest *out_csum, struct error *err)
{
    uint64_t size, count;
    if (w->is_fixed) {
        TRY(write_copy(w, err));
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
    writer_free(w);
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
        status = publish(w, &real, &err);
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
