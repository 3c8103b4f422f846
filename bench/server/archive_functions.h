/* What we use of libarchive, loaded with the first directory that is packed: with its libraries it would add
 * milliseconds to the start of every command. Only rest_pack includes this: libarchive has a struct archive_entry, too.
 */
#ifndef PXB_SERVER_ARCHIVE_FUNCTIONS_H
#define PXB_SERVER_ARCHIVE_FUNCTIONS_H

#include "base/status.h"

#include <archive.h>
#include <archive_entry.h>

#define ARCHIVE_FUNCTIONS(each)                                                                                        \
    each(archive_entry_clear) each(archive_entry_free) each(archive_entry_new) each(archive_entry_set_gid)             \
        each(archive_entry_set_hardlink) each(archive_entry_set_mode) each(archive_entry_set_mtime)                    \
            each(archive_entry_set_pathname) each(archive_entry_set_rdev) each(archive_entry_set_size)                 \
                each(archive_entry_set_symlink) each(archive_entry_set_uid) each(archive_entry_size)                   \
                    each(archive_entry_xattr_add_entry) each(archive_errno) each(archive_error_string)                 \
                        each(archive_set_error) each(archive_write_close) each(archive_write_data)                     \
                            each(archive_write_free) each(archive_write_header) each(archive_write_new)                \
                                each(archive_write_open) each(archive_write_set_bytes_per_block)                       \
                                    each(archive_write_set_format_pax) each(archive_write_set_format_zip)

#define ARCHIVE_FUNCTIONS_MEMBER(name) __typeof__(&name) name;
struct archive_functions {
    ARCHIVE_FUNCTIONS(ARCHIVE_FUNCTIONS_MEMBER)
};
#undef ARCHIVE_FUNCTIONS_MEMBER

/* Thread-safe. ERR_UNSUPPORTED: there is no libarchive; `*out` is NULL then, else it stays for the life of the process.
 */
MUST_CHECK enum status archive_functions_load(const struct archive_functions **out, struct error *err);

#endif
