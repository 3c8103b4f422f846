#include "store/store_ops.h"

#include "net/session.h"

#include <stdlib.h>
#include <string.h>

/* Every object begins with its head. */
static const struct store_head *head_of(const struct store *s)
{
    return (const struct store_head *)s;
}
static const struct writer_ops *writer_ops_of(const struct store_writer *w)
{
    return ((const struct writer_head *)w)->ops;
}
static const struct index_head *index_head_of(const struct store_index *index)
{
    return (const struct index_head *)index;
}
static const struct fixed_index_head *fixed_head_of(const struct store_fixed_index *index)
{
    return (const struct fixed_index_head *)index;
}
static const struct reader_head *reader_head_of(const struct store_reader *r)
{
    return (const struct reader_head *)r;
}

/* ---- the store ---- */

enum status store_open(const char *repository, const struct store_options *options, struct store **out,
                       struct error *err)
{
    bool is_directory = repository[0] == '/' || repository[0] == '.';
    return is_directory ? local_open(repository, options, out, err) : remote_open(repository, options, out, err);
}

void store_close(struct store *s)
{
    if (s)
        head_of(s)->ops->close(s);
}

const struct crypt_config *store_key(const struct store *s)
{
    return head_of(s)->key;
}

bool store_is_remote(const struct store *s)
{
    return head_of(s)->ops->is_remote;
}

void store_net_stats(struct store *s, struct net_stats *out)
{
    *out = (struct net_stats){0};
    if (head_of(s)->ops->net_stats)
        head_of(s)->ops->net_stats(s, out);
}

enum status store_list(struct store *s, const char *ns, const struct snapshot_id *group, struct snapshot_list *out,
                       struct error *err)
{
    *out = (struct snapshot_list){0};
    enum status status = head_of(s)->ops->list(s, ns, group, out, err);
    if (status != OK)
        snapshot_list_deinit(out);
    return status;
}

static int compare_snapshots(const void *a, const void *b)
{
    const struct snapshot_id *x = a;
    const struct snapshot_id *y = b;
    int order = strcmp(x->type, y->type);
    if (order == 0)
        order = strcmp(x->id, y->id);
    return order != 0 ? order : (x->time > y->time) - (x->time < y->time);
}

void snapshot_list_sort(struct snapshot_list *list)
{
    if (list->count > 1)
        qsort(list->items, list->count, sizeof *list->items, compare_snapshots);
}

void snapshot_list_deinit(struct snapshot_list *list)
{
    free(list->items);
    *list = (struct snapshot_list){0};
}

enum status store_forget(struct store *s, const struct snapshot_id *id, struct error *err)
{
    TRY(snapshot_id_check(id, err));
    return head_of(s)->ops->forget(s, id, err);
}

/* ---- writing ---- */

enum status store_begin(struct store *s, const struct snapshot_id *id, struct store_writer **out, struct error *err)
{
    *out = NULL;
    TRY(snapshot_id_check(id, err));
    return head_of(s)->ops->begin(s, id, out, err);
}

bool store_previous(const struct store_writer *w, struct snapshot_id *out)
{
    return writer_ops_of(w)->previous(w, out);
}

enum status store_previous_open(struct store_writer *w, bool wants_chunks, struct store_reader **out, struct error *err)
{
    *out = NULL;
    struct snapshot_id id;
    if (!store_previous(w, &id))
        return fail(err, ERR_NOT_FOUND, "there is no previous snapshot");
    TRY(writer_ops_of(w)->previous_open(w, wants_chunks, out, err));
    ((struct reader_head *)*out)->id = id;
    return OK;
}

enum status store_put_chunk(struct store_writer *w, const struct store_chunk *chunk, bool *out_new, struct error *err)
{
    return writer_ops_of(w)->put_chunk(w, chunk, out_new, err);
}

enum status store_replace_chunk(struct store_writer *w, const struct store_chunk *chunk, struct error *err)
{
    return writer_ops_of(w)->replace_chunk(w, chunk, err);
}

enum status store_put_blob(struct store_writer *w, const char *name, const uint8_t *blob, size_t size,
                           struct error *err)
{
    return writer_ops_of(w)->put_blob(w, name, blob, size, err);
}

enum status store_finish(struct store_writer *w, const uint8_t *manifest_blob, size_t size, struct error *err)
{
    return writer_ops_of(w)->finish(w, manifest_blob, size, err);
}

void store_cancel(struct store_writer *w)
{
    if (w && writer_ops_of(w)->cancel)
        writer_ops_of(w)->cancel(w);
}

void store_abort(struct store_writer *w)
{
    if (w)
        writer_ops_of(w)->abort(w);
}

/* ---- indexes ---- */

void store_index_expect(struct store_writer *w, const char *name)
{
    if (writer_ops_of(w)->index_expect)
        writer_ops_of(w)->index_expect(w, name);
}

enum status store_index_begin(struct store_writer *w, const char *name, struct store_index **out, struct error *err)
{
    *out = NULL;
    return writer_ops_of(w)->index_begin(w, name, out, err);
}

uint32_t store_index_stream(const struct store_index *index)
{
    return index_head_of(index)->stream;
}

enum status store_index_append(struct store_index *index, uint64_t end, const struct digest *digest, bool is_coming,
                               struct error *err)
{
    return index_head_of(index)->ops->append(index, end, digest, is_coming, err);
}

void store_index_end(struct store_index *index)
{
    if (index_head_of(index)->ops->end)
        index_head_of(index)->ops->end(index);
}

enum status store_index_finish(struct store_index *index, struct digest *out_csum, uint64_t *out_size,
                               uint64_t *out_count, struct error *err)
{
    return index_head_of(index)->ops->finish(index, out_csum, out_size, out_count, err);
}

void store_index_abort(struct store_index *index)
{
    if (index)
        index_head_of(index)->ops->abort(index);
}

enum status store_fixed_index_begin(struct store_writer *w, const char *name, uint64_t size, uint64_t chunk_size,
                                    struct store_fixed_index **out, struct error *err)
{
    *out = NULL;
    return writer_ops_of(w)->fixed_index_begin(w, name, size, chunk_size, out, err);
}

uint32_t store_fixed_index_stream(const struct store_fixed_index *index)
{
    return fixed_head_of(index)->stream;
}

enum status store_fixed_index_put(struct store_fixed_index *index, uint64_t k, const struct digest *digest,
                                  bool is_coming, struct error *err)
{
    return fixed_head_of(index)->ops->put(index, k, digest, is_coming, err);
}

void store_fixed_index_end(struct store_fixed_index *index)
{
    if (fixed_head_of(index)->ops->end)
        fixed_head_of(index)->ops->end(index);
}

enum status store_fixed_index_finish(struct store_fixed_index *index, struct digest *out_csum, struct error *err)
{
    return fixed_head_of(index)->ops->finish(index, out_csum, err);
}

void store_fixed_index_abort(struct store_fixed_index *index)
{
    if (index)
        fixed_head_of(index)->ops->abort(index);
}

/* ---- reading ---- */

enum status store_reader_open(struct store *s, const struct snapshot_id *id, struct store_reader **out,
                              struct error *err)
{
    *out = NULL;
    TRY(snapshot_id_check(id, err));
    TRY(head_of(s)->ops->reader_open(s, id, out, err));
    ((struct reader_head *)*out)->id = *id;
    return OK;
}

void store_reader_cancel(struct store_reader *r)
{
    if (r && reader_head_of(r)->ops->cancel)
        reader_head_of(r)->ops->cancel(r);
}

void store_reader_close(struct store_reader *r)
{
    if (r)
        reader_head_of(r)->ops->close(r);
}

const struct crypt_config *store_reader_key(const struct store_reader *r)
{
    return reader_head_of(r)->key;
}

const struct snapshot_id *store_reader_snapshot(const struct store_reader *r)
{
    return &reader_head_of(r)->id;
}

bool store_reader_is_remote(const struct store_reader *r)
{
    return reader_head_of(r)->ops->is_remote;
}

enum status store_read_file(struct store_reader *r, const char *name, size_t size_max, struct buffer *out,
                            struct error *err)
{
    return reader_head_of(r)->ops->read_file(r, name, size_max, out, err);
}

void store_prefetch_file(struct store_reader *r, const char *name, size_t size_max)
{
    if (reader_head_of(r)->ops->prefetch_file)
        reader_head_of(r)->ops->prefetch_file(r, name, size_max);
}

enum status store_get_chunk(struct store_reader *r, const char *index_name, const struct digest *digest,
                            struct buffer *out, struct error *err)
{
    return reader_head_of(r)->ops->get_chunk(r, index_name, digest, out, err);
}

void store_prefetch(struct store_reader *r, const char *index_name, const struct store_hint *hints, size_t count)
{
    if (reader_head_of(r)->ops->prefetch && count > 0)
        reader_head_of(r)->ops->prefetch(r, index_name, hints, count);
}

void store_chunk_path(const struct store_reader *r, const struct digest *digest, char *out, size_t out_size)
{
    reader_head_of(r)->ops->chunk_path(r, digest, out, out_size);
}
