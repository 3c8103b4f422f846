#include "flow/restore_paths.h"

#include "base/buffer.h"
#include "base/log.h"

#include <stdlib.h>
#include <string.h>

enum { LEVELS_MAX = 1 << 16 };

/* A directory that was entered, and what of it is still to come. */
struct place {
    struct accessor_entry directory;
    bool whole;          /* all members; else those that paths[first..end) lead through */
    size_t first, end;   /* not whole */
    struct buffer names; /* whole: of all members, each with its NUL */
    size_t position;     /* in names */
};

struct walk {
    struct accessor *archive;
    const char *const *paths;
    struct extraction *x;
    struct place *places;
    size_t count, capacity;
};

static void place_deinit(struct place *p)
{
    accessor_entry_deinit(&p->directory);
    buffer_deinit(&p->names);
}

static void walk_deinit(struct walk *w)
{
    while (w->count > 0)
        place_deinit(&w->places[--w->count]);
    free(w->places);
}

/* ---- contents ---- */

struct open_file {
    struct accessor *archive;
    const struct accessor_entry *entry;
    uint64_t offset;
};

static enum status read_contents(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct open_file *f = context;
    *out_size = 0;
    /* An empty file is read once, for the header of its contents. */
    if (f->offset > 0 && f->offset >= f->entry->entry.size)
        return OK;
    TRY(accessor_read(f->archive, f->entry, f->offset, data, size, out_size, err));
    f->offset += *out_size;
    return OK;
}

/* ---- members ---- */

static enum status collect_name(void *context, const struct accessor_entry *member, struct error *err)
{
    struct buffer *names = context;
    return buffer_append(names, member->entry.name, member->entry.name_size + 1, err);
}

/* Takes over `directory`, on success. */
static enum status enter(struct walk *w, struct accessor_entry *directory, bool whole, size_t first, size_t end,
                         struct error *err)
{
    void *places = w->places;
    enum status status =
        array_grow(&places, w->count, &w->capacity, sizeof *w->places, LEVELS_MAX, "nested directories", err);
    w->places = places;
    TRY(status);
    CLEANUP(buffer_deinit) struct buffer names = BUFFER_INIT(0);
    if (whole)
        TRY(accessor_list(w->archive, directory, collect_name, &names, err));
    TRY(extraction_entry(w->x, &directory->entry, NULL, err));
    w->places[w->count++] =
        (struct place){.directory = *directory, .whole = whole, .first = first, .end = end, .names = names};
    names = BUFFER_INIT(0);
    *directory = (struct accessor_entry){0};
    return OK;
}

static enum status leave(struct walk *w, struct error *err)
{
    struct place *p = &w->places[w->count - 1];
    struct archive_entry end = {
        .kind = ENTRY_DIRECTORY_END, .name = "", .path = p->directory.entry.path, .depth = p->directory.entry.depth};
    enum status status = extraction_entry(w->x, &end, NULL, err);
    place_deinit(p);
    w->count--;
    return status;
}

/* The next member that is wanted; all of it, or the paths that lead through it. */
struct next {
    const char *name;
    size_t name_size;
    bool whole;
    size_t first, end;
};

static bool next_in_whole(struct place *p, struct next *out)
{
    if (p->position == p->names.size)
        return false;
    const char *name = (const char *)p->names.data + p->position;
    *out = (struct next){.name = name, .name_size = strlen(name), .whole = true};
    p->position += out->name_size + 1;
    return true;
}

static bool next_on_the_way(const struct walk *w, struct place *p, struct next *out)
{
    if (p->first == p->end)
        return false;
    /* The directory is a prefix of all these paths; that of the root is "/". */
    size_t start = p->directory.entry.depth == 0 ? 1 : strlen(p->directory.entry.path) + 1;
    const char *name = w->paths[p->first] + start;
    size_t size = strcspn(name, "/");
    *out = (struct next){.name = name, .name_size = size, .whole = name[size] == '\0', .first = p->first};
    while (p->first < p->end) {
        const char *other = w->paths[p->first] + start;
        if (strncmp(other, name, size) != 0 || (other[size] != '/' && other[size] != '\0'))
            break;
        p->first++;
    }
    out->end = p->first;
    return true;
}

static void say_missing(const struct walk *w, const struct next *next)
{
    char text[LOG_PATH_MAX];
    for (size_t i = next->first; i < next->end; i++)
        log_warning("warning: not in the archive: %s", log_path(w->paths[i], text));
}

static enum status take(struct walk *w, const struct place *p, const struct next *next, struct error *err)
{
    CLEANUP(accessor_entry_deinit) struct accessor_entry member = {0};
    enum status status = accessor_child(w->archive, &p->directory, next->name, next->name_size, &member, err);
    if (status == ERR_NOT_FOUND && !p->whole) {
        say_missing(w, next);
        return OK;
    }
    TRY(status);
    if (member.entry.kind == ENTRY_DIRECTORY)
        return enter(w, &member, next->whole, next->first, next->end, err);
    if (!next->whole) {
        say_missing(w, next);
        return OK;
    }
    struct open_file file = {.archive = w->archive, .entry = &member};
    struct content content = {.read = read_contents, .context = &file};
    return extraction_entry(w->x, &member.entry, &content, err);
}

enum status restore_paths(struct accessor *archive, const char *const *paths, size_t path_count, struct extraction *x,
                          struct error *err)
{
    CLEANUP(walk_deinit) struct walk w = {.archive = archive, .paths = paths, .x = x};
    CLEANUP(accessor_entry_deinit) struct accessor_entry root = {0};
    TRY(accessor_lookup(archive, "/", &root, err));
    TRY(enter(&w, &root, false, 0, path_count, err));
    while (w.count > 0) {
        struct place *p = &w.places[w.count - 1];
        struct next next;
        if (p->whole ? next_in_whole(p, &next) : next_on_the_way(&w, p, &next))
            TRY(take(&w, p, &next, err));
        else
            TRY(leave(&w, err));
    }
    return OK;
}
