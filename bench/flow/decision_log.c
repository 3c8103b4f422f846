#include "flow/decision_log.h"

#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { DECISION_PATH_MAX = 1 << 16 };

/* `value` under `key` if it is UTF-8, else base64 under `key_b64`. */
static enum status set_bytes(json_t *object, const char *key, const char *key_b64, const char *value, struct error *err)
{
    json_t *text = json_string(value);
    if (text)
        return json_object_set_new(object, key, text) == 0 ? OK : fail(err, ERR_MEMORY, "out of memory for JSON");
    size_t size = strlen(value);
    char *encoded = malloc(4 * (size / 3 + 1) + 1);
    if (!encoded)
        return fail(err, ERR_MEMORY, "out of memory for JSON");
    EVP_EncodeBlock((unsigned char *)encoded, (const unsigned char *)value, (int)size);
    int failed = json_object_set_new(object, key_b64, json_string(encoded));
    free(encoded);
    return failed ? fail(err, ERR_MEMORY, "out of memory for JSON") : OK;
}

/* Takes the object. */
static enum status write_line(FILE *out, json_t *object, const struct node *n, struct error *err)
{
    char path[DECISION_PATH_MAX];
    enum status status = object ? set_bytes(object, "path", "path_b64", node_path(n, path, sizeof path), err)
                                : fail(err, ERR_MEMORY, "out of memory for JSON");
    if (status == OK && (json_dumpf(object, out, JSON_COMPACT | JSON_SORT_KEYS) != 0 || fputc('\n', out) == EOF))
        status = fail(err, ERR_IO, "write decisions");
    json_decref(object);
    return status;
}

enum status decision_log_file(FILE *out, const struct node *n, bool reused, enum file_reason reason,
                              uint64_t old_offset, uint64_t offset, struct error *err)
{
    if (!out)
        return OK;
    json_t *object = json_pack("{s:s, s:s, s:I, s:I}", "action", reused ? "reused" : "reencoded", "reason",
                               file_reason_name(reason), "size", (json_int_t)n->size, "offset", (json_int_t)offset);
    if (object && reused)
        (void)json_object_set_new(object, "old_offset", json_integer((json_int_t)old_offset));
    return write_line(out, object, n, err);
}

enum status decision_log_link(FILE *out, const struct node *n, const char *target, struct error *err)
{
    if (!out)
        return OK;
    json_t *object = json_pack("{s:s}", "action", "hardlink");
    if (object) {
        enum status status = set_bytes(object, "target", "target_b64", target, err);
        if (status != OK) {
            json_decref(object);
            return status;
        }
    }
    return write_line(out, object, n, err);
}
