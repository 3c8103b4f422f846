#include "flow/reference.h"

#include "base/log.h"
#include "blob/blob.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { REFERENCE_CHUNKS_AHEAD = 3 };

static void note(char detail[512], const struct error *err)
{
    snprintf(detail, 512, "%.511s", err->text);
}

/* Whose snapshot it is. With a key: its signature; without one: that it was made without. And which. */
static void check_origin(struct previous *p, const struct buffer *text, const struct crypt_config *key)
{
    struct error err = {0};
    char named[LOG_PATH_MAX];
    const char *what = "re-use";
    if (!key && p->manifest.key_fingerprint) {
        p->reason = REFERENCE_MANIFEST_KEYED;
        (void)fail(&err, ERR_MISMATCH, "missing key - manifest was created with key %s",
                   log_path(p->manifest.key_fingerprint, named));
    } else if (key &&
               manifest_check_signature(&p->manifest, text->data, text->size, "index.json.blob", key, &err) != OK) {
        bool is_ours = manifest_check_fingerprint(&p->manifest, key, NULL) == OK;
        p->reason = is_ours ? REFERENCE_MANIFEST_UNREADABLE : REFERENCE_MANIFEST_KEYED;
        what = "download";
    } else if (key && manifest_check_fingerprint(&p->manifest, key, &err) != OK) {
        p->reason = REFERENCE_MANIFEST_KEYED;
    } else if (snapshot_manifest_check(p->reader, &p->manifest, &err) != OK) {
        p->reason = REFERENCE_MANIFEST_UNREADABLE;
        what = "download";
    }
    if (p->reason == REFERENCE_USED)
        return;
    note(p->detail, &err);
    log_warning("Couldn't %s previous manifest - %s", what, p->detail);
}

void previous_open(struct store *store, struct store_writer *writer, enum crypt_mode mode, bool wants_chunks,
                   struct previous *out)
{
    *out = (struct previous){.reason = REFERENCE_USED, .mode = mode};
    if (!store_previous(writer, &out->snapshot)) {
        out->reason = REFERENCE_NO_PREVIOUS;
        log_info("No previous manifest available.");
        return;
    }
    char text[SNAPSHOT_TEXT_SIZE];
    struct error err = {0};
    CLEANUP(buffer_deinit) struct buffer manifest = BUFFER_INIT(MANIFEST_SIZE_MAX);
    log_info("Downloading previous manifest (%s)", snapshot_id_text(&out->snapshot, text));
    if (store_previous_open(writer, wants_chunks, &out->reader, &err) != OK) {
        out->reader = NULL;
        out->reason = REFERENCE_SNAPSHOT_UNREADABLE;
    } else if (snapshot_manifest_unchecked(out->reader, &manifest, &out->manifest, &err) != OK) {
        out->manifest = (struct manifest){0};
        out->reason = REFERENCE_MANIFEST_UNREADABLE;
    }
    if (out->reason != REFERENCE_USED) {
        note(out->detail, &err);
        log_warning("Couldn't download previous manifest - %s", err.text);
        return;
    }
    check_origin(out, &manifest, store_key(store));
}

void previous_close(struct previous *p)
{
    manifest_deinit(&p->manifest);
    store_reader_close(p->reader);
    *p = (struct previous){.reason = REFERENCE_NO_PREVIOUS};
}

/* ERR_NOT_FOUND: not in the previous manifest. */
static enum status listed_there(const struct previous *previous, const char *name, struct error *err)
{
    if (manifest_find(&previous->manifest, name))
        return OK;
    log_info("Previous manifest does not contain an archive called '%s', skipping download..", name);
    return fail(err, ERR_NOT_FOUND, "the previous manifest has no '%s'", name);
}

/* A chunk that no server takes can neither be read nor listed again. */
static enum status check_chunk_sizes(const struct dynamic_index *index, const char *name, struct error *err)
{
    for (size_t k = 0; k < index->count; k++)
        if (dynamic_index_chunk_size(index, k) > CHUNK_RAW_SIZE_MAX)
            return fail(err, ERR_FORMAT, "%s: chunk %zu has %" PRIu64 " bytes, at most %d are possible", name, k,
                        dynamic_index_chunk_size(index, k), CHUNK_RAW_SIZE_MAX);
    return OK;
}

static enum status index_of_stream(struct previous *p, const char *name, struct dynamic_index *out, struct error *err)
{
    TRY(snapshot_index(p->reader, &p->manifest, name, out, err));
    enum status status = check_chunk_sizes(out, name, err);
    if (status != OK)
        dynamic_index_deinit(out);
    return status;
}

static enum status previous_index(struct previous *previous, const char *name, struct dynamic_index *out,
                                  struct error *err)
{
    TRY(listed_there(previous, name, err));
    return index_of_stream(previous, name, out, err);
}

/* Chunks of an encrypted stream are others than those of the same data in the clear, and never stand for them. */
static bool has_fitting_chunks(const struct previous *p, const char *name)
{
    const struct manifest_file *file = manifest_find(&p->manifest, name);
    bool encrypted = file && strcmp(file->crypt_mode, crypt_mode_names[CRYPT_ENCRYPT]) == 0;
    return p->mode == CRYPT_NONE || encrypted == (p->mode == CRYPT_ENCRYPT);
}

void previous_expect(struct previous *p, const char *name)
{
    if (p->reason == REFERENCE_USED && has_fitting_chunks(p, name))
        snapshot_prefetch_index(p->reader, &p->manifest, name);
}

bool previous_known_chunks(struct previous *p, const char *name, struct dynamic_index *out)
{
    *out = (struct dynamic_index){0};
    struct error err = {0};
    if (p->reason != REFERENCE_USED || listed_there(p, name, &err) != OK || !has_fitting_chunks(p, name))
        return false;
    enum status status = index_of_stream(p, name, out, &err);
    if (status != OK)
        log_warning("Error downloading .didx from previous manifest: %s", err.text);
    return status == OK;
}

bool previous_known_image(struct previous *p, const char *name, struct fixed_index *out)
{
    *out = (struct fixed_index){0};
    struct error err = {0};
    if (p->reason != REFERENCE_USED || listed_there(p, name, &err) != OK || !has_fitting_chunks(p, name))
        return false;
    enum status status = snapshot_fixed_index(p->reader, &p->manifest, name, out, &err);
    if (status != OK)
        log_warning("Error downloading .fidx from previous manifest: %s", err.text);
    return status == OK;
}

static void set_reason(struct reference *r, enum reference_reason reason, const struct error *err)
{
    r->reason = reason;
    note(r->detail, err);
}

static void open_metadata(struct previous *previous, const char *name, struct reference *r)
{
    struct error err = {0};
    enum status status =
        chunk_stream_new(previous->reader, &r->metadata_index, name, REFERENCE_CHUNKS_AHEAD, &r->stream, &err);
    if (status == OK)
        status = old_files_new(previous->reader, &r->metadata_index, name, dynamic_index_size(&r->payload_index),
                               &r->old_files, &err);
    if (status == OK)
        status = decoder_new(chunk_stream_source(r->stream), NULL, &r->decoder, &err);
    if (status == OK && decoder_version(r->decoder) != 2)
        status = fail(&err, ERR_FORMAT, "%s: is an archive of version %u, a metadata stream has version 2", name,
                      decoder_version(r->decoder));
    if (status != OK) {
        set_reason(r, REFERENCE_METADATA_UNREADABLE, &err);
        return;
    }
    if (cursor_init(&r->cursor, r->decoder, &err) != OK)
        set_reason(r, REFERENCE_ROOT_UNREADABLE, &err);
}

/* The file whose crypt mode is not the run's; NULL: none. The metadata stream's is looked at with a key only: without
 * one an encrypted stream is unreadable, which is said of it. */
static const struct manifest_file *other_crypt_mode(const struct previous *p, const struct manifest_file *metadata,
                                                    const struct manifest_file *payload)
{
    const char *mode = crypt_mode_names[p->mode];
    if (payload && strcmp(payload->crypt_mode, mode) != 0)
        return payload;
    return p->mode != CRYPT_NONE && strcmp(metadata->crypt_mode, mode) != 0 ? metadata : NULL;
}

/* Whoever keeps a snapshot can take its signature away and change what was signed: under a key such a one is nothing to
 * refer to. Its chunks may count as known all the same, for their digests are computed here. */
static bool is_vouched_for(const struct previous *p)
{
    return p->mode == CRYPT_NONE || p->manifest.is_signed;
}

void reference_prepare(struct previous *previous, const char *archive, bool asked, struct reference *out)
{
    struct reference *r = out;
    *r = (struct reference){.reason = previous->reason};
    memcpy(r->detail, previous->detail, sizeof r->detail);
    if (previous->reason != REFERENCE_USED) {
        if (!asked)
            r->reason = REFERENCE_NOT_ASKED;
        return;
    }
    r->reader = previous->reader;
    char metadata_name[256], *payload_name = r->payload_name;
    snprintf(metadata_name, sizeof metadata_name, "%s.mpxar.didx", archive);
    snprintf(payload_name, sizeof r->payload_name, "%s.ppxar.didx", archive);

    struct error metadata_error = {0}, payload_error = {0};
    enum status metadata_status = previous_index(previous, metadata_name, &r->metadata_index, &metadata_error);
    enum status payload_status = previous_index(previous, payload_name, &r->payload_index, &payload_error);
    r->has_metadata_index = metadata_status == OK && has_fitting_chunks(previous, metadata_name);
    r->has_payload_index = payload_status == OK && has_fitting_chunks(previous, payload_name);
    const struct manifest_file *metadata_file = manifest_find(&previous->manifest, metadata_name);
    const struct manifest_file *payload_file = manifest_find(&previous->manifest, payload_name);
    if (!asked) {
        r->reason = REFERENCE_NOT_ASKED;
        if (metadata_file && metadata_status != OK)
            log_warning("Error downloading .didx from previous manifest: %s", metadata_error.text);
        if (payload_file && payload_status != OK)
            log_warning("Error downloading .didx from previous manifest: %s", payload_error.text);
        return;
    }
    const struct manifest_file *other = metadata_file ? other_crypt_mode(previous, metadata_file, payload_file) : NULL;
    if (!metadata_file) {
        set_reason(r, REFERENCE_NO_METADATA_INDEX, &metadata_error);
    } else if (other) {
        /* Before the indexes are judged: those of encrypted streams count as unreadable. */
        fail(&payload_error, ERR_MISMATCH, "'%s' has crypt mode %s, this run %s", other->filename, other->crypt_mode,
             crypt_mode_names[previous->mode]);
        set_reason(r, REFERENCE_CRYPT_MODE, &payload_error);
    } else if (!is_vouched_for(previous)) {
        fail(&payload_error, ERR_MISMATCH, "the previous manifest is not signed, though its files are as if it was");
        log_warning("'%s': %s", archive, payload_error.text);
        set_reason(r, REFERENCE_MANIFEST_KEYED, &payload_error);
    } else if (metadata_status != OK) {
        set_reason(r, REFERENCE_METADATA_INDEX_BAD, &metadata_error);
    } else if (!payload_file) {
        set_reason(r, REFERENCE_NO_PAYLOAD_INDEX, &payload_error);
    } else if (payload_status != OK) {
        set_reason(r, REFERENCE_PAYLOAD_INDEX_BAD, &payload_error);
    } else {
        open_metadata(previous, metadata_name, r);
    }
    /* Chunks under another key must not be taken for known ones. */
    if (r->reason == REFERENCE_CRYPT_MODE)
        r->has_metadata_index = r->has_payload_index = false;
}

void reference_break(struct reference *r, const struct error *why)
{
    set_reason(r, REFERENCE_METADATA_BROKE, why);
}

void reference_close(struct reference *r)
{
    old_files_free(r->old_files);
    decoder_free(r->decoder);
    chunk_stream_free(r->stream);
    dynamic_index_deinit(&r->metadata_index);
    dynamic_index_deinit(&r->payload_index);
    *r = (struct reference){.reason = REFERENCE_NOT_ASKED};
}
