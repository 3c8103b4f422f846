/* Any bytes as parameters: of a query, a form body or a JSON body, chosen by the first byte. What a table of rules lets
 * through keeps its rules, and written again it is read the same. */
#include "wire/names.h"
#include "wire/param.h"
#include "wire/query.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct param_rule rules[] = {
    {.name = "wid", .type = PARAM_INTEGER, .min = 1, .max = 256, .optional = true},
    {.name = "archive-name", .type = PARAM_TEXT, .check = name_is_archive, .what = "a file name", .optional = true},
    {.name = "debug", .type = PARAM_BOOLEAN, .optional = true},
    {.name = "digest-list", .type = PARAM_TEXT_LIST, .check = name_is_digest, .what = "a digest", .optional = true},
    {.name = "offset-list", .type = PARAM_INTEGER_LIST, .min = 0, .max = INT64_MAX, .optional = true},
    {.name = "any", .type = PARAM_TEXT, .optional = true},
};
enum { RULES = sizeof rules / sizeof *rules };

static void write_again(const struct param_set *set, struct buffer *out)
{
    for (size_t i = 0; i < RULES; i++) {
        const struct param_value *value = &set->values[i];
        if (!value->present)
            continue;
        if (rules[i].type == PARAM_TEXT)
            ASSERT(query_add_bytes(out, rules[i].name, value->text.data, value->text.size, NULL) == OK);
        if (rules[i].type == PARAM_INTEGER)
            ASSERT(query_add_integer(out, rules[i].name, value->integer, NULL) == OK);
        if (rules[i].type == PARAM_BOOLEAN)
            ASSERT(query_add_boolean(out, rules[i].name, value->boolean, NULL) == OK);
        for (size_t k = 0; k < value->count; k++) {
            if (rules[i].type == PARAM_TEXT_LIST)
                ASSERT(query_add(out, rules[i].name, value->texts[k].data, NULL) == OK);
            else
                ASSERT(query_add_integer(out, rules[i].name, value->integers[k], NULL) == OK);
        }
    }
}

static void check(const struct param_set *set)
{
    struct buffer text = BUFFER_INIT(1 << 24);
    struct param_set again;
    struct error err;
    const struct param_value *wid = param_get(set, "wid");
    const struct param_value *name = param_get(set, "archive-name");
    ASSERT(!wid->present || (wid->integer >= 1 && wid->integer <= 256));
    ASSERT(!name->present || name_is_archive(name->text.data, name->text.size));
    for (size_t i = 0; i < param_get(set, "digest-list")->count; i++)
        ASSERT(param_get(set, "digest-list")->texts[i].size == 64);
    write_again(set, &text);
    const struct param_input input = {
        .source = PARAM_FROM_QUERY_ONLY, .query = (const char *)text.data, .query_size = text.size};
    ASSERT(param_parse(rules, RULES, &input, &again, &err) == OK);
    for (size_t i = 0; i < RULES; i++) {
        const struct param_value *old = &set->values[i];
        const struct param_value *new = &again.values[i];
        bool empty_list = rules[i].type >= PARAM_TEXT_LIST && old->count == 0;
        ASSERT(old->present == new->present || empty_list);
        ASSERT(old->boolean == new->boolean && old->integer == new->integer && old->count == new->count);
        ASSERT(old->text.size == new->text.size);
        if (old->text.size > 0)
            ASSERT(memcmp(old->text.data, new->text.data, old->text.size) == 0);
    }
    param_clear(&again);
    buffer_deinit(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 1 << 16)
        return 0;
    unsigned kind = data[0] & 3;
    struct param_input input = {
        .source = kind == 0 ? PARAM_FROM_QUERY_ONLY : PARAM_FROM_ANYWHERE,
        .content_type = kind == 2 ? "application/json" : NULL,
        .body_size_max = 1 << 15,
    };
    if (kind < 2) {
        input.query = (const char *)data + 1;
        input.query_size = size - 1;
    } else {
        input.body = data + 1;
        input.body_size = size - 1;
    }
    struct param_set set;
    struct error err;
    if (param_parse(rules, RULES, &input, &set, &err) == OK) {
        check(&set);
        param_clear(&set);
    } else {
        ASSERT(err.status == ERR_USAGE);
    }
    return 0;
}
