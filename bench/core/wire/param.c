#include "wire/param.h"

#include "base/json_values.h"
#include "wire/query.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { QUOTE_MAX = 60 };

/* The elements of lists in a query or form, where each takes three bytes of the text at least. */
enum { LIST_MAX = 1 << 19 };

/* Of JSON, where a parser needs much more memory than text: four times the digests and offsets that the largest body
 * has room for. */
enum { JSON_VALUES_MAX = 1 << 16 };

void param_clear(struct param_set *set)
{
    for (size_t i = 0; i < set->rule_count; i++) {
        free(set->values[i].texts);
        free(set->values[i].integers);
    }
    for (size_t i = 0; i < set->owned_count; i++)
        free(set->owned[i]);
    free(set->owned);
    *set = (struct param_set){0};
}

static enum status keep_text(struct param_set *set, const char *data, size_t size, struct param_text *out,
                             struct error *err)
{
    TRY(array_grow((void **)&set->owned, set->owned_count, &set->owned_capacity, sizeof *set->owned, LIST_MAX,
                   "parameter texts", err));
    char *copy = malloc(size + 1);
    if (!copy)
        return fail(err, ERR_MEMORY, "out of memory for a parameter of %zu bytes", size);
    if (size > 0)
        memcpy(copy, data, size);
    copy[size] = '\0';
    set->owned[set->owned_count++] = copy;
    *out = (struct param_text){copy, size};
    return OK;
}

static enum status add_text(struct param_set *set, size_t index, const char *data, size_t size, struct error *err)
{
    const struct param_rule *rule = &set->rules[index];
    struct param_value *value = &set->values[index];
    bool is_good = (size == 0 || !memchr(data, '\0', size)) && (!rule->check || rule->check(data, size));
    if (!is_good && rule->is_secret)
        return fail(err, ERR_USAGE, "parameter '%s' is not %s", rule->name, rule->what ? rule->what : "a text");
    if (!is_good)
        return fail(err, ERR_USAGE, "parameter '%s': '%.*s' is not %s", rule->name,
                    size > QUOTE_MAX ? QUOTE_MAX : (int)size, size ? data : "", rule->what ? rule->what : "a text");
    struct param_text text;
    TRY(keep_text(set, data, size, &text, err));
    if (rule->type == PARAM_TEXT) {
        value->text = text;
        return OK;
    }
    TRY(array_grow((void **)&value->texts, value->count, &value->capacity, sizeof *value->texts, LIST_MAX,
                   "list elements", err));
    value->texts[value->count++] = text;
    return OK;
}

static enum status add_integer(struct param_set *set, size_t index, int64_t integer, struct error *err)
{
    const struct param_rule *rule = &set->rules[index];
    struct param_value *value = &set->values[index];
    if ((rule->min != 0 || rule->max != 0) && (integer < rule->min || integer > rule->max))
        return fail(err, ERR_USAGE, "parameter '%s': %lld is not between %lld and %lld", rule->name, (long long)integer,
                    (long long)rule->min, (long long)rule->max);
    if (rule->type == PARAM_INTEGER) {
        value->integer = integer;
        return OK;
    }
    TRY(array_grow((void **)&value->integers, value->count, &value->capacity, sizeof *value->integers, LIST_MAX,
                   "list elements", err));
    value->integers[value->count++] = integer;
    return OK;
}

/* Optional sign and decimal digits. */
static bool parse_integer(const char *text, size_t size, int64_t *out)
{
    bool negative = size > 0 && text[0] == '-';
    size_t i = size > 0 && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    int64_t value = 0;
    if (i == size)
        return false;
    for (; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        int digit = text[i] - '0';
        if (__builtin_mul_overflow(value, 10, &value) ||
            (negative ? __builtin_sub_overflow(value, digit, &value) : __builtin_add_overflow(value, digit, &value)))
            return false;
    }
    *out = value;
    return true;
}

static bool parse_boolean(const char *text, bool *out)
{
    static const char *const words[2][4] = {{"0", "off", "no", "false"}, {"1", "on", "yes", "true"}};
    for (int value = 0; value < 2; value++)
        for (int i = 0; i < 4; i++)
            if (strcasecmp(text, words[value][i]) == 0) {
                *out = value == 1;
                return true;
            }
    return false;
}

static bool is_list(enum param_type type)
{
    return type == PARAM_TEXT_LIST || type == PARAM_INTEGER_LIST;
}

static bool has_secrets(const struct param_set *set)
{
    for (size_t i = 0; i < set->rule_count; i++)
        if (set->rules[i].is_secret)
            return true;
    return false;
}

static enum status find_rule(const struct param_set *set, const char *name, size_t size, size_t *out, struct error *err)
{
    for (size_t i = 0; i < set->rule_count; i++)
        if (strlen(set->rules[i].name) == size && memcmp(set->rules[i].name, name, size) == 0) {
            *out = i;
            return OK;
        }
    /* It may be a secret without its name. */
    if (has_secrets(set))
        return fail(err, ERR_USAGE, "there is an unknown parameter");
    return fail(err, ERR_USAGE, "unknown parameter '%.*s'", size > QUOTE_MAX ? QUOTE_MAX : (int)size, name);
}

/* `key` and `value` are decoded and end with a NUL behind their sizes. */
static enum status set_from_text(struct param_set *set, const struct buffer *key, const struct buffer *text,
                                 struct error *err)
{
    size_t index;
    const char *data = (const char *)text->data;
    size_t size = text->size - 1;
    TRY(find_rule(set, (const char *)key->data, key->size - 1, &index, err));
    const struct param_rule *rule = &set->rules[index];
    struct param_value *value = &set->values[index];
    if (value->present && !is_list(rule->type))
        return fail(err, ERR_USAGE, "parameter '%s' is given twice", rule->name);
    value->present = true;
    switch (rule->type) {
    case PARAM_TEXT:
    case PARAM_TEXT_LIST: return add_text(set, index, data, size, err);
    case PARAM_INTEGER:
    case PARAM_INTEGER_LIST: {
        int64_t integer;
        if (!parse_integer(data, size, &integer))
            return fail(err, ERR_USAGE, "parameter '%s': '%.*s' is not an integer", rule->name, QUOTE_MAX, data);
        return add_integer(set, index, integer, err);
    }
    case PARAM_BOOLEAN:
        if (memchr(data, '\0', size) || !parse_boolean(data, &value->boolean))
            return fail(err, ERR_USAGE, "parameter '%s': '%.*s' is neither true nor false", rule->name, QUOTE_MAX,
                        data);
        return OK;
    }
    return OK;
}

/* Takes `out` as it is filled later: a list may continue, a scalar is then given twice. */
static enum status parse_form(struct param_set *set, const char *text, size_t size, bool is_query, struct error *err)
{
    struct buffer key = BUFFER_INIT(size + 1);
    struct buffer value = BUFFER_INIT(size + 1);
    struct query_text rest = {text, size};
    struct query_text encoded_key;
    struct query_text encoded_value;
    enum status status = OK;
    while (status == OK && query_next(&rest, &encoded_key, &encoded_value)) {
        buffer_clear(&key);
        buffer_clear(&value);
        if ((status = query_decode(&key, encoded_key, err)) != OK ||
            (status = query_decode(&value, encoded_value, err)) != OK ||
            (status = buffer_append_u8(&key, 0, err)) != OK || (status = buffer_append_u8(&value, 0, err)) != OK)
            break;
        if (is_query && strcmp((const char *)key.data, "_dc") == 0)
            continue;
        status = set_from_text(set, &key, &value, err);
    }
    buffer_deinit(&key);
    buffer_deinit(&value);
    return status;
}

static enum status set_element(struct param_set *set, size_t index, bool text, json_t *json, struct error *err)
{
    const char *name = set->rules[index].name;
    if (text) {
        if (!json_is_string(json))
            return fail(err, ERR_USAGE, "parameter '%s' is not a string", name);
        return add_text(set, index, json_string_value(json), json_string_length(json), err);
    }
    if (!json_is_integer(json))
        return fail(err, ERR_USAGE, "parameter '%s' is not an integer", name);
    return add_integer(set, index, json_integer_value(json), err);
}

static enum status set_from_json(struct param_set *set, const char *name, json_t *json, struct error *err)
{
    size_t index;
    TRY(find_rule(set, name, strlen(name), &index, err));
    const struct param_rule *rule = &set->rules[index];
    struct param_value *value = &set->values[index];
    value->present = true;
    switch (rule->type) {
    case PARAM_TEXT: return set_element(set, index, true, json, err);
    case PARAM_INTEGER: return set_element(set, index, false, json, err);
    case PARAM_BOOLEAN:
        if (!json_is_boolean(json))
            return fail(err, ERR_USAGE, "parameter '%s' is neither true nor false", name);
        value->boolean = json_is_true(json);
        return OK;
    case PARAM_TEXT_LIST:
    case PARAM_INTEGER_LIST:
        if (!json_is_array(json))
            return fail(err, ERR_USAGE, "parameter '%s' is not a list", name);
        for (size_t i = 0; i < json_array_size(json); i++)
            TRY(set_element(set, index, rule->type == PARAM_TEXT_LIST, json_array_get(json, i), err));
        return OK;
    }
    return OK;
}

static enum status parse_json(struct param_set *set, const char *body, size_t size, struct error *err)
{
    json_error_t problem;
    if (size == 0)
        return OK;
    if (json_values_check(body, size, JSON_VALUES_MAX, "the body", err) != OK)
        return fail(err, ERR_USAGE, "the body has more than %d values", JSON_VALUES_MAX);
    json_t *root = json_loadb(body, size, 0, &problem);
    if (!root && has_secrets(set)) /* the problem's text quotes what is near it */
        return fail(err, ERR_USAGE, "the body is not JSON: at byte %d", problem.position);
    if (!root)
        return fail(err, ERR_USAGE, "the body is not JSON: %s at byte %d", problem.text, problem.position);
    enum status status = OK;
    const char *name;
    json_t *value;
    if (!json_is_object(root))
        status = fail(err, ERR_USAGE, "the body is not a JSON object");
    else
        json_object_foreach(root, name, value)
        {
            status = set_from_json(set, name, value, err);
            if (status != OK)
                break;
        }
    json_decref(root);
    return status;
}

/* Attributes behind ';' (a charset) do not count. */
static bool type_is(const char *content_type, const char *wanted)
{
    size_t size = strcspn(content_type, ";");
    while (size > 0 && (content_type[size - 1] == ' ' || content_type[size - 1] == '\t'))
        size--;
    return size == strlen(wanted) && strncasecmp(content_type, wanted, size) == 0;
}

static enum status parse_input(struct param_set *set, const struct param_input *input, struct error *err)
{
    if (input->source == PARAM_FROM_QUERY_ONLY)
        return parse_form(set, input->query, input->query_size, true, err);
    if (input->body_size > input->body_size_max)
        return fail(err, ERR_USAGE, "a body of %zu bytes with parameters, at most %zu are allowed", input->body_size,
                    input->body_size_max);
    if (input->content_type && type_is(input->content_type, "application/json"))
        return parse_json(set, input->body, input->body_size, err);
    if (input->content_type && !type_is(input->content_type, "application/x-www-form-urlencoded"))
        return fail(err, ERR_USAGE, "content type '%.*s' is not supported", QUOTE_MAX, input->content_type);
    TRY(parse_form(set, input->query, input->query_size, true, err));
    return parse_form(set, input->body, input->body_size, false, err);
}

enum status param_parse(const struct param_rule *rules, size_t rule_count, const struct param_input *input,
                        struct param_set *out, struct error *err)
{
    ASSERT(rule_count <= PARAM_RULES_MAX);
    *out = (struct param_set){.rules = rules, .rule_count = rule_count};
    enum status status = parse_input(out, input, err);
    for (size_t i = 0; status == OK && i < rule_count; i++)
        if (!out->values[i].present && !rules[i].optional)
            status = fail(err, ERR_USAGE, "parameter '%s' is missing", rules[i].name);
    if (status != OK)
        param_clear(out);
    return status;
}

const struct param_value *param_get(const struct param_set *set, const char *name)
{
    const struct param_value *found = NULL;
    for (size_t i = 0; i < set->rule_count && !found; i++)
        if (strcmp(set->rules[i].name, name) == 0)
            found = &set->values[i];
    ASSERT(found);
    return found;
}
