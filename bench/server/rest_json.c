#include "server/rest_json.h"

#include "pxar/json_text.h"

#include <string.h>

static int append_piece(const char *text, size_t size, void *context)
{
    return buffer_append(context, text, size, NULL) == OK ? 0 : -1;
}

static enum status append_text(struct buffer *out, const char *text, struct error *err)
{
    return buffer_append(out, text, strlen(text), err);
}

/* Does not take the value. */
static enum status append_value(struct buffer *out, const json_t *value, struct error *err)
{
    size_t before = out->size;
    if (!value)
        return fail(err, ERR_MEMORY, "out of memory for an answer");
    if (json_dump_callback(value, append_piece, out, JSON_COMPACT | JSON_ENCODE_ANY) == 0)
        return OK;
    out->size = before;
    return fail(err, ERR_LIMIT, "the answer is longer than %zu bytes", out->limit);
}

enum status rest_json_data(struct buffer *out, json_t *value, struct error *err)
{
    enum status status = append_text(out, "{\"data\":", err);
    if (status == OK)
        status = append_value(out, value, err);
    json_decref(value);
    TRY(status);
    return append_text(out, "}", err);
}

enum status rest_json_list_begin(struct rest_json_list *list, struct buffer *out, struct error *err)
{
    *list = (struct rest_json_list){.out = out};
    return append_text(out, "{\"data\":[", err);
}

enum status rest_json_list_add(struct rest_json_list *list, json_t *value, struct error *err)
{
    enum status status = list->count > 0 ? append_text(list->out, ",", err) : OK;
    if (status == OK)
        status = append_value(list->out, value, err);
    json_decref(value);
    list->count++;
    return status;
}

enum status rest_json_list_end(struct rest_json_list *list, struct error *err)
{
    return append_text(list->out, "]}", err);
}

/* How many bytes at the beginning are UTF-8: whole sequences, four bytes at most. */
static size_t sequence_size(const char *bytes, size_t size)
{
    for (size_t n = 1; n <= 4 && n <= size; n++)
        if (utf8_valid(bytes, n))
            return n;
    return 0;
}

json_t *rest_json_text(const char *bytes, size_t size)
{
    static const char replacement[] = "\xef\xbf\xbd";
    if (utf8_valid(bytes, size))
        return json_stringn(bytes, size);
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(0);
    while (size > 0) {
        size_t good = sequence_size(bytes, size);
        enum status status = good > 0 ? buffer_append(&text, bytes, good, NULL)
                                      : buffer_append(&text, replacement, sizeof replacement - 1, NULL);
        if (status != OK)
            return NULL;
        size_t step = good > 0 ? good : 1;
        bytes += step;
        size -= step;
    }
    return json_stringn((const char *)text.data, text.size);
}

json_t *rest_json_base64(const void *bytes, size_t size)
{
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(0);
    if (base64_append(&text, bytes, size, NULL) != OK)
        return NULL;
    return json_stringn(text.data ? (const char *)text.data : "", text.size);
}

enum status rest_json_set(json_t *object, const char *name, json_t *value, struct error *err)
{
    if (!value || json_object_set_new(object, name, value) != 0)
        return fail(err, ERR_MEMORY, "out of memory for an answer");
    return OK;
}
