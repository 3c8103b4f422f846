#include "tree/pattern_glob.h"

#include "base/buffer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum token_kind {
    TOKEN_BYTE,
    TOKEN_ANY,         /* ?    one byte, not '/' */
    TOKEN_SET,         /* [..] one byte of the set, which may have '/' */
    TOKEN_STAR,        /* *    bytes without '/' */
    TOKEN_DOUBLE_STAR, /* **   any bytes */
    TOKEN_DIRECTORIES, /* the part "** /" (without the blank) of "/ ** /": nothing, or anything that ends with '/' */
    TOKEN_END,
};

struct glob_token {
    uint8_t kind;
    uint8_t byte;
    uint16_t set;
};

/* A set takes two bytes of text at least. */
static_assert(GLOB_TOKENS_MAX / 2 <= UINT16_MAX, "sets are numbered with 16 bits");
enum { STATE_WORDS_MAX = GLOB_TOKENS_MAX / 64 + 1 };

/* ---- sets ---- */

static void set_add(uint8_t set[32], unsigned first, unsigned last)
{
    for (unsigned c = first; c <= last; c++)
        set[c / 8] |= (uint8_t)(1U << c % 8);
}

static bool set_has(const uint8_t set[32], uint8_t c)
{
    return set[c / 8] >> c % 8 & 1;
}

/* ASCII in any locale. "print" has DEL and "space" has no vertical tab: so says the specification. */
static const struct {
    const char *name; /* with what follows it */
    struct {
        uint8_t first, last;
    } ranges[4]; /* unused ones repeat the first */
} classes[] = {
    {"alnum:]", {{'0', '9'}, {'A', 'Z'}, {'a', 'z'}, {'0', '9'}}},
    {"alpha:]", {{'A', 'Z'}, {'a', 'z'}, {'A', 'Z'}, {'A', 'Z'}}},
    {"blank:]", {{' ', ' '}, {'\t', '\t'}, {' ', ' '}, {' ', ' '}}},
    {"cntrl:]", {{0x00, 0x1f}, {0x7f, 0x7f}, {0x7f, 0x7f}, {0x7f, 0x7f}}},
    {"digit:]", {{'0', '9'}, {'0', '9'}, {'0', '9'}, {'0', '9'}}},
    {"graph:]", {{'!', '~'}, {'!', '~'}, {'!', '~'}, {'!', '~'}}},
    {"lower:]", {{'a', 'z'}, {'a', 'z'}, {'a', 'z'}, {'a', 'z'}}},
    {"print:]", {{0x20, 0x7f}, {0x20, 0x7f}, {0x20, 0x7f}, {0x20, 0x7f}}},
    {"punct:]", {{'!', '/'}, {':', '@'}, {'[', '`'}, {'{', '~'}}},
    {"space:]", {{' ', ' '}, {'\t', '\n'}, {'\f', '\r'}, {' ', ' '}}},
    {"upper:]", {{'A', 'Z'}, {'A', 'Z'}, {'A', 'Z'}, {'A', 'Z'}}},
    {"xdigit:]", {{'0', '9'}, {'A', 'F'}, {'a', 'f'}, {'0', '9'}}},
};

/* *at: after "[:"; moves past ":]". */
static enum status parse_class(const char *text, size_t *at, size_t end, uint8_t set[32], struct error *err)
{
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++) {
        size_t size = strlen(classes[i].name);
        if (end - *at < size || memcmp(text + *at, classes[i].name, size) != 0)
            continue;
        for (size_t k = 0; k < 4; k++)
            set_add(set, classes[i].ranges[k].first, classes[i].ranges[k].last);
        *at += size;
        return OK;
    }
    return fail(err, ERR_FORMAT, "unknown class at byte %zu", *at - 2);
}

/* The byte at *at, or the one after a backslash there. */
static enum status parse_byte(const char *text, size_t *at, size_t end, uint8_t *out, struct error *err)
{
    if (text[*at] == '\\' && ++*at == end)
        return fail(err, ERR_FORMAT, "backslash without a byte after it at byte %zu", *at - 1);
    *out = (uint8_t)text[(*at)++];
    return OK;
}

/* *at: after '['; moves past ']'. `set` is zeroed. */
static enum status parse_set(const char *text, size_t *at, size_t end, uint8_t set[32], struct error *err)
{
    size_t begin = *at - 1;
    bool complement = *at < end && text[*at] == '^';
    if (complement)
        ++*at;
    for (;;) {
        if (*at == end)
            return fail(err, ERR_FORMAT, "set without end at byte %zu", begin);
        if (text[*at] == ']')
            break;
        if (text[*at] == '[' && end - *at > 1 && text[*at + 1] == ':') {
            *at += 2;
            TRY(parse_class(text, at, end, set, err));
            continue;
        }
        uint8_t first, last;
        size_t member = *at;
        TRY(parse_byte(text, at, end, &first, err));
        last = first;
        if (*at < end && text[*at] == '-') {
            ++*at;
            if (*at == end || text[*at] == ']')
                return fail(err, ERR_FORMAT, "range without end at byte %zu", member);
            TRY(parse_byte(text, at, end, &last, err));
        }
        set_add(set, first < last ? first : last, first < last ? last : first);
    }
    ++*at;
    for (size_t i = 0; complement && i < 32; i++)
        set[i] = (uint8_t)~set[i];
    return OK;
}

/* ---- compiling ---- */

/* Bytes of text that the literal '/' at `at` takes: 1, 2 if escaped, 0 if there is none. */
static size_t slash_at(const char *text, size_t at, size_t end)
{
    if (at < end && text[at] == '/')
        return 1;
    return end - at > 1 && text[at] == '\\' && text[at + 1] == '/' ? 2 : 0;
}

static void push(struct glob *g, enum token_kind kind, uint8_t byte, size_t set)
{
    g->tokens[g->token_count++] = (struct glob_token){(uint8_t)kind, byte, (uint16_t)set};
}

/* A run of stars at *at. */
static void parse_stars(struct glob *g, const char *text, size_t *at, size_t end)
{
    size_t begin = *at;
    while (*at < end && text[*at] == '*')
        ++*at;
    const struct glob_token *before = g->token_count ? &g->tokens[g->token_count - 1] : NULL;
    bool after_directories = before && before->kind == TOKEN_DIRECTORIES;
    bool after_slash = after_directories || (before && before->kind == TOKEN_BYTE && before->byte == '/');
    size_t slash = slash_at(text, *at, end);
    if (*at - begin < 2 || (before && !after_slash) || (*at < end && slash == 0)) {
        push(g, TOKEN_STAR, 0, 0);
        return;
    }
    if (!after_slash || slash == 0) {
        push(g, TOKEN_DOUBLE_STAR, 0, 0);
        return;
    }
    *at += slash;
    if (!after_directories) /* two in a row match what one does */
        push(g, TOKEN_DIRECTORIES, 0, 0);
}

static enum status parse(struct glob *g, const char *text, size_t begin, size_t end, struct error *err)
{
    size_t sets = 0, sets_capacity = 0;
    for (size_t at = begin; at < end;) {
        if (text[at] == '*') {
            parse_stars(g, text, &at, end);
        } else if (text[at] == '?') {
            at++;
            push(g, TOKEN_ANY, 0, 0);
        } else if (text[at] == '[') {
            at++;
            TRY(array_grow((void **)&g->sets, sets, &sets_capacity, sizeof *g->sets, GLOB_TOKENS_MAX, "sets", err));
            memset(g->sets[sets], 0, sizeof *g->sets);
            TRY(parse_set(text, &at, end, g->sets[sets], err));
            push(g, TOKEN_SET, 0, sets++);
        } else {
            uint8_t byte;
            TRY(parse_byte(text, &at, end, &byte, err));
            push(g, TOKEN_BYTE, byte, 0);
        }
    }
    g->tokens[g->token_count].kind = TOKEN_END;
    if (sets > 0) { /* the array grows in large steps, patterns may be many */
        uint8_t(*fitting)[32] = realloc(g->sets, sets * sizeof *g->sets);
        g->sets = fitting ? fitting : g->sets;
    }
    return OK;
}

/* What can be known without a path. */
static void analyse(struct glob *g, bool anchored)
{
    const struct glob_token *t = g->tokens;
    size_t count = g->token_count;
    /* A suffix never starts with '/': paths have no empty components. */
    g->whole = anchored || (count > 0 && t->kind == TOKEN_BYTE && t->byte == '/');
    g->within_name = true;
    size_t tail_begin = 0;
    for (size_t i = 0; i < count; i++) {
        enum token_kind kind = t[i].kind;
        if (kind == TOKEN_BYTE || kind == TOKEN_ANY || kind == TOKEN_SET)
            g->size_min++;
        if (kind != TOKEN_BYTE)
            tail_begin = i + 1;
        if (kind == TOKEN_DOUBLE_STAR || kind == TOKEN_DIRECTORIES || (kind == TOKEN_BYTE && t[i].byte == '/') ||
            (kind == TOKEN_SET && set_has(g->sets[t[i].set], '/')))
            g->within_name = false;
    }
    for (size_t i = tail_begin; i < count; i++)
        g->tail[g->tail_size++] = t[i].byte;
    bool star_first = count > 0 && (t->kind == TOKEN_STAR || t->kind == TOKEN_DOUBLE_STAR);
    g->shape = GLOB_GENERAL;
    if (tail_begin == 0)
        g->shape = GLOB_LITERAL;
    else if (tail_begin == 1 && star_first && !g->whole)
        /* Between the last '/' and the tail there is nothing that a star does not take, so the tail decides alone. */
        g->shape = GLOB_ENDING;
    if (g->shape != GLOB_GENERAL) {
        free(g->tokens);
        g->tokens = NULL;
    }
}

enum status glob_init(struct glob *g, const char *text, size_t begin, size_t end, bool anchored, struct error *err)
{
    *g = (struct glob){0};
    ASSERT(begin <= end);
    size_t size = end - begin;
    if (size > GLOB_TOKENS_MAX)
        return fail(err, ERR_LIMIT, "%zu bytes are more than the limit of %d", size, GLOB_TOKENS_MAX);
    const char *nul = memchr(text + begin, '\0', size);
    if (nul)
        return fail(err, ERR_FORMAT, "NUL at byte %zu", (size_t)(nul - text));
    enum status s = array_new(size + 1, sizeof *g->tokens, SIZE_MAX, "tokens", (void **)&g->tokens, err);
    if (s == OK)
        s = array_new(size + 1, 1, SIZE_MAX, "bytes of a pattern", (void **)&g->tail, err);
    if (s == OK)
        s = parse(g, text, begin, end, err);
    if (s != OK) {
        glob_deinit(g);
        return s;
    }
    analyse(g, anchored);
    return OK;
}

void glob_deinit(struct glob *g)
{
    free(g->tokens);
    free(g->tail);
    free(g->sets);
    *g = (struct glob){0};
}

/* ---- matching ---- */

/* Adds the state "token `at` comes next", and those behind it that need no further byte. A state that is there already
 * has its followers, too. */
static void enter(const struct glob *g, uint64_t *states, size_t at, bool after_slash)
{
    for (;; at++) {
        uint64_t bit = (uint64_t)1 << at % 64;
        if (states[at / 64] & bit)
            return;
        states[at / 64] |= bit;
        enum token_kind kind = g->tokens[at].kind;
        if (kind != TOKEN_STAR && kind != TOKEN_DOUBLE_STAR && !(kind == TOKEN_DIRECTORIES && after_slash))
            return;
    }
}

/* From the last state to the first, so that new ones, which are never before the old one they come from, lie where
 * everything old is gone: one array serves both. Returns whether a state is left. */
static bool step(const struct glob *g, uint64_t *states, size_t words, uint8_t c)
{
    bool slash = c == '/';
    bool left = false;
    for (size_t word = words; word-- > 0;) {
        uint64_t old = states[word];
        states[word] = 0;
        while (old) {
            unsigned bit = 63 - (unsigned)__builtin_clzll(old);
            old &= ~((uint64_t)1 << bit);
            size_t at = word * 64 + bit;
            const struct glob_token *t = &g->tokens[at];
            bool moves = false, stays = false;
            switch ((enum token_kind)t->kind) {
            case TOKEN_BYTE: moves = t->byte == c; break;
            case TOKEN_ANY: moves = !slash; break;
            case TOKEN_SET: moves = set_has(g->sets[t->set], c); break;
            case TOKEN_STAR: stays = !slash; break;
            case TOKEN_DOUBLE_STAR:
            case TOKEN_DIRECTORIES: stays = true; break;
            case TOKEN_END: break;
            }
            if (moves)
                enter(g, states, at + 1, slash);
            else if (stays)
                enter(g, states, at, slash);
            left |= moves || stays;
        }
    }
    return left;
}

static bool run(const struct glob *g, const uint8_t *path, size_t size, bool suffixes)
{
    uint64_t states[STATE_WORDS_MAX];
    size_t words = g->token_count / 64 + 1;
    memset(states, 0, words * sizeof *states);
    enter(g, states, 0, false);
    for (size_t i = 0; i < size; i++) {
        bool left = step(g, states, words, path[i]);
        if (!left) {
            const uint8_t *slash = suffixes ? memchr(path + i, '/', size - i) : NULL;
            if (!slash)
                return false;
            i = (size_t)(slash - path);
        }
        if (suffixes && path[i] == '/')
            enter(g, states, 0, false);
    }
    return states[g->token_count / 64] >> g->token_count % 64 & 1;
}

bool glob_match(const struct glob *g, const char *path, size_t path_size)
{
    if (path_size < g->size_min)
        return false;
    size_t before_tail = path_size - g->tail_size;
    if (g->tail_size && memcmp(path + before_tail, g->tail, g->tail_size) != 0)
        return false;
    if (g->shape == GLOB_ENDING)
        return true;
    if (g->shape == GLOB_LITERAL)
        return before_tail == 0 || (!g->whole && path[before_tail - 1] == '/');
    size_t begin = 0;
    if (g->within_name && !g->whole) {
        const char *slash = memrchr(path, '/', path_size);
        begin = slash ? (size_t)(slash - path) + 1 : 0;
    }
    return run(g, (const uint8_t *)path + begin, path_size - begin, !g->whole && !g->within_name);
}
