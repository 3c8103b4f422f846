#include "server/rest_bundle.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_SIZE = 128 << 10, STEPS_MAX = 64 };

struct bundle {
    struct rest_archive *archive; /* borrowed */
    enum pack_kind kind;
    struct accessor_entry directory;
    struct accessor_walker walker;
    size_t prefix_size; /* of paths, without which they are those of members */
    struct pack *pack;
    size_t taken; /* of what is packed */
    bool finished;
    struct accessor_entry file; /* the one whose contents are due */
    uint64_t position;          /* in it; at its end: none is due */
    uint8_t block[BLOCK_SIZE];
};

/* ---- members ---- */

/* What a member's path is in the packed file; NULL: outside of the directory. */
static const char *member_path(const struct bundle *b, const char *path)
{
    const char *directory = b->directory.entry.path;
    size_t size = strlen(directory);
    bool is_root = size == 1;
    if (!is_root && (strncmp(path, directory, size) != 0 || (path[size] != '/' && path[size] != '\0')))
        return NULL;
    return path + b->prefix_size;
}

static enum status add_plain(struct bundle *b, const struct archive_entry *e, struct error *err)
{
    struct pack_member member = {
        .path = member_path(b, e->path),
        .symlink = e->kind == ENTRY_SYMLINK ? e->target : NULL,
        .size = e->size,
        .major = e->major,
        .minor = e->minor,
        .attributes = &e->attributes,
    };
    ASSERT(member.path);
    return pack_takes(b->pack, e->attributes.stat.mode) ? pack_add(b->pack, &member, err) : OK;
}

static enum status add_file(struct bundle *b, const struct archive_entry *e, struct error *err)
{
    struct accessor_entry entry = {.entry = *e};
    accessor_entry_deinit(&b->file);
    b->position = 0;
    TRY(rest_archive_file(b->archive, &entry, &b->file, err));
    if (e->kind == ENTRY_FILE)
        return add_plain(b, e, err);
    struct pack_member member = {
        .path = member_path(b, e->path),
        .size = b->file.entry.size,
        .attributes = &b->file.entry.attributes,
    };
    return pack_add(b->pack, &member, err);
}

/* Of a hardlink whose target is a member, too: links are stored behind their targets. */
static enum status add_link(struct bundle *b, const struct archive_entry *e, const char *target, struct error *err)
{
    struct accessor_entry entry = {.entry = *e};
    CLEANUP(accessor_entry_deinit) struct accessor_entry file = {0};
    TRY(rest_archive_file(b->archive, &entry, &file, err));
    struct pack_member member = {
        .path = member_path(b, e->path),
        .hardlink = target,
        .attributes = &file.entry.attributes,
    };
    return pack_add(b->pack, &member, err);
}

static enum status add_hardlink(struct bundle *b, const struct archive_entry *e, struct error *err)
{
    char path[PXAR_TARGET_SIZE_MAX + 2];
    ASSERT(e->target_size <= PXAR_TARGET_SIZE_MAX);
    path[0] = '/';
    memcpy(path + 1, e->target, e->target_size);
    path[1 + e->target_size] = '\0';
    const char *target = b->kind == PACK_TAR_ZST ? member_path(b, path) : NULL;
    return target ? add_link(b, e, target, err) : add_file(b, e, err);
}

static enum status add_next(struct bundle *b, struct error *err)
{
    struct archive_entry entry;
    enum status status = accessor_walk_next(&b->walker, &entry, err);
    if (status == ERR_CLOSED) {
        b->finished = true;
        return pack_finish(b->pack, err);
    }
    TRY(status);
    switch (entry.kind) {
    case ENTRY_DIRECTORY_END: return OK;
    case ENTRY_FILE: return add_file(b, &entry, err);
    case ENTRY_HARDLINK: return add_hardlink(b, &entry, err);
    default: return add_plain(b, &entry, err);
    }
}

/* ---- contents ---- */

static enum status add_contents(struct bundle *b, struct error *err)
{
    size_t size;
    TRY(accessor_read(b->archive->contents, &b->file, b->position, b->block, sizeof b->block, &size, err));
    b->position += size;
    return pack_data(b->pack, b->block, size, err);
}

static enum status step(struct bundle *b, struct error *err)
{
    return b->position < b->file.entry.size ? add_contents(b, err) : add_next(b, err);
}

/* ---- the whole ---- */

static enum status start(struct bundle *b, struct error *err)
{
    const struct archive_entry *e = &b->directory.entry;
    TRY(pack_new(b->kind, &b->pack, err));
    TRY(accessor_walk_begin(b->archive->tree, &b->directory, &b->walker, err));
    b->prefix_size = strlen(e->path) - e->name_size;
    return e->depth > 0 ? add_plain(b, e, err) : OK;
}

enum status bundle_new(struct rest_archive *archive, struct accessor_entry *directory, enum pack_kind kind,
                       struct bundle **out, struct error *err)
{
    *out = NULL;
    struct bundle *b = calloc(1, sizeof *b);
    if (!b) {
        accessor_entry_deinit(directory);
        return fail(err, ERR_MEMORY, "out of memory for a packed directory");
    }
    b->archive = archive;
    b->kind = kind;
    b->directory = *directory;
    *directory = (struct accessor_entry){0};
    enum status status = start(b, err);
    if (status != OK) {
        bundle_free(b);
        return status;
    }
    *out = b;
    return OK;
}

void bundle_free(struct bundle *b)
{
    if (!b)
        return;
    pack_free(b->pack);
    accessor_entry_deinit(&b->file);
    accessor_entry_deinit(&b->directory);
    free(b);
}

/* Whole pieces, for many members have few bytes; but nobody waits for one longer than it takes to pack some blocks. */
enum status bundle_read(struct bundle *b, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct buffer *packed = pack_output(b->pack);
    *out_size = 0;
    for (unsigned steps = 0; *out_size < size;) {
        size_t left = packed->size - b->taken;
        size_t part = left < size - *out_size ? left : size - *out_size;
        if (part > 0)
            memcpy(data + *out_size, packed->data + b->taken, part);
        b->taken += part;
        *out_size += part;
        if (part > 0)
            continue;
        if (b->finished || (*out_size > 0 && steps >= STEPS_MAX))
            break;
        buffer_clear(packed);
        b->taken = 0;
        TRY(step(b, err));
        steps++;
    }
    return OK;
}
