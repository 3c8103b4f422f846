#include "index/manifest.h"

#include "base/json_values.h"
#include "base/log_path.h"
#include "base/printable.h"
#include "index/canonical_json.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum {
    FILENAME_SIZE_MAX = 255,
    BACKUP_ID_SIZE_MAX = 255,
    JSON_QUOTE_MAX = 80,
    VALUES_MAX = 8 * MANIFEST_FILES_MAX, /* of JSON; a file has five */
};

static void json_cleanup(json_t **value)
{
    json_decref(*value);
}

static void free_cleanup(char **text)
{
    free(*text);
}

/* ---- in memory ---- */

static enum status copy_text(const char *text, char **out, struct error *err)
{
    *out = strdup(text);
    return *out ? OK : fail(err, ERR_MEMORY, "out of memory for %zu bytes", strlen(text) + 1);
}

enum status manifest_init(struct manifest *m, const char *type, const char *id, int64_t time, struct error *err)
{
    *m = (struct manifest){.backup_time = time};
    enum status status = copy_text(type, &m->backup_type, err);
    if (status == OK)
        status = copy_text(id, &m->backup_id, err);
    if (status == OK)
        status = copy_text("{}", &m->unprotected, err);
    if (status != OK)
        manifest_deinit(m);
    return status;
}

void manifest_deinit(struct manifest *m)
{
    for (size_t i = 0; i < m->file_count; i++) {
        free(m->files[i].filename);
        free(m->files[i].crypt_mode);
    }
    free(m->files);
    free(m->backup_type);
    free(m->backup_id);
    free(m->unprotected);
    free(m->key_fingerprint);
    *m = (struct manifest){0};
}

static bool has_extension(const char *filename, const char *extension)
{
    size_t size = strlen(filename);
    size_t extension_size = strlen(extension);
    return size > extension_size && strcmp(filename + size - extension_size, extension) == 0;
}

/* The names are used below the snapshot's directory and printed. */
static enum status filename_check(const char *filename, const char *what, struct error *err)
{
    size_t size = strlen(filename);
    if (size > FILENAME_SIZE_MAX)
        return fail(err, ERR_FORMAT, "%s: filename of %zu bytes, at most %d are allowed", what, size,
                    FILENAME_SIZE_MAX);
    for (const char *c = filename; *c;) {
        size_t shown = printable_size(c, SIZE_MAX);
        if (*c == '/' || shown == 0)
            return fail(err, ERR_FORMAT, "%s: filename has the byte 0x%02x, which is not allowed", what,
                        (unsigned)(unsigned char)*c);
        c += shown;
    }
    if (filename[0] == '.' ||
        (!has_extension(filename, ".didx") && !has_extension(filename, ".fidx") && !has_extension(filename, ".blob")))
        return fail(err, ERR_FORMAT, "%s: filename \"%s\" is not NAME.didx, NAME.fidx or NAME.blob", what, filename);
    return OK;
}

static enum status crypt_mode_check(const char *mode, const char *what, struct error *err)
{
    if (strcmp(mode, "none") != 0 && strcmp(mode, "encrypt") != 0 && strcmp(mode, "sign-only") != 0)
        return fail(err, ERR_FORMAT, "%s: crypt-mode \"%.*s\" is not none, encrypt or sign-only", what, JSON_QUOTE_MAX,
                    mode);
    return OK;
}

enum status manifest_append(struct manifest *m, size_t *capacity, const char *filename, const char *crypt_mode,
                            uint64_t size, const struct digest *csum, const char *what, struct error *err)
{
    TRY(filename_check(filename, what, err));
    TRY(crypt_mode_check(crypt_mode, what, err));
    if (size > INT64_MAX)
        return fail(err, ERR_FORMAT, "%s: size %" PRIu64 " is out of range", what, size);
    if (m->file_count >= *capacity) {
        void *files = m->files;
        TRY(array_grow(&files, m->file_count, capacity, sizeof *m->files, MANIFEST_FILES_MAX, "manifest files", err));
        m->files = files;
    }
    CLEANUP(free_cleanup) char *filename_copy = NULL;
    TRY(copy_text(filename, &filename_copy, err));
    char *mode_copy;
    TRY(copy_text(crypt_mode, &mode_copy, err));
    m->files[m->file_count++] =
        (struct manifest_file){.filename = filename_copy, .crypt_mode = mode_copy, .size = size, .csum = *csum};
    filename_copy = NULL;
    return OK;
}

enum status manifest_add(struct manifest *m, const char *filename, const char *crypt_mode, uint64_t size,
                         const struct digest *csum, struct error *err)
{
    if (manifest_find(m, filename))
        return fail(err, ERR_FORMAT, "manifest: file \"%s\" is there already", filename);
    /* struct manifest keeps no capacity: one backup adds a handful of files, growing each time is cheap enough. */
    size_t capacity = m->file_count;
    return manifest_append(m, &capacity, filename, crypt_mode, size, csum, "manifest", err);
}

const struct manifest_file *manifest_find(const struct manifest *m, const char *filename)
{
    for (size_t i = 0; i < m->file_count; i++)
        if (strcmp(m->files[i].filename, filename) == 0)
            return &m->files[i];
    return NULL;
}

/* ---- unprotected ---- */

static enum status unprotected_set(struct manifest *m, const json_t *object, struct error *err)
{
    char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return fail(err, ERR_MEMORY, "manifest: cannot write member unprotected");
    free(m->unprotected);
    m->unprotected = text;
    return OK;
}

enum status manifest_set_upload_stats(struct manifest *m, uint64_t count, uint64_t size, uint64_t compressed_size,
                                      uint64_t duplicates, struct error *err)
{
    if (count > INT64_MAX || size > INT64_MAX || compressed_size > INT64_MAX || duplicates > INT64_MAX)
        return fail(err, ERR_LIMIT, "manifest: upload statistics are out of range");
    CLEANUP(json_cleanup) json_t *object = json_loads(m->unprotected, JSON_REJECT_DUPLICATES, NULL);
    CLEANUP(json_cleanup)
    json_t *stats = json_pack("{s:I, s:I, s:I, s:I}", "count", (json_int_t)count, "size", (json_int_t)size,
                              "compressed_size", (json_int_t)compressed_size, "duplicates", (json_int_t)duplicates);
    if (!object || !stats || json_object_set(object, "chunk_upload_stats", stats) != 0)
        return fail(err, ERR_MEMORY, "manifest: out of memory for the upload statistics");
    return unprotected_set(m, object, err);
}

/* "UPID:node:pid:pstart:...:" of a server's task. */
static bool upid_is_valid(const char *text)
{
    enum { COLONS_MIN = 8 };
    size_t colons = 0;
    for (const char *c = text; *c; c++) {
        if ((unsigned char)*c <= 0x20 || *c == '/')
            return false;
        colons += *c == ':';
    }
    return strncmp(text, "UPID:", 5) == 0 && colons >= COLONS_MIN;
}

bool manifest_verify_failed(const struct manifest *m)
{
    CLEANUP(json_cleanup) json_t *object = json_loads(m->unprotected, JSON_REJECT_DUPLICATES, NULL);
    const json_t *verify_state = json_object_get(object, "verify_state");
    const char *state = json_string_value(json_object_get(verify_state, "state"));
    const char *upid = json_string_value(json_object_get(verify_state, "upid"));
    return state && upid && strcmp(state, "failed") == 0 && upid_is_valid(upid);
}

/* ---- reading ---- */

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a fraction";
    case JSON_TRUE:
    case JSON_FALSE: return "a truth value";
    case JSON_NULL: return "null";
    }
    return "unknown";
}

static enum status member(const json_t *object, const char *key, json_type type, const char *wanted, const char *what,
                          json_t **out, struct error *err)
{
    *out = json_object_get(object, key);
    if (!*out)
        return fail(err, ERR_FORMAT, "%s: member %s is missing", what, key);
    if (json_typeof(*out) != type)
        return fail(err, ERR_FORMAT, "%s: member %s is %s, not %s", what, key, type_name(*out), wanted);
    return OK;
}

static enum status string_member(const json_t *object, const char *key, const char *what, const char **out,
                                 struct error *err)
{
    json_t *value;
    TRY(member(object, key, JSON_STRING, "a string", what, &value, err));
    *out = json_string_value(value);
    return OK;
}

static enum status parse_file(struct manifest *m, size_t *capacity, const json_t *entry, const char *name, size_t i,
                              struct error *err)
{
    char what[512];
    snprintf(what, sizeof what, "%.400s: files[%zu]", name, i);
    if (!json_is_object(entry))
        return fail(err, ERR_FORMAT, "%s is %s, not an object", what, type_name(entry));
    const char *filename;
    TRY(string_member(entry, "filename", what, &filename, err));
    const char *crypt_mode = "none"; /* very old manifests have no such member */
    if (json_object_get(entry, "crypt-mode"))
        TRY(string_member(entry, "crypt-mode", what, &crypt_mode, err));
    json_t *size;
    TRY(member(entry, "size", JSON_INTEGER, "an integer", what, &size, err));
    if (json_integer_value(size) < 0)
        return fail(err, ERR_FORMAT, "%s: member size is negative: %" JSON_INTEGER_FORMAT, what,
                    json_integer_value(size));
    const char *csum_text;
    struct digest csum;
    TRY(string_member(entry, "csum", what, &csum_text, err));
    if (!digest_parse(csum_text, strlen(csum_text), &csum))
        return fail(err, ERR_FORMAT, "%s: member csum is not 64 hexadecimal digits", what);
    return manifest_append(m, capacity, filename, crypt_mode, (uint64_t)json_integer_value(size), &csum, what, err);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

enum status manifest_check_names(const struct manifest *m, const char *name, struct error *err)
{
    if (m->file_count < 2)
        return OK;
    void *array;
    TRY(array_new(m->file_count, sizeof(char *), MANIFEST_FILES_MAX, "manifest files", &array, err));
    const char **names = array;
    for (size_t i = 0; i < m->file_count; i++)
        names[i] = m->files[i].filename;
    qsort(names, m->file_count, sizeof *names, compare_names);
    enum status status = OK;
    for (size_t i = 1; i < m->file_count && status == OK; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            status = fail(err, ERR_FORMAT, "%s: file \"%s\" is listed twice", name, names[i]);
    free(names);
    return status;
}

static enum status parse_unprotected(struct manifest *m, const json_t *root, const char *name, struct error *err)
{
    json_t *object = json_object_get(root, "unprotected");
    if (!object)
        return copy_text("{}", &m->unprotected, err);
    if (!json_is_object(object))
        return fail(err, ERR_FORMAT, "%s: member unprotected is %s, not an object", name, type_name(object));
    const json_t *fingerprint = json_object_get(object, "key-fingerprint");
    if (fingerprint && !json_is_null(fingerprint)) {
        const char *text;
        TRY(string_member(object, "key-fingerprint", name, &text, err));
        TRY(copy_text(text, &m->key_fingerprint, err));
    }
    return unprotected_set(m, object, err);
}

static enum status parse_root(struct manifest *m, const json_t *root, const char *name, struct error *err)
{
    if (!json_is_object(root))
        return fail(err, ERR_FORMAT, "%s: manifest is %s, not an object", name, type_name(root));
    const char *type;
    const char *id;
    json_t *value;
    TRY(string_member(root, "backup-type", name, &type, err));
    if (strcmp(type, "host") != 0 && strcmp(type, "vm") != 0 && strcmp(type, "ct") != 0)
        return fail(err, ERR_FORMAT, "%s: member backup-type \"%.*s\" is not host, vm or ct", name, JSON_QUOTE_MAX,
                    type);
    TRY(string_member(root, "backup-id", name, &id, err));
    if (!*id || strlen(id) > BACKUP_ID_SIZE_MAX || strchr(id, '/'))
        return fail(err, ERR_FORMAT, "%s: member backup-id is empty, longer than %d bytes or has a '/'", name,
                    BACKUP_ID_SIZE_MAX);
    TRY(member(root, "backup-time", JSON_INTEGER, "an integer", name, &value, err));
    m->backup_time = json_integer_value(value);
    TRY(copy_text(type, &m->backup_type, err));
    TRY(copy_text(id, &m->backup_id, err));

    const json_t *signature = json_object_get(root, "signature");
    if (signature && !json_is_null(signature)) {
        const char *text;
        TRY(string_member(root, "signature", name, &text, err));
        m->is_signed = digest_parse(text, strlen(text), &m->signature);
        if (!m->is_signed)
            return fail(err, ERR_FORMAT, "%s: member signature is not 64 hexadecimal digits", name);
    }

    TRY(member(root, "files", JSON_ARRAY, "an array", name, &value, err));
    if (json_array_size(value) > MANIFEST_FILES_MAX)
        return fail(err, ERR_LIMIT, "%s: manifest lists %zu files, at most %d are allowed", name,
                    json_array_size(value), MANIFEST_FILES_MAX);
    size_t capacity = 0;
    for (size_t i = 0; i < json_array_size(value); i++)
        TRY(parse_file(m, &capacity, json_array_get(value, i), name, i, err));
    TRY(manifest_check_names(m, name, err));
    return parse_unprotected(m, root, name, err);
}

static enum status load_json(const uint8_t *data, size_t size, const char *name, json_t **out, struct error *err)
{
    json_error_t parse_error;
    TRY(json_values_check(data, size, VALUES_MAX, name, err));
    /* Depth is bounded by jansson (2048), duplicates would make two readers see two manifests. */
    *out = json_loadb(size > 0 ? (const char *)data : "", size, JSON_REJECT_DUPLICATES, &parse_error);
    if (!*out)
        return fail(err, ERR_FORMAT, "%s: line %d, column %d, offset %d: %s", name, parse_error.line,
                    parse_error.column, parse_error.position, parse_error.text);
    return OK;
}

enum status manifest_parse(const uint8_t *data, size_t size, const char *name, struct manifest *out, struct error *err)
{
    *out = (struct manifest){0};
    if (size > MANIFEST_SIZE_MAX)
        return fail(err, ERR_LIMIT, "%s: manifest of %zu bytes, at most %d are allowed", name, size, MANIFEST_SIZE_MAX);
    CLEANUP(json_cleanup) json_t *root = NULL;
    TRY(load_json(data, size, name, &root, err));
    struct manifest m = {0};
    enum status status = parse_root(&m, root, name, err);
    if (status != OK) {
        manifest_deinit(&m);
        return status;
    }
    *out = m;
    return OK;
}

/* ---- writing ---- */

struct dump {
    struct buffer *out;
    struct error *err;
    enum status status;
};

static int dump_some(const char *data, size_t size, void *context)
{
    struct dump *dump = context;
    dump->status = buffer_append(dump->out, data, size, dump->err);
    return dump->status == OK ? 0 : -1;
}

static json_t *file_object(const struct manifest_file *file)
{
    char csum[DIGEST_TEXT_SIZE];
    return json_pack("{s:s, s:s, s:I, s:s}", "filename", file->filename, "crypt-mode", file->crypt_mode, "size",
                     (json_int_t)file->size, "csum", digest_text(&file->csum, csum));
}

/* Without `unprotected` and `signature`. */
static enum status signed_part(const struct manifest *m, json_t **out, struct error *err)
{
    *out = NULL;
    CLEANUP(json_cleanup) json_t *files = json_array();
    for (size_t i = 0; i < m->file_count; i++)
        if (json_array_append_new(files, file_object(&m->files[i])) != 0)
            return fail(err, ERR_FORMAT, "manifest: file \"%s\" cannot be written as JSON", m->files[i].filename);
    *out = json_pack("{s:s, s:s, s:I, s:O}", "backup-type", m->backup_type, "backup-id", m->backup_id, "backup-time",
                     (json_int_t)m->backup_time, "files", files);
    return *out ? OK : fail(err, ERR_FORMAT, "manifest: cannot be written as JSON");
}

enum status manifest_write(const struct manifest *m, struct buffer *out, struct error *err)
{
    char signature[DIGEST_TEXT_SIZE];
    CLEANUP(json_cleanup) json_t *root = NULL;
    TRY(signed_part(m, &root, err));
    json_t *signed_by = m->is_signed ? json_string(digest_text(&m->signature, signature)) : json_null();
    json_t *unprotected = json_loads(m->unprotected, JSON_REJECT_DUPLICATES, NULL);
    if (json_object_set_new(root, "signature", signed_by) != 0 ||
        json_object_set_new(root, "unprotected", unprotected) != 0)
        return fail(err, ERR_FORMAT, "manifest: cannot be written as JSON");
    struct dump dump = {.out = out, .err = err, .status = OK};
    size_t size_before = out->size;
    if (json_dump_callback(root, dump_some, &dump, JSON_INDENT(2) | JSON_SORT_KEYS) != 0) {
        out->size = size_before;
        return dump.status != OK ? dump.status : fail(err, ERR_MEMORY, "manifest: out of memory for its JSON text");
    }
    return OK;
}

/* ---- signatures ---- */

static enum status signature_of(const json_t *root, const char *name, const struct crypt_config *key,
                                struct digest *out, struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(2 * MANIFEST_SIZE_MAX);
    TRY(canonical_json(root, name, &text, err));
    return crypt_sign(key, text.data, text.size, out, err);
}

static enum status set_fingerprint(struct manifest *m, const struct crypt_config *key, struct error *err)
{
    char text[FINGERPRINT_TEXT_SIZE];
    CLEANUP(free_cleanup) char *copy = NULL;
    TRY(copy_text(fingerprint_text(key->fingerprint, text), &copy, err));
    CLEANUP(json_cleanup) json_t *object = json_loads(m->unprotected, JSON_REJECT_DUPLICATES, NULL);
    if (!object || json_object_set_new(object, "key-fingerprint", json_string(text)) != 0)
        return fail(err, ERR_MEMORY, "manifest: out of memory for the key's fingerprint");
    TRY(unprotected_set(m, object, err));
    free(m->key_fingerprint);
    m->key_fingerprint = copy;
    copy = NULL;
    return OK;
}

enum status manifest_sign(struct manifest *m, const struct crypt_config *key, struct error *err)
{
    CLEANUP(json_cleanup) json_t *root = NULL;
    TRY(signed_part(m, &root, err));
    TRY(set_fingerprint(m, key, err));
    TRY(signature_of(root, "manifest", key, &m->signature, err));
    m->is_signed = true;
    return OK;
}

static bool is_of_key(const struct manifest *m, const struct crypt_config *key)
{
    uint8_t named[FINGERPRINT_SIZE];
    return !m->key_fingerprint ||
           (fingerprint_parse(m->key_fingerprint, named) && memcmp(named, key->fingerprint, sizeof named) == 0);
}

/* What the manifest names, for a sentence: it may be anything, of any length. */
static const char *named_key(const struct manifest *m, char out[LOG_PATH_MAX])
{
    return log_path(m->key_fingerprint, out);
}

enum status manifest_check_fingerprint(const struct manifest *m, const struct crypt_config *key, struct error *err)
{
    char ours[FINGERPRINT_TEXT_SIZE], theirs[LOG_PATH_MAX];
    if (is_of_key(m, key))
        return OK;
    return fail(err, ERR_MISMATCH, "wrong key - manifest's key %.*s does not match provided key %s",
                FINGERPRINT_TEXT_SIZE, named_key(m, theirs), fingerprint_text(key->fingerprint, ours));
}

enum status manifest_check_signature(const struct manifest *m, const uint8_t *text, size_t size, const char *name,
                                     const struct crypt_config *key, struct error *err)
{
    char ours[FINGERPRINT_TEXT_SIZE], theirs[LOG_PATH_MAX];
    if (!m->is_signed)
        return OK;
    if (!is_of_key(m, key))
        return fail(err, ERR_MISMATCH,
                    "wrong key - unable to verify signature since manifest's key %.*s does not match provided key %s",
                    FINGERPRINT_TEXT_SIZE, named_key(m, theirs), fingerprint_text(key->fingerprint, ours));
    CLEANUP(json_cleanup) json_t *root = NULL;
    TRY(load_json(text, size, name, &root, err));
    (void)json_object_del(root, "unprotected");
    (void)json_object_del(root, "signature");
    struct digest computed;
    TRY(signature_of(root, name, key, &computed, err));
    if (crypt_signature_equal(&computed, &m->signature))
        return OK;
    return fail(err, ERR_MISMATCH, "%s: does not fit its signature: it was changed, or signed with another key", name);
}
