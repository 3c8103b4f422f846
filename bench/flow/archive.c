#include "flow/archive.h"

#include "base/log.h"
#include "base/size_text.h"
#include "detect/lookahead.h"
#include "flow/content_compare.h"
#include "flow/decision_log.h"
#include "flow/exclude_text.h"
#include "flow/link_table.h"
#include "flow/packer.h"
#include "flow/readahead.h"
#include "pxar/encoder.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum {
    BLOCK_SIZE = 4 << 20,                  /* a logical write of file contents (chunking.md 5) */
    READ_SLAB_SIZE = SLAB_POOLED_CAPACITY, /* what is read at a time */
    HARDLINK_PATH_MAX = 4096,
};

struct archiver {
    const struct archive_options *options;
    const struct archive_output *output;
    struct archive_stats *stats;
    struct reference *reference; /* NULL: none, or broken by now */
    struct readahead *readahead;
    struct encoder *encoder;
    struct lookahead *lookahead;
    struct link_table links;
    struct offset_guard guard;
    struct packer metadata_packer, payload_packer;
    struct ledger ledger; /* of the payload stream of a split archive */
    struct decision_log decisions;
    struct content_compare *compare; /* owned; NULL: nobody wants to know what was only touched */
    struct attr_not_stored not_stored;
};

/* ---- the encoder's two sinks ---- */

enum status archive_elsewhere(enum status status, struct error *err)
{
    return status == OK ? OK : fail(err, status == ERR_IO ? ERR_CANCELLED : status, "stopped");
}

static bool is_unified(const struct archiver *a)
{
    return a->options->mode == MODE_LEGACY;
}

static enum status write_metadata(void *context, const uint8_t *data, size_t size, struct error *err)
{
    struct archiver *a = context;
    struct slice part;
    TRY(packer_pack(&a->metadata_packer, data, size, &part, err));
    return archive_elsewhere(a->output->metadata(a->output->context, part), err);
}

static enum status write_payload(void *context, const uint8_t *data, size_t size, struct error *err)
{
    struct archiver *a = context;
    struct slice part;
    TRY(packer_pack(&a->payload_packer, data, size, &part, err));
    return archive_elsewhere(a->output->payload(a->output->context, part, true), err);
}

/* ---- contents ---- */

/* Takes the slice. A unified archive has one stream for everything. */
static enum status put_contents(struct archiver *a, struct slice part, bool ends_write, struct error *err)
{
    const struct archive_output *o = a->output;
    enum status status = is_unified(a) ? o->metadata(o->context, part) : o->payload(o->context, part, ends_write);
    return archive_elsewhere(status, err);
}

static const char *path_of(const struct node *n, char out[LOG_PATH_MAX])
{
    char raw[LOG_PATH_MAX];
    return log_path(node_path(n, raw, sizeof raw), out);
}

static void warn_shrunk(const struct node *n)
{
    char path[LOG_PATH_MAX];
    log_warning("warning: file size shrunk while reading: \"%s\", file will be padded with zeros!", path_of(n, path));
}

static void warn_grew(const struct node *n)
{
    char path[LOG_PATH_MAX];
    log_warning("warning: file size increased while reading: \"%s\", file will be truncated!", path_of(n, path));
}

/* What of the contents goes into the archive: for the question whether they have changed. */
static void compare_part(struct archiver *a, const uint8_t *data, size_t size)
{
    if (a->compare)
        content_compare_part(a->compare, data, size);
}

/* Exactly n->size bytes in logical writes of BLOCK_SIZE, the last one shorter: zeros where the file has shrunk. */
static enum status copy_from_file(struct archiver *a, const struct node *n, int fd, struct error *err)
{
    size_t step_max = a->options->read_size_max;
    uint64_t left = n->size;
    uint64_t block_left = 0;
    bool at_end = false;
    while (left > 0) {
        if (block_left == 0)
            block_left = left < BLOCK_SIZE ? left : BLOCK_SIZE;
        size_t size = block_left < READ_SLAB_SIZE ? (size_t)block_left : READ_SLAB_SIZE;
        struct slab *slab;
        TRY(slab_new(size, &slab, err));
        size_t got = 0;
        enum status status = at_end ? OK : node_read_bytes(n, fd, slab->data, size, size, step_max, &got, err);
        if (status != OK) {
            slab_release(slab);
            return status;
        }
        a->stats->file_bytes_read += got;
        if (got < size) {
            if (!at_end)
                warn_shrunk(n);
            at_end = true;
            memset(slab->data + got, 0, size - got);
        }
        left -= size;
        block_left -= size;
        compare_part(a, slab->data, got);
        TRY(put_contents(a, (struct slice){slab->data, size, slab}, block_left == 0, err));
    }
    if (!at_end && n->size > 0) {
        uint8_t more;
        size_t got = 0;
        TRY(node_read_bytes(n, fd, &more, 1, 0, step_max, &got, err));
        if (got > 0)
            warn_grew(n);
    }
    return OK;
}

static enum status copy_from_node(struct archiver *a, struct node *n, struct error *err)
{
    if (n->grew)
        warn_grew(n);
    size_t got = n->contents.size;
    size_t padding = (size_t)n->size - got;
    a->stats->file_bytes_read += got;
    if (got > 0) {
        struct slice part = n->contents;
        n->contents.slab = NULL; /* goes with the slice */
        compare_part(a, part.data, got);
        TRY(put_contents(a, part, padding == 0, err));
    }
    if (padding > 0) {
        warn_shrunk(n);
        struct slab *zeros;
        TRY(slab_new(padding, &zeros, err));
        memset(zeros->data, 0, padding);
        TRY(put_contents(a, (struct slice){zeros->data, padding, zeros}, true, err));
    }
    return OK;
}

/* ---- the catalog ---- */

static enum status list_member(struct archiver *a, const struct node *n, enum entry_kind kind, struct error *err)
{
    if (!a->output->catalog)
        return OK;
    struct catalog_entry entry = {.kind = kind,
                                  .name = n->name,
                                  .name_size = n->name_size,
                                  .size = n->size,
                                  .mtime = n->attributes.stat.mtime_secs};
    return catalog_add(a->output->catalog, &entry, err);
}

static enum entry_kind kind_of_type(uint8_t type)
{
    switch (type) {
    case DT_LNK: return ENTRY_SYMLINK;
    case DT_BLK: return ENTRY_BLOCK_DEVICE;
    case DT_CHR: return ENTRY_CHAR_DEVICE;
    case DT_FIFO: return ENTRY_FIFO;
    case DT_SOCK: return ENTRY_SOCKET;
    default: return ENTRY_FILE;
    }
}

/* ---- what the look-ahead cache asks for ---- */

/* Whether other names of the file may refer to this one. Too long for a hardlink entry: they are stored as files. */
static bool link_path(const struct node *n, char path[HARDLINK_PATH_MAX + 1])
{
    return directory_path(n->parent, n->name, path, HARDLINK_PATH_MAX + 1) <= HARDLINK_PATH_MAX;
}

/* The first name of a file with several links is in the archive. */
static enum status remember_link(struct archiver *a, const struct node *n, uint64_t filename_offset, struct error *err)
{
    if (n->links < 2)
        return OK;
    a->stats->hardlink_inodes++;
    char path[HARDLINK_PATH_MAX + 1];
    if (!link_path(n, path))
        return OK;
    struct link_entry *link;
    TRY(link_table_get(&a->links, n->device, n->inode, &link, err));
    link->seen = true; /* lost when the name before this one vanished */
    if (link->path)
        return OK;
    link->path = strdup(path);
    if (!link->path)
        return fail(err, ERR_MEMORY, "out of memory for a path");
    link->filename_offset = filename_offset;
    return OK;
}

static void skip_vanished(struct archiver *a, const struct node *n, enum node_notice notice)
{
    node_warn(n, notice);
    a->stats->skipped_entries++;
    struct link_entry *link = n->links > 1 ? link_table_find(&a->links, n->device, n->inode) : NULL;
    if (link && !link->path)
        link->seen = false; /* the next name carries the contents */
}

/* What the encoder refuses (too deep, too large) has no path of its own. */
static enum status at_node(enum status status, const struct node *n, struct error *err)
{
    char path[LOG_PATH_MAX];
    return status == OK ? OK : fail_within(err, "error at \"%s\"", path_of(n, path));
}

/* Where the header of the contents stands that were just encoded: in the payload stream, or in the only one. */
static uint64_t contents_offset(const struct archiver *a, const struct node *n, uint64_t payload_offset)
{
    return is_unified(a) ? encoder_metadata_position(a->encoder) - n->size - ITEM_HEADER_SIZE : payload_offset;
}

/* A reused or encoded file is in the archive. */
static void count_file(struct archiver *a, const struct node *n, enum file_reason reason)
{
    struct archive_stats *s = a->stats;
    uint64_t bytes = n->size + ITEM_HEADER_SIZE;
    s->files++;
    *(reason == FILE_UNCHANGED ? &s->reused_files : &s->reencoded_files) += 1;
    *(reason == FILE_UNCHANGED ? &s->reused_bytes : &s->reencoded_bytes) += bytes;
    s->reasons[reason]++;
    s->reason_bytes[reason] += bytes;
}

/* Read again for its attributes alone: perhaps its contents are the old ones. */
static bool may_be_touched_only(const struct node *n, enum file_reason reason)
{
    switch (reason) {
    case FILE_MTIME:
    case FILE_MODE:
    case FILE_OWNER:
    case FILE_FLAGS:
    case FILE_XATTR:
    case FILE_XATTR_VALUE:
    case FILE_ACL:
    case FILE_FCAPS:
    case FILE_PROJECT_ID: return n->old.offset > 0 && n->old.size == n->size;
    default: return false;
    }
}

/* The file's contents go to their stream. *out_identical: they are known to be the old ones. */
static enum status copy_contents(struct archiver *a, struct node *n, enum file_reason reason, int fd,
                                 bool *out_identical, struct error *err)
{
    bool compares = a->compare && may_be_touched_only(n, reason);
    if (compares)
        content_compare_begin(a->compare, n->old.offset, n->size);
    TRY(n->has_contents ? copy_from_node(a, n, err) : copy_from_file(a, n, fd, err));
    *out_identical = compares && content_compare_end(a->compare);
    if (*out_identical) {
        a->stats->touched_identical_files++;
        a->stats->touched_identical_bytes += n->size + ITEM_HEADER_SIZE;
    }
    return OK;
}

static enum status encode_file(struct archiver *a, struct node *n, enum file_reason reason, int fd, struct error *err)
{
    struct decision decision = {.node = n, .reason = reason};
    uint64_t position = encoder_payload_position(a->encoder);
    uint64_t filename_offset;
    if (!is_unified(a))
        TRY(archive_elsewhere(a->output->suggest(a->output->context, position), err));
    TRY(at_node(encoder_file(a->encoder, n->name, &n->attributes, n->size, &filename_offset, err), n, err));
    TRY(copy_contents(a, n, reason, fd, &decision.is_identical, err));
    if (!is_unified(a))
        TRY(ledger_raw(&a->ledger, n->size + ITEM_HEADER_SIZE, err));
    count_file(a, n, reason);
    TRY(remember_link(a, n, filename_offset, err));
    TRY(list_member(a, n, ENTRY_FILE, err));
    decision.offset = contents_offset(a, n, position);
    return decision_log_file(&a->decisions, &decision, err);
}

static enum status on_encode(void *context, void *entry, enum file_reason reason, struct error *err)
{
    struct archiver *a = context;
    struct node *n = entry;
    int fd = -1;
    enum status status = OK;
    if (!n->has_contents) {
        enum node_notice notice;
        status = node_open(n, &fd, &notice, err);
        if (status == OK && fd < 0) {
            skip_vanished(a, n, notice);
            node_free(n);
            return OK;
        }
    }
    if (status == OK)
        status = encode_file(a, n, reason, fd, err);
    if (fd >= 0)
        close(fd);
    node_free(n);
    return status;
}

static enum status reference_file(struct archiver *a, struct node *n, uint64_t payload_offset, struct error *err)
{
    uint64_t filename_offset;
    TRY(archive_elsewhere(a->output->suggest(a->output->context, encoder_payload_position(a->encoder)), err));
    TRY(at_node(encoder_reference(a->encoder, n->name, &n->attributes, n->size, payload_offset, &filename_offset, err),
                n, err));
    count_file(a, n, FILE_UNCHANGED);
    TRY(remember_link(a, n, filename_offset, err));
    const struct decision decision = {.node = n, .reason = FILE_UNCHANGED, .offset = payload_offset};
    return decision_log_file(&a->decisions, &decision, err);
}

static enum status on_reference(void *context, void *entry, uint64_t payload_offset, uint64_t old_offset,
                                struct error *err)
{
    struct node *n = entry;
    ASSERT(old_offset == n->old.offset);
    enum status status = reference_file(context, n, payload_offset, err);
    node_free(n);
    return status;
}

static bool on_link_ready(void *context, const void *entry)
{
    struct archiver *a = context;
    const struct node *n = entry;
    const struct link_entry *link = link_table_find(&a->links, n->device, n->inode);
    return link && link->path;
}

static enum status on_link(void *context, void *entry, struct error *err)
{
    struct archiver *a = context;
    struct node *n = entry;
    const struct link_entry *link = link_table_find(&a->links, n->device, n->inode);
    ASSERT(link && link->path);
    enum status status = at_node(encoder_hardlink(a->encoder, n->name, link->path, link->filename_offset, err), n, err);
    if (status == OK) {
        a->stats->hardlink_names++;
        status = decision_log_link(&a->decisions, n, link->path, err);
    }
    if (status == OK)
        status = list_member(a, n, ENTRY_HARDLINK, err);
    node_free(n);
    return status;
}

static enum status encode_special(struct archiver *a, const struct node *n, struct error *err)
{
    switch (n->type) {
    case DT_LNK:
        a->stats->symlinks++;
        return encoder_symlink(a->encoder, n->name, &n->attributes, n->target, n->target_size, err);
    case DT_BLK:
    case DT_CHR:
        a->stats->devices++;
        return encoder_device(a->encoder, n->name, &n->attributes, major(n->rdev), minor(n->rdev), err);
    case DT_FIFO: a->stats->fifos++; return encoder_special(a->encoder, n->name, &n->attributes, err);
    case DT_SOCK: a->stats->sockets++; return encoder_special(a->encoder, n->name, &n->attributes, err);
    default: return fail(err, ERR_UNSUPPORTED, "encountered unknown file type: %u", n->type);
    }
}

static enum status on_special(void *context, void *entry, struct error *err)
{
    struct archiver *a = context;
    struct node *n = entry;
    enum status status = at_node(encode_special(a, n, err), n, err);
    if (status == OK)
        status = decision_log_event(&a->decisions, 's', err);
    if (status == OK)
        status = list_member(a, n, kind_of_type(n->type), err);
    node_free(n);
    return status;
}

static enum status on_directory_begin(void *context, void *entry, struct error *err)
{
    struct archiver *a = context;
    struct node *n = entry;
    a->stats->directories++;
    enum status status = at_node(encoder_directory_begin(a->encoder, n->name, &n->attributes, err), n, err);
    if (status == OK)
        status = decision_log_event(&a->decisions, '(', err);
    if (status == OK && a->output->catalog)
        status = catalog_directory_begin(a->output->catalog, n->name, n->name_size, err);
    node_free(n);
    return status;
}

static enum status on_directory_end(void *context, struct error *err)
{
    struct archiver *a = context;
    TRY(decision_log_event(&a->decisions, ')', err));
    if (a->output->catalog)
        TRY(catalog_directory_end(a->output->catalog, err));
    return encoder_directory_end(a->encoder, err);
}

static enum status on_inject(void *context, uint64_t boundary, const struct reuse_chunk *chunks, size_t count,
                             uint64_t size, struct error *err)
{
    struct archiver *a = context;
    TRY(encoder_advance(a->encoder, size, err));
    for (size_t i = 0; i < count; i++) {
        const struct reuse_chunk *c = &chunks[i];
        bool is_used = c->padding < c->size;
        TRY(ledger_chunk(&a->ledger, c->size, is_used ? c->head : c->size, is_used ? c->padding - c->head - c->tail : 0,
                         is_used ? c->tail : 0, err));
    }
    return archive_elsewhere(a->output->inject(a->output->context, boundary, chunks, count, size), err);
}

static uint64_t on_payload_position(void *context)
{
    struct archiver *a = context;
    return encoder_payload_position(a->encoder);
}

/* A reference that broke is not read any further: nothing counts as unseen. */
static enum status on_unseen_live(void *context, uint64_t from, uint64_t to, uint64_t *out, struct error *err)
{
    (void)err;
    const struct archiver *a = context;
    *out = a->reference ? old_files_live(a->reference->old_files, from, to) : 0;
    return OK;
}

static void on_drop(void *context, void *entry)
{
    (void)context;
    node_free(entry);
}

static const struct lookahead_ops ops = {
    .encode = on_encode,
    .reference = on_reference,
    .link = on_link,
    .link_ready = on_link_ready,
    .special = on_special,
    .directory_begin = on_directory_begin,
    .directory_end = on_directory_end,
    .inject = on_inject,
    .payload_position = on_payload_position,
    .unseen_live = on_unseen_live,
    .drop = on_drop,
};

/* ---- the walk ---- */

/* The reference failed in mid-run: say so once and go on without it. */
static void lose_reference(struct archiver *a, const struct error *why)
{
    reference_break(a->reference, why);
    log_warning("previous metadata archive became unreadable, continue without reference: %s: %s",
                reference_reason_name(a->reference->reason), why->text);
    a->output->distrust(a->output->context);
    a->reference = NULL;
}

/* What the reference has under a file's name. */
struct verdict {
    enum file_reason reason; /* FILE_UNCHANGED: reusable */
    uint64_t start, end;     /* reusable: of the old payload stream */
};

/* A crafted reference may claim any size: cut at the end of the stream. */
static uint64_t old_end(const struct archiver *a, const struct archive_entry *old)
{
    uint64_t stream = dynamic_index_size(&a->reference->payload_index);
    uint64_t end = old->payload_offset + ITEM_HEADER_SIZE + old->size; /* the decoder has seen to overflows */
    return end < stream ? end : stream;
}

static void judge(struct archiver *a, struct node *n, struct verdict *out)
{
    *out = (struct verdict){.reason = FILE_NO_REFERENCE};
    if (!a->reference)
        return;
    struct error err = {0};
    const struct archive_entry *old;
    if (cursor_find(&a->reference->cursor, n->name, n->name_size, &old, &err) != OK) {
        lose_reference(a, &err);
        return;
    }
    if (old && old->kind == ENTRY_FILE)
        n->old = (struct old_contents){.offset = old->payload_offset, .size = old->size, .end = old_end(a, old)};
    out->reason = predicate_compare(&n->attributes, n->size, old, a->options->compare);
    if (out->reason != FILE_UNCHANGED)
        return;
    out->reason = offset_guard_accept(&a->guard, old->payload_offset, n->size,
                                      dynamic_index_size(&a->reference->payload_index), &out->start, &out->end);
    if (out->reason != FILE_UNCHANGED) {
        char path[LOG_PATH_MAX];
        log_warning(
            "re-encode: \"%s\": previous payload offset %" PRIu64 " is %s", path_of(n, path), old->payload_offset,
            out->reason == FILE_NON_MONOTONE ? "not above the ones before" : "outside the previous payload stream");
    }
}

/* Takes the node. The cache has room. */
static enum status put_file(struct archiver *a, struct node *n, struct error *err)
{
    if (n->links > 1) {
        struct link_entry *link = NULL;
        enum status status = link_table_get(&a->links, n->device, n->inode, &link, err);
        if (status != OK) {
            node_free(n);
            return status;
        }
        if (link->seen)
            return lookahead_link(a->lookahead, n, err);
        char path[HARDLINK_PATH_MAX + 1];
        link->seen = link_path(n, path);
    }
    struct verdict verdict;
    judge(a, n, &verdict);
    if (verdict.reason == FILE_UNCHANGED)
        return lookahead_reusable(a->lookahead, n, verdict.start, verdict.end, err);
    return lookahead_changed(a->lookahead, n, n->size, verdict.reason, n->old.end, err);
}

/* Takes the node. */
static enum status put_node(struct archiver *a, struct node *n, struct error *err)
{
    struct error cursor_error = {0};
    /* First of all: an entry that is flushed now may turn out to have vanished, and its later names want to know; and
     * what is decided early counts as live what the reference's cursor has not reached yet. */
    if (n->kind != NODE_DIRECTORY_END) {
        enum status status = lookahead_make_room(a->lookahead, err);
        if (status != OK) {
            node_free(n);
            return status;
        }
    }
    switch (n->kind) {
    case NODE_MEMBER: return n->type == DT_REG ? put_file(a, n, err) : lookahead_special(a->lookahead, n, err);
    case NODE_DIRECTORY_BEGIN:
        if (a->reference && cursor_enter(&a->reference->cursor, n->name, n->name_size, &cursor_error) != OK)
            lose_reference(a, &cursor_error);
        return lookahead_directory_begin(a->lookahead, n, err);
    case NODE_DIRECTORY_END:
        node_free(n);
        if (a->reference && cursor_leave(&a->reference->cursor, &cursor_error) != OK)
            lose_reference(a, &cursor_error);
        return lookahead_directory_end(a->lookahead, err);
    }
    return OK;
}

static void show_progress(const struct archiver *a)
{
    if (!progress_due())
        return;
    char read_text[SIZE_TEXT_SIZE];
    progress_update("%" PRIu64 " files, %" PRIu64 " directories, %s read", a->stats->files, a->stats->directories,
                    size_text(a->stats->file_bytes_read, read_text));
}

static enum status walk(struct archiver *a, struct error *err)
{
    for (unsigned count = 0;; count++) {
        struct node *n;
        TRY(readahead_next(a->readahead, &n, err));
        if (!n)
            return OK;
        if (n->outcome == NODE_SKIPPED) {
            skip_vanished(a, n, n->notice);
            node_free(n);
            continue;
        }
        char path[LOG_PATH_MAX];
        if (n->outcome == NODE_FAILED) {
            if (n->error)
                *err = *n->error;
            else
                fail(err, ERR_MEMORY, "out of memory at \"%s\"", path_of(n, path));
            enum status status = err->status;
            node_free(n);
            return status;
        }
        TRY(put_node(a, n, err));
        if (count % 256 == 0)
            show_progress(a);
    }
}

/* ---- begin and end ---- */

/* The patterns as the last member of a unified archive's root (archive-creation.md A6). */
static enum status put_exclude_file(struct archiver *a, const struct buffer *text, struct error *err)
{
    struct attributes attributes = {
        .stat = {.mode = S_IFREG | 0600, .uid = (uint32_t)getuid(), .gid = (uint32_t)getgid()}};
    TRY(encoder_file(a->encoder, EXCLUDE_FILE_NAME, &attributes, text->size, NULL, err));
    TRY(write_metadata(a, text->data, text->size, err));
    if (!a->output->catalog)
        return OK;
    struct catalog_entry entry = {
        .kind = ENTRY_FILE, .name = EXCLUDE_FILE_NAME, .name_size = sizeof EXCLUDE_FILE_NAME - 1, .size = text->size};
    return catalog_add(a->output->catalog, &entry, err);
}

static enum status finish_unified(struct archiver *a, struct error *err)
{
    struct buffer text = BUFFER_INIT(EXCLUDE_TEXT_SIZE_MAX);
    enum status status = exclude_text(a->options->walk.patterns, &text, err);
    if (status == OK && text.size > 0)
        status = put_exclude_file(a, &text, err);
    buffer_deinit(&text);
    return status;
}

static enum status start_encoder(struct archiver *a, const struct attributes *root, struct error *err)
{
    struct sink metadata = {write_metadata, a}, payload = {write_payload, a};
    if (is_unified(a))
        return encoder_new_unified(metadata, root, &a->encoder, err);
    struct buffer prelude = BUFFER_INIT(EXCLUDE_TEXT_SIZE_MAX);
    enum status status = exclude_prelude(a->options->walk.patterns, &prelude, err);
    if (status == OK)
        status = encoder_new(metadata, payload, root, prelude.data, prelude.size, &a->encoder, err);
    buffer_deinit(&prelude);
    return status;
}

/* Attributes that files have and that their file systems have not in the format: not what an option leaves out. */
static void report_not_stored(struct archiver *a)
{
    struct archive_stats *s = a->stats;
    const struct walk_options *walk = &a->options->walk;
    s->xattrs_not_stored = atomic_load(&a->not_stored.xattrs);
    s->acls_not_stored = atomic_load(&a->not_stored.acls);
    s->fcaps_not_stored = atomic_load(&a->not_stored.fcaps);
    if (s->xattrs_not_stored > 0 && !walk->no_xattrs)
        log_warning("warning: the extended attributes of %" PRIu64
                    " files are not stored: the format has none for their file system (tmpfs, FAT)",
                    s->xattrs_not_stored);
    if (s->acls_not_stored > 0)
        log_warning("warning: the ACLs of %" PRIu64
                    " files are not stored; a restored file may grant its group more than before",
                    s->acls_not_stored);
    if (s->fcaps_not_stored > 0 && !walk->no_fcaps && !walk->no_xattrs)
        log_warning("warning: the capabilities of %" PRIu64 " files are not stored", s->fcaps_not_stored);
}

static void count_reuse(struct archiver *a)
{
    const struct lookahead_counters *counters = lookahead_count(a->lookahead);
    struct archive_stats *s = a->stats;
    s->injected_chunks = counters->injected_chunks;
    s->injected_bytes = counters->injected_bytes;
    s->partial_chunks = counters->partial_chunks;
    s->unreferenced_chunks = counters->unreferenced_chunks;
    s->flushes = counters->flushes;
    s->rejected_ranges = counters->rejected_ranges;
    s->given_up_threshold = counters->given_up_threshold;
    s->given_up_instances = counters->given_up_instances;
    s->given_up_absorbed = counters->given_up_absorbed;
    s->early_chunks = counters->early_chunks;
    s->stored_waste_bytes = counters->stored_waste_bytes;
    s->relisted_chunks = counters->relisted_chunks;
    ASSERT(s->injected_bytes >= s->reused_bytes);
    s->padding_bytes = s->injected_bytes - s->reused_bytes;
    s->ledger = a->ledger.totals;
}

/* The stream's own markers are the encoder's. */
static enum status begin_ledger(struct archiver *a, struct error *err)
{
    return is_unified(a) ? OK : ledger_raw(&a->ledger, ITEM_HEADER_SIZE, err);
}

/* Two ways to the padding of the stream: by what was injected for whom, and chunk by chunk. */
static enum status finish_ledger(struct archiver *a, struct error *err)
{
    if (is_unified(a))
        return OK;
    TRY(ledger_raw(&a->ledger, ITEM_HEADER_SIZE, err));
    TRY(ledger_finish(&a->ledger, err));
    const struct lookahead_counters *counters = lookahead_count(a->lookahead);
    ASSERT(a->ledger.totals.padding == counters->injected_bytes - a->stats->reused_bytes);
    ASSERT(a->ledger.totals.size == encoder_payload_position(a->encoder) + ITEM_HEADER_SIZE);
    return OK;
}

/* Both borrow of the reference what stays when it breaks. */
static enum status begin_decisions(struct archiver *a, struct error *err)
{
    const struct reference *r = a->reference;
    const struct decision_run run = {
        .options = a->options,
        .archive = a->output->archive,
        .snapshot = a->output->snapshot,
        .reference = a->stats->reference,
        .reference_snapshot = a->stats->reference_snapshot,
        .old_payload = r ? &r->payload_index : NULL,
    };
    decision_log_init(&a->decisions, a->options->decisions, &run);
    a->stats->compared_touched = a->options->decisions;
    if (!r || !a->options->decisions)
        return OK;
    return content_compare_new(r->reader, &r->payload_index, r->payload_name, &a->compare, err);
}

static enum status run(struct archiver *a, const char *path, struct error *err)
{
    struct readahead_options reading = {
        .threads = a->options->threads,
        .walk = a->options->walk,
        .reading = {a->options->read_size_max, .want_contents = !a->reference},
    };
    struct attributes root;
    TRY(begin_decisions(a, err));
    TRY(readahead_new(path, &reading, &a->not_stored, &a->readahead, &root, err));
    enum status status = start_encoder(a, &root, err);
    attributes_deinit(&root);
    TRY(status);
    TRY(begin_ledger(a, err));
    a->stats->directories++;
    struct lookahead_options cache = {
        .profile = a->options->profile,
        .threshold_ppm = a->options->threshold_ppm,
        .cache_limit = (size_t)a->options->cache_limit,
        .absorb_below = a->options->absorb_below,
        .absorb_until = a->options->chunk_average / 4,
        .max_instances = a->options->max_instances,
    };
    const struct dynamic_index *index = a->reference ? &a->reference->payload_index : NULL;
    TRY(lookahead_new(&cache, index, &ops, a, &a->lookahead, err));
    TRY(walk(a, err));
    TRY(lookahead_finish(a->lookahead, err));
    if (is_unified(a))
        TRY(finish_unified(a, err));
    TRY(encoder_finish(a->encoder, err));
    TRY(decision_log_finish(&a->decisions, err));
    TRY(finish_ledger(a, err));
    progress_end();
    count_reuse(a);
    report_not_stored(a);
    return OK;
}

enum status archive_tree(const char *path, const struct archive_options *options, struct reference *reference,
                         const struct archive_output *output, struct archive_stats *stats, struct error *err)
{
    struct archiver a = {.options = options, .output = output, .stats = stats, .reference = reference};
    enum status status = run(&a, path, err);
    progress_end();
    decision_log_deinit(&a.decisions);
    content_compare_free(a.compare);
    lookahead_free(a.lookahead);
    encoder_free(a.encoder);
    readahead_free(a.readahead);
    link_table_deinit(&a.links);
    packer_deinit(&a.metadata_packer);
    packer_deinit(&a.payload_packer);
    return status;
}
