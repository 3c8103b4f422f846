#include "flow/snapshot.h"

#include <inttypes.h>
#include <string.h>

static enum status find_readable(const struct manifest *m, const char *name, const struct manifest_file **out,
                                 struct error *err)
{
    *out = manifest_find(m, name);
    if (!*out)
        return fail(err, ERR_NOT_FOUND, "archive not found in manifest: \"%s\"", name);
    if (strcmp((*out)->crypt_mode, "encrypt") == 0)
        return fail(err, ERR_UNSUPPORTED, "%s: is encrypted, which cannot be read yet", name);
    return OK;
}

static enum status check_index(const struct digest *csum, uint64_t size, const struct manifest_file *file,
                               struct error *err)
{
    char stored[DIGEST_TEXT_SIZE], found[DIGEST_TEXT_SIZE];
    if (!digest_equal(csum, &file->csum))
        return fail(err, ERR_MISMATCH, "%s: checksum of the index is %s, the manifest has %s", file->filename,
                    digest_text(csum, found), digest_text(&file->csum, stored));
    if (size != file->size)
        return fail(err, ERR_MISMATCH, "%s: the index is of %" PRIu64 " bytes, the manifest has %" PRIu64,
                    file->filename, size, file->size);
    return OK;
}

/* A chunk has at least one byte: no honest index has more entries than its stream has bytes. */
static size_t index_file_size_max(const struct manifest_file *file, size_t entry_size)
{
    uint64_t entries_max = file->size < INDEX_ENTRIES_MAX ? file->size : INDEX_ENTRIES_MAX;
    return INDEX_HEADER_SIZE + (size_t)entries_max * entry_size;
}

enum status snapshot_fixed_index(struct store_reader *reader, const struct manifest *m, const char *name,
                                 struct fixed_index *out, struct error *err)
{
    const struct manifest_file *file;
    TRY(find_readable(m, name, &file, err));
    size_t size_max = index_file_size_max(file, FIXED_ENTRY_SIZE);
    CLEANUP(buffer_deinit) struct buffer data = BUFFER_INIT(size_max);
    TRY(store_read_file(reader, name, size_max, &data, err));
    CLEANUP(fixed_index_deinit) struct fixed_index index = {0};
    TRY(fixed_index_parse(data.data, data.size, name, &index, err));
    struct digest csum;
    fixed_index_csum(&index, &csum);
    TRY(check_index(&csum, index.size, file, err));
    *out = index;
    index = (struct fixed_index){0};
    return OK;
}
