/* A catalog from hostile bytes: the walk ends, and what could be walked can be written again and gives the same lines.
 */
#include "pxar/catalog.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINES_MAX = 64 << 20 };

static enum status read_at(void *context, uint64_t offset, uint8_t *data, size_t size, struct error *err)
{
    (void)err;
    const struct buffer *b = context;
    ASSERT(offset <= b->size && size <= b->size - offset); /* the walker knows how long the stream is */
    if (size > 0)
        memcpy(data, b->data + offset, size);
    return OK;
}

struct copy {
    struct buffer lines;
    struct catalog_writer *writer; /* NULL: not written again */
    size_t depth;                  /* directories open in it */
};

static enum status visit(void *context, const char *path, size_t path_size, const struct catalog_entry *entry,
                         struct error *err)
{
    struct copy *c = context;
    size_t depth = 0; /* directories that this entry is in */
    for (const char *p = path + 2; *p; p++)
        depth += *p == '/';
    ASSERT(strlen(path) == path_size && depth <= PXAR_DEPTH_MAX);
    TRY(catalog_line(path, path_size, entry, &c->lines, err));
    TRY(buffer_append_u8(&c->lines, '\n', err));
    if (!c->writer)
        return OK;
    for (; c->depth > depth; c->depth--)
        ASSERT(catalog_directory_end(c->writer, err) == OK);
    ASSERT(c->depth == depth);
    if (entry->kind == ENTRY_DIRECTORY) {
        ASSERT(catalog_directory_begin(c->writer, entry->name, entry->name_size, err) == OK);
        c->depth++;
    } else if (catalog_add(c->writer, entry, err) != OK) {
        ASSERT(depth == 0); /* our own have nothing but archives there */
        catalog_writer_free(c->writer);
        c->writer = NULL;
        *err = (struct error){0};
    }
    return OK;
}

static enum status keep(void *context, const uint8_t *data, size_t size, struct error *err)
{
    return buffer_append(context, data, size, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct buffer input = BUFFER_INIT(0), output = BUFFER_INIT(0);
    struct copy first = {.lines = BUFFER_INIT(LINES_MAX)}, second = {.lines = BUFFER_INIT(LINES_MAX)};
    ASSERT(buffer_append(&input, data, size, &err) == OK);
    ASSERT(catalog_writer_new((struct sink){.write = keep, .context = &output}, &first.writer, &err) == OK);
    struct source_at source = {.read_at = read_at, .context = &input, .size = size, .name = "fuzz"};
    enum status status = catalog_walk(source, visit, &first, &err);
    ASSERT((status == OK) == (err.text[0] == '\0'));
    if (status == OK && first.writer) {
        for (; first.depth > 0; first.depth--)
            ASSERT(catalog_directory_end(first.writer, &err) == OK);
        ASSERT(catalog_finish(first.writer, &err) == OK);
        struct source_at again = {.read_at = read_at, .context = &output, .size = output.size, .name = "again"};
        ASSERT(catalog_walk(again, visit, &second, &err) == OK);
        ASSERT(first.lines.size == second.lines.size);
        ASSERT(first.lines.size == 0 || memcmp(first.lines.data, second.lines.data, first.lines.size) == 0);
    }
    catalog_writer_free(first.writer);
    buffer_deinit(&first.lines);
    buffer_deinit(&second.lines);
    buffer_deinit(&input);
    buffer_deinit(&output);
    return 0;
}
