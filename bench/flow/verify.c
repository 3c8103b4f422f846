#include "flow/verify.h"

#include "base/log.h"
#include "base/size_text.h"
#include "blob/blob.h"
#include "flow/announce.h"
#include "flow/snapshot.h"
#include "flow/verify_seen.h"
#include "index/fixed_index.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const problem_names[] = {
    [VERIFY_MISSING_FILE] = "missing-file",   [VERIFY_UNREADABLE] = "unreadable",
    [VERIFY_DAMAGED_INDEX] = "damaged-index", [VERIFY_DAMAGED_BLOB] = "damaged-blob",
    [VERIFY_WRONG_SIZE] = "wrong-size",       [VERIFY_WRONG_CSUM] = "wrong-csum",
    [VERIFY_MISSING_CHUNK] = "missing-chunk", [VERIFY_DAMAGED_CHUNK] = "damaged-chunk",
    [VERIFY_WRONG_KIND] = "wrong-kind",       [VERIFY_WRONG_DIGEST] = "wrong-digest",
    [VERIFY_WRONG_LENGTH] = "wrong-length",
};

const char *verify_problem_name(enum verify_problem_kind kind)
{
    return problem_names[kind];
}

struct verify {
    struct store_reader *reader;
    const struct crypt_config *key; /* NULL: contents of what is encrypted stay unverified */
    const struct verify_reporter *reporter;
    struct verify_stats *stats;
    struct blob_context *context;
    struct buffer encoded;
    struct buffer raw;
    struct verify_seen seen;
    /* Of the file being verified: */
    struct verify_file current;
    uint32_t number;
    bool encrypted; /* its crypt-mode */
};

static void verify_deinit(struct verify *v)
{
    verify_seen_deinit(&v->seen);
    buffer_deinit(&v->encoded);
    buffer_deinit(&v->raw);
    blob_context_free(v->context);
}

/* ---- problems ---- */

static enum status report(struct verify *v, enum verify_problem_kind kind, const struct digest *chunk, uint64_t offset,
                          const char *text, struct error *err)
{
    v->stats->problems++;
    v->current.problems++;
    v->current.verdict = VERIFY_FAILED;
    const struct verify_problem problem = {
        .kind = kind, .file = v->current.file->filename, .chunk = chunk, .offset = offset, .text = text};
    return v->reporter->problem(v->reporter->context, &problem, err);
}

static enum status report_file(struct verify *v, enum verify_problem_kind kind, const char *text, struct error *err)
{
    return report(v, kind, NULL, 0, text, err);
}

/* Once per file: an index may refer to a chunk any number of times. */
static enum status report_chunk(struct verify *v, struct seen_chunk *seen, enum verify_problem_kind kind,
                                uint64_t offset, const char *text, struct error *err)
{
    if (seen->file == v->number)
        return OK;
    seen->file = v->number;
    return report(v, kind, &seen->digest, offset, text, err);
}

/* The chunk itself is at fault, wherever it is referred to. */
static enum status report_bad(struct verify *v, struct seen_chunk *seen, enum verify_problem_kind kind, uint64_t offset,
                              const char *text, struct error *err)
{
    seen->bad = true;
    seen->why = (uint8_t)kind;
    return report_chunk(v, seen, kind, offset, text, err);
}

/* Our own trouble is no verdict on the data. */
static bool is_ours(enum status status)
{
    return status == ERR_MEMORY || status == ERR_CANCELLED || status == ERR_USAGE || status == ERR_NETWORK;
}

static enum status give_up(enum status status, const struct error *reason, struct error *err)
{
    if (err)
        *err = *reason;
    return status;
}

/* ---- chunks ---- */

static enum verify_problem_kind problem_of_load(enum status status)
{
    switch (status) {
    case ERR_NOT_FOUND: return VERIFY_MISSING_CHUNK;
    case ERR_IO: return VERIFY_UNREADABLE;
    default: return VERIFY_DAMAGED_CHUNK; /* no regular file, larger than any chunk */
    }
}

/* Digest and length of v->raw. */
static enum status check_content(struct verify *v, struct seen_chunk *seen, uint64_t offset, uint64_t length,
                                 const char *path, struct error *err)
{
    char text[ERROR_TEXT_MAX], found_text[DIGEST_TEXT_SIZE];
    struct digest found;
    crypt_digest_of(seen->encrypted ? v->key : NULL, v->raw.data, v->raw.size, &found);
    if (!digest_equal(&found, &seen->digest)) {
        snprintf(text, sizeof text, "%s: digest of its %zu bytes is %s", path, v->raw.size,
                 digest_text(&found, found_text));
        return report_bad(v, seen, VERIFY_WRONG_DIGEST, offset, text, err);
    }
    seen->size = (uint32_t)v->raw.size; /* at most CHUNK_RAW_SIZE_MAX */
    v->stats->verified_bytes += v->raw.size;
    if (v->raw.size == length)
        return OK;
    snprintf(text, sizeof text, "%s: holds %zu bytes, the index says %" PRIu64, path, v->raw.size, length);
    return report_chunk(v, seen, VERIFY_WRONG_LENGTH, offset, text, err);
}

static enum status check_kind(struct verify *v, struct seen_chunk *seen, uint64_t offset, const char *path,
                              struct error *err)
{
    char text[ERROR_TEXT_MAX];
    if (seen->encrypted == v->encrypted)
        return OK;
    snprintf(text, sizeof text, "%s: is %s, the manifest's crypt-mode of this file is %s", path,
             seen->encrypted ? "encrypted" : "not encrypted", v->current.file->crypt_mode);
    return report_chunk(v, seen, VERIFY_WRONG_KIND, offset, text, err);
}

static enum status load_chunk(struct verify *v, struct seen_chunk *seen, uint64_t offset, uint64_t length,
                              const char *path, struct error *err)
{
    struct error reason = {0};
    enum blob_kind kind;
    seen->bad = false;
    enum status status = store_get_chunk(v->reader, v->current.file->filename, &seen->digest, &v->encoded, &reason);
    if (is_ours(status))
        return give_up(status, &reason, err);
    if (status != OK)
        return report_bad(v, seen, problem_of_load(status), offset, reason.text, err);
    v->stats->chunks++;
    v->stats->encoded_bytes += v->encoded.size;
    if (blob_check(v->encoded.data, v->encoded.size, path, &kind, &reason) != OK)
        return report_bad(v, seen, VERIFY_DAMAGED_CHUNK, offset, reason.text, err);
    seen->encrypted = blob_is_encrypted(kind);
    if (seen->encrypted && !v->key)
        return check_kind(v, seen, offset, path, err);
    status = blob_open_keyed(v->context, seen->encrypted ? v->key : NULL, v->encoded.data, v->encoded.size,
                             CHUNK_RAW_SIZE_MAX, path, &v->raw, &reason);
    if (is_ours(status))
        return give_up(status, &reason, err);
    if (status != OK)
        return report_bad(v, seen, VERIFY_DAMAGED_CHUNK, offset, reason.text, err);
    /* Keyed digests are others: what is here by mistake need not have the one that the index wants. */
    seen->unchecked = seen->encrypted != v->encrypted;
    TRY(check_kind(v, seen, offset, path, err));
    return seen->unchecked ? OK : check_content(v, seen, offset, length, path, err);
}

/* A chunk that was loaded before may still not fit here. */
static enum status check_again(struct verify *v, struct seen_chunk *seen, uint64_t offset, uint64_t length,
                               const char *path, struct error *err)
{
    char text[ERROR_TEXT_MAX];
    if (seen->bad) {
        snprintf(text, sizeof text, "%s: is missing or damaged, as said above", path);
        return report_chunk(v, seen, (enum verify_problem_kind)seen->why, offset, text, err);
    }
    TRY(check_kind(v, seen, offset, path, err));
    bool is_unverified = seen->encrypted != v->encrypted || (seen->encrypted && !v->key);
    if (is_unverified || seen->size == length)
        return OK;
    snprintf(text, sizeof text, "%s: holds %" PRIu32 " bytes, the index says %" PRIu64, path, seen->size, length);
    return report_chunk(v, seen, VERIFY_WRONG_LENGTH, offset, text, err);
}

static void show_progress(const struct verify *v, uint64_t done)
{
    char size[SIZE_TEXT_SIZE];
    if (progress_due())
        progress_update("%s: %" PRIu64 " of %" PRIu64 " chunks, %s read", v->current.file->filename, done,
                        v->current.chunks, size_text(v->stats->encoded_bytes, size));
}

static enum status verify_chunk(struct verify *v, const struct digest *digest, uint64_t offset, uint64_t length,
                                struct error *err)
{
    char path[LOG_PATH_MAX];
    struct seen_chunk *seen;
    store_chunk_path(v->reader, digest, path, sizeof path);
    TRY(verify_seen_find(&v->seen, digest, &seen, err));
    if (seen->used && !(seen->unchecked && seen->encrypted == v->encrypted))
        return check_again(v, seen, offset, length, path, err);
    seen->used = true;
    return load_chunk(v, seen, offset, length, path, err);
}

/* ---- indexes ---- */

struct either_index {
    struct dynamic_index dynamic;
    struct fixed_index fixed;
};

static void either_deinit(struct either_index *index)
{
    dynamic_index_deinit(&index->dynamic);
    fixed_index_deinit(&index->fixed);
}

static bool is_fixed(const struct manifest_file *file)
{
    return strcmp(file->filename + strlen(file->filename) - strlen(".fidx"), ".fidx") == 0;
}

/* Loads a stored file. *out_good false: the problem was reported. */
static enum status load_file(struct verify *v, size_t size_max, struct buffer *out, bool *out_good, struct error *err)
{
    struct error reason = {0};
    enum status status = store_read_file(v->reader, v->current.file->filename, size_max, out, &reason);
    *out_good = status == OK;
    switch (status) {
    case OK: return OK;
    case ERR_NOT_FOUND: return report_file(v, VERIFY_MISSING_FILE, reason.text, err);
    case ERR_LIMIT: return report_file(v, VERIFY_WRONG_SIZE, reason.text, err);
    case ERR_IO:
    case ERR_FORMAT: return report_file(v, VERIFY_UNREADABLE, reason.text, err);
    /* The manifest has a name that no stored file can have. */
    case ERR_USAGE: return report_file(v, VERIFY_MISSING_FILE, reason.text, err);
    default: return give_up(status, &reason, err);
    }
}

static enum status check_manifest_entry(struct verify *v, uint64_t size, const struct digest *csum, struct error *err)
{
    const struct manifest_file *file = v->current.file;
    char text[ERROR_TEXT_MAX], found[DIGEST_TEXT_SIZE], wanted[DIGEST_TEXT_SIZE];
    if (size != file->size) {
        snprintf(text, sizeof text, "%s: size is %" PRIu64 ", the manifest has %" PRIu64, file->filename, size,
                 file->size);
        TRY(report_file(v, VERIFY_WRONG_SIZE, text, err));
    }
    if (!digest_equal(csum, &file->csum)) {
        snprintf(text, sizeof text, "%s: checksum is %s, the manifest has %s", file->filename, digest_text(csum, found),
                 digest_text(&file->csum, wanted));
        TRY(report_file(v, VERIFY_WRONG_CSUM, text, err));
    }
    return OK;
}

static enum status load_index(struct verify *v, struct either_index *out, bool *out_good, struct error *err)
{
    const struct manifest_file *file = v->current.file;
    /* A chunk has at least one byte, and the larger entries are 40 bytes: no honest index is longer. */
    uint64_t entries_max = file->size < INDEX_ENTRIES_MAX ? file->size : INDEX_ENTRIES_MAX;
    size_t size_max = INDEX_HEADER_SIZE + (size_t)entries_max * DYNAMIC_ENTRY_SIZE;
    CLEANUP(buffer_deinit) struct buffer data = BUFFER_INIT(size_max);
    TRY(load_file(v, size_max, &data, out_good, err));
    if (!*out_good)
        return OK;
    struct error reason = {0};
    enum status status = is_fixed(file)
                             ? fixed_index_parse(data.data, data.size, file->filename, &out->fixed, &reason)
                             : dynamic_index_parse(data.data, data.size, file->filename, &out->dynamic, &reason);
    if (is_ours(status))
        return give_up(status, &reason, err);
    *out_good = status == OK;
    return status == OK ? OK : report_file(v, VERIFY_DAMAGED_INDEX, reason.text, err);
}

struct index_chunks {
    struct verify *verify;
    const struct either_index *index;
    bool is_fixed;
};

static enum announcement announced_chunk(void *context, size_t k, struct store_hint *out)
{
    const struct index_chunks *c = context;
    const struct fixed_index *fixed = &c->index->fixed;
    const struct dynamic_index *dynamic = &c->index->dynamic;
    struct seen_chunk *seen;
    out->digest = c->is_fixed ? fixed->digests[k] : dynamic->entries[k].digest;
    out->raw_size = c->is_fixed ? fixed_index_chunk_size(fixed, k) : dynamic_index_chunk_size(dynamic, k);
    if (verify_seen_find(&c->verify->seen, &out->digest, &seen, NULL) != OK)
        return ANNOUNCE_STOP;
    return seen->used ? ANNOUNCE_NOT : ANNOUNCE_IT;
}

static enum status verify_index(struct verify *v, struct error *err)
{
    CLEANUP(either_deinit) struct either_index index = {0};
    bool good;
    TRY(load_index(v, &index, &good, err));
    if (!good)
        return OK;
    bool fixed = is_fixed(v->current.file);
    struct digest csum;
    if (fixed)
        fixed_index_csum(&index.fixed, &csum);
    else
        dynamic_index_csum(&index.dynamic, &csum);
    TRY(check_manifest_entry(v, fixed ? index.fixed.size : dynamic_index_size(&index.dynamic), &csum, err));
    if (v->current.problems > 0)
        return OK;
    v->current.chunks = fixed ? index.fixed.count : index.dynamic.count;
    struct index_chunks chunks = {v, &index, fixed};
    struct announcer announcer = {
        .reader = v->reader, .name = v->current.file->filename, .chunk = announced_chunk, .context = &chunks};
    for (size_t k = 0; k < v->current.chunks; k++) {
        announce_ahead(&announcer, k, v->current.chunks);
        const struct digest *digest = fixed ? &index.fixed.digests[k] : &index.dynamic.entries[k].digest;
        uint64_t offset = fixed ? k * index.fixed.chunk_size : dynamic_index_start(&index.dynamic, k);
        uint64_t length = fixed ? fixed_index_chunk_size(&index.fixed, k) : dynamic_index_chunk_size(&index.dynamic, k);
        TRY(verify_chunk(v, digest, offset, length, err));
        show_progress(v, k + 1);
    }
    return OK;
}

/* ---- blobs ---- */

static enum status verify_blob(struct verify *v, struct error *err)
{
    const struct manifest_file *file = v->current.file;
    const size_t size_max = BLOB_RAW_SIZE_MAX + BLOB_ENCRYPTED_HEADER_SIZE;
    CLEANUP(buffer_deinit) struct buffer encoded = BUFFER_INIT(size_max);
    CLEANUP(buffer_deinit) struct buffer raw = BUFFER_INIT(BLOB_RAW_SIZE_MAX);
    bool good;
    TRY(load_file(v, size_max, &encoded, &good, err));
    if (!good)
        return OK;
    struct digest csum;
    digest_of(encoded.data, encoded.size, &csum);
    TRY(check_manifest_entry(v, encoded.size, &csum, err));
    struct error reason = {0};
    enum blob_kind kind = BLOB_PLAIN;
    bool has_kind = blob_kind_of(encoded.data, encoded.size, file->filename, &kind, NULL) == OK;
    const struct crypt_config *key = has_kind && blob_is_encrypted(kind) && v->encrypted ? v->key : NULL;
    enum status status =
        blob_open_keyed(v->context, key, encoded.data, encoded.size, BLOB_RAW_SIZE_MAX, file->filename, &raw, &reason);
    if (is_ours(status))
        return give_up(status, &reason, err);
    if (status == ERR_UNSUPPORTED) { /* encrypted, and the crc is right */
        if (v->encrypted)
            return OK;
        return report_file(v, VERIFY_WRONG_KIND, reason.text, err);
    }
    if (status != OK)
        return report_file(v, VERIFY_DAMAGED_BLOB, reason.text, err);
    v->stats->verified_bytes += raw.size;
    /* A wrapped key is listed with the run's mode and is not encrypted itself. */
    if (v->current.verdict == VERIFY_ENCRYPTED)
        v->current.verdict = VERIFY_GOOD;
    return OK;
}

/* ---- the snapshot ---- */

static enum status verify_file(struct verify *v, const struct manifest_file *file, struct error *err)
{
    static const char blob_extension[] = ".blob";
    size_t size = strlen(file->filename);
    v->encrypted = strcmp(file->crypt_mode, "encrypt") == 0;
    v->current =
        (struct verify_file){.file = file, .verdict = v->encrypted && !v->key ? VERIFY_ENCRYPTED : VERIFY_GOOD};
    v->number++;
    bool is_blob = strcmp(file->filename + size - strlen(blob_extension), blob_extension) == 0;
    TRY(is_blob ? verify_blob(v, err) : verify_index(v, err));
    v->stats->files++;
    v->stats->encrypted_files += v->current.verdict == VERIFY_ENCRYPTED;
    return v->reporter->file_done(v->reporter->context, &v->current, err);
}

/* Marks the files of the archives that were asked for. */
static enum status choose(const struct manifest *m, const char *const *archives, size_t archive_count, bool *chosen,
                          struct error *err)
{
    for (size_t i = 0; i < archive_count; i++) {
        struct stored_archive found;
        TRY(snapshot_resolve(m, archives[i], &found, err));
        for (size_t k = 0; k < m->file_count; k++)
            if (strcmp(m->files[k].filename, found.name) == 0 ||
                (found.kind == STORED_SPLIT && strcmp(m->files[k].filename, found.payload_name) == 0))
                chosen[k] = true;
    }
    return OK;
}

static void free_cleanup(bool **p)
{
    free(*p);
}

static enum status verify_files(struct verify *v, const struct manifest *m, const char *const *archives,
                                size_t archive_count, struct error *err)
{
    void *array;
    TRY(array_new(m->file_count + 1, sizeof(bool), MANIFEST_FILES_MAX + 1, "files", &array, err));
    CLEANUP(free_cleanup) bool *chosen = array;
    TRY(choose(m, archives, archive_count, chosen, err));
    for (size_t k = 0; k < m->file_count; k++)
        if (archive_count == 0 || chosen[k])
            TRY(verify_file(v, &m->files[k], err));
    return OK;
}

static void reader_cleanup(struct store_reader **r)
{
    store_reader_close(*r);
}

enum status verify_snapshot(struct store *store, const struct snapshot_id *snapshot, const char *const *archives,
                            size_t archive_count, const struct verify_reporter *reporter, struct verify_stats *out,
                            struct error *err)
{
    *out = (struct verify_stats){0};
    CLEANUP(reader_cleanup) struct store_reader *reader = NULL;
    CLEANUP(manifest_deinit) struct manifest m = {0};
    CLEANUP(verify_deinit)
    struct verify v = {.reporter = reporter,
                       .stats = out,
                       .encoded = BUFFER_INIT(CHUNK_BLOB_SIZE_MAX),
                       .raw = BUFFER_INIT(CHUNK_RAW_SIZE_MAX)};
    TRY(store_reader_open(store, snapshot, &reader, err));
    TRY(snapshot_manifest(reader, &m, err));
    TRY(blob_context_new(&v.context, err));
    v.reader = reader;
    v.key = store_key(store);
    enum status status = verify_files(&v, &m, archives, archive_count, err);
    progress_end();
    return status;
}
