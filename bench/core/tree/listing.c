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
    struct buffer names;
    struct listing_entry *entries;
    size_t count, capacity;
};

static void growing_deinit(struct growing *g)
{
    buffer_deinit(&g->names);
    free(g->entries);
}

static enum status add(struct growing *g, const char *name, uint8_t type, const char *path, size_t entries_max,
                       struct error *err)
{
    size_t size = strlen(name);
    if (size == 0 || size > UINT16_MAX || memchr(name, '/', size))
        return fail(err, ERR_FORMAT, "%s: the file system gave a name that is not one plain component", path);
    if (g->count >= entries_max)
        return fail(err, ERR_LIMIT, "%s: exceeded allowed number of file entries (> %zu)", path, entries_max);
    void *entries = g->entries;
    enum status status =
        array_grow(&entries, g->count, &g->capacity, sizeof *g->entries, SIZE_MAX, "directory entries", err);
    g->entries = entries;
    TRY(status);
    TRY(buffer_append(&g->names, name, size + 1, err));
    g->entries[g->count++] = (struct listing_entry){.name_size = (uint16_t)size, .type = type};
    return OK;
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
static enum status read_names(int fd, const char *path, bool is_root, size_t entries_max, struct growing *g,
                              struct error *err)
{
    _Alignas(struct dirent64) char block[READ_SIZE];
    if (lseek(fd, 0, SEEK_SET) < 0)
        return fail(err, ERR_IO, "%s: cannot go to the start of the directory", path);
    for (;;) {
        ssize_t size = getdents64(fd, block, sizeof block);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0)
            return fail(err, ERR_IO, "%s: cannot read directory", path);
        if (size == 0)
            return OK;
        for (size_t at = 0; at < (size_t)size;) {
            const struct dirent64 *entry = (const void *)(block + at);
            if (!is_left_out(entry->d_name, is_root))
                TRY(add(g, entry->d_name, entry->d_type, path, entries_max, err));
            at += entry->d_reclen;
        }
    }
}

enum status listing_read(int fd, const char *path, bool is_root, size_t entries_max, struct listing *out,
                         struct error *err)
{
    /* Entries are bounded by entries_max, so a ceiling of its own for the names would only get in the way. */
    CLEANUP(growing_deinit) struct growing g = {.names = BUFFER_INIT(SIZE_MAX / 2)};
    TRY(read_names(fd, path, is_root, entries_max, &g, err));
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
