/* Bytes of one call that may be many: an upload while it arrives, a file while it is sent. All connections share a
 * budget of memory for them. What finds no room in it goes through a nameless file of the datastore's filesystem, so
 * that clients with many half-sent uploads cost disk, not memory; and through one file per connection, so that they do
 * not cost the descriptors of others either. For one thread each; the budget is shared. */
#ifndef PXB_SERVER_BODY_H
#define PXB_SERVER_BODY_H

#include "base/buffer.h"
#include "server/budget.h"

/* The file behind the bodies of one connection. Each body in it has a slot of its own. */
struct body_file {
    const char *directory; /* borrowed */
    uint64_t slot_size;    /* the largest body */
    int fd;                /* -1: nothing is in it */
    bool *taken;           /* slots; owned */
    size_t slot_count, slot_capacity;
    size_t taken_count;
};

void body_file_init(struct body_file *f, const char *directory, uint64_t slot_size);
void body_file_deinit(struct body_file *f); /* all its bodies are over */

struct body {
    struct budget *budget;
    struct body_file *file;
    size_t size_max; /* at most the file's slot_size */
    size_t size;
    struct buffer memory;
    size_t charged; /* of the budget */
    bool in_file;
    size_t slot;
};

/* Both borrowed. */
void body_init(struct body *b, struct budget *budget, struct body_file *file, size_t size_max);
void body_deinit(struct body *b); /* twice does no harm */
/* ERR_LIMIT: longer than size_max. ERR_IO. */
MUST_CHECK enum status body_add(struct body *b, const void *data, size_t size, struct error *err);
/* `size` bytes at `offset`, all of them there. ERR_IO. */
MUST_CHECK enum status body_read(const struct body *b, uint64_t offset, void *out, size_t size, struct error *err);
/* All of it. One that is in the file comes into `scratch`, which is replaced; else the bytes are the body's. */
MUST_CHECK enum status body_take(const struct body *b, struct buffer *scratch, const uint8_t **out, size_t *out_size,
                                 struct error *err);

#endif
