#include "tree/listing.h"

#include "base/buffer.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_SIZE = 32768 };

static bool is_left_out(const char *name, bool is_root)
{
    if (name[0] != '.')
        return false;
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || (is_root && strcmp(name, ".pxarexclude-cli") == 0);
}

struct growing {
    const struct listing_options *options;
    struct buffer names;
    struct listing_entry *entries;
    size_t count, capacity;
    bool over; /* more than allowed: only a restart can help */
};

static void growing_deinit(struct growing *g)
{
    buffer_deinit(&g->names);
    free(g->entries);
}

static void start_again(struct growing *g)
{
    buffer_clear(&g->names);
    g->count = 0;
    g->over = false;
}

static enum status fail_over(const struct growing *g, struct error *err)
{
    return fail(err, ERR_LIMIT, "exceeded allowed number of file entries (> %zu)", g->options->entries_max);
}

static enum status keep(struct growing *g, const struct listing_entry *entry, struct error *err)
{
    if (g->count >= g->options->entries_max - g->options->entries_held) {
        g->over = true;
        return g->options->filter ? OK : fail_over(g, err);
    }
    void *entries = g->entries;
    enum status status =
        array_grow(&entries, g->count, &g->capacity, sizeof *g->entries, SIZE_MAX, "directory entries", err);
    g->entries = entries;
    TRY(status);
    TRY(buffer_append(&g->names, entry->name, (size_t)entry->name_size + 1, err));
    g->entries[g->count] = *entry;
    g->entries[g->count++].name = NULL; /* in `names`, which still moves */
    return OK;
}

static enum status add(struct growing *g, const struct dirent64 *found, enum listing_verdict *out, struct error *err)
{
    size_t size = strlen(found->d_name);
    if (size == 0 || size > UINT16_MAX || memchr(found->d_name, '/', size))
        return fail(err, ERR_FORMAT, "the file system gave a name that is not one plain component");
    struct listing_entry entry = {.name = found->d_name, .name_size = (uint16_t)size, .type = found->d_type};
    *out = LISTING_KEEP;
    const struct listing_filter *filter = g->options->filter;
    if (filter)
        TRY(filter->judge(filter->context, &entry, out, err));
    return *out == LISTING_KEEP ? keep(g, &entry, err) : OK;
}

static int compare_names(const void *left, const void *right)
{
    const struct listing_entry *a = left;
    const struct listing_entry *b = right;
    return strcmp(a->name, b->name); /* bytes as unsigned char, no zero inside: the archive's order */
}

/* Sorts, and keeps one of equal names: a directory that changes while it is read may give a name twice. */
static void arrange(struct listing_entry *entries, size_t *count)
{
    bool ordered = true;
    for (size_t i = 1; i < *count && ordered; i++)
        ordered = compare_names(&entries[i - 1], &entries[i]) < 0;
    if (ordered)
        return;
    qsort(entries, *count, sizeof *entries, compare_names);
    size_t kept = 1;
    for (size_t i = 1; i < *count; i++)
        if (compare_names(&entries[kept - 1], &entries[i]) != 0)
            entries[kept++] = entries[i];
    *count = kept;
}

/* getdents64 itself: the C library's readdir turns some failures into the end of the directory. */
static enum status read_names(int fd, struct growing *g, enum listing_verdict *out, struct error *err)
{
    _Alignas(struct dirent64) char block[READ_SIZE];
    start_again(g);
    *out = LISTING_KEEP;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return fail(err, ERR_IO, "cannot go to the start of the directory");
    for (;;) {
        ssize_t size = getdents64(fd, block, sizeof block);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return fail(err, ERR_IO, "cannot read directory");
        if (size == 0)
            return g->over ? fail_over(g, err) : OK;
        for (size_t at = 0; at < (size_t)size;) {
            const struct dirent64 *entry = (const void *)(block + at);
            if (!is_left_out(entry->d_name, g->options->is_root))
                TRY(add(g, entry, out, err));
            if (*out == LISTING_RESTART)
                return OK;
            at += entry->d_reclen;
        }
    }
}

enum status listing_read(int fd, const struct listing_options *options, struct listing *out, struct error *err)
{
    ASSERT(options->entries_held <= options->entries_max);
    /* Entries are bounded by entries_max, so a ceiling of its own for the names would only get in the way. */
    CLEANUP(growing_deinit) struct growing g = {.options = options, .names = BUFFER_INIT(SIZE_MAX / 2)};
    enum listing_verdict verdict;
    do
        TRY(read_names(fd, &g, &verdict, err));
    while (verdict == LISTING_RESTART);
    const char *name = (const char *)g.names.data;
    for (size_t i = 0; i < g.count; i++) {
        g.entries[i].name = name;
        name += g.entries[i].name_size + 1;
    }
    arrange(g.entries, &g.count);
    *out = (struct listing){.entries = g.entries, .count = g.count, .names = (char *)g.names.data};
    g = (struct growing){0};
    return OK;
}

void listing_deinit(struct listing *l)
{
    free(l->entries);
    free(l->names);
    *l = (struct listing){0};
}
