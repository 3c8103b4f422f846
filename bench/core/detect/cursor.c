#include "detect/cursor.h"

#include <string.h>

static enum status peek(struct cursor *c, struct error *err)
{
    if (c->has_entry || c->ended)
        return OK;
    enum status status = decoder_next(c->decoder, &c->entry, err);
    if (status == ERR_CLOSED) {
        c->ended = true;
        return OK;
    }
    if (status == OK)
        c->has_entry = true;
    return status;
}

enum status cursor_init(struct cursor *c, struct decoder *decoder, struct error *err)
{
    *c = (struct cursor){.decoder = decoder};
    TRY(peek(c, err));
    if (!c->has_entry || c->entry.kind != ENTRY_DIRECTORY || c->entry.depth != 0)
        return fail(err, ERR_FORMAT, "the previous archive does not begin with a root directory");
    c->has_entry = false;
    return OK;
}

static int compare_names(const char *a, size_t a_size, const char *b, size_t b_size)
{
    size_t common = a_size < b_size ? a_size : b_size;
    int order = memcmp(a, b, common);
    if (order != 0)
        return order;
    return a_size < b_size ? -1 : a_size > b_size;
}

enum status cursor_find(struct cursor *c, const char *name, size_t name_size, const struct archive_entry **out,
                        struct error *err)
{
    *out = NULL;
    if (c->walk_depth != c->matched_depth)
        return OK;
    for (;;) {
        TRY(peek(c, err));
        if (c->ended)
            return OK;
        if (c->entry.kind == ENTRY_DIRECTORY_END && c->entry.depth == c->matched_depth)
            return OK; /* the parallel directory has no more: cursor_leave takes this one */
        bool is_member = c->entry.kind != ENTRY_DIRECTORY_END && c->entry.depth == c->matched_depth + 1;
        if (is_member) {
            int order = compare_names(c->entry.name, c->entry.name_size, name, name_size);
            if (order > 0)
                return OK;
            if (order == 0) {
                *out = &c->entry;
                return OK;
            }
        }
        c->has_entry = false; /* passed, or inside a directory that the walk did not enter */
    }
}

enum status cursor_enter(struct cursor *c, const char *name, size_t name_size, struct error *err)
{
    const struct archive_entry *found;
    TRY(cursor_find(c, name, name_size, &found, err));
    if (found && found->kind == ENTRY_DIRECTORY) {
        c->has_entry = false;
        c->matched_depth++;
    }
    c->walk_depth++;
    return OK;
}

enum status cursor_leave(struct cursor *c, struct error *err)
{
    ASSERT(c->walk_depth > 0);
    bool matched = c->walk_depth == c->matched_depth;
    c->walk_depth--;
    if (!matched)
        return OK;
    for (;;) {
        TRY(peek(c, err));
        if (c->ended)
            return OK;
        bool is_end = c->entry.kind == ENTRY_DIRECTORY_END && c->entry.depth == c->matched_depth;
        c->has_entry = false;
        if (is_end) {
            c->matched_depth--;
            return OK;
        }
    }
}
