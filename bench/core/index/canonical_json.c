#include "index/canonical_json.h"

#include <stdlib.h>
#include <string.h>

enum { MEMBERS_MAX = 1 << 20 };

struct output {
    const char *name;
    struct buffer *bytes;
    struct error *err;
};

static enum status put(const struct output *o, const char *text)
{
    return buffer_append(o->bytes, text, strlen(text), o->err);
}

static enum status put_string(const struct output *o, const char *text, size_t size)
{
    TRY(buffer_append_u8(o->bytes, '"', o->err));
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        switch (c) {
        case '"': TRY(put(o, "\\\"")); break;
        case '\\': TRY(put(o, "\\\\")); break;
        case '\b': TRY(put(o, "\\b")); break;
        case '\f': TRY(put(o, "\\f")); break;
        case '\n': TRY(put(o, "\\n")); break;
        case '\r': TRY(put(o, "\\r")); break;
        case '\t': TRY(put(o, "\\t")); break;
        default:
            if (c < 0x20)
                TRY(buffer_printf(o->bytes, o->err, "\\u%04x", c));
            else
                TRY(buffer_append_u8(o->bytes, c, o->err));
        }
    }
    return buffer_append_u8(o->bytes, '"', o->err);
}

/* By bytes, as unsigned: UTF-8 has bytes from 0x80 on. */
static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void names_cleanup(const char ***names)
{
    free(*names);
}

static enum status put_value(const struct output *o, const json_t *value);

static enum status put_object(const struct output *o, const json_t *object)
{
    void *array;
    size_t count = 0;
    TRY(array_new(json_object_size(object) + 1, sizeof(char *), MEMBERS_MAX, "members of a JSON object", &array,
                  o->err));
    CLEANUP(names_cleanup) const char **names = array;
    json_t *borrowed = json_incref((json_t *)(uintptr_t)object); /* iterators have no const */
    for (void *i = json_object_iter(borrowed); i; i = json_object_iter_next(borrowed, i))
        names[count++] = json_object_iter_key(i);
    json_decref(borrowed);
    qsort(names, count, sizeof *names, compare_names);
    TRY(put(o, "{"));
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            TRY(put(o, ","));
        TRY(put_string(o, names[i], strlen(names[i])));
        TRY(put(o, ":"));
        TRY(put_value(o, json_object_get(object, names[i])));
    }
    return put(o, "}");
}

static enum status put_array(const struct output *o, const json_t *array)
{
    TRY(put(o, "["));
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i > 0)
            TRY(put(o, ","));
        TRY(put_value(o, json_array_get(array, i)));
    }
    return put(o, "]");
}

/* As deep as the parser allows (jansson: 2048). */
static enum status put_value(const struct output *o, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return put_object(o, value);
    case JSON_ARRAY: return put_array(o, value);
    case JSON_STRING: return put_string(o, json_string_value(value), json_string_length(value));
    case JSON_INTEGER: return buffer_printf(o->bytes, o->err, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    case JSON_TRUE: return put(o, "true");
    case JSON_FALSE: return put(o, "false");
    case JSON_NULL: return fail(o->err, ERR_FORMAT, "%s: a null cannot be signed", o->name);
    case JSON_REAL: break;
    }
    return fail(o->err, ERR_FORMAT, "%s: a fraction cannot be signed", o->name);
}

enum status canonical_json(const json_t *value, const char *name, struct buffer *out, struct error *err)
{
    const struct output o = {.name = name, .bytes = out, .err = err};
    return put_value(&o, value);
}
