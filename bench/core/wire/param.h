/* Parameters of a call, checked against a table: what a server accepts, from a query, a form body or a JSON body.
 *
 *   rules (a table of the call) + texts of the request  -->  one value per rule
 *
 * Pure. Values live in the set until it is cleared; lists are bounded by the sizes of the texts, which the caller
 * bounds. Every failure is ERR_USAGE with a sentence for the client (status 400), apart from ERR_MEMORY. Source:
 * bench/spec/protocol.md 5.1. */
#ifndef PXB_WIRE_PARAM_H
#define PXB_WIRE_PARAM_H

#include "base/buffer.h"

enum param_type { PARAM_TEXT, PARAM_INTEGER, PARAM_BOOLEAN, PARAM_TEXT_LIST, PARAM_INTEGER_LIST };

struct param_rule {
    const char *name;
    enum param_type type;
    bool optional;
    int64_t min, max;                             /* of integers, also in lists; both 0: any */
    bool (*check)(const char *text, size_t size); /* of texts, also in lists; NULL: any without NUL */
    const char *what;                             /* for the sentence: "a file name ending in .didx" */
    bool is_secret;                               /* no sentence quotes it, nor anything near it */
};

struct param_text {
    const char *data; /* followed by a NUL; none inside */
    size_t size;
};

struct param_value {
    bool present;
    bool boolean;
    int64_t integer;
    struct param_text text;
    struct param_text *texts; /* `count` */
    int64_t *integers;        /* `count` */
    size_t count;
    size_t capacity;
};

enum { PARAM_RULES_MAX = 16 };

struct param_set {
    const struct param_rule *rules;
    size_t rule_count;
    struct param_value values[PARAM_RULES_MAX];
    char **owned; /* the texts */
    size_t owned_count, owned_capacity;
};

/* Where the parameters of a request may come from. */
enum param_source {
    PARAM_FROM_ANYWHERE,   /* query, form body or JSON body, by content type */
    PARAM_FROM_QUERY_ONLY, /* raw calls: the body is data, its type of no interest */
};

struct param_input {
    enum param_source source;
    const char *query; /* without '?'; NULL with size 0 */
    size_t query_size;
    const char *content_type; /* NULL: none was given */
    const void *body;
    size_t body_size;
    size_t body_size_max; /* larger: refused */
};

/* Fills `out` (any content is overwritten: clear it first). On failure it is cleared. */
MUST_CHECK enum status param_parse(const struct param_rule *rules, size_t rule_count, const struct param_input *input,
                                   struct param_set *out, struct error *err);
void param_clear(struct param_set *set); /* accepts zeroed */

/* By name; asserts that there is such a rule. Never NULL: look at `present` for optional ones. */
const struct param_value *param_get(const struct param_set *set, const char *name);

#endif
