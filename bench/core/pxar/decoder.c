#include "pxar/decoder.h"

#include "base/log.h"
#include "pxar/decoder_attributes.h"
#include "pxar/decoder_window.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* Holds any item but PRELUDE and GOODBYE whole, and a read of useful size behind it. */
    METADATA_WINDOW_SIZE = 128 * 1024,
    PAYLOAD_WINDOW_SIZE = 64 * 1024,
    OPEN_PATH_MAX = (PXAR_DEPTH_MAX + 1) * (PXAR_NAME_SIZE_MAX + 1) + 1,
    NANOS_PER_SECOND = 1000000000,
    TYPE_BITS = 0170000,
};
static_assert(METADATA_WINDOW_SIZE >= ITEM_HEADER_SIZE + PXAR_XATTR_CONTENT_MAX, "the largest buffered item");

/* One open directory. */
struct level {
    size_t path_size; /* of its path in decoder.path; the root's is 0 */
    uint64_t member_count;
    uint64_t tail_distance_from; /* what its tail row counts from */
};

enum decoder_state { AT_ROOT, INSIDE, AT_DIRECTORY_END, ENDED };

struct decoder {
    unsigned version;
    struct window metadata; /* version 1: the archive, contents included */
    struct window payload;
    bool has_payload;
    bool has_prelude;
    struct buffer prelude;
    enum decoder_state state;
    struct level *levels;
    size_t level_count, level_capacity;
    struct buffer path;                   /* "/a/b" without a final NUL while idle */
    struct decoder_attributes attributes; /* of the current member */
    /* The current file. */
    bool is_file, content_begun;
    uint64_t content_offset, content_size, content_left;
    uint64_t references_end; /* behind the farthest referenced file */
    uint64_t went_back;      /* files whose contents lay behind those of later ones */
    struct error failure;    /* status OK: none yet */
};

/* ---- errors ---- */

static const char *shown_path(const struct decoder *d, char out[LOG_PATH_MAX])
{
    /* The buffer has no NUL of its own here, and errors are rare. */
    size_t size = d->path.size < LOG_PATH_MAX - 1 ? d->path.size : LOG_PATH_MAX - 1;
    char path[LOG_PATH_MAX];
    if (size > 0)
        memcpy(path, d->path.data, size);
    path[size] = '\0';
    return log_path(size > 0 ? path : "/", out);
}

/* Puts "NAME: corrupt at offset N in /path" before a sentence of ERR_FORMAT. The path is the one decoded last. */
static enum status place(const struct decoder *d, const struct window *w, uint64_t offset, struct error *err)
{
    char path[LOG_PATH_MAX];
    if (err)
        fail_within_text(err, "%s: corrupt at offset %" PRIu64 " in %s", w->source.name, offset, shown_path(d, path));
    return fail_known(ERR_FORMAT);
}

static enum status bad_in(const struct decoder *d, const struct window *w, uint64_t offset, struct error *err,
                          const char *format, ...) PRINTF_LIKE(5, 6);
static enum status bad_in(const struct decoder *d, const struct window *w, uint64_t offset, struct error *err,
                          const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fail_va(err, ERR_FORMAT, format, args);
    va_end(args);
    return place(d, w, offset, err);
}
/* The usual one: in the metadata stream. */
#define bad(d, offset, ...) bad_in(d, &(d)->metadata, offset, __VA_ARGS__)

static enum status ends_early(const struct decoder *d, const struct window *w, uint64_t wanted, struct error *err)
{
    return bad_in(d, w, w->position + window_size(w), err, "ends early: %" PRIu64 " more bytes wanted", wanted);
}

/* ---- windows ---- */

static enum status need(const struct decoder *d, struct window *w, size_t size, struct error *err)
{
    if (window_size(w) >= size)
        return OK;
    TRY(window_fill(w, size, err));
    return window_size(w) < size ? ends_early(d, w, size - window_size(w), err) : OK;
}

static enum status skip(const struct decoder *d, struct window *w, uint64_t size, struct error *err)
{
    uint64_t from = w->position;
    enum status status = window_skip(w, size, err);
    return status == ERR_FORMAT ? place(d, w, from, err) : status;
}

/* ---- items ---- */

struct item {
    uint64_t type;
    uint64_t content_size;
    uint64_t offset;
    const char *name;
};

/* The next item's header, not consumed; its type exists and its size is within the type's bounds. */
static enum status peek_item(struct decoder *d, struct item *out, struct error *err)
{
    struct window *w = &d->metadata;
    TRY(need(d, w, ITEM_HEADER_SIZE, err));
    const uint8_t *p = w->data + w->start;
    uint64_t full_size = load_u64le(p + 8);
    out->type = load_u64le(p);
    out->offset = w->position;
    const struct item_kind *kind = item_kind_of(out->type);
    if (!kind)
        return bad(d, out->offset, err, "unknown item type %016" PRIx64, out->type);
    if (full_size < ITEM_HEADER_SIZE)
        return bad(d, out->offset, err, "%s item of %" PRIu64 " bytes, less than its header", kind->name, full_size);
    out->name = kind->name;
    out->content_size = full_size - ITEM_HEADER_SIZE;
    if (out->content_size < kind->content_min || out->content_size > kind->content_max)
        return bad(d, out->offset, err, "%s with %" PRIu64 " bytes of content", kind->name, out->content_size);
    return OK;
}

/* Consumes a peeked item; its content is borrowed from the window until that is filled again. */
static enum status take_item(struct decoder *d, const struct item *item, const uint8_t **out, struct error *err)
{
    size_t full_size = ITEM_HEADER_SIZE + (size_t)item->content_size;
    TRY(need(d, &d->metadata, full_size, err));
    *out = window_take(&d->metadata, full_size) + ITEM_HEADER_SIZE;
    return OK;
}

static enum status unexpected(const struct decoder *d, const struct item *item, const char *wanted, struct error *err)
{
    return bad(d, item->offset, err, "%s item where %s is due", item->name, wanted);
}

/* ---- start ---- */

static bool begins_like(const uint8_t *data, size_t size, uint64_t type)
{
    uint8_t expected[8];
    store_u64le(expected, type);
    return memcmp(data, expected, size < sizeof expected ? size : sizeof expected) == 0;
}

/* What the stream is, by its first bytes alone. */
static enum status check_kind_of_stream(struct decoder *d, bool *out_has_version, struct error *err)
{
    struct window *w = &d->metadata;
    TRY(window_fill(w, ITEM_HEADER_SIZE, err));
    const uint8_t *p = w->data + w->start;
    size_t size = window_size(w);
    bool entry = begins_like(p, size, PXAR_ENTRY) || begins_like(p, size, PXAR_ENTRY_V1);
    bool version = begins_like(p, size, PXAR_FORMAT_VERSION);
    if (!entry && !version)
        return fail(err, ERR_NOT_ARCHIVE, "%s: not an archive: does not begin with an item of pxar", w->source.name);
    TRY(need(d, w, ITEM_HEADER_SIZE, err));
    *out_has_version = version;
    return OK;
}

static enum status read_version(struct decoder *d, struct error *err)
{
    struct item item;
    const uint8_t *content = NULL;
    TRY(peek_item(d, &item, err));
    TRY(take_item(d, &item, &content, err));
    uint64_t version = load_u64le(content);
    if (version != 1 && version != 2)
        return fail(err, ERR_VERSION, "%s: unsupported version %" PRIu64 " of the pxar format", d->metadata.source.name,
                    version);
    d->version = (unsigned)version;
    return OK;
}

static enum status read_prelude(struct decoder *d, struct error *err)
{
    struct item item;
    TRY(peek_item(d, &item, err));
    if (item.type != PXAR_PRELUDE)
        return OK;
    if (item.content_size > PXAR_PRELUDE_SIZE_MAX)
        return fail(err, ERR_LIMIT, "%s: at offset %" PRIu64 ": prelude of %" PRIu64 " bytes: at most %d",
                    d->metadata.source.name, item.offset, item.content_size, PXAR_PRELUDE_SIZE_MAX);
    window_take(&d->metadata, ITEM_HEADER_SIZE);
    /* Grows with what is really there, not with what the header claims. */
    TRY(buffer_reserve(&d->prelude, 1, err));
    for (uint64_t left = item.content_size; left > 0;) {
        TRY(need(d, &d->metadata, 1, err));
        size_t part = left < window_size(&d->metadata) ? (size_t)left : window_size(&d->metadata);
        TRY(buffer_append(&d->prelude, window_take(&d->metadata, part), part, err));
        left -= part;
    }
    d->has_prelude = true;
    return OK;
}

static bool is_marker(const uint8_t *header, uint64_t type)
{
    return load_u64le(header) == type && load_u64le(header + 8) == ITEM_HEADER_SIZE;
}

static enum status read_payload_start(struct decoder *d, struct error *err)
{
    TRY(need(d, &d->payload, ITEM_HEADER_SIZE, err));
    if (!is_marker(window_take(&d->payload, ITEM_HEADER_SIZE), PXAR_PAYLOAD_START_MARKER))
        return bad_in(d, &d->payload, 0, err, "no payload start marker");
    return OK;
}

static enum status start(struct decoder *d, struct source metadata, const struct source *payload, struct error *err)
{
    TRY(window_init(&d->metadata, metadata, METADATA_WINDOW_SIZE, err));
    bool has_version = false;
    TRY(check_kind_of_stream(d, &has_version, err));
    d->version = 1; /* written by nobody but implied where the item is missing (1) */
    if (has_version)
        TRY(read_version(d, err));
    if (d->version == 1 && payload)
        return fail(err, ERR_MISMATCH, "%s: an archive of version 1 has no payload stream, but %s was given",
                    metadata.name, payload->name);
    if (d->version == 2)
        TRY(read_prelude(d, err));
    if (!payload)
        return OK;
    d->has_payload = true;
    TRY(window_init(&d->payload, *payload, PAYLOAD_WINDOW_SIZE, err));
    return read_payload_start(d, err);
}

static void decoder_freep(struct decoder **d)
{
    decoder_free(*d);
}

enum status decoder_new(struct source metadata, const struct source *payload, struct decoder **out, struct error *err)
{
    CLEANUP(decoder_freep) struct decoder *d = calloc(1, sizeof *d);
    if (!d)
        return fail(err, ERR_MEMORY, "out of memory for the archive decoder");
    d->prelude.limit = PXAR_PRELUDE_SIZE_MAX;
    d->path.limit = OPEN_PATH_MAX;
    decoder_attributes_init(&d->attributes);
    d->references_end = ITEM_HEADER_SIZE;
    TRY(start(d, metadata, payload, err));
    *out = d;
    d = NULL;
    return OK;
}

void decoder_free(struct decoder *d)
{
    if (!d)
        return;
    window_deinit(&d->metadata);
    window_deinit(&d->payload);
    buffer_deinit(&d->prelude);
    free(d->levels);
    buffer_deinit(&d->path);
    decoder_attributes_deinit(&d->attributes);
    free(d);
}

const uint8_t *decoder_prelude(const struct decoder *d, size_t *out_size)
{
    *out_size = d->prelude.size;
    return d->has_prelude ? d->prelude.data : NULL;
}

unsigned decoder_version(const struct decoder *d)
{
    return d->version;
}

uint64_t decoder_metadata_position(const struct decoder *d)
{
    return d->metadata.position;
}

/* ---- members ---- */

static enum status kind_of_mode(const struct decoder *d, uint64_t mode, uint64_t offset, enum entry_kind *out,
                                struct error *err)
{
    switch (mode & TYPE_BITS) {
    case 0040000: *out = ENTRY_DIRECTORY; return OK;
    case 0100000: *out = ENTRY_FILE; return OK;
    case 0120000: *out = ENTRY_SYMLINK; return OK;
    case 0010000: *out = ENTRY_FIFO; return OK;
    case 0140000: *out = ENTRY_SOCKET; return OK;
    case 0020000: *out = ENTRY_CHAR_DEVICE; return OK;
    case 0060000: *out = ENTRY_BLOCK_DEVICE; return OK;
    default: return bad(d, offset, err, "mode 0%" PRIo64 " of no file type", mode);
    }
}

/* ENTRY and what is told of the file by itself. */
static enum status read_entry_item(struct decoder *d, struct archive_entry *out, struct error *err)
{
    struct item item;
    const uint8_t *content = NULL;
    TRY(peek_item(d, &item, err));
    if (item.type != PXAR_ENTRY && item.type != PXAR_ENTRY_V1)
        return unexpected(d, &item, "ENTRY", err);
    TRY(take_item(d, &item, &content, err));
    struct stat_record *st = &out->attributes.stat;
    if (item.type == PXAR_ENTRY)
        item_load_entry(content, st);
    else
        item_load_entry_v1(content, st);
    if (st->mtime_nanos >= NANOS_PER_SECOND)
        return bad(d, item.offset, err, "ENTRY with %" PRIu32 " nanoseconds", st->mtime_nanos);
    out->entry_offset = item.offset;
    return kind_of_mode(d, st->mode, item.offset, &out->kind, err);
}

/* Bytes with one zero byte, at their end. */
static enum status check_string(const struct decoder *d, const struct item *item, const uint8_t *data, size_t size,
                                struct error *err)
{
    const uint8_t *zero = memchr(data, '\0', size);
    if (!zero)
        return bad(d, item->offset, err, "%s without its final zero byte", item->name);
    if (zero != data + size - 1)
        return bad(d, item->offset, err, "%s with a zero byte inside", item->name);
    return OK;
}

static enum status read_reference(struct decoder *d, const struct item *item, struct archive_entry *out,
                                  struct error *err)
{
    const uint8_t *content = NULL;
    TRY(take_item(d, item, &content, err));
    uint64_t offset = load_u64le(content), size = load_u64le(content + 8);
    if (offset < ITEM_HEADER_SIZE)
        return bad(d, item->offset, err, "reference to payload offset %" PRIu64, offset);
    if (offset > UINT64_MAX - ITEM_HEADER_SIZE || size > UINT64_MAX - ITEM_HEADER_SIZE - offset)
        return bad(d, item->offset, err, "reference to %" PRIu64 " bytes at payload offset %" PRIu64, size, offset);
    uint64_t end = offset + ITEM_HEADER_SIZE + size;
    if (end > d->references_end)
        d->references_end = end;
    out->payload_offset = offset;
    out->size = size;
    d->is_file = true;
    d->content_offset = offset;
    d->content_size = size;
    return OK;
}

/* Only the header: the contents are read, or skipped, later. */
static enum status read_payload(struct decoder *d, const struct item *item, struct archive_entry *out,
                                struct error *err)
{
    TRY(need(d, &d->metadata, ITEM_HEADER_SIZE, err));
    window_take(&d->metadata, ITEM_HEADER_SIZE);
    if (item->content_size > UINT64_MAX - d->metadata.position)
        return bad(d, item->offset, err, "PAYLOAD of %" PRIu64 " bytes", item->content_size);
    out->content_offset = d->metadata.position;
    out->size = item->content_size;
    d->is_file = true;
    d->content_begun = true;
    d->content_size = item->content_size;
    d->content_left = item->content_size;
    return OK;
}

static enum status read_file(struct decoder *d, const struct item *item, struct archive_entry *out, struct error *err)
{
    if (d->version == 1)
        return item->type == PXAR_PAYLOAD ? read_payload(d, item, out, err) : unexpected(d, item, "PAYLOAD", err);
    return item->type == PXAR_PAYLOAD_REF ? read_reference(d, item, out, err) : unexpected(d, item, "PAYLOAD_REF", err);
}

static enum status read_symlink(struct decoder *d, const struct item *item, struct archive_entry *out,
                                struct error *err)
{
    const uint8_t *content = NULL;
    TRY(take_item(d, item, &content, err));
    TRY(check_string(d, item, content, (size_t)item->content_size, err));
    out->target = (const char *)content;
    out->target_size = (size_t)item->content_size - 1;
    return OK;
}

static enum status read_device(struct decoder *d, const struct item *item, struct archive_entry *out, struct error *err)
{
    const uint8_t *content = NULL;
    TRY(take_item(d, item, &content, err));
    out->major = load_u64le(content);
    out->minor = load_u64le(content + 8);
    return OK;
}

static enum status read_hardlink(struct decoder *d, const struct item *item, struct archive_entry *out,
                                 struct error *err)
{
    const uint8_t *content = NULL;
    TRY(take_item(d, item, &content, err));
    size_t size = (size_t)item->content_size - 8;
    TRY(check_string(d, item, content + 8, size, err));
    if (hardlink_path_check((const char *)content + 8, size - 1, ERR_FORMAT, err) != OK)
        return place(d, &d->metadata, item->offset, err);
    out->kind = ENTRY_HARDLINK;
    out->target = (const char *)content + 8;
    out->target_size = size - 1;
    out->link_distance = load_u64le(content);
    if (out->link_distance == 0 || out->link_distance >= out->filename_offset)
        return bad(d, item->offset, err, "HARDLINK with distance %" PRIu64, out->link_distance);
    return OK;
}

static enum status read_attribute(struct decoder *d, const struct item *item, struct error *err)
{
    const uint8_t *content = NULL;
    TRY(take_item(d, item, &content, err));
    enum status status = decoder_attributes_add(&d->attributes, item->type, content, (size_t)item->content_size, err);
    return status == ERR_FORMAT ? place(d, &d->metadata, item->offset, err) : status;
}

/* Attributes in any order, then the item that ends the member. */
static enum status read_rest_of_entry(struct decoder *d, struct archive_entry *out, struct error *err)
{
    struct item item;
    for (;;) {
        TRY(peek_item(d, &item, err));
        if (!item_is_attribute(item.type))
            break;
        TRY(read_attribute(d, &item, err));
    }
    out->attributes.extras = decoder_attributes_finish(&d->attributes);
    switch (out->kind) {
    case ENTRY_FILE: return read_file(d, &item, out, err);
    case ENTRY_SYMLINK:
        if (item.type != PXAR_SYMLINK)
            return unexpected(d, &item, "SYMLINK", err);
        return read_symlink(d, &item, out, err);
    case ENTRY_CHAR_DEVICE:
    case ENTRY_BLOCK_DEVICE:
        if (item.type != PXAR_DEVICE)
            return unexpected(d, &item, "DEVICE", err);
        return read_device(d, &item, out, err);
    default:
        /* Nothing ends these but the next member or the end of a directory. */
        if (item.type != PXAR_FILENAME && item.type != PXAR_GOODBYE)
            return unexpected(d, &item, "FILENAME or GOODBYE", err);
        return OK;
    }
}

static enum status push_level(struct decoder *d, struct level level, struct error *err)
{
    TRY(array_grow((void **)&d->levels, d->level_count, &d->level_capacity, sizeof *d->levels, PXAR_DEPTH_MAX,
                   "open directories", err));
    d->levels[d->level_count++] = level;
    return OK;
}

/* Puts the NUL behind the path and hands out its parts. */
static enum status set_path(struct decoder *d, size_t name_size, struct archive_entry *out, struct error *err)
{
    TRY(buffer_reserve(&d->path, 1, err));
    char *path = (char *)d->path.data;
    path[d->path.size] = '\0';
    out->path = d->path.size > 0 ? path : "/";
    out->name = path + d->path.size - name_size;
    out->name_size = name_size;
    return OK;
}

static enum status read_root(struct decoder *d, struct archive_entry *out, struct error *err)
{
    uint64_t offset = d->metadata.position;
    TRY(read_entry_item(d, out, err));
    if (out->kind != ENTRY_DIRECTORY)
        return bad(d, offset, err, "root with mode 0%" PRIo64 " is no directory", out->attributes.stat.mode);
    TRY(read_rest_of_entry(d, out, err));
    /* The root's tail row counts from the start of the stream, not from its ENTRY (9.3). */
    TRY(push_level(d, (struct level){0}, err));
    d->state = INSIDE;
    return set_path(d, 0, out, err);
}

static enum status read_name(struct decoder *d, const struct item *item, size_t *out_size, struct error *err)
{
    const uint8_t *content = NULL;
    TRY(take_item(d, item, &content, err));
    size_t size = (size_t)item->content_size - 1;
    TRY(check_string(d, item, content, size + 1, err));
    if (member_name_check((const char *)content, size, ERR_FORMAT, err) != OK)
        return place(d, &d->metadata, item->offset, err);
    TRY(buffer_reserve(&d->path, size + 1, err));
    d->path.data[d->path.size] = '/';
    memcpy(d->path.data + d->path.size + 1, content, size);
    d->path.size += size + 1;
    *out_size = size;
    return OK;
}

static enum status read_member(struct decoder *d, const struct item *filename, struct archive_entry *out,
                               struct error *err)
{
    size_t name_size = 0;
    struct item next;
    out->filename_offset = filename->offset;
    out->depth = d->level_count;
    TRY(read_name(d, filename, &name_size, err));
    TRY(peek_item(d, &next, err));
    if (next.type == PXAR_HARDLINK) {
        TRY(read_hardlink(d, &next, out, err));
    } else {
        TRY(read_entry_item(d, out, err));
        TRY(read_rest_of_entry(d, out, err));
    }
    d->levels[d->level_count - 1].member_count++;
    if (out->kind == ENTRY_DIRECTORY)
        TRY(push_level(d, (struct level){.path_size = d->path.size, .tail_distance_from = out->entry_offset}, err));
    return set_path(d, name_size, out, err);
}

static enum status read_goodbye(struct decoder *d, const struct item *item, struct archive_entry *out,
                                struct error *err)
{
    const struct level *level = &d->levels[d->level_count - 1];
    if (item->content_size % PXAR_GOODBYE_ROW_SIZE != 0 ||
        item->content_size / PXAR_GOODBYE_ROW_SIZE - 1 != level->member_count)
        return bad(d, item->offset, err, "GOODBYE with %" PRIu64 " bytes of content for %" PRIu64 " members",
                   item->content_size, level->member_count);
    TRY(skip(d, &d->metadata, ITEM_HEADER_SIZE + item->content_size - PXAR_GOODBYE_ROW_SIZE, err));
    TRY(need(d, &d->metadata, PXAR_GOODBYE_ROW_SIZE, err));
    struct goodbye_row tail = item_load_goodbye_row(window_take(&d->metadata, PXAR_GOODBYE_ROW_SIZE));
    if (tail.hash != PXAR_GOODBYE_TAIL_MARKER || tail.size != ITEM_HEADER_SIZE + item->content_size ||
        tail.offset != item->offset - level->tail_distance_from)
        return bad(d, item->offset, err, "GOODBYE with a wrong tail row");
    out->kind = ENTRY_DIRECTORY_END;
    out->depth = d->level_count - 1;
    d->state = AT_DIRECTORY_END;
    return set_path(d, 0, out, err);
}

/* ---- end ---- */

static enum status check_payload_end(struct decoder *d, struct error *err)
{
    struct window *w = &d->payload;
    if (w->position < d->references_end)
        TRY(skip(d, w, d->references_end - w->position, err));
    /* Foreign bytes may follow; the marker is what the stream ends with. */
    for (;;) {
        TRY(window_fill(w, ITEM_HEADER_SIZE + 1, err));
        if (window_size(w) <= ITEM_HEADER_SIZE)
            break;
        window_take(w, window_size(w) - ITEM_HEADER_SIZE);
    }
    if (window_size(w) < ITEM_HEADER_SIZE || !is_marker(w->data + w->start, PXAR_PAYLOAD_TAIL_MARKER))
        return bad_in(d, w, w->position, err, "no payload tail marker at the end");
    return OK;
}

static enum status check_end(struct decoder *d, struct error *err)
{
    TRY(window_fill(&d->metadata, 1, err));
    if (window_size(&d->metadata) > 0)
        return bad(d, d->metadata.position, err, "bytes behind the root's goodbye table");
    if (d->has_payload)
        TRY(check_payload_end(d, err));
    d->state = ENDED;
    return ERR_CLOSED;
}

/* ---- steps ---- */

/* What nobody read of the current file: version 2 leaves it to the next reference. */
static enum status leave_content(struct decoder *d, struct error *err)
{
    uint64_t left = d->version == 1 ? d->content_left : 0;
    d->is_file = false;
    d->content_begun = false;
    d->content_left = 0;
    return skip(d, &d->metadata, left, err);
}

static enum status step(struct decoder *d, struct archive_entry *out, struct error *err)
{
    *out = (struct archive_entry){0};
    TRY(leave_content(d, err));
    decoder_attributes_reset(&d->attributes);
    if (d->state == ENDED)
        return ERR_CLOSED;
    if (d->state == AT_ROOT)
        return read_root(d, out, err);
    if (d->state == AT_DIRECTORY_END) {
        d->level_count--;
        d->state = INSIDE;
    }
    d->path.size = d->level_count > 0 ? d->levels[d->level_count - 1].path_size : 0;
    if (d->level_count == 0)
        return check_end(d, err);
    struct item item;
    TRY(peek_item(d, &item, err));
    if (item.type == PXAR_GOODBYE)
        return read_goodbye(d, &item, out, err);
    if (item.type != PXAR_FILENAME)
        return unexpected(d, &item, "FILENAME or GOODBYE", err);
    return read_member(d, &item, out, err);
}

/* A failed decoder stays failed and repeats its sentence. */
static enum status settle(struct decoder *d, enum status status, struct error *err)
{
    if (status == OK || status == ERR_CLOSED)
        return status;
    d->failure.status = status;
    if (err)
        *err = d->failure;
    return status;
}

enum status decoder_next(struct decoder *d, struct archive_entry *out, struct error *err)
{
    if (d->failure.status != OK)
        return settle(d, d->failure.status, err);
    enum status status = step(d, out, &d->failure);
    char path[LOG_PATH_MAX];
    if (status == ERR_LIMIT) /* the sentence is of the limit alone */
        fail_within_text(&d->failure, "%s: at offset %" PRIu64 " in %s", d->metadata.source.name, d->metadata.position,
                         shown_path(d, path));
    return settle(d, status, err);
}

enum status decoder_seek(struct decoder *d, uint64_t offset, const char *directory, struct error *err)
{
    ASSERT(!d->has_payload);
    size_t path_size = strcmp(directory, "/") == 0 ? 0 : strlen(directory);
    d->metadata.start = d->metadata.end = 0;
    d->metadata.position = offset;
    d->level_count = 0;
    d->state = INSIDE;
    d->content_left = 0;
    d->failure.status = OK;
    d->failure.text[0] = '\0';
    buffer_clear(&d->path);
    TRY(buffer_append(&d->path, directory, path_size, err));
    return push_level(d, (struct level){.path_size = path_size}, err);
}

/* To the PAYLOAD header. Going back is what archives of older clients may need, once per file at most; what was passed
 * over is still checked at the end, by the farthest reference. */
static enum status go_to_content(struct decoder *d, struct error *err)
{
    struct window *w = &d->payload;
    if (d->content_offset >= w->position)
        return skip(d, w, d->content_offset - w->position, err);
    if (!w->source.seek)
        return bad(d, d->metadata.position, err,
                   "reference to payload offset %" PRIu64 ", but the payload was read up to %" PRIu64,
                   d->content_offset, w->position);
    d->went_back++;
    enum status status = window_seek(w, d->content_offset, err);
    return status == ERR_FORMAT ? place(d, w, d->content_offset, err) : status;
}

uint64_t decoder_went_back(const struct decoder *d)
{
    return d->went_back;
}

static enum status begin_content(struct decoder *d, struct error *err)
{
    struct window *w = &d->payload;
    TRY(go_to_content(d, err));
    TRY(need(d, w, ITEM_HEADER_SIZE, err));
    const uint8_t *header = window_take(w, ITEM_HEADER_SIZE);
    if (load_u64le(header) != PXAR_PAYLOAD || load_u64le(header + 8) != ITEM_HEADER_SIZE + d->content_size)
        return bad(d, d->metadata.position, err,
                   "payload header at payload offset %" PRIu64 " is not that of a file of %" PRIu64 " bytes",
                   d->content_offset, d->content_size);
    d->content_begun = true;
    d->content_left = d->content_size;
    return OK;
}

static enum status read_content(struct decoder *d, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct window *w = d->version == 1 ? &d->metadata : &d->payload;
    if (!d->content_begun)
        TRY(begin_content(d, err));
    *out_size = 0;
    size_t wanted = d->content_left < size ? (size_t)d->content_left : size;
    if (wanted == 0)
        return OK;
    size_t got = 0;
    TRY(window_read(w, data, wanted, &got, err));
    if (got == 0)
        return ends_early(d, w, d->content_left, err);
    d->content_left -= got;
    *out_size = got;
    return OK;
}

enum status decoder_content(struct decoder *d, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    if (d->failure.status != OK)
        return settle(d, d->failure.status, err);
    if (!d->is_file)
        return fail(err, ERR_USAGE, "only files have contents");
    if (d->version == 2 && !d->has_payload)
        return fail(err, ERR_USAGE, "%s: contents are in the payload stream, which was not given",
                    d->metadata.source.name);
    return settle(d, read_content(d, data, size, out_size, &d->failure), err);
}
