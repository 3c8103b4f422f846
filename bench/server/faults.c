#include "server/faults.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

const char *const cut_when_names[] = {"head", "body", "before-reply", "within-reply", "after-reply", NULL};
const char *const lie_names[] = {"none", "flip", "swap", "cut", "grow", "endless", NULL};

enum type { FLAG, COUNT, INTEGER, DURATION_US, DURATION_MS, RATE, SIZE, CALL, WHEN, LIE };

/* Names of options, in the order of --help. */
static const struct {
    const char *name;
    enum type type;
    size_t offset;
} names[] = {
    {"delay-in", DURATION_US, offsetof(struct faults, delay_in_us)},
    {"delay-out", DURATION_US, offsetof(struct faults, delay_out_us)},
    {"rate-in", RATE, offsetof(struct faults, rate_in)},
    {"rate-out", RATE, offsetof(struct faults, rate_out)},
    {"cut-in", SIZE, offsetof(struct faults, cut_in)},
    {"cut-out", SIZE, offsetof(struct faults, cut_out)},
    {"cut-connection", COUNT, offsetof(struct faults, cut_connection)},
    {"cut-with-reset", FLAG, offsetof(struct faults, cut_with_reset)},
    {"cut-call", CALL, offsetof(struct faults, cut_call)},
    {"cut-when", WHEN, offsetof(struct faults, cut_when)},
    {"delay-call", CALL, offsetof(struct faults, delay_call)},
    {"delay-call-by", DURATION_MS, offsetof(struct faults, delay_call_ms)},
    {"error-call", CALL, offsetof(struct faults, error_call)},
    {"error-status", INTEGER, offsetof(struct faults, error_status)},
    {"error-early", FLAG, offsetof(struct faults, error_early)},
    {"lie-call", CALL, offsetof(struct faults, lie_call)},
    {"lie", LIE, offsetof(struct faults, lie)},
    {"read-rate", RATE, offsetof(struct faults, read_rate)},
    {"streams", COUNT, offsetof(struct faults, streams_max)},
    {"stream-window", COUNT, offsetof(struct faults, stream_window)},
    {"connection-window", COUNT, offsetof(struct faults, connection_window)},
    {"frame-size", COUNT, offsetof(struct faults, frame_size_max)},
    {"header-list", COUNT, offsetof(struct faults, header_list_max)},
    {"goaway-after", COUNT, offsetof(struct faults, goaway_after)},
    {"reset-with-cancel", FLAG, offsetof(struct faults, reset_with_cancel)},
    {"lax", FLAG, offsetof(struct faults, lax)},
    {"split-101", FLAG, offsetof(struct faults, split_101)},
    {"join-101", FLAG, offsetof(struct faults, join_101)},
    {"settings-late", DURATION_MS, offsetof(struct faults, settings_late_ms)},
    {"drop-chunk", COUNT, offsetof(struct faults, drop_chunk)},
    {"base-failed", FLAG, offsetof(struct faults, base_failed)},
    {"release-lock-at-end", FLAG, offsetof(struct faults, release_lock_at_end)},
    {"delay-401", DURATION_MS, offsetof(struct faults, delay_401_ms)},
};

const char *faults_help(void)
{
    return "    delay-in, delay-out=DURATION      the link is this long, in each direction (15ms, 300us)\n"
           "    rate-in, rate-out=BYTES           per second (125M); connecting costs a round trip more\n"
           "    cut-in, cut-out=BYTES             the connection is lost after so many bytes within TLS\n"
           "    cut-connection=K                  only the K-th one from the start\n"
           "    cut-with-reset                    by RST, not by FIN\n"
           "    cut-call=CALL  cut-when=WHEN      lost at a call: head, body, before-reply, within-reply, after-reply\n"
           "    delay-call=CALL  delay-call-by=DURATION\n"
           "    error-call=CALL  error-status=N  error-early\n"
           "    lie-call=CALL  lie=KIND           of download, chunk, previous: flip, swap, cut, grow, endless\n"
           "    read-rate=BYTES                   per second are taken from the socket\n"
           "    streams, stream-window, connection-window, frame-size, header-list=N\n"
           "    goaway-after=N                    requests of a session\n"
           "    reset-with-cancel, lax, split-101, join-101, settings-late=DURATION\n"
           "    drop-chunk=K                      the K-th chunk that is stored is removed again\n"
           "    base-failed, release-lock-at-end, delay-401=DURATION\n"
           "  CALL is [METHOD ]NAME[#K], e.g. finish, \"PUT dynamic_index#3\", chunk, access/ticket, \"*\"; K-th one "
           "only\n";
}

/* Digits, then a unit. */
static bool parse_number(const char *text, uint64_t max, uint64_t *out, const char **out_unit)
{
    uint64_t value = 0;
    const char *c = text;
    for (; *c >= '0' && *c <= '9'; c++)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, (uint64_t)(*c - '0'), &value))
            return false;
    *out = value;
    *out_unit = c;
    return c > text && value <= max;
}

/* In microseconds. */
static bool parse_duration(const char *text, uint64_t max_us, uint64_t *out)
{
    static const struct {
        const char *name;
        uint64_t us;
    } units[] = {{"us", 1}, {"ms", 1000}, {"s", 1000000}, {"", 1000}};
    const char *unit;
    if (!parse_number(text, max_us, out, &unit))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(unit, units[i].name) == 0)
            return !__builtin_mul_overflow(*out, units[i].us, out) && *out <= max_us;
    return false;
}

static bool parse_size(const char *text, uint64_t *out)
{
    static const char letters[] = "KMG";
    const char *unit;
    if (!parse_number(text, UINT64_MAX, out, &unit))
        return false;
    if (!*unit)
        return true;
    const char *letter = strchr(letters, *unit);
    if (!letter)
        return false;
    uint64_t factor = 1;
    bool binary = strcmp(unit + 1, "iB") == 0 || strcmp(unit + 1, "i") == 0;
    if (!binary && unit[1])
        return false;
    for (const char *l = letters; l <= letter; l++)
        factor *= binary ? 1024 : 1000;
    return !__builtin_mul_overflow(*out, factor, out);
}

static bool parse_call(const char *text, struct fault_call *out)
{
    *out = (struct fault_call){0};
    size_t size = strcspn(text, "#");
    uint64_t k = 0;
    const char *rest = "";
    if (size == 0 || size >= sizeof out->name ||
        (text[size] && (!parse_number(text + size + 1, UINT32_MAX, &k, &rest) || *rest || k == 0)))
        return false;
    memcpy(out->name, text, size);
    out->k = (unsigned)k;
    return true;
}

static bool parse_word(const char *text, const char *const *words, int *out)
{
    for (*out = 0; words[*out]; ++*out)
        if (strcmp(words[*out], text) == 0)
            return true;
    return false;
}

static bool parse_value(enum type type, const char *value, void *to)
{
    uint64_t number;
    const char *rest;
    int word;
    switch (type) {
    case FLAG: *(bool *)to = strcmp(value, "0") != 0; return strcmp(value, "1") == 0 || strcmp(value, "0") == 0;
    case COUNT:
        if (!parse_number(value, UINT32_MAX, &number, &rest) || *rest)
            return false;
        *(uint32_t *)to = (uint32_t)number;
        return true;
    case INTEGER:
        if (!parse_number(value, 999, &number, &rest) || *rest || number < 200)
            return false;
        *(int *)to = (int)number;
        return true;
    case DURATION_US:
        if (!parse_duration(value, 60000000, &number))
            return false;
        *(uint32_t *)to = (uint32_t)number;
        return true;
    case DURATION_MS:
        if (!parse_duration(value, 3600000000, &number))
            return false;
        *(uint32_t *)to = (uint32_t)(number / 1000);
        return true;
    case RATE:
    case SIZE: return parse_size(value, to);
    case CALL: return parse_call(value, to);
    case WHEN:
        if (!parse_word(value, cut_when_names, &word))
            return false;
        *(enum cut_when *)to = (enum cut_when)word;
        return true;
    case LIE:
        if (!parse_word(value, lie_names, &word))
            return false;
        *(enum lie *)to = (enum lie)word;
        return true;
    }
    return false;
}

enum status faults_set(struct faults *f, const char *text, struct error *err)
{
    size_t size = strcspn(text, "=");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i].name) != size || memcmp(names[i].name, text, size) != 0)
            continue;
        const char *value = text[size] ? text + size + 1 : "1";
        if (!text[size] && names[i].type != FLAG)
            return fail(err, ERR_USAGE, "fault '%s' needs a value: %s=...", text, names[i].name);
        if (!parse_value(names[i].type, value, (char *)f + names[i].offset))
            return fail(err, ERR_USAGE, "'%.100s' is no value of fault %s", value, names[i].name);
        return OK;
    }
    return fail(err, ERR_USAGE, "there is no fault '%.100s'; serve --help lists them", text);
}
