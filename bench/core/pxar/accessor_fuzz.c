/* Input: one byte of options, a 16-bit size, then that many bytes of metadata stream and the rest as payload stream.
 * Options: bit 0 no payload. */
#include "pxar/accessor.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct bytes {
    const uint8_t *data;
    size_t size;
};

static enum status read_bytes(void *context, uint64_t offset, uint8_t *data, size_t size, struct error *err)
{
    const struct bytes *b = context;
    /* The accessor asks for nothing outside of what the source says it has. */
    ASSERT(offset <= b->size && size <= b->size - offset);
    (void)err;
    if (size > 0)
        memcpy(data, b->data + offset, size);
    return OK;
}

static struct source_at source_over_bytes(struct bytes *b, const char *name)
{
    return (struct source_at){.read_at = read_bytes, .context = b, .size = b->size, .name = name};
}

/* The listing of a directory goes on if one of its members is broken inside. */
struct tour {
    struct accessor *accessor;
    size_t members;
};

static void check(enum status status, const struct error *err)
{
    ASSERT((status == OK) == (err->text[0] == '\0'));
    ASSERT(status != ERR_CLOSED);
}

static void read_some(struct tour *t, const struct accessor_entry *file)
{
    uint8_t data[64];
    const uint64_t offsets[] = {0, file->entry.size / 2, file->entry.size};
    for (size_t i = 0; i < 3; i++) {
        struct error err = {0};
        size_t size = 0;
        enum status status = accessor_read(t->accessor, file, offsets[i], data, sizeof data, &size, &err);
        check(status, &err);
        ASSERT(status != OK || size == sizeof data || size == file->entry.size - offsets[i]);
    }
}

static enum status visit(void *context, const struct accessor_entry *entry, struct error *err);

static enum status count_below(void *context, const struct archive_entry *entry, struct error *err)
{
    (void)err;
    *(size_t *)context += entry->kind != ENTRY_DIRECTORY_END;
    return OK;
}

static void look_below(struct tour *t, const struct accessor_entry *directory)
{
    struct error err = {0}, walk_err = {0};
    size_t before = t->members, walked = 0;
    enum status listed = accessor_list(t->accessor, directory, visit, t, &err);
    check(listed, &err);
    enum status status = accessor_walk(t->accessor, directory, count_below, &walked, &walk_err);
    check(status, &walk_err);
    /* Two roads: whoever believes the tables of a directory of files sees what a sequential reader sees. */
    if (listed == OK && status == OK)
        ASSERT(walked >= t->members - before);
}

static void follow(struct tour *t, const struct accessor_entry *link)
{
    struct error err = {0};
    struct accessor_entry file = {0};
    enum status status = accessor_follow(t->accessor, link, &file, &err);
    check(status, &err);
    if (status != OK)
        return;
    ASSERT(file.entry.kind == ENTRY_FILE);
    read_some(t, &file);
    accessor_entry_deinit(&file);
}

static enum status visit(void *context, const struct accessor_entry *entry, struct error *err)
{
    struct tour *t = context;
    (void)err;
    t->members++;
    /* What is listed is found by its name, or an equal one. */
    struct error lookup_err = {0};
    struct accessor_entry found = {0};
    enum status status = accessor_lookup(t->accessor, entry->entry.path, &found, &lookup_err);
    check(status, &lookup_err);
    if (status == OK)
        ASSERT(strcmp(found.entry.path, entry->entry.path) == 0);
    accessor_entry_deinit(&found);
    if (entry->entry.kind == ENTRY_DIRECTORY)
        look_below(t, entry);
    if (entry->entry.kind == ENTRY_FILE)
        read_some(t, entry);
    if (entry->entry.kind == ENTRY_HARDLINK)
        follow(t, entry);
    return OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    bool has_payload = !(data[0] & 1);
    size_t metadata_size = (size_t)data[1] | (size_t)data[2] << 8;
    data += 3;
    size -= 3;
    if (metadata_size > size)
        metadata_size = size;
    struct bytes metadata = {.data = data, .size = metadata_size};
    struct bytes payload = {.data = data + metadata_size, .size = size - metadata_size};
    struct source_at payload_source = source_over_bytes(&payload, "fuzz.ppxar");
    struct tour tour = {0};
    struct error err = {0};
    enum status status = accessor_new(source_over_bytes(&metadata, "fuzz.mpxar"), has_payload ? &payload_source : NULL,
                                      &tour.accessor, &err);
    check(status, &err);
    if (status != OK)
        return 0;
    struct accessor_entry root = {0};
    ASSERT(accessor_lookup(tour.accessor, "/", &root, &err) == OK);
    look_below(&tour, &root);
    accessor_entry_deinit(&root);
    accessor_free(tour.accessor);
    return 0;
}
