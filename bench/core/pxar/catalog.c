#include "pxar/catalog.h"

#include "base/clock.h"
#include "base/printable.h"
#include "pxar/catalog_number.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/*  magic | blocks, children before parents | offset of the root's block (8)
 *
 *  block at P:  table_len | table: entry_count, entries
 *  entry:       type (1) | name_len | name | 'd': P - P of the child's block;  'f': size, mtime */
enum { MAGIC_SIZE = 8, TRAILER_SIZE = 8, READ_SIZE = 1 << 20, DEPTH_MAX = PXAR_DEPTH_MAX + 1 };

static_assert((int)CATALOG_NAME_SIZE_MAX < (int)PXAR_NAME_SIZE_MAX,
              "the check of names is that of archives, and one more");

static const uint8_t magic[MAGIC_SIZE] = {0x91, 0xfd, 0x60, 0xf9, 0xc4, 0x67, 0x58, 0xd5};

static const char type_letters[] = {
    [ENTRY_DIRECTORY] = 'd', [ENTRY_FILE] = 'f',   [ENTRY_SYMLINK] = 'l',     [ENTRY_HARDLINK] = 'h',
    [ENTRY_FIFO] = 'p',      [ENTRY_SOCKET] = 's', [ENTRY_CHAR_DEVICE] = 'c', [ENTRY_BLOCK_DEVICE] = 'b',
};

/* ---- writing ---- */

/* A directory's entry is put into its parent's table when it begins (nothing else gets there until it ends), but the
 * distance to its block is known only when the parent's block is written. */
struct child {
    size_t at; /* in the table: where the distance goes */
    uint64_t start;
};

struct open_directory {
    struct buffer table;
    uint64_t count;
    struct child *children; /* owned */
    size_t child_count;
    size_t child_capacity;
};

struct catalog_writer {
    struct sink out;
    uint64_t position;
    struct open_directory *levels; /* [0] is the catalog's root */
    size_t level_count;
    size_t level_capacity;
    struct buffer block;
    bool failed;
    bool finished;
};

static enum status push_directory(struct catalog_writer *w, struct error *err)
{
    void *levels = w->levels;
    TRY(array_grow(&levels, w->level_count, &w->level_capacity, sizeof *w->levels, DEPTH_MAX, "open directories", err));
    w->levels = levels;
    w->levels[w->level_count++] = (struct open_directory){.table = BUFFER_INIT(BUFFER_LIMIT_DEFAULT)};
    return OK;
}

static void pop_directory(struct catalog_writer *w)
{
    struct open_directory *d = &w->levels[--w->level_count];
    buffer_deinit(&d->table);
    free(d->children);
}

static enum status emit(struct catalog_writer *w, const void *data, size_t size, struct error *err)
{
    TRY(w->out.write(w->out.context, data, size, err));
    w->position += size;
    return OK;
}

enum status catalog_writer_new(struct sink out, struct catalog_writer **writer, struct error *err)
{
    *writer = NULL;
    struct catalog_writer *w = calloc(1, sizeof *w);
    if (!w)
        return fail(err, ERR_MEMORY, "out of memory for a catalog");
    w->out = out;
    enum status status = push_directory(w, err);
    if (status == OK)
        status = emit(w, magic, sizeof magic, err);
    if (status != OK) {
        catalog_writer_free(w);
        return status;
    }
    *writer = w;
    return OK;
}

void catalog_writer_free(struct catalog_writer *w)
{
    if (!w)
        return;
    while (w->level_count > 0)
        pop_directory(w);
    free(w->levels);
    buffer_deinit(&w->block);
    free(w);
}

static enum status append_unsigned(struct buffer *b, uint64_t value, struct error *err)
{
    uint8_t bytes[CATALOG_UNSIGNED_SIZE_MAX];
    return buffer_append(b, bytes, catalog_unsigned_bytes(value, bytes), err);
}

/* Type and name of an entry of the innermost directory. */
static enum status append_name(struct catalog_writer *w, enum entry_kind kind, const char *name, size_t name_size,
                               struct error *err)
{
    struct open_directory *d = &w->levels[w->level_count - 1];
    if (name_size > CATALOG_NAME_SIZE_MAX)
        return fail(err, ERR_LIMIT, "catalog: name of %zu bytes: at most %d", name_size, CATALOG_NAME_SIZE_MAX);
    TRY(member_name_check(name, name_size, ERR_USAGE, err));
    TRY(buffer_append_u8(&d->table, (uint8_t)type_letters[kind], err));
    TRY(append_unsigned(&d->table, name_size, err));
    TRY(buffer_append(&d->table, name, name_size, err));
    d->count++;
    return OK;
}

static enum status begin(struct catalog_writer *w, const char *name, size_t name_size, struct error *err)
{
    TRY(append_name(w, ENTRY_DIRECTORY, name, name_size, err));
    struct open_directory *d = &w->levels[w->level_count - 1];
    void *children = d->children;
    TRY(array_grow(&children, d->child_count, &d->child_capacity, sizeof *d->children, BUFFER_LIMIT_DEFAULT,
                   "directories of a directory", err));
    d->children = children;
    d->children[d->child_count++] = (struct child){.at = d->table.size};
    return push_directory(w, err);
}

/* The block of the innermost directory. */
static enum status write_block(struct catalog_writer *w, struct error *err)
{
    const struct open_directory *d = &w->levels[w->level_count - 1];
    struct buffer *block = &w->block;
    buffer_clear(block);
    TRY(append_unsigned(block, d->count, err));
    size_t copied = 0;
    for (size_t i = 0; i < d->child_count; i++) {
        const struct child *child = &d->children[i];
        TRY(buffer_append(block, d->table.data + copied, child->at - copied, err));
        TRY(append_unsigned(block, w->position - child->start, err));
        copied = child->at;
    }
    if (d->table.size > copied)
        TRY(buffer_append(block, d->table.data + copied, d->table.size - copied, err));
    uint8_t head[CATALOG_UNSIGNED_SIZE_MAX];
    TRY(emit(w, head, catalog_unsigned_bytes(block->size, head), err));
    return emit(w, block->data, block->size, err);
}

static enum status end(struct catalog_writer *w, struct error *err)
{
    if (w->level_count < 2)
        return fail(err, ERR_USAGE, "catalog: no directory is open");
    uint64_t start = w->position;
    TRY(write_block(w, err));
    pop_directory(w);
    struct open_directory *parent = &w->levels[w->level_count - 1];
    parent->children[parent->child_count - 1].start = start;
    return OK;
}

static enum status add(struct catalog_writer *w, const struct catalog_entry *entry, struct error *err)
{
    if (w->level_count < 2)
        return fail(err, ERR_USAGE, "catalog: an entry outside of an archive");
    if (entry->kind == ENTRY_DIRECTORY || entry->kind == ENTRY_DIRECTORY_END)
        return fail(err, ERR_USAGE, "catalog: directories are begun and ended");
    TRY(append_name(w, entry->kind, entry->name, entry->name_size, err));
    if (entry->kind != ENTRY_FILE)
        return OK;
    struct buffer *table = &w->levels[w->level_count - 1].table;
    uint8_t mtime[CATALOG_SIGNED_SIZE_MAX];
    TRY(append_unsigned(table, entry->size, err));
    return buffer_append(table, mtime, catalog_signed_bytes(entry->mtime, mtime), err);
}

static enum status finish(struct catalog_writer *w, struct error *err)
{
    if (w->level_count > 1)
        return fail(err, ERR_USAGE, "catalog: %zu directories are still open", w->level_count - 1);
    uint8_t trailer[TRAILER_SIZE];
    store_u64le(trailer, w->position);
    TRY(write_block(w, err));
    w->finished = true;
    return emit(w, trailer, sizeof trailer, err);
}

static enum status check_usable(const struct catalog_writer *w, struct error *err)
{
    if (w->failed)
        return fail(err, ERR_USAGE, "catalog: an earlier step failed");
    if (w->finished)
        return fail(err, ERR_USAGE, "catalog: is finished already");
    return OK;
}

static enum status keep_failure(struct catalog_writer *w, enum status status)
{
    w->failed |= status != OK;
    return status;
}

enum status catalog_directory_begin(struct catalog_writer *w, const char *name, size_t name_size, struct error *err)
{
    TRY(check_usable(w, err));
    return keep_failure(w, begin(w, name, name_size, err));
}

enum status catalog_directory_end(struct catalog_writer *w, struct error *err)
{
    TRY(check_usable(w, err));
    return keep_failure(w, end(w, err));
}

enum status catalog_add(struct catalog_writer *w, const struct catalog_entry *entry, struct error *err)
{
    TRY(check_usable(w, err));
    return keep_failure(w, add(w, entry, err));
}

enum status catalog_finish(struct catalog_writer *w, struct error *err)
{
    TRY(check_usable(w, err));
    return keep_failure(w, finish(w, err));
}

/* ---- walking ---- */

/* Blocks stand in the order in which their directories end. So the blocks of a directory's k-th child and of all that
 * is in it lie between the (k-1)-th child's block and the child's own:
 *
 *      ... | child 1 | ..below child 2.. | child 2 | P: the directory
 *                    ^ floor when child 2 is entered
 *
 * Holding a catalog to that makes every byte part of one block at most: whatever a hostile one refers to, the work is
 * bounded by its length, and no set of visited blocks is needed. */
struct walk_level {
    struct buffer table;
    struct reader reader;
    uint64_t left;  /* entries */
    uint64_t start; /* P */
    uint64_t floor;
    size_t path_size;
};

struct walk {
    struct source_at stream;
    catalog_visit *visit;
    void *context;
    struct walk_level *levels;
    size_t level_count;
    size_t level_capacity;
    struct buffer path; /* NUL-terminated */
};

static void walk_deinit(struct walk *w)
{
    for (size_t i = 0; i < w->level_count; i++)
        buffer_deinit(&w->levels[i].table);
    free(w->levels);
    buffer_deinit(&w->path);
}

static enum status read_at(const struct walk *w, uint64_t offset, uint8_t *data, size_t size, struct error *err)
{
    return w->stream.read_at(w->stream.context, offset, data, size, err);
}

/* In steps, so that memory follows the bytes that really come. */
static enum status read_table(const struct walk *w, uint64_t offset, uint64_t size, struct buffer *out,
                              struct error *err)
{
    if (size > BUFFER_LIMIT_DEFAULT)
        return fail(err, ERR_LIMIT, "%s: table of %" PRIu64 " bytes at offset %" PRIu64 ": at most %d", w->stream.name,
                    size, offset, BUFFER_LIMIT_DEFAULT);
    while (out->size < size) {
        size_t part = size - out->size < READ_SIZE ? (size_t)size - out->size : READ_SIZE;
        TRY(buffer_reserve(out, part, err));
        TRY(read_at(w, offset + out->size, out->data + out->size, part, err));
        out->size += part;
    }
    return OK;
}

/* Enters the directory whose block is at `start`, at or behind `floor`, and must end at or before `limit`. */
static enum status enter(struct walk *w, uint64_t start, uint64_t floor, uint64_t limit, uint64_t *out_end,
                         struct error *err)
{
    uint8_t head[CATALOG_UNSIGNED_SIZE_MAX];
    size_t head_size = limit - start < sizeof head ? (size_t)(limit - start) : sizeof head;
    TRY(read_at(w, start, head, head_size, err));
    struct reader r = reader_over(head, head_size, w->stream.name, start);
    uint64_t table_size;
    TRY(catalog_read_unsigned(&r, &table_size, err));
    uint64_t table_start = reader_offset(&r);
    if (table_size == 0 || table_size > limit - table_start)
        return fail(err, ERR_FORMAT,
                    "%s: table of %" PRIu64 " bytes at offset %" PRIu64 ", where %" PRIu64 " have room", w->stream.name,
                    table_size, start, limit - table_start);
    void *levels = w->levels;
    if (array_grow(&levels, w->level_count, &w->level_capacity, sizeof *w->levels, DEPTH_MAX, "nested directories",
                   err) != OK)
        return fail_within(err, "%s: directory at offset %" PRIu64, w->stream.name, start);
    w->levels = levels;
    struct walk_level *level = &w->levels[w->level_count++];
    *level = (struct walk_level){.start = start, .floor = floor, .path_size = w->path.size - 1};
    TRY(read_table(w, table_start, table_size, &level->table, err));
    level->reader = reader_over(level->table.data, level->table.size, w->stream.name, table_start);
    *out_end = table_start + table_size;
    return catalog_read_unsigned(&level->reader, &level->left, err);
}

static enum status leave(struct walk *w, struct error *err)
{
    struct walk_level *level = &w->levels[w->level_count - 1];
    size_t rest = reader_remaining(&level->reader);
    if (rest > 0)
        return fail(err, ERR_FORMAT, "%s: %zu bytes behind the last entry of a table at offset %" PRIu64,
                    w->stream.name, rest, reader_offset(&level->reader));
    buffer_deinit(&level->table);
    w->level_count--;
    return OK;
}

static enum status kind_of(uint8_t letter, const struct reader *r, enum entry_kind *out, struct error *err)
{
    for (size_t kind = 0; kind < sizeof type_letters; kind++)
        if (type_letters[kind] == (char)letter) {
            *out = (enum entry_kind)kind;
            return OK;
        }
    return fail(err, ERR_FORMAT, "%s: entry of unknown type 0x%02x at offset %" PRIu64, r->name, letter,
                reader_offset(r) - 1);
}

/* Type and name; the path becomes the entry's. */
static enum status read_name(struct walk *w, struct walk_level *level, struct catalog_entry *out, struct error *err)
{
    struct reader *r = &level->reader;
    uint64_t offset = reader_offset(r);
    uint64_t name_size;
    const uint8_t *name;
    uint8_t letter;
    TRY(reader_u8(r, &letter, err));
    TRY(kind_of(letter, r, &out->kind, err));
    TRY(catalog_read_unsigned(r, &name_size, err));
    if (name_size > CATALOG_NAME_SIZE_MAX)
        return fail(err, ERR_FORMAT, "%s: name of %" PRIu64 " bytes at offset %" PRIu64 ": at most %d", r->name,
                    name_size, offset, CATALOG_NAME_SIZE_MAX);
    TRY(reader_bytes(r, name_size, &name, err));
    if (member_name_check((const char *)name, (size_t)name_size, ERR_FORMAT, err) != OK)
        return fail_within(err, "%s: entry at offset %" PRIu64, r->name, offset);
    w->path.size = level->path_size;
    TRY(buffer_append_u8(&w->path, '/', err));
    TRY(buffer_append(&w->path, name, (size_t)name_size, err));
    TRY(buffer_append_u8(&w->path, '\0', err));
    out->name = (const char *)w->path.data + level->path_size + 1;
    out->name_size = (size_t)name_size;
    return OK;
}

static enum status visit_entry(struct walk *w, const struct catalog_entry *entry, struct error *err)
{
    return w->visit(w->context, (const char *)w->path.data, w->path.size - 1, entry, err);
}

static enum status enter_child(struct walk *w, const struct catalog_entry *entry, struct error *err)
{
    size_t index = w->level_count - 1;
    struct walk_level *level = &w->levels[index];
    uint64_t offset = reader_offset(&level->reader);
    uint64_t distance;
    TRY(catalog_read_unsigned(&level->reader, &distance, err));
    if (distance == 0 || distance > level->start)
        return fail(err, ERR_FORMAT, "%s: distance %" PRIu64 " at offset %" PRIu64 " leads out of the catalog",
                    w->stream.name, distance, offset);
    uint64_t start = level->start - distance;
    if (start < level->floor)
        return fail(err, ERR_FORMAT,
                    "%s: directory at offset %" PRIu64 " refers to offset %" PRIu64
                    ", which belongs to an earlier one: its own begin at %" PRIu64,
                    w->stream.name, offset, start, level->floor);
    TRY(visit_entry(w, entry, err));
    uint64_t block_end;
    TRY(enter(w, start, level->floor, level->start, &block_end, err));
    w->levels[index].floor = block_end; /* entering may have moved the levels */
    return OK;
}

static enum status step(struct walk *w, struct error *err)
{
    struct walk_level *level = &w->levels[w->level_count - 1];
    if (level->left == 0)
        return leave(w, err);
    level->left--;
    struct catalog_entry entry = {0};
    TRY(read_name(w, level, &entry, err));
    if (entry.kind == ENTRY_DIRECTORY)
        return enter_child(w, &entry, err);
    if (entry.kind == ENTRY_FILE) {
        TRY(catalog_read_unsigned(&level->reader, &entry.size, err));
        TRY(catalog_read_signed(&level->reader, &entry.mtime, err));
    }
    return visit_entry(w, &entry, err);
}

static enum status walk_all(struct walk *w, struct error *err)
{
    uint8_t bytes[8];
    const char *name = w->stream.name;
    uint64_t size = w->stream.size;
    if (size < MAGIC_SIZE)
        return fail(err, ERR_NOT_ARCHIVE, "%s: not a catalog: %" PRIu64 " bytes", name, size);
    TRY(read_at(w, 0, bytes, MAGIC_SIZE, err));
    if (memcmp(bytes, magic, MAGIC_SIZE) != 0)
        return fail(err, ERR_NOT_ARCHIVE, "%s: not a catalog: wrong magic number at offset 0", name);
    if (size < MAGIC_SIZE + TRAILER_SIZE)
        return fail(err, ERR_FORMAT, "%s: ends early at offset %" PRIu64 ": no room for its root's offset", name, size);
    uint64_t limit = size - TRAILER_SIZE;
    TRY(read_at(w, limit, bytes, TRAILER_SIZE, err));
    uint64_t root = load_u64le(bytes);
    if (root < MAGIC_SIZE || root >= limit)
        return fail(err, ERR_FORMAT,
                    "%s: the root's offset %" PRIu64 " at offset %" PRIu64 " is outside of %d..%" PRIu64, name, root,
                    limit, MAGIC_SIZE, limit);
    TRY(buffer_append(&w->path, ".", 2, err));
    uint64_t root_end;
    TRY(enter(w, root, MAGIC_SIZE, limit, &root_end, err));
    if (root_end != limit)
        return fail(err, ERR_FORMAT, "%s: %" PRIu64 " bytes behind the root's table at offset %" PRIu64, name,
                    limit - root_end, root_end);
    while (w->level_count > 0)
        TRY(step(w, err));
    return OK;
}

enum status catalog_walk(struct source_at stream, catalog_visit *visit, void *context, struct error *err)
{
    CLEANUP(walk_deinit) struct walk w = {.stream = stream, .visit = visit, .context = context};
    return walk_all(&w, err);
}

/* ---- text ---- */

/* A line stays a line, and two names never look alike. */
static enum status append_quoted(const char *text, size_t size, struct buffer *out, struct error *err)
{
    const unsigned char *p = (const unsigned char *)text;
    TRY(buffer_append_u8(out, '"', err));
    for (size_t i = 0; i < size;) {
        size_t length = printable_plain((char)p[i]) ? 1 : printable_size(p + i, size - i);
        if (p[i] == '"' || p[i] == '\\')
            TRY(buffer_printf(out, err, "\\%c", p[i]));
        else if (p[i] == '\n' || p[i] == '\r' || p[i] == '\t')
            TRY(buffer_append(out, p[i] == '\n' ? "\\n" : p[i] == '\r' ? "\\r" : "\\t", 2, err));
        else if (length == 0)
            TRY(buffer_printf(out, err, "\\x%02x", p[i]));
        else
            TRY(buffer_append(out, p + i, length, err));
        i += length ? length : 1;
    }
    return buffer_append_u8(out, '"', err);
}

enum status catalog_line(const char *path, size_t path_size, const struct catalog_entry *entry, struct buffer *out,
                         struct error *err)
{
    ASSERT((size_t)entry->kind < sizeof type_letters);
    TRY(buffer_printf(out, err, "%c ", type_letters[entry->kind]));
    TRY(append_quoted(path, path_size, out, err));
    if (entry->kind != ENTRY_FILE)
        return OK;
    char time[TIME_TEXT_SIZE];
    if (time_format_utc(entry->mtime, time))
        return buffer_printf(out, err, " %" PRIu64 " %s", entry->size, time);
    return buffer_printf(out, err, " %" PRIu64 " %" PRId64, entry->size, entry->mtime);
}
