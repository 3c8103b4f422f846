#include "flow/chunk_fetch.h"

#include <inttypes.h>
#include <string.h>

enum status chunk_fetcher_init(struct chunk_fetcher *f, struct store_reader *reader, const struct dynamic_index *index,
                               const char *name, struct error *err)
{
    *f = (struct chunk_fetcher){
        .reader = reader, .index = index, .name = name, .encoded = BUFFER_INIT(CHUNK_BLOB_SIZE_MAX)};
    if (index->encrypted) {
        f->key = store_reader_key(reader);
        if (!f->key)
            return fail(err, ERR_UNSUPPORTED, "%s: is encrypted and cannot be read without its key", name);
    }
    return blob_context_new(&f->context, err);
}

void chunk_fetcher_deinit(struct chunk_fetcher *f)
{
    blob_context_free(f->context);
    buffer_deinit(&f->encoded);
    *f = (struct chunk_fetcher){0};
}

static enum status fetch_open(struct chunk_fetcher *f, size_t chunk, const char *path, struct buffer *out,
                              struct error *err)
{
    const struct digest *digest = &f->index->entries[chunk].digest;
    uint64_t size = dynamic_index_chunk_size(f->index, chunk);
    if (size > CHUNK_RAW_SIZE_MAX)
        return fail(err, ERR_LIMIT, "%s: a chunk of %" PRIu64 " bytes: at most %d are allowed", path, size,
                    CHUNK_RAW_SIZE_MAX);
    TRY(store_get_chunk(f->reader, f->name, digest, &f->encoded, err));
    return blob_open_chunk(f->context, f->key, f->encoded.data, f->encoded.size, digest, size, path, out, err);
}

enum status chunk_fetch(struct chunk_fetcher *f, size_t chunk, struct buffer *out, struct error *err)
{
    char path[512];
    struct error inner = {0};
    ASSERT(chunk < f->index->count);
    store_chunk_path(f->reader, &f->index->entries[chunk].digest, path, sizeof path);
    enum status status = fetch_open(f, chunk, path, out, &inner);
    if (status == OK)
        return OK;
    /* The path once, wherever the error came from. */
    if (!strstr(inner.text, path))
        (void)fail_within(&inner, "%s", path);
    (void)fail_within(&inner, "%s: chunk %zu at offset %" PRIu64, f->name, chunk, dynamic_index_start(f->index, chunk));
    if (err)
        *err = inner;
    return status;
}
