/* Members into a zip or tar.zst file, by libarchive: what goes in comes out packed, in a buffer that the caller
 * empties. Zip takes directories, files and symlinks; tar all but sockets. Nothing is ever seeked. Not thread-safe.
 * Apart from libarchive's own state, and zip's table of contents (bounded), memory is what the caller leaves in the
 * buffer. This is the only file that includes libarchive's headers: it has a struct archive_entry as well. */
#ifndef PXB_SERVER_REST_PACK_H
#define PXB_SERVER_REST_PACK_H

#include "attr/attributes.h"
#include "base/buffer.h"

enum pack_kind { PACK_ZIP, PACK_TAR_ZST };

struct pack_member {
    const char *path;                    /* relative, without "." and ".." */
    const char *symlink;                 /* target of a symlink; else NULL */
    const char *hardlink;                /* tar: path of an earlier member that this is another name of; else NULL */
    uint64_t size;                       /* of a file */
    uint64_t major, minor;               /* of devices */
    const struct attributes *attributes; /* type and mode, owner, time; tar: extended attributes, capabilities */
};

struct pack;
/* ERR_UNSUPPORTED: libarchive was built without what is needed. */
MUST_CHECK enum status pack_new(enum pack_kind kind, struct pack **out, struct error *err);
void pack_free(struct pack *p); /* accepts NULL */
/* Whether such a file can be packed, by its mode. */
bool pack_takes(const struct pack *p, uint64_t mode);
/* Ends the member before. A file is then due exactly `size` bytes of data. */
MUST_CHECK enum status pack_add(struct pack *p, const struct pack_member *member, struct error *err);
MUST_CHECK enum status pack_data(struct pack *p, const uint8_t *data, size_t size, struct error *err);
MUST_CHECK enum status pack_finish(struct pack *p, struct error *err);
/* What is packed by now: take it and clear the buffer. */
struct buffer *pack_output(struct pack *p);

#endif
