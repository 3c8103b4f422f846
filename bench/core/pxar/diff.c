#include "pxar/diff.h"

#include "pxar/decoder.h"
#include "pxar/diff_fields.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { CONTENT_PART = 256 * 1024 };

/* A file that is compared when both archives have been read. */
struct held_file {
    bool present;
    bool has_digest;
    struct archive_entry entry; /* attributes owned */
    uint8_t digest[DIFF_DIGEST_SIZE];
};

static const char held_name[] = ".pxarexclude-cli", held_path[] = "/.pxarexclude-cli";

struct side {
    struct decoder *decoder;
    const char *name; /* of the archive, for errors */
    bool has_contents;
    struct archive_entry entry;
    struct buffer last_name; /* of the member before, in the same directory */
    bool has_last;
    struct held_file held;
};

struct diff {
    struct side a, b;
    struct diff_lines lines;
    struct diff_counts *counts;
    EVP_MD_CTX *digest;
    uint8_t *content;
    struct buffer path; /* of the entry at hand: reading contents takes the decoder's away */
};

static void side_deinit(struct side *s)
{
    decoder_free(s->decoder);
    buffer_deinit(&s->last_name);
    attributes_deinit(&s->held.entry.attributes);
}

static void diff_deinit(struct diff *d)
{
    side_deinit(&d->a);
    side_deinit(&d->b);
    diff_lines_deinit(&d->lines);
    EVP_MD_CTX_free(d->digest);
    free(d->content);
    buffer_deinit(&d->path);
}

/* ---- contents ---- */

static enum status digest_content(struct diff *d, struct side *s, uint8_t out[DIFF_DIGEST_SIZE], struct error *err)
{
    if (!EVP_DigestInit_ex(d->digest, EVP_sha256(), NULL))
        return fail(err, ERR_UNSUPPORTED, "OpenSSL offers no SHA-256");
    for (;;) {
        size_t size = 0;
        TRY(decoder_content(s->decoder, d->content, CONTENT_PART, &size, err));
        if (size == 0)
            break;
        if (!EVP_DigestUpdate(d->digest, d->content, size))
            return fail(err, ERR_UNSUPPORTED, "SHA-256 failed");
    }
    if (!EVP_DigestFinal_ex(d->digest, out, NULL))
        return fail(err, ERR_UNSUPPORTED, "SHA-256 failed");
    return OK;
}

/* ---- one side ---- */

/* Version 1 has this file last, whatever its name; it would not meet its like in the merge (12.2). */
static enum status hold(struct diff *d, struct side *s, struct error *err)
{
    struct held_file *h = &s->held;
    if (h->present)
        return fail(err, ERR_FORMAT, "%s: second %s", s->name, held_path);
    struct attributes copy;
    TRY(attributes_copy(&s->entry.attributes, &copy, err));
    h->entry = s->entry;
    h->entry.attributes = copy;
    h->entry.name = held_name;
    h->entry.path = held_path;
    h->present = true;
    h->has_digest = s->has_contents;
    return s->has_contents ? digest_content(d, s, h->digest, err) : OK;
}

static int compare_names(const void *a, size_t a_size, const void *b, size_t b_size)
{
    size_t size = a_size < b_size ? a_size : b_size;
    int order = size > 0 ? memcmp(a, b, size) : 0;
    return order ? order : (a_size > b_size) - (a_size < b_size);
}

static enum status set_last(struct side *s, const char *name, struct error *err)
{
    s->has_last = true;
    buffer_clear(&s->last_name);
    return buffer_append(&s->last_name, name, strlen(name), err);
}

/* The merge needs sorted members; readers do not demand them. */
static enum status check_order(struct side *s, struct error *err)
{
    const struct archive_entry *e = &s->entry;
    if (e->kind == ENTRY_DIRECTORY_END)
        return set_last(s, strrchr(e->path, '/') + 1, err); /* the member before the next one is this directory */
    if (s->has_last && compare_names(s->last_name.data, s->last_name.size, e->name, e->name_size) >= 0)
        return fail(err, ERR_FORMAT,
                    "%s: %.200s is not sorted by name: archives with such directories cannot be compared", s->name,
                    e->path);
    if (e->kind != ENTRY_DIRECTORY)
        return set_last(s, e->name, err);
    s->has_last = false;
    return OK;
}

/* To the next entry. ERR_CLOSED behind the root's end. */
static enum status advance(struct diff *d, struct side *s, struct error *err)
{
    for (;;) {
        TRY(decoder_next(s->decoder, &s->entry, err));
        const struct archive_entry *e = &s->entry;
        if (e->kind != ENTRY_FILE || e->depth != 1 || strcmp(e->name, held_name) != 0)
            return check_order(s, err);
        TRY(hold(d, s, err));
    }
}

static enum status side_open(struct diff *d, struct side *s, const struct diff_input *input, struct error *err)
{
    s->name = input->metadata.name;
    TRY(decoder_new(input->metadata, input->payload, &s->decoder, err));
    s->has_contents = input->payload || decoder_version(s->decoder) == 1;
    return advance(d, s, err);
}

/* ---- both ---- */

static enum status count_only(struct diff *d, bool in_b, const struct archive_entry *e, struct error *err)
{
    if (in_b)
        d->counts->only_b++;
    else
        d->counts->only_a++;
    return diff_only_in(&d->lines, in_b, e, err);
}

/* From a directory's first member to its end. */
static enum status only_below(struct diff *d, struct side *s, bool in_b, size_t depth, struct error *err)
{
    for (;;) {
        TRY(advance(d, s, err));
        if (s->entry.kind != ENTRY_DIRECTORY_END)
            TRY(count_only(d, in_b, &s->entry, err));
        else if (s->entry.depth == depth)
            return OK;
    }
}

static enum status only(struct diff *d, struct side *s, bool in_b, struct error *err)
{
    bool is_directory = s->entry.kind == ENTRY_DIRECTORY;
    TRY(count_only(d, in_b, &s->entry, err));
    if (is_directory)
        TRY(only_below(d, s, in_b, s->entry.depth, err));
    return advance(d, s, err);
}

static void count_both(struct diff *d, bool differ)
{
    if (differ)
        d->counts->different++;
    else
        d->counts->same++;
}

static enum status compare_contents(struct diff *d, const char *path, bool *out_differ, struct error *err)
{
    if (!d->a.has_contents || !d->b.has_contents) {
        d->counts->contents_not_compared++;
        return OK;
    }
    uint8_t a[DIFF_DIGEST_SIZE], b[DIFF_DIGEST_SIZE];
    TRY(digest_content(d, &d->a, a, err));
    TRY(digest_content(d, &d->b, b, err));
    d->counts->contents_compared++;
    return diff_contents(&d->lines, path, a, b, out_differ, err);
}

/* The same path in both. */
static enum status both(struct diff *d, struct error *err)
{
    enum entry_kind a = d->a.entry.kind, b = d->b.entry.kind;
    size_t depth = d->a.entry.depth;
    bool differ = false;
    TRY(diff_fields(&d->lines, &d->a.entry, &d->b.entry, &differ, err));
    if (a == ENTRY_FILE && b == ENTRY_FILE) {
        buffer_clear(&d->path);
        TRY(buffer_append(&d->path, d->a.entry.path, strlen(d->a.entry.path) + 1, err));
        TRY(compare_contents(d, (const char *)d->path.data, &differ, err));
    }
    count_both(d, differ);
    if (a == ENTRY_DIRECTORY && b != ENTRY_DIRECTORY)
        TRY(only_below(d, &d->a, false, depth, err));
    if (b == ENTRY_DIRECTORY && a != ENTRY_DIRECTORY)
        TRY(only_below(d, &d->b, true, depth, err));
    TRY(advance(d, &d->a, err));
    return advance(d, &d->b, err);
}

static enum status compare_held(struct diff *d, struct error *err)
{
    const struct held_file *a = &d->a.held, *b = &d->b.held;
    bool differ = false;
    if (!a->present && !b->present)
        return OK;
    if (!a->present || !b->present)
        return count_only(d, b->present, a->present ? &a->entry : &b->entry, err);
    TRY(diff_fields(&d->lines, &a->entry, &b->entry, &differ, err));
    if (a->has_digest && b->has_digest) {
        d->counts->contents_compared++;
        TRY(diff_contents(&d->lines, held_path, a->digest, b->digest, &differ, err));
    } else {
        d->counts->contents_not_compared++;
    }
    count_both(d, differ);
    return OK;
}

static enum status compare_preludes(struct diff *d, struct error *err)
{
    if (decoder_version(d->a.decoder) != 2 || decoder_version(d->b.decoder) != 2)
        return OK;
    size_t a_size = 0, b_size = 0;
    const uint8_t *a = decoder_prelude(d->a.decoder, &a_size), *b = decoder_prelude(d->b.decoder, &b_size);
    return diff_preludes(&d->lines, a, a_size, b, b_size, &d->counts->preludes_differ, err);
}

/* Reads what must be nothing. */
static enum status check_end(struct diff *d, struct side *s, struct error *err)
{
    enum status status = advance(d, s, err);
    ASSERT(status != OK);
    return status == ERR_CLOSED ? OK : status;
}

/* Both sides stand in the same directory whenever this comes round. */
static enum status merge(struct diff *d, struct error *err)
{
    TRY(both(d, err)); /* the roots */
    for (;;) {
        const struct archive_entry *a = &d->a.entry, *b = &d->b.entry;
        bool a_ends = a->kind == ENTRY_DIRECTORY_END, b_ends = b->kind == ENTRY_DIRECTORY_END;
        ASSERT(a->depth - !a_ends == b->depth - !b_ends);
        if (a_ends && b_ends) {
            if (a->depth == 0)
                return OK;
            TRY(advance(d, &d->a, err));
            TRY(advance(d, &d->b, err));
            continue;
        }
        int order = a_ends ? 1 : b_ends ? -1 : compare_names(a->name, a->name_size, b->name, b->name_size);
        if (order < 0)
            TRY(only(d, &d->a, false, err));
        else if (order > 0)
            TRY(only(d, &d->b, true, err));
        else
            TRY(both(d, err));
    }
}

static enum status compare(struct diff *d, const struct diff_input *a, const struct diff_input *b, struct error *err)
{
    d->digest = EVP_MD_CTX_new();
    d->content = malloc(CONTENT_PART);
    if (!d->digest || !d->content)
        return fail(err, ERR_MEMORY, "out of memory for comparing contents");
    TRY(side_open(d, &d->a, a, err));
    TRY(side_open(d, &d->b, b, err));
    TRY(compare_preludes(d, err));
    TRY(merge(d, err));
    TRY(compare_held(d, err));
    TRY(check_end(d, &d->a, err));
    return check_end(d, &d->b, err);
}

enum status diff_archives(const struct diff_input *a, const struct diff_input *b, const struct diff_options *options,
                          struct sink out, struct diff_counts *counts, struct error *err)
{
    CLEANUP(diff_deinit) struct diff d = {.counts = counts};
    *counts = (struct diff_counts){0};
    diff_lines_init(&d.lines, options, out);
    enum status status = compare(&d, a, b, err);
    /* What was found before a failure is shown; the failure itself is what counts. */
    enum status flushed = diff_lines_flush(&d.lines, status == OK ? err : NULL);
    return status != OK ? status : flushed;
}

bool diff_same(const struct diff_counts *c)
{
    return c->different == 0 && c->only_a == 0 && c->only_b == 0 && !c->preludes_differ;
}

enum status diff_summary(const struct diff_counts *c, enum diff_format format, struct buffer *out, struct error *err)
{
    if (format == DIFF_JSON)
        return buffer_printf(
            out, err,
            "{\"contents_compared\":%" PRIu64 ",\"contents_not_compared\":%" PRIu64 ",\"different\":%" PRIu64
            ",\"only_a\":%" PRIu64 ",\"only_b\":%" PRIu64 ",\"same\":%" PRIu64 "}",
            c->contents_compared, c->contents_not_compared, c->different, c->only_a, c->only_b, c->same);
    TRY(buffer_printf(out, err, "%" PRIu64 " same, %" PRIu64 " different, %" PRIu64 " only in A, %" PRIu64 " only in B",
                      c->same, c->different, c->only_a, c->only_b));
    if (c->contents_not_compared > 0)
        TRY(buffer_printf(out, err, "; contents of %" PRIu64 " files not compared", c->contents_not_compared));
    return OK;
}
