#include "flow/snapshot.h"

#include "base/log.h"
#include "blob/blob.h"
#include "chunk/chunker.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char manifest_name[] = "index.json.blob";

enum status snapshot_manifest_unchecked(struct store_reader *reader, struct buffer *out_text, struct manifest *out,
                                        struct error *err)
{
    const char *name = manifest_name;
    CLEANUP(buffer_deinit) struct buffer encoded = BUFFER_INIT(MANIFEST_SIZE_MAX);
    TRY(store_read_file(reader, name, MANIFEST_SIZE_MAX, &encoded, err));
    struct blob_context *context;
    TRY(blob_context_new(&context, err));
    enum status status = blob_open(context, encoded.data, encoded.size, MANIFEST_SIZE_MAX, name, out_text, err);
    blob_context_free(context);
    TRY(status);
    return manifest_parse(out_text->data, out_text->size, name, out, err);
}

enum status snapshot_manifest_check(const struct store_reader *reader, const struct manifest *m, struct error *err)
{
    const struct snapshot_id *asked = store_reader_snapshot(reader);
    bool is_same = strcmp(m->backup_type, asked->type) == 0 && strcmp(m->backup_id, asked->id) == 0 &&
                   m->backup_time == asked->time;
    if (is_same)
        return OK;
    struct snapshot_id found = {.time = m->backup_time};
    char text[SNAPSHOT_TEXT_SIZE], shown[LOG_PATH_MAX];
    snprintf(found.type, sizeof found.type, "%s", m->backup_type);
    snprintf(found.id, sizeof found.id, "%s", m->backup_id);
    log_path(snapshot_id_text(&found, text), shown);
    return fail(err, ERR_MISMATCH, "%s: is the manifest of %s, not of %s", manifest_name, shown,
                snapshot_id_text(asked, text));
}

enum status snapshot_manifest(struct store_reader *reader, struct manifest *out, struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(MANIFEST_SIZE_MAX);
    const struct crypt_config *key = store_reader_key(reader);
    CLEANUP(manifest_deinit) struct manifest m = {0};
    TRY(snapshot_manifest_unchecked(reader, &text, &m, err));
    if (key) {
        TRY(manifest_check_signature(&m, text.data, text.size, manifest_name, key, err));
        TRY(manifest_check_fingerprint(&m, key, err));
    }
    TRY(snapshot_manifest_check(reader, &m, err));
    if (key && !m.is_signed)
        log_warning("%s: is not signed, the key does not vouch for what it lists", manifest_name);
    *out = m;
    m = (struct manifest){0};
    return OK;
}

/* ---- names ---- */

static bool ends_with(const char *text, size_t size, const char *end)
{
    size_t end_size = strlen(end);
    return size > end_size && memcmp(text + size - end_size, end, end_size) == 0;
}

static enum status not_in_manifest(const char *given, struct error *err)
{
    char text[LOG_PATH_MAX];
    return fail(err, ERR_NOT_FOUND, "archive not found in manifest: \"%.300s\"", log_path(given, text));
}

/* "<first `stem` bytes of given><extension>" */
static enum status name_make(const char *given, size_t stem, const char *extension, char out[STORED_NAME_SIZE],
                             struct error *err)
{
    size_t extension_size = strlen(extension) + 1;
    if (stem > STORED_NAME_SIZE - extension_size)
        return fail(err, ERR_USAGE, "the archive's name has %zu bytes: at most %d with its extensions",
                    stem + extension_size - 1, STORED_NAME_SIZE - 1);
    memcpy(out, given, stem);
    memcpy(out + stem, extension, extension_size);
    return OK;
}

static enum status find_tree(const struct manifest *m, const char *given, size_t stem, bool split,
                             struct stored_archive *out, struct error *err)
{
    /* The longest of the three first: whether a name fits does not depend on what is stored. */
    TRY(name_make(given, stem, ".ppxar.didx", out->payload_name, err));
    if (!split) {
        TRY(name_make(given, stem, ".pxar.didx", out->name, err));
        if (manifest_find(m, out->name)) {
            out->kind = STORED_UNIFIED;
            out->payload_name[0] = '\0';
            return OK;
        }
    }
    out->kind = STORED_SPLIT;
    TRY(name_make(given, stem, ".mpxar.didx", out->name, err));
    bool has_metadata = manifest_find(m, out->name) != NULL;
    bool has_payload = manifest_find(m, out->payload_name) != NULL;
    if (!has_metadata && !has_payload)
        return not_in_manifest(given, err);
    if (!has_metadata || !has_payload)
        return fail(err, ERR_NOT_FOUND, "archive not found in manifest: %s is missing beside %s",
                    has_metadata ? out->payload_name : out->name, has_metadata ? out->name : out->payload_name);
    return OK;
}

enum status snapshot_resolve(const struct manifest *m, const char *given, struct stored_archive *out, struct error *err)
{
    static const struct {
        const char *typed;  /* what a name may end with */
        const char *stored; /* what is appended to it */
        enum stored_kind kind;
    } plain[] = {
        {".img", ".fidx", STORED_IMAGE},
        {".fidx", "", STORED_IMAGE},
        {".conf", ".blob", STORED_BLOB},
        {".log", ".blob", STORED_BLOB},
        {".blob", "", STORED_BLOB},
        {"catalog.pcat1", ".didx", STORED_CATALOG},
        {"catalog.pcat1.didx", "", STORED_CATALOG},
    };
    memset(out, 0, sizeof *out);
    size_t size = strlen(given);
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++) {
        bool whole = plain[i].kind == STORED_CATALOG;
        if (whole ? strcmp(given, plain[i].typed) != 0 : !ends_with(given, size, plain[i].typed))
            continue;
        out->kind = plain[i].kind;
        TRY(name_make(given, size, plain[i].stored, out->name, err));
        return manifest_find(m, out->name) ? OK : not_in_manifest(given, err);
    }
    if (ends_with(given, size, ".didx"))
        size -= sizeof ".didx" - 1;
    bool split = ends_with(given, size, ".mpxar") || ends_with(given, size, ".ppxar");
    if (!split && !ends_with(given, size, ".pxar"))
        return not_in_manifest(given, err);
    return find_tree(m, given, size - (split ? sizeof ".mpxar" - 1 : sizeof ".pxar" - 1), split, out, err);
}

/* ---- indexes ---- */

static bool is_encrypted(const struct manifest_file *file)
{
    return strcmp(file->crypt_mode, crypt_mode_names[CRYPT_ENCRYPT]) == 0;
}

static enum status find_readable(struct store_reader *reader, const struct manifest *m, const char *name,
                                 const struct manifest_file **out, struct error *err)
{
    *out = manifest_find(m, name);
    if (!*out)
        return not_in_manifest(name, err);
    if (is_encrypted(*out) && !store_reader_key(reader))
        return fail(err, ERR_UNSUPPORTED, "%s: is encrypted and cannot be read without its key", name);
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

enum status snapshot_index(struct store_reader *reader, const struct manifest *m, const char *name,
                           struct dynamic_index *out, struct error *err)
{
    const struct manifest_file *file;
    TRY(find_readable(reader, m, name, &file, err));
    size_t size_max = index_file_size_max(file, DYNAMIC_ENTRY_SIZE);
    CLEANUP(buffer_deinit) struct buffer data = BUFFER_INIT(size_max);
    TRY(store_read_file(reader, name, size_max, &data, err));
    CLEANUP(dynamic_index_deinit) struct dynamic_index index = {0};
    TRY(dynamic_index_parse(data.data, data.size, name, &index, err));
    struct digest csum;
    dynamic_index_csum(&index, &csum);
    TRY(check_index(&csum, dynamic_index_size(&index), file, err));
    index.encrypted = is_encrypted(file);
    *out = index;
    index = (struct dynamic_index){0};
    return OK;
}

enum status snapshot_fixed_index(struct store_reader *reader, const struct manifest *m, const char *name,
                                 struct fixed_index *out, struct error *err)
{
    const struct manifest_file *file;
    TRY(find_readable(reader, m, name, &file, err));
    size_t size_max = index_file_size_max(file, FIXED_ENTRY_SIZE);
    CLEANUP(buffer_deinit) struct buffer data = BUFFER_INIT(size_max);
    TRY(store_read_file(reader, name, size_max, &data, err));
    CLEANUP(fixed_index_deinit) struct fixed_index index = {0};
    TRY(fixed_index_parse(data.data, data.size, name, &index, err));
    struct digest csum;
    fixed_index_csum(&index, &csum);
    TRY(check_index(&csum, index.size, file, err));
    index.encrypted = is_encrypted(file);
    *out = index;
    index = (struct fixed_index){0};
    return OK;
}

void snapshot_prefetch_index(struct store_reader *reader, const struct manifest *m, const char *name)
{
    const struct manifest_file *file = manifest_find(m, name);
    bool is_fixed = ends_with(name, strlen(name), ".fidx");
    size_t entry_size = is_fixed ? FIXED_ENTRY_SIZE : DYNAMIC_ENTRY_SIZE;
    /* With chunks of the usual size. */
    bool is_long = file && file->size / CHUNKER_AVERAGE_DEFAULT > STORE_AHEAD_BYTES / entry_size;
    if (file && !is_long)
        store_prefetch_file(reader, name, index_file_size_max(file, entry_size));
}
