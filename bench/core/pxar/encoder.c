#include "pxar/encoder.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    GOODBYE_ROWS_MAX = 1 << 27, /* all open directories together: 3 GiB of rows */
    OPEN_NAMES_MAX = PXAR_DEPTH_MAX * (PXAR_NAME_SIZE_MAX + 1),
    TYPE_BITS = 0170000,
    TYPE_SOCKET = 0140000,
    TYPE_SYMLINK = 0120000,
    TYPE_REGULAR = 0100000,
    TYPE_BLOCK = 0060000,
    TYPE_DIRECTORY = 0040000,
    TYPE_CHAR = 0020000,
    TYPE_FIFO = 0010000,
};
/* Positions stay below this, so that sums of two of them cannot overflow. */
#define POSITION_MAX ((uint64_t)INT64_MAX)
/* The member of a unified archive's root that may come after all others (12.2). */
#define LATE_MEMBER ".pxarexclude-cli"

/* One open directory. */
struct level {
    uint64_t filename_offset;
    uint64_t tail_distance_from; /* what the tail row's offset counts from: the ENTRY, for the root the stream start */
    uint64_t hash;               /* of the directory's own name */
    size_t first_row;            /* in encoder.rows */
    size_t last_name;            /* the newest member's name in encoder.names, to its end if this level is innermost */
};

struct encoder {
    bool unified;         /* version 1: there is no payload stream */
    struct sink metadata; /* unified: the archive */
    struct sink payload;
    struct name_hasher *hasher;
    struct buffer member; /* the one being assembled; one write each */
    uint64_t metadata_position;
    uint64_t payload_position;
    uint64_t last_reference; /* 0: none, as references are at least 16 */
    uint64_t references_end; /* behind the farthest referenced file */
    /* Stacks: each directory's rows, and newest names, lie behind its parent's. Until its directory ends, a row's
     * offset is the member's FILENAME. */
    struct goodbye_row *rows;
    size_t row_count, row_capacity;
    struct goodbye_row *scratch;
    size_t scratch_capacity;
    struct level *levels;
    size_t level_count, level_capacity;
    struct buffer names;
    bool has_late_member; /* wherever it came */
    bool root_is_closed;  /* it came after names above it: nothing may follow */
    bool failed;
    bool finished;
};

/* A member on its way: its FILENAME is in encoder.member. */
struct begun {
    uint64_t filename_offset;
    uint64_t hash;
};

void encoder_free(struct encoder *e)
{
    if (!e)
        return;
    name_hasher_free(e->hasher);
    buffer_deinit(&e->member);
    buffer_deinit(&e->names);
    free(e->rows);
    free(e->scratch);
    free(e->levels);
    free(e);
}

static void encoder_freep(struct encoder **e)
{
    encoder_free(*e);
}

uint64_t encoder_payload_position(const struct encoder *e)
{
    return e->payload_position;
}

uint64_t encoder_metadata_position(const struct encoder *e)
{
    return e->metadata_position;
}

/* A failed call may have written half of its bytes: nothing may follow. */
static enum status settle(struct encoder *e, enum status status)
{
    if (status != OK)
        e->failed = true;
    return status;
}

static enum status check_usable(const struct encoder *e, struct error *err)
{
    if (e->failed)
        return fail(err, ERR_USAGE, "the archive encoder failed before");
    if (e->finished)
        return fail(err, ERR_USAGE, "the archive is finished");
    return OK;
}

static enum status write_member(struct encoder *e, struct error *err)
{
    if (e->member.size > POSITION_MAX - e->metadata_position)
        return fail(err, ERR_LIMIT, "metadata stream over %" PRIu64 " bytes", POSITION_MAX);
    TRY(e->metadata.write(e->metadata.context, e->member.data, e->member.size, err));
    e->metadata_position += e->member.size;
    buffer_clear(&e->member);
    return OK;
}

static enum status write_payload_header(struct encoder *e, uint64_t type, uint64_t content_size, struct error *err)
{
    uint8_t header[ITEM_HEADER_SIZE];
    store_u64le(header, type);
    store_u64le(header + 8, ITEM_HEADER_SIZE + content_size);
    return e->payload.write(e->payload.context, header, sizeof header, err);
}

static enum status advance_payload(struct encoder *e, uint64_t size, struct error *err)
{
    if (size > POSITION_MAX - e->payload_position)
        return fail(err, ERR_LIMIT, "payload stream over %" PRIu64 " bytes", POSITION_MAX);
    e->payload_position += size;
    return OK;
}

static enum status check_type(const struct attributes *a, uint64_t type, uint64_t other_type, struct error *err)
{
    uint64_t found = a->stat.mode & TYPE_BITS;
    if (found != type && found != other_type)
        return fail(err, ERR_USAGE, "mode 0%" PRIo64 " does not fit the kind of entry", a->stat.mode);
    return OK;
}

static enum status push_level(struct encoder *e, struct level level, struct error *err)
{
    if (e->level_count >= PXAR_DEPTH_MAX)
        return fail(err, ERR_LIMIT, "directories deeper than %d", PXAR_DEPTH_MAX);
    TRY(array_grow((void **)&e->levels, e->level_count, &e->level_capacity, sizeof *e->levels, PXAR_DEPTH_MAX,
                   "open directories", err));
    level.first_row = e->row_count;
    level.last_name = e->names.size;
    e->levels[e->level_count++] = level;
    return OK;
}

static enum status append_row(struct encoder *e, uint64_t hash, uint64_t filename_offset, uint64_t size,
                              struct error *err)
{
    TRY(array_grow((void **)&e->rows, e->row_count, &e->row_capacity, sizeof *e->rows, GOODBYE_ROWS_MAX,
                   "directory members", err));
    e->rows[e->row_count++] = (struct goodbye_row){.hash = hash, .offset = filename_offset, .size = size};
    return OK;
}

/* -1, 0, 1 by unsigned bytes; a shorter prefix comes first. */
static int compare_names(const void *a, size_t a_size, const void *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order ? order : (a_size > b_size) - (a_size < b_size);
}

static enum status remember_name(struct encoder *e, const char *name, size_t size, bool is_file, struct error *err)
{
    const struct level *level = &e->levels[e->level_count - 1];
    size_t last_size = e->names.size - level->last_name;
    bool in_root = e->level_count == 1;
    bool late_member = e->unified && in_root && strcmp(name, LATE_MEMBER) == 0;
    if (in_root && e->root_is_closed)
        return fail(err, ERR_USAGE, "name out of order: nothing comes behind " LATE_MEMBER);
    /* No member has an empty name, so an empty one means "none yet". */
    if (last_size > 0 && compare_names(name, size, e->names.data + level->last_name, last_size) <= 0) {
        if (!late_member || !is_file || e->has_late_member)
            return fail(err, ERR_USAGE, "name out of order: not above the one before");
        e->root_is_closed = true;
    }
    e->has_late_member |= late_member;
    e->names.size = level->last_name;
    return buffer_append(&e->names, name, size, err);
}

static enum status begin_named(struct encoder *e, const char *name, bool is_file, struct begun *out, struct error *err)
{
    size_t size = strlen(name);
    TRY(member_name_check(name, size, ERR_USAGE, err));
    TRY(remember_name(e, name, size, is_file, err));
    buffer_clear(&e->member);
    TRY(item_append_filename(&e->member, name, size, err));
    out->filename_offset = e->metadata_position;
    out->hash = name_hash(e->hasher, name, size);
    return OK;
}

static enum status begin(struct encoder *e, const char *name, bool is_file, struct begun *out, struct error *err)
{
    TRY(check_usable(e, err));
    enum status status = begin_named(e, name, is_file, out, err);
    if (status != OK && err) /* names may hold any byte, so the sentence gets a printable one */
        return fail_within(err, "archive member at %s offset %" PRIu64, e->unified ? "archive" : "metadata",
                           e->metadata_position);
    return status;
}

static enum status begin_member(struct encoder *e, const char *name, struct begun *out, struct error *err)
{
    return begin(e, name, false, out, err);
}

/* The row of a member that ends at the position; `row_extra` is counted in the row only (9.2). */
static enum status note_member(struct encoder *e, struct begun begun, uint64_t row_extra, uint64_t *out_filename_offset,
                               struct error *err)
{
    TRY(append_row(e, begun.hash, begun.filename_offset, e->metadata_position - begun.filename_offset + row_extra,
                   err));
    if (out_filename_offset)
        *out_filename_offset = begun.filename_offset;
    return OK;
}

static enum status end_member(struct encoder *e, struct begun begun, uint64_t row_extra, uint64_t *out_filename_offset,
                              struct error *err)
{
    TRY(write_member(e, err));
    return note_member(e, begun, row_extra, out_filename_offset, err);
}

static enum status append_reference(struct buffer *out, uint64_t offset, uint64_t size, struct error *err)
{
    TRY(item_append_header(out, PXAR_PAYLOAD_REF, 16, err));
    TRY(buffer_append_u64le(out, offset, err));
    return buffer_append_u64le(out, size, err);
}

static enum status start_split(struct encoder *e, const uint8_t *prelude, size_t prelude_size, struct error *err)
{
    if (prelude_size > PXAR_PRELUDE_SIZE_MAX)
        return fail(err, ERR_LIMIT, "prelude of %zu bytes: at most %d", prelude_size, PXAR_PRELUDE_SIZE_MAX);
    TRY(item_append_header(&e->member, PXAR_FORMAT_VERSION, 8, err));
    TRY(buffer_append_u64le(&e->member, 2, err));
    if (prelude_size > 0) {
        TRY(item_append_header(&e->member, PXAR_PRELUDE, prelude_size, err));
        TRY(buffer_append(&e->member, prelude, prelude_size, err));
    }
    return OK;
}

static enum status start_archive(struct encoder *e, const struct attributes *root, const uint8_t *prelude,
                                 size_t prelude_size, struct error *err)
{
    TRY(name_hasher_new(&e->hasher, err));
    TRY(check_type(root, TYPE_DIRECTORY, TYPE_DIRECTORY, err));
    if (!e->unified)
        TRY(start_split(e, prelude, prelude_size, err));
    TRY(item_append_attributes(&e->member, root, err));
    TRY(push_level(e, (struct level){0}, err));
    TRY(write_member(e, err));
    if (e->unified)
        return OK;
    TRY(write_payload_header(e, PXAR_PAYLOAD_START_MARKER, 0, err));
    return advance_payload(e, ITEM_HEADER_SIZE, err);
}

static enum status make_encoder(struct encoder template, const struct attributes *root, const uint8_t *prelude,
                                size_t prelude_size, struct encoder **out, struct error *err)
{
    CLEANUP(encoder_freep) struct encoder *e = calloc(1, sizeof *e);
    if (!e)
        return fail(err, ERR_MEMORY, "out of memory for the archive encoder");
    *e = template;
    e->names.limit = OPEN_NAMES_MAX;
    TRY(start_archive(e, root, prelude, prelude_size, err));
    *out = e;
    e = NULL;
    return OK;
}

enum status encoder_new(struct sink metadata, struct sink payload, const struct attributes *root,
                        const uint8_t *prelude, size_t prelude_size, struct encoder **out, struct error *err)
{
    return make_encoder((struct encoder){.metadata = metadata, .payload = payload}, root, prelude, prelude_size, out,
                        err);
}

enum status encoder_new_unified(struct sink archive, const struct attributes *root, struct encoder **out,
                                struct error *err)
{
    return make_encoder((struct encoder){.unified = true, .metadata = archive}, root, NULL, 0, out, err);
}

/* PAYLOAD ends the member here; the contents that the caller delivers belong to it (and to its row). */
static enum status put_unified_file(struct encoder *e, struct begun begun, const struct attributes *a, uint64_t size,
                                    uint64_t *out_filename_offset, struct error *err)
{
    TRY(item_append_attributes(&e->member, a, err));
    TRY(item_append_header(&e->member, PXAR_PAYLOAD, size, err));
    if (size > POSITION_MAX - e->metadata_position - e->member.size)
        return fail(err, ERR_LIMIT, "archive over %" PRIu64 " bytes", POSITION_MAX);
    TRY(write_member(e, err));
    e->metadata_position += size;
    return note_member(e, begun, 0, out_filename_offset, err);
}

static enum status put_split_file(struct encoder *e, struct begun begun, const struct attributes *a, uint64_t size,
                                  uint64_t *out_filename_offset, struct error *err)
{
    uint64_t offset = e->payload_position;
    if (e->last_reference > 0 && offset < e->references_end)
        return fail(err, ERR_MISMATCH,
                    "file at payload offset %" PRIu64 " before the referenced bytes up to %" PRIu64 " were injected",
                    offset, e->references_end);
    TRY(advance_payload(e, ITEM_HEADER_SIZE + size, err));
    TRY(item_append_attributes(&e->member, a, err));
    TRY(append_reference(&e->member, offset, size, err));
    TRY(write_payload_header(e, PXAR_PAYLOAD, size, err));
    e->last_reference = offset;
    e->references_end = offset + ITEM_HEADER_SIZE + size;
    return end_member(e, begun, size, out_filename_offset, err);
}

static enum status put_file(struct encoder *e, const char *name, const struct attributes *a, uint64_t size,
                            uint64_t *out_filename_offset, struct error *err)
{
    struct begun begun;
    TRY(begin(e, name, true, &begun, err));
    TRY(check_type(a, TYPE_REGULAR, TYPE_REGULAR, err));
    if (size > POSITION_MAX - ITEM_HEADER_SIZE)
        return fail(err, ERR_LIMIT, "file of %" PRIu64 " bytes", size);
    return e->unified ? put_unified_file(e, begun, a, size, out_filename_offset, err)
                      : put_split_file(e, begun, a, size, out_filename_offset, err);
}

enum status encoder_file(struct encoder *e, const char *name, const struct attributes *a, uint64_t size,
                         uint64_t *out_filename_offset, struct error *err)
{
    return settle(e, put_file(e, name, a, size, out_filename_offset, err));
}

static enum status check_split(const struct encoder *e, struct error *err)
{
    return e->unified ? fail(err, ERR_USAGE, "archives of version 1 have no payload stream") : OK;
}

static enum status put_reference(struct encoder *e, const char *name, const struct attributes *a, uint64_t size,
                                 uint64_t payload_offset, uint64_t *out_filename_offset, struct error *err)
{
    struct begun begun;
    TRY(begin_member(e, name, &begun, err));
    TRY(check_split(e, err));
    TRY(check_type(a, TYPE_REGULAR, TYPE_REGULAR, err));
    if (payload_offset < e->payload_position || payload_offset <= e->last_reference)
        return fail(err, ERR_MISMATCH,
                    "reference to payload offset %" PRIu64 ": the position is %" PRIu64
                    " and the last reference %" PRIu64,
                    payload_offset, e->payload_position, e->last_reference);
    if (payload_offset > POSITION_MAX - ITEM_HEADER_SIZE || size > POSITION_MAX - ITEM_HEADER_SIZE - payload_offset)
        return fail(err, ERR_LIMIT, "reference to %" PRIu64 " bytes at payload offset %" PRIu64, size, payload_offset);
    TRY(item_append_attributes(&e->member, a, err));
    TRY(append_reference(&e->member, payload_offset, size, err));
    uint64_t end = payload_offset + ITEM_HEADER_SIZE + size;
    e->last_reference = payload_offset;
    e->references_end = end > e->references_end ? end : e->references_end;
    return end_member(e, begun, 0, out_filename_offset, err);
}

enum status encoder_reference(struct encoder *e, const char *name, const struct attributes *a, uint64_t size,
                              uint64_t payload_offset, uint64_t *out_filename_offset, struct error *err)
{
    return settle(e, put_reference(e, name, a, size, payload_offset, out_filename_offset, err));
}

enum status encoder_advance(struct encoder *e, uint64_t size, struct error *err)
{
    TRY(check_usable(e, err));
    TRY(settle(e, check_split(e, err)));
    return settle(e, advance_payload(e, size, err));
}

static enum status put_symlink(struct encoder *e, const char *name, const struct attributes *a, const char *target,
                               size_t target_size, struct error *err)
{
    struct begun begun;
    TRY(begin_member(e, name, &begun, err));
    TRY(check_type(a, TYPE_SYMLINK, TYPE_SYMLINK, err));
    if (target_size > PXAR_TARGET_SIZE_MAX)
        return fail(err, ERR_LIMIT, "link target of %zu bytes: at most %d", target_size, PXAR_TARGET_SIZE_MAX);
    if (target_size > 0 && memchr(target, '\0', target_size))
        return fail(err, ERR_USAGE, "link target with a zero byte");
    TRY(item_append_attributes(&e->member, a, err));
    TRY(item_append_header(&e->member, PXAR_SYMLINK, target_size + 1, err));
    TRY(buffer_append(&e->member, target, target_size, err));
    TRY(buffer_append_u8(&e->member, 0, err));
    return end_member(e, begun, 0, NULL, err);
}

enum status encoder_symlink(struct encoder *e, const char *name, const struct attributes *a, const char *target,
                            size_t target_size, struct error *err)
{
    return settle(e, put_symlink(e, name, a, target, target_size, err));
}

static enum status put_hardlink(struct encoder *e, const char *name, const char *target_path, uint64_t target_offset,
                                struct error *err)
{
    struct begun begun;
    TRY(begin_member(e, name, &begun, err));
    size_t size = strlen(target_path);
    if (size > PXAR_TARGET_SIZE_MAX)
        return fail(err, ERR_LIMIT, "hardlink path of %zu bytes: at most %d", size, PXAR_TARGET_SIZE_MAX);
    TRY(hardlink_path_check(target_path, size, ERR_USAGE, err));
    if (target_offset == 0 || target_offset >= begun.filename_offset)
        return fail(err, ERR_USAGE, "hardlink at offset %" PRIu64 " to offset %" PRIu64 ": not an earlier member",
                    begun.filename_offset, target_offset);
    TRY(item_append_header(&e->member, PXAR_HARDLINK, 8 + size + 1, err));
    TRY(buffer_append_u64le(&e->member, begun.filename_offset - target_offset, err));
    TRY(buffer_append(&e->member, target_path, size + 1, err));
    return end_member(e, begun, 0, NULL, err);
}

enum status encoder_hardlink(struct encoder *e, const char *name, const char *target_path, uint64_t target_offset,
                             struct error *err)
{
    return settle(e, put_hardlink(e, name, target_path, target_offset, err));
}

static enum status put_device(struct encoder *e, const char *name, const struct attributes *a, uint64_t major,
                              uint64_t minor, struct error *err)
{
    struct begun begun;
    TRY(begin_member(e, name, &begun, err));
    TRY(check_type(a, TYPE_CHAR, TYPE_BLOCK, err));
    TRY(item_append_attributes(&e->member, a, err));
    TRY(item_append_header(&e->member, PXAR_DEVICE, 16, err));
    TRY(buffer_append_u64le(&e->member, major, err));
    TRY(buffer_append_u64le(&e->member, minor, err));
    return end_member(e, begun, 0, NULL, err);
}

enum status encoder_device(struct encoder *e, const char *name, const struct attributes *a, uint64_t major,
                           uint64_t minor, struct error *err)
{
    return settle(e, put_device(e, name, a, major, minor, err));
}

static enum status put_special(struct encoder *e, const char *name, const struct attributes *a, struct error *err)
{
    struct begun begun;
    TRY(begin_member(e, name, &begun, err));
    TRY(check_type(a, TYPE_FIFO, TYPE_SOCKET, err));
    TRY(item_append_attributes(&e->member, a, err));
    return end_member(e, begun, 0, NULL, err);
}

enum status encoder_special(struct encoder *e, const char *name, const struct attributes *a, struct error *err)
{
    return settle(e, put_special(e, name, a, err));
}

static enum status begin_directory(struct encoder *e, const char *name, const struct attributes *a, struct error *err)
{
    struct begun begun;
    TRY(begin_member(e, name, &begun, err));
    TRY(check_type(a, TYPE_DIRECTORY, TYPE_DIRECTORY, err));
    uint64_t entry_offset = begun.filename_offset + e->member.size;
    TRY(item_append_attributes(&e->member, a, err));
    TRY(push_level(e,
                   (struct level){.filename_offset = begun.filename_offset,
                                  .tail_distance_from = entry_offset,
                                  .hash = begun.hash},
                   err));
    return write_member(e, err);
}

enum status encoder_directory_begin(struct encoder *e, const char *name, const struct attributes *a, struct error *err)
{
    return settle(e, begin_directory(e, name, a, err));
}

static enum status make_scratch(struct encoder *e, size_t count, struct error *err)
{
    if (count <= e->scratch_capacity)
        return OK;
    struct goodbye_row *grown = reallocarray(e->scratch, e->row_capacity, sizeof *grown);
    if (!grown)
        return fail(err, ERR_MEMORY, "out of memory for %zu directory members", count);
    e->scratch = grown;
    e->scratch_capacity = e->row_capacity;
    return OK;
}

/* There is room: the table's size was reserved. */
static void store_goodbye_row(struct buffer *out, struct goodbye_row row)
{
    ASSERT(out->capacity - out->size >= PXAR_GOODBYE_ROW_SIZE);
    uint8_t *p = out->data + out->size;
    store_u64le(p, row.hash);
    store_u64le(p + 8, row.offset);
    store_u64le(p + 16, row.size);
    out->size += PXAR_GOODBYE_ROW_SIZE;
}

/* Writes the innermost directory's table and closes it. */
static enum status write_goodbye(struct encoder *e, struct error *err)
{
    const struct level level = e->levels[--e->level_count];
    size_t count = e->row_count - level.first_row;
    struct goodbye_row *rows = count ? e->rows + level.first_row : NULL;
    TRY(make_scratch(e, count, err));
    goodbye_arrange(rows, e->scratch, count);
    buffer_clear(&e->member);
    uint64_t content_size = (uint64_t)PXAR_GOODBYE_ROW_SIZE * (count + 1);
    /* The table of a huge directory is the one member that may pass the usual ceiling of a buffer. */
    e->member.limit = content_size + ITEM_HEADER_SIZE > BUFFER_LIMIT_DEFAULT ? SIZE_MAX : 0;
    TRY(buffer_reserve(&e->member, content_size + ITEM_HEADER_SIZE, err));
    TRY(item_append_header(&e->member, PXAR_GOODBYE, content_size, err));
    uint64_t goodbye_offset = e->metadata_position;
    for (size_t i = 0; i < count; i++) {
        struct goodbye_row row = rows[i];
        row.offset = goodbye_offset - row.offset;
        store_goodbye_row(&e->member, row);
    }
    struct goodbye_row tail = {.hash = PXAR_GOODBYE_TAIL_MARKER,
                               .offset = goodbye_offset - level.tail_distance_from,
                               .size = ITEM_HEADER_SIZE + content_size};
    store_goodbye_row(&e->member, tail);
    TRY(write_member(e, err));
    e->row_count = level.first_row;
    e->names.size = level.last_name;
    return OK;
}

static enum status end_directory(struct encoder *e, struct error *err)
{
    TRY(check_usable(e, err));
    if (e->level_count <= 1)
        return fail(err, ERR_USAGE, "no directory but the root is open");
    struct level level = e->levels[e->level_count - 1];
    TRY(write_goodbye(e, err));
    return append_row(e, level.hash, level.filename_offset, e->metadata_position - level.filename_offset, err);
}

enum status encoder_directory_end(struct encoder *e, struct error *err)
{
    return settle(e, end_directory(e, err));
}

static enum status finish(struct encoder *e, struct error *err)
{
    TRY(check_usable(e, err));
    if (e->level_count != 1)
        return fail(err, ERR_USAGE, "%zu directories below the root are open", e->level_count - 1);
    if (e->references_end > e->payload_position)
        return fail(err, ERR_MISMATCH,
                    "payload ends at %" PRIu64 ", but references reach to %" PRIu64 ": chunks were not injected",
                    e->payload_position, e->references_end);
    TRY(write_goodbye(e, err));
    if (!e->unified)
        TRY(write_payload_header(e, PXAR_PAYLOAD_TAIL_MARKER, 0, err));
    e->finished = true;
    return OK;
}

enum status encoder_finish(struct encoder *e, struct error *err)
{
    return settle(e, finish(e, err));
}
