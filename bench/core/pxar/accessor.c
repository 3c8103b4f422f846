#include "pxar/accessor.h"

#include "base/log_path.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Most members are of this size; what is read beyond one may cost a chunk that is not needed. */
    FIRST_PART_SIZE = 256,
    PART_SIZE_MAX = 64 * 1024,
    ROWS_PER_READ = 512,
    TAIL_SIZE_MIN = ITEM_HEADER_SIZE + PXAR_GOODBYE_ROW_SIZE,
    /* Of the tree in a table of up to 2^64 rows; each level leaves at most one subtree waiting. */
    SEARCH_DEPTH_MAX = 128,
};

/* What the decoder reads from: the stream, from wherever the accessor puts it. */
struct cursor {
    const struct source_at *stream;
    uint64_t position;
    uint64_t limit;
    size_t part_size; /* of the next read; grows */
};

struct accessor {
    struct source_at metadata;
    struct source_at payload;
    bool has_payload;
    struct cursor cursor;
    struct decoder *decoder; /* of one member after the other */
    struct name_hasher *hasher;
    struct accessor_entry root;
    /* The PAYLOAD header that was checked last; offset 0: none. */
    uint64_t checked_offset, checked_size;
};

/* Members stand in [members, goodbye); row k of `count` at rows + 24 k. */
struct table {
    const struct accessor_entry *directory;
    uint64_t members;
    uint64_t goodbye;
    uint64_t rows;
    uint64_t count;
};

/* ---- errors ---- */

static enum status corrupt(const struct accessor *a, uint64_t offset, const char *path, struct error *err,
                           const char *format, ...) PRINTF_LIKE(5, 6);
static enum status corrupt(const struct accessor *a, uint64_t offset, const char *path, struct error *err,
                           const char *format, ...)
{
    char text[LOG_PATH_MAX];
    va_list args;
    va_start(args, format);
    (void)fail_va(err, ERR_FORMAT, format, args);
    va_end(args);
    if (err)
        (void)fail_within(err, "%s: corrupt at offset %" PRIu64 " in %s", a->metadata.name, offset,
                          log_path(path, text));
    return fail_known(ERR_FORMAT);
}

/* ---- entries ---- */

void accessor_entry_deinit(struct accessor_entry *e)
{
    attributes_deinit(&e->entry.attributes);
    /* Ours, whatever the type says: `name` is the end of `path`. */
    free((char *)(uintptr_t)e->entry.path);
    free((char *)(uintptr_t)e->entry.target);
    *e = (struct accessor_entry){0};
}

/* Copies what an entry borrows. `path_size` is without the NUL; the name is the end of the path. */
static enum status entry_copy(const struct archive_entry *from, struct archive_entry *out, struct error *err)
{
    CLEANUP(accessor_entry_deinit) struct accessor_entry copy = {0};
    size_t path_size = strlen(from->path);
    ASSERT(from->name_size <= path_size);
    char *path = malloc(path_size + 1);
    copy.entry.path = path;
    char *target = from->target ? malloc(from->target_size + 1) : NULL;
    copy.entry.target = target;
    if (!path || (from->target && !target))
        return fail(err, ERR_MEMORY, "out of memory for an entry");
    memcpy(path, from->path, path_size + 1);
    if (target)
        memcpy(target, from->target, from->target_size + 1);
    TRY(attributes_copy(&from->attributes, &copy.entry.attributes, err));
    *out = *from;
    out->path = path;
    out->name = path + path_size - from->name_size;
    out->target = target;
    out->attributes = copy.entry.attributes;
    copy = (struct accessor_entry){0};
    return OK;
}

/* ---- reading ---- */

static enum status cursor_read(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct cursor *c = context;
    uint64_t left = c->limit - c->position;
    size_t part = size < c->part_size ? size : c->part_size;
    part = left < part ? (size_t)left : part;
    *out_size = part;
    if (part == 0)
        return OK;
    TRY(c->stream->read_at(c->stream->context, c->position, data, part, err));
    c->position += part;
    c->part_size = c->part_size < PART_SIZE_MAX ? 2 * c->part_size : PART_SIZE_MAX;
    return OK;
}

static enum status cursor_skip(void *context, uint64_t size, struct error *err)
{
    struct cursor *c = context;
    if (size > c->limit - c->position)
        return fail(err, ERR_FORMAT, "%s: ends early at offset %" PRIu64, c->stream->name, c->limit);
    c->position += size;
    return OK;
}

static enum status read_at(const struct source_at *s, uint64_t offset, uint8_t *data, size_t size, struct error *err)
{
    return s->read_at(s->context, offset, data, size, err);
}

/* Puts the decoder in front of the FILENAME at `offset` of a member of `directory`; nothing from `limit` on is read. */
static enum status seek(struct accessor *a, uint64_t offset, uint64_t limit, const char *directory, struct error *err)
{
    a->cursor.position = offset;
    a->cursor.limit = limit;
    a->cursor.part_size = FIRST_PART_SIZE;
    return decoder_seek(a->decoder, offset, directory, err);
}

/* `range_end` is left to the caller. */
static enum status decode_member(struct accessor *a, uint64_t offset, uint64_t limit, const char *directory,
                                 struct accessor_entry *out, struct error *err)
{
    struct archive_entry entry;
    TRY(seek(a, offset, limit, directory, err));
    enum status status = decoder_next(a->decoder, &entry, err);
    if (status == ERR_CLOSED || (status == OK && entry.kind == ENTRY_DIRECTORY_END))
        return corrupt(a, offset, directory, err, "a goodbye row that does not lead to a FILENAME");
    TRY(status);
    *out = (struct accessor_entry){0};
    TRY(entry_copy(&entry, &out->entry, err));
    out->range_start = offset + ITEM_HEADER_SIZE + entry.name_size + 1;
    out->head_end = decoder_metadata_position(a->decoder);
    return OK;
}

/* ---- tables ---- */

static enum status open_table(struct accessor *a, const struct accessor_entry *directory, struct table *out,
                              struct error *err)
{
    const char *path = directory->entry.path;
    uint64_t end = directory->range_end, room = end - directory->head_end;
    uint8_t bytes[PXAR_GOODBYE_ROW_SIZE];
    if (end < directory->head_end || room < TAIL_SIZE_MIN)
        return corrupt(a, end, path, err, "no room for a goodbye table");
    TRY(read_at(&a->metadata, end - PXAR_GOODBYE_ROW_SIZE, bytes, sizeof bytes, err));
    struct goodbye_row tail = item_load_goodbye_row(bytes);
    if (tail.hash != PXAR_GOODBYE_TAIL_MARKER)
        return corrupt(a, end - PXAR_GOODBYE_ROW_SIZE, path, err, "no tail row where the directory ends");
    if (tail.size < TAIL_SIZE_MIN || tail.size > room || (tail.size - ITEM_HEADER_SIZE) % PXAR_GOODBYE_ROW_SIZE != 0)
        return corrupt(a, end - PXAR_GOODBYE_ROW_SIZE, path, err, "tail row of a table of %" PRIu64 " bytes",
                       tail.size);
    uint64_t goodbye = end - tail.size;
    /* The root's counts from the start of the stream: its range_start is 0. */
    if (tail.offset != goodbye - directory->range_start)
        return corrupt(a, end - PXAR_GOODBYE_ROW_SIZE, path, err, "tail row with offset %" PRIu64, tail.offset);
    TRY(read_at(&a->metadata, goodbye, bytes, ITEM_HEADER_SIZE, err));
    if (load_u64le(bytes) != PXAR_GOODBYE || load_u64le(bytes + 8) != tail.size)
        return corrupt(a, goodbye, path, err, "no GOODBYE where the tail row says");
    *out = (struct table){
        .directory = directory,
        .members = directory->head_end,
        .goodbye = goodbye,
        .rows = goodbye + ITEM_HEADER_SIZE,
        .count = (tail.size - ITEM_HEADER_SIZE) / PXAR_GOODBYE_ROW_SIZE - 1,
    };
    return OK;
}

/* Where the row's member has its FILENAME. */
static enum status member_of_row(const struct accessor *a, const struct table *t, uint64_t index,
                                 const struct goodbye_row *row, uint64_t *out, struct error *err)
{
    uint64_t at = t->rows + index * PXAR_GOODBYE_ROW_SIZE;
    const char *path = t->directory->entry.path;
    if (row->offset > t->goodbye - t->members || row->offset < ITEM_HEADER_SIZE)
        return corrupt(a, at, path, err, "goodbye row with offset %" PRIu64, row->offset);
    *out = t->goodbye - row->offset;
    if (row->size > UINT64_MAX - *out)
        return corrupt(a, at, path, err, "goodbye row with size %" PRIu64, row->size);
    return OK;
}

/* Behind the member's last byte in the metadata stream. */
static uint64_t end_of(const struct accessor_entry *e)
{
    if (e->entry.kind == ENTRY_DIRECTORY)
        return e->range_end;
    return e->entry.content_offset > 0 ? e->entry.content_offset + e->entry.size : e->head_end;
}

/* The member must lie before its directory's table, and within what its row says (which for files of split archives
 * may be anything larger). A directory's range is inside its parent's: descending comes to an end. */
static enum status check_range(const struct accessor *a, const struct table *t, const struct accessor_entry *e,
                               struct error *err)
{
    uint64_t end = end_of(e);
    if (end < e->head_end || end > e->range_end)
        return corrupt(a, e->entry.filename_offset, e->entry.path, err,
                       "goes on to offset %" PRIu64 ", but its goodbye row ends at %" PRIu64,
                       end < e->head_end ? e->head_end : end, e->range_end);
    if (end > t->goodbye)
        return corrupt(a, e->entry.filename_offset, e->entry.path, err,
                       "reaches beyond its directory, to offset %" PRIu64, end);
    return OK;
}

static enum status read_member(struct accessor *a, const struct table *t, uint64_t offset,
                               const struct goodbye_row *row, struct accessor_entry *out, struct error *err)
{
    CLEANUP(accessor_entry_deinit) struct accessor_entry entry = {0};
    TRY(decode_member(a, offset, t->directory->range_end, t->directory->entry.path, &entry, err));
    entry.entry.depth = t->directory->entry.depth + 1;
    entry.range_end = offset + row->size;
    if (entry.entry.kind == ENTRY_DIRECTORY && entry.entry.depth >= PXAR_DEPTH_MAX)
        return fail(err, ERR_LIMIT, "%s: more than %d directories within each other", a->metadata.name, PXAR_DEPTH_MAX);
    TRY(check_range(a, t, &entry, err));
    *out = entry;
    entry = (struct accessor_entry){0};
    return OK;
}

/* ---- start ---- */

static enum status start(struct accessor *a, struct error *err)
{
    a->cursor = (struct cursor){.stream = &a->metadata, .limit = a->metadata.size, .part_size = FIRST_PART_SIZE};
    struct source source = {.read = cursor_read, .skip = cursor_skip, .context = &a->cursor, .name = a->metadata.name};
    struct archive_entry root;
    TRY(decoder_new(source, NULL, &a->decoder, err));
    if (a->has_payload && decoder_version(a->decoder) == 1)
        return fail(err, ERR_MISMATCH, "%s: an archive of version 1 has no payload stream, but %s was given",
                    a->metadata.name, a->payload.name);
    TRY(decoder_next(a->decoder, &root, err));
    TRY(entry_copy(&root, &a->root.entry, err));
    a->root.range_end = a->metadata.size;
    a->root.head_end = decoder_metadata_position(a->decoder);
    TRY(name_hasher_new(&a->hasher, err));
    struct table table;
    return open_table(a, &a->root, &table, err);
}

static void accessor_freep(struct accessor **a)
{
    accessor_free(*a);
}

enum status accessor_new(struct source_at metadata, const struct source_at *payload, struct accessor **out,
                         struct error *err)
{
    CLEANUP(accessor_freep) struct accessor *a = calloc(1, sizeof *a);
    if (!a)
        return fail(err, ERR_MEMORY, "out of memory for the archive accessor");
    a->metadata = metadata;
    if (payload) {
        a->payload = *payload;
        a->has_payload = true;
    }
    TRY(start(a, err));
    *out = a;
    a = NULL;
    return OK;
}

void accessor_free(struct accessor *a)
{
    if (!a)
        return;
    accessor_entry_deinit(&a->root);
    decoder_free(a->decoder);
    name_hasher_free(a->hasher);
    free(a);
}

unsigned accessor_version(const struct accessor *a)
{
    return decoder_version(a->decoder);
}

const uint8_t *accessor_prelude(const struct accessor *a, size_t *out_size)
{
    return decoder_prelude(a->decoder, out_size);
}

/* ---- lookup ---- */

/* Whether the FILENAME at `offset` is `name`. Of a longer or shorter one nothing but the header is read. */
static enum status is_name(const struct accessor *a, const struct table *t, uint64_t offset, const char *name,
                           size_t name_size, bool *out, struct error *err)
{
    uint8_t bytes[PXAR_NAME_SIZE_MAX];
    *out = false;
    TRY(read_at(&a->metadata, offset, bytes, ITEM_HEADER_SIZE, err));
    if (load_u64le(bytes) != PXAR_FILENAME)
        return corrupt(a, offset, t->directory->entry.path, err, "a goodbye row that does not lead to a FILENAME");
    if (load_u64le(bytes + 8) != ITEM_HEADER_SIZE + name_size + 1)
        return OK;
    if (name_size + 1 > t->goodbye - offset - ITEM_HEADER_SIZE)
        return corrupt(a, offset, t->directory->entry.path, err, "FILENAME that reaches beyond its directory");
    TRY(read_at(&a->metadata, offset + ITEM_HEADER_SIZE, bytes, name_size, err));
    *out = memcmp(bytes, name, name_size) == 0;
    return OK;
}

/* The row of `name`: *out_offset 0 when there is none. Of equal hashes either subtree may hold more (9.5). */
static enum status search(struct accessor *a, const struct table *t, const char *name, size_t name_size,
                          struct goodbye_row *out_row, uint64_t *out_offset, struct error *err)
{
    uint64_t hash = name_hash(a->hasher, name, name_size);
    uint64_t waiting[SEARCH_DEPTH_MAX];
    size_t waiting_count = 0;
    waiting[waiting_count++] = 0;
    *out_offset = 0;
    while (waiting_count > 0) {
        uint64_t index = waiting[--waiting_count];
        if (index >= t->count)
            continue;
        uint8_t bytes[PXAR_GOODBYE_ROW_SIZE];
        TRY(read_at(&a->metadata, t->rows + index * PXAR_GOODBYE_ROW_SIZE, bytes, sizeof bytes, err));
        struct goodbye_row row = item_load_goodbye_row(bytes);
        if (row.hash == hash) {
            uint64_t offset = 0;
            bool found = false;
            TRY(member_of_row(a, t, index, &row, &offset, err));
            TRY(is_name(a, t, offset, name, name_size, &found, err));
            if (found) {
                *out_row = row;
                *out_offset = offset;
                return OK;
            }
        }
        /* The count is that of a table in a stream: twice an index below it is a number of 64 bits. */
        ASSERT(waiting_count + 2 <= SEARCH_DEPTH_MAX);
        if (hash >= row.hash)
            waiting[waiting_count++] = 2 * index + 2;
        if (hash <= row.hash)
            waiting[waiting_count++] = 2 * index + 1;
    }
    return OK;
}

enum status accessor_child(struct accessor *a, const struct accessor_entry *directory, const char *name,
                           size_t name_size, struct accessor_entry *out, struct error *err)
{
    char text[LOG_PATH_MAX];
    if (directory->entry.kind != ENTRY_DIRECTORY)
        return fail(err, ERR_NOT_FOUND, "%s: %s is no directory", a->metadata.name,
                    log_path(directory->entry.path, text));
    if (member_name_check(name, name_size, ERR_USAGE, err) != OK) {
        if (err)
            (void)fail_within(err, "%s: no member can be called so", a->metadata.name);
        return ERR_USAGE;
    }
    struct table table;
    struct goodbye_row row = {0};
    uint64_t offset = 0;
    TRY(open_table(a, directory, &table, err));
    TRY(search(a, &table, name, name_size, &row, &offset, err));
    if (offset == 0) {
        char missing[PXAR_NAME_SIZE_MAX + 1], shown[LOG_PATH_MAX];
        memcpy(missing, name, name_size);
        missing[name_size] = '\0';
        return fail(err, ERR_NOT_FOUND, "%s: no %s in %s", a->metadata.name, log_path(missing, shown),
                    log_path(directory->entry.path, text));
    }
    return read_member(a, &table, offset, &row, out, err);
}

static enum status root_copy(const struct accessor *a, struct accessor_entry *out, struct error *err)
{
    struct accessor_entry copy = a->root;
    TRY(entry_copy(&a->root.entry, &copy.entry, err));
    *out = copy;
    return OK;
}

enum status accessor_lookup(struct accessor *a, const char *path, struct accessor_entry *out, struct error *err)
{
    CLEANUP(accessor_entry_deinit) struct accessor_entry current = {0};
    const struct accessor_entry *directory = &a->root;
    for (;;) {
        path += strspn(path, "/");
        size_t name_size = strcspn(path, "/");
        if (name_size == 0)
            break;
        struct accessor_entry next = {0};
        TRY(accessor_child(a, directory, path, name_size, &next, err));
        accessor_entry_deinit(&current);
        current = next;
        directory = &current;
        path += name_size;
    }
    if (directory == &a->root)
        return root_copy(a, out, err);
    *out = current;
    current = (struct accessor_entry){0};
    return OK;
}

/* ---- listing ---- */

struct rows {
    struct goodbye_row *items;
    size_t count, capacity;
};

static void rows_deinit(struct rows *r)
{
    free(r->items);
}

/* Grows with what was really read: a stream's length may be a lie of its index. */
static enum status read_rows(struct accessor *a, const struct table *t, struct rows *out, struct error *err)
{
    uint8_t bytes[ROWS_PER_READ * PXAR_GOODBYE_ROW_SIZE];
    for (uint64_t index = 0; index < t->count;) {
        uint64_t left = t->count - index;
        size_t part = left < ROWS_PER_READ ? (size_t)left : ROWS_PER_READ;
        TRY(read_at(&a->metadata, t->rows + index * PXAR_GOODBYE_ROW_SIZE, bytes, part * PXAR_GOODBYE_ROW_SIZE, err));
        for (size_t i = 0; i < part; i++) {
            struct goodbye_row row = item_load_goodbye_row(bytes + i * PXAR_GOODBYE_ROW_SIZE);
            uint64_t offset = 0;
            TRY(member_of_row(a, t, index + i, &row, &offset, err));
            TRY(array_grow((void **)&out->items, out->count, &out->capacity, sizeof *out->items,
                           SIZE_MAX / sizeof *out->items, "members of a directory", err));
            out->items[out->count++] = row;
        }
        index += part;
    }
    return OK;
}

/* The farthest from the table comes first. */
static int compare_places(const void *a, const void *b)
{
    const struct goodbye_row *x = a, *y = b;
    return (x->offset < y->offset) - (x->offset > y->offset);
}

static enum status check_hash(struct accessor *a, const struct goodbye_row *row, const struct archive_entry *e,
                              struct error *err)
{
    uint64_t hash = name_hash(a->hasher, e->name, e->name_size);
    if (hash != row->hash)
        return corrupt(a, e->filename_offset, e->path, err,
                       "goodbye row with hash %016" PRIx64 " of a name's %016" PRIx64, row->hash, hash);
    return OK;
}

enum status accessor_list(struct accessor *a, const struct accessor_entry *directory, accessor_visit *visit,
                          void *context, struct error *err)
{
    char text[LOG_PATH_MAX];
    if (directory->entry.kind != ENTRY_DIRECTORY)
        return fail(err, ERR_USAGE, "%s: %s is no directory", a->metadata.name, log_path(directory->entry.path, text));
    CLEANUP(rows_deinit) struct rows rows = {0};
    struct table table;
    TRY(open_table(a, directory, &table, err));
    TRY(read_rows(a, &table, &rows, err));
    if (rows.count > 0)
        qsort(rows.items, rows.count, sizeof *rows.items, compare_places);
    uint64_t expected = table.members;
    for (size_t i = 0; i < rows.count; i++) {
        uint64_t offset = table.goodbye - rows.items[i].offset;
        if (offset != expected)
            return corrupt(a, expected, directory->entry.path, err,
                           "a member ends here, the next one's goodbye row says offset %" PRIu64, offset);
        CLEANUP(accessor_entry_deinit) struct accessor_entry entry = {0};
        TRY(read_member(a, &table, offset, &rows.items[i], &entry, err));
        TRY(check_hash(a, &rows.items[i], &entry.entry, err));
        TRY(visit(context, &entry, err));
        expected = end_of(&entry);
    }
    if (expected != table.goodbye)
        return corrupt(a, expected, directory->entry.path, err,
                       "the last member ends here, the goodbye table is at offset %" PRIu64, table.goodbye);
    return OK;
}

/* Members stand one behind the other, and so does everything below them: no table is needed but the one at the end. */
enum status accessor_walk_begin(struct accessor *a, const struct accessor_entry *directory, struct accessor_walker *out,
                                struct error *err)
{
    char text[LOG_PATH_MAX];
    const char *path = directory->entry.path;
    if (directory->entry.kind != ENTRY_DIRECTORY)
        return fail(err, ERR_USAGE, "%s: %s is no directory", a->metadata.name, log_path(path, text));
    struct table table;
    TRY(open_table(a, directory, &table, err));
    TRY(seek(a, table.members, directory->range_end, path, err));
    *out =
        (struct accessor_walker){.accessor = a, .directory = directory, .end = table.members, .goodbye = table.goodbye};
    return OK;
}

enum status accessor_walk_next(struct accessor_walker *w, struct archive_entry *out, struct error *err)
{
    struct accessor *a = w->accessor;
    const char *path = w->directory->entry.path;
    if (w->open == 0 && w->end == w->goodbye)
        return ERR_CLOSED;
    if (w->end >= w->goodbye)
        return corrupt(a, w->end, path, err, "goes on behind its goodbye table at offset %" PRIu64, w->goodbye);
    enum status status = decoder_next(a->decoder, out, err);
    if (status == ERR_CLOSED || (status == OK && out->kind == ENTRY_DIRECTORY_END && w->open == 0))
        return corrupt(a, w->end, path, err, "goodbye table, but that of the tail row is at offset %" PRIu64,
                       w->goodbye);
    TRY(status);
    out->depth += w->directory->entry.depth;
    w->end = out->content_offset > 0 ? out->content_offset + out->size : decoder_metadata_position(a->decoder);
    if (out->kind == ENTRY_DIRECTORY)
        w->open++;
    if (out->kind == ENTRY_DIRECTORY_END)
        w->open--;
    return OK;
}

enum status accessor_walk(struct accessor *a, const struct accessor_entry *directory, accessor_walk_visit *visit,
                          void *context, struct error *err)
{
    struct accessor_walker walker;
    TRY(accessor_walk_begin(a, directory, &walker, err));
    for (;;) {
        struct archive_entry entry;
        enum status status = accessor_walk_next(&walker, &entry, err);
        if (status == ERR_CLOSED)
            return OK;
        TRY(status);
        TRY(visit(context, &entry, err));
    }
}

/* ---- hardlinks ---- */

enum status accessor_follow(struct accessor *a, const struct accessor_entry *link, struct accessor_entry *out,
                            struct error *err)
{
    const struct archive_entry *e = &link->entry;
    if (e->kind != ENTRY_HARDLINK)
        return fail(err, ERR_USAGE, "%s: not a hardlink", a->metadata.name);
    if (e->link_distance > e->filename_offset)
        return corrupt(a, e->filename_offset, e->path, err, "HARDLINK with distance %" PRIu64, e->link_distance);
    CLEANUP(accessor_entry_deinit) struct accessor_entry entry = {0};
    uint64_t offset = e->filename_offset - e->link_distance;
    if (offset < a->root.head_end)
        return corrupt(a, e->filename_offset, e->path, err, "HARDLINK to offset %" PRIu64 ", where no member is",
                       offset);
    TRY(decode_member(a, offset, a->metadata.size, "/", &entry, err));
    if (entry.entry.kind != ENTRY_FILE)
        return corrupt(a, e->filename_offset, e->path, err, "HARDLINK to offset %" PRIu64 ", which is no file", offset);
    if (end_of(&entry) < entry.head_end || end_of(&entry) > a->metadata.size)
        return corrupt(a, offset, e->path, err, "file that reaches beyond the archive");
    entry.range_end = end_of(&entry);
    /* What is known is the place, not the way to it. */
    ((char *)(uintptr_t)entry.entry.path)[0] = '\0';
    entry.entry.name = entry.entry.path;
    entry.entry.name_size = 0;
    *out = entry;
    entry = (struct accessor_entry){0};
    return OK;
}

/* ---- contents ---- */

static enum status check_payload(struct accessor *a, const struct archive_entry *e, struct error *err)
{
    uint8_t header[ITEM_HEADER_SIZE];
    uint64_t total = a->payload.size;
    a->checked_offset = 0;
    if (total < ITEM_HEADER_SIZE || e->payload_offset > total - ITEM_HEADER_SIZE ||
        e->size > total - ITEM_HEADER_SIZE - e->payload_offset)
        return corrupt(a, e->entry_offset, e->path, err,
                       "reference to %" PRIu64 " bytes at payload offset %" PRIu64 ", but %s has %" PRIu64, e->size,
                       e->payload_offset, a->payload.name, total);
    TRY(read_at(&a->payload, e->payload_offset, header, sizeof header, err));
    if (load_u64le(header) != PXAR_PAYLOAD || load_u64le(header + 8) != ITEM_HEADER_SIZE + e->size)
        return corrupt(a, e->entry_offset, e->path, err,
                       "payload header at payload offset %" PRIu64 " is not that of a file of %" PRIu64 " bytes",
                       e->payload_offset, e->size);
    a->checked_offset = e->payload_offset;
    a->checked_size = e->size;
    return OK;
}

static bool is_checked(const struct accessor *a, const struct archive_entry *e)
{
    return a->checked_offset == e->payload_offset && a->checked_size == e->size;
}

enum status accessor_read(struct accessor *a, const struct accessor_entry *file, uint64_t offset, uint8_t *data,
                          size_t size, size_t *out_size, struct error *err)
{
    const struct archive_entry *e = &file->entry;
    *out_size = 0;
    if (e->kind != ENTRY_FILE)
        return fail(err, ERR_USAGE, "%s: only files have contents", a->metadata.name);
    if (offset > e->size)
        return fail(err, ERR_USAGE, "%s: offset %" PRIu64 " of a file of %" PRIu64 " bytes", a->metadata.name, offset,
                    e->size);
    bool unified = accessor_version(a) == 1;
    if (!unified && !a->has_payload)
        return fail(err, ERR_USAGE, "%s: contents are in the payload stream, which was not given", a->metadata.name);
    if (!unified && (offset == 0 || !is_checked(a, e)))
        TRY(check_payload(a, e, err));
    uint64_t left = e->size - offset;
    size_t part = left < size ? (size_t)left : size;
    if (part == 0)
        return OK;
    const struct source_at *stream = unified ? &a->metadata : &a->payload;
    uint64_t start_offset = unified ? e->content_offset : e->payload_offset + ITEM_HEADER_SIZE;
    TRY(read_at(stream, start_offset + offset, data, part, err));
    *out_size = part;
    return OK;
}
