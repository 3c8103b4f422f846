#include "flow/extraction.h"

#include "base/buffer.h"
#include "base/log.h"
#include "base/size_text.h"

#include <dirent.h>
#include <inttypes.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COPY_SIZE = 1 << 20, DEPTH_MAX = 1 << 20 };

struct extraction {
    struct extractor *extractor;
    const struct restore_options *options; /* borrowed */
    struct restore_stats *stats;           /* borrowed */
    struct selection *selection;           /* borrowed; NULL: everything */
    struct attributes root;
    bool *wanted; /* by depth, of the directories entered */
    size_t wanted_capacity;
    size_t skip_depth;  /* > 0: inside a directory of this depth that could not be made */
    struct buffer path; /* of the current entry: the decoder's own goes when contents are read */
    uint8_t *copy;
    void *failed; /* tsearch tree of paths whose errors were collected: nothing may be linked to what lies there */
};

/* ---- making and freeing ---- */

enum status extraction_new(const char *target, const struct restore_options *options, struct restore_stats *stats,
                           struct extraction **out, struct error *err)
{
    struct extraction *x = calloc(1, sizeof *x);
    if (!x)
        return fail(err, ERR_MEMORY, "out of memory for a restore");
    x->options = options;
    x->stats = stats;
    x->selection = selection_is_empty(options->selection) ? NULL : options->selection;
    x->path = BUFFER_INIT(0);
    x->copy = malloc(COPY_SIZE);
    enum status status = x->copy ? extractor_new(target, &options->extract, &x->extractor, err)
                                 : fail(err, ERR_MEMORY, "out of memory for a copy buffer of %d bytes", COPY_SIZE);
    if (status != OK) {
        extraction_free(x);
        return status;
    }
    *out = x;
    return OK;
}

void extraction_free(struct extraction *x)
{
    if (!x)
        return;
    extractor_free(x->extractor);
    attributes_deinit(&x->root);
    buffer_deinit(&x->path);
    tdestroy(x->failed, free);
    free(x->wanted);
    free(x->copy);
    free(x);
}

/* ---- errors ---- */

static int compare_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* What lies at this path, if anything does, is not the archive's. */
static enum status remember_failed(struct extraction *x, const char *path, struct error *err)
{
    char *copy = strdup(path);
    char **node = copy ? tsearch(copy, &x->failed, compare_text) : NULL;
    if (!node) {
        free(copy);
        return fail(err, ERR_MEMORY, "out of memory for the list of errors");
    }
    if (*node != copy)
        free(copy);
    return OK;
}

static bool is_device(const struct archive_entry *entry)
{
    return entry->kind == ENTRY_CHAR_DEVICE || entry->kind == ENTRY_BLOCK_DEVICE;
}

/* An entry could not be extracted: OK to go on with the next one. `path` must not be used any more; NULL: it is the
 * archive's, if not complete. */
static enum status entry_failed(struct extraction *x, const char *path, bool device, enum status status,
                                struct error *err)
{
    if (status == ERR_MEMORY)
        return status;
    if (device && x->options->ignore_device_errors) {
        log_warning("warning: ignored: %s", err->text);
        x->stats->device_errors++;
        return OK;
    }
    if (!x->options->collect_errors)
        return status;
    log_error("%s", err->text);
    x->stats->errors++;
    return path ? remember_failed(x, path, err) : OK;
}

/* A directory could not be made; everything below it is left out without a word. */
static enum status directory_failed(struct extraction *x, enum status status, struct error *err)
{
    x->skip_depth = extractor_depth(x->extractor) + 1;
    char *path = (char *)x->path.data;
    /* The first skip_depth components: an announced one further up may be what failed. */
    size_t end = 0;
    for (size_t depth = 0; depth < x->skip_depth; depth++)
        end += 1 + strcspn(path + end + 1, "/");
    path[end] = '\0';
    return entry_failed(x, path, false, status, err);
}

/* ---- entries ---- */

static uint8_t type_of(enum entry_kind kind)
{
    switch (kind) {
    case ENTRY_DIRECTORY:
    case ENTRY_DIRECTORY_END: return DT_DIR;
    case ENTRY_FILE:
    case ENTRY_HARDLINK: return DT_REG; /* links to anything else are never written */
    case ENTRY_SYMLINK: return DT_LNK;
    case ENTRY_FIFO: return DT_FIFO;
    case ENTRY_SOCKET: return DT_SOCK;
    case ENTRY_CHAR_DEVICE: return DT_CHR;
    case ENTRY_BLOCK_DEVICE: return DT_BLK;
    }
    return DT_UNKNOWN;
}

static bool wants(const struct extraction *x, const struct archive_entry *entry)
{
    return !x->selection || selection_wants(x->selection, entry->path, strlen(entry->path), type_of(entry->kind),
                                            x->wanted[entry->depth - 1]);
}

static bool is_left_out(const struct restore_options *o, enum entry_kind kind)
{
    switch (kind) {
    case ENTRY_CHAR_DEVICE:
    case ENTRY_BLOCK_DEVICE: return o->no_device_nodes;
    case ENTRY_FIFO: return o->no_fifos;
    case ENTRY_SOCKET: return o->no_sockets;
    default: return false;
    }
}

static enum status enter(struct extraction *x, const struct archive_entry *entry, struct error *err)
{
    void *wanted = x->wanted;
    enum status status =
        array_grow(&wanted, entry->depth, &x->wanted_capacity, sizeof *x->wanted, DEPTH_MAX, "nested directories", err);
    x->wanted = wanted;
    TRY(status);
    if (entry->depth == 0) {
        x->wanted[0] = !x->selection;
        x->stats->entries++;
        return attributes_copy(&entry->attributes, &x->root, err);
    }
    bool wanted_now = wants(x, entry);
    x->wanted[entry->depth] = wanted_now;
    TRY(extract_directory_announce(x->extractor, entry->name, &entry->attributes, err));
    if (!wanted_now)
        return OK;
    uint64_t pending = extractor_pending(x->extractor);
    status = extract_pending(x->extractor, err);
    if (status != OK)
        return directory_failed(x, status, err);
    x->stats->entries += pending;
    return OK;
}

static enum status leave(struct extraction *x, const struct archive_entry *entry, struct error *err)
{
    enum status status;
    if (entry->depth == 0) {
        status = extract_finish(x->extractor, &x->root, err);
    } else {
        size_t depth = extractor_depth(x->extractor);
        status = extract_directory_end(x->extractor, err);
        if (extractor_depth(x->extractor) == depth)
            return status;
    }
    return status == OK ? OK : entry_failed(x, NULL, false, status, err);
}

/* What an entry was at when it failed. */
enum stage {
    MAKING,   /* something else may be there, or nothing */
    READING,  /* the archive failed, not the entry */
    FINISHING /* its contents are complete */
};

static enum status copy_contents(struct extraction *x, const struct content *content, enum stage *out_stage,
                                 struct error *err)
{
    for (;;) {
        size_t size;
        enum status status = content->read(content->context, x->copy, COPY_SIZE, &size, err);
        if (status != OK) {
            *out_stage = READING;
            char text[LOG_PATH_MAX];
            return fail_within(err, "%s", log_path((const char *)x->path.data, text));
        }
        if (size == 0) {
            *out_stage = FINISHING;
            return extract_file_end(x->extractor, err);
        }
        TRY(extract_file_data(x->extractor, x->copy, size, err));
        x->stats->file_bytes += size;
    }
}

static enum status extract_file(struct extraction *x, const struct archive_entry *entry, const struct content *content,
                                enum stage *out_stage, struct error *err)
{
    TRY(extract_file_begin(x->extractor, entry->name, &entry->attributes, entry->size, err));
    enum status status = copy_contents(x, content, out_stage, err);
    extract_file_abandon(x->extractor);
    if (status == OK)
        x->stats->files++;
    return status;
}

/* Something may lie in the target at the path the link refers to, and not be the file of the archive. */
static enum status check_link_target(struct extraction *x, const struct archive_entry *entry, struct error *err)
{
    if (!x->selection && !x->failed)
        return OK;
    char link[LOG_PATH_MAX], target[LOG_PATH_MAX];
    CLEANUP(buffer_deinit) struct buffer path = BUFFER_INIT(0);
    TRY(buffer_append(&path, "/", 1, err));
    TRY(buffer_append(&path, entry->target, strlen(entry->target) + 1, err));
    char *text = (char *)path.data;
    size_t size = path.size - 1;
    if (x->selection && !selection_wants_path(x->selection, text, size, DT_REG))
        return fail(err, ERR_NOT_FOUND, "%s: is a hardlink to %s, which is not selected", log_path(entry->path, link),
                    log_path(text, target));
    for (size_t end = 1; x->failed && end <= size; end++) {
        if (end < size && text[end] != '/')
            continue;
        char after = text[end];
        text[end] = '\0';
        bool found = tfind(text, &x->failed, compare_text) != NULL;
        text[end] = after;
        if (found)
            return fail(err, ERR_NOT_FOUND, "%s: is a hardlink to %s, which could not be extracted",
                        log_path(entry->path, link), log_path(text, target));
    }
    return OK;
}

static enum status extract_member(struct extraction *x, const struct archive_entry *entry,
                                  const struct content *content, enum stage *out_stage, struct error *err)
{
    struct extractor *to = x->extractor;
    switch (entry->kind) {
    case ENTRY_FILE: return extract_file(x, entry, content, out_stage, err);
    case ENTRY_SYMLINK: return extract_symlink(to, entry->name, &entry->attributes, entry->target, err);
    case ENTRY_HARDLINK:
        TRY(check_link_target(x, entry, err));
        return extract_hardlink(to, entry->name, entry->target, err);
    case ENTRY_FIFO:
    case ENTRY_SOCKET:
    case ENTRY_CHAR_DEVICE:
    case ENTRY_BLOCK_DEVICE: return extract_node(to, entry->name, &entry->attributes, entry->major, entry->minor, err);
    case ENTRY_DIRECTORY:
    case ENTRY_DIRECTORY_END: break;
    }
    *out_stage = READING;
    return fail(err, ERR_FORMAT, "%s: entry of unknown kind %d", entry->path, (int)entry->kind);
}

static enum status member(struct extraction *x, const struct archive_entry *entry, const struct content *content,
                          struct error *err)
{
    if (!wants(x, entry) || is_left_out(x->options, entry->kind))
        return OK;
    uint64_t pending = extractor_pending(x->extractor);
    enum status status = extract_pending(x->extractor, err);
    if (status != OK)
        return directory_failed(x, status, err);
    x->stats->entries += pending;
    /* The entry goes with its contents. */
    bool device = is_device(entry);
    bool set_id = entry->kind == ENTRY_FILE && (entry->attributes.stat.mode & (S_ISUID | S_ISGID)) != 0;
    enum stage stage = MAKING;
    status = extract_member(x, entry, content, &stage, err);
    if (status == OK) {
        x->stats->entries++;
        x->stats->devices += device;
        x->stats->set_id_files += set_id && !x->options->extract.apply.ignore_permissions;
    } else if (stage != READING)
        status = entry_failed(x, stage == MAKING ? (const char *)x->path.data : NULL, device, status, err);
    return status;
}

static void show_progress(const struct restore_stats *stats)
{
    if (!progress_due())
        return;
    char text[SIZE_TEXT_SIZE];
    progress_update("restored %" PRIu64 " entries, %s", stats->entries, size_text(stats->file_bytes, text));
}

enum status extraction_entry(struct extraction *x, const struct archive_entry *entry, const struct content *content,
                             struct error *err)
{
    struct error own = {0};
    if (!err)
        err = &own;
    if (x->skip_depth > 0) {
        if (entry->kind == ENTRY_DIRECTORY_END && entry->depth == x->skip_depth)
            x->skip_depth = 0;
        return OK;
    }
    if (entry->kind == ENTRY_DIRECTORY_END)
        return leave(x, entry, err);
    buffer_clear(&x->path);
    TRY(buffer_append(&x->path, entry->path, strlen(entry->path) + 1, err));
    TRY(entry->kind == ENTRY_DIRECTORY ? enter(x, entry, err) : member(x, entry, content, err));
    show_progress(x->stats);
    return OK;
}

/* ---- the end ---- */

static void report_not_applied(const struct attr_not_applied *n)
{
    const struct {
        uint64_t count;
        const char *what;
    } notes[] = {
        {n->xattrs_denied, "extended attributes were refused"},
        {n->fcaps, "files are without their capabilities"},
        {n->acls, "files are without their ACLs"},
        {n->project_ids, "files are without their project ids"},
        {n->flags, "files are without some of their chattr flags"},
        {n->xattrs, "extended attributes have names that are not restored"},
        {n->set_ids, "files are without set-id bits, they belong to somebody else now"},
        {n->mtimes, "modification times are none that the file system can hold"},
        {n->acl_masks, "ACLs are stored without a mask, the mode's group bits have its place"},
    };
    const char *why = geteuid() == 0 ? "" : " (not running as root)";
    for (size_t i = 0; i < sizeof notes / sizeof notes[0]; i++)
        if (notes[i].count > 0)
            log_warning("warning: not restored%s: %" PRIu64 " %s", why, notes[i].count, notes[i].what);
}

/* What an archive of unknown origin should not have brought along without a word. */
static void report_powers(const struct restore_stats *stats)
{
    if (stats->devices > 0)
        log_info("restored %" PRIu64 " device nodes", stats->devices);
    if (stats->set_id_files > 0)
        log_info("restored %" PRIu64 " files that are stored with set-id bits", stats->set_id_files);
}

enum status extraction_finish(struct extraction *x, struct error *err)
{
    progress_end();
    x->stats->not_applied = *extractor_not_applied(x->extractor);
    report_not_applied(&x->stats->not_applied);
    report_powers(x->stats);
    if (x->stats->device_errors > 0)
        log_warning("warning: %" PRIu64 " device nodes could not be restored", x->stats->device_errors);
    if (x->selection && x->stats->entries <= 1 && x->stats->errors == 0)
        log_warning("warning: no entry of the archive is selected by the patterns");
    if (x->stats->errors > 0)
        return fail(err, ERR_MISMATCH, "there were errors: %" PRIu64, x->stats->errors);
    return OK;
}
