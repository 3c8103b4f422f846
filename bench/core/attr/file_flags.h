/* The attribute bits of the ENTRY record and the kernel's bits they come from: chattr flags (FS_IOC_GETFLAGS) and DOS
 * attributes (FAT_IOCTL_GET_ATTRIBUTES). Pure.
 * Source: bench/spec/pxar.md 6; bench/spec/archive-creation.md B6. */
#ifndef PXB_ATTR_FILE_FLAGS_H
#define PXB_ATTR_FILE_FLAGS_H

#include "base/status.h"

#define FILE_FLAG_HIDDEN UINT64_C(0x2000)
#define FILE_FLAG_SYSTEM UINT64_C(0x4000)
#define FILE_FLAG_ARCHIVE UINT64_C(0x8000)
#define FILE_FLAG_APPEND UINT64_C(0x10000)
#define FILE_FLAG_NOATIME UINT64_C(0x20000)
#define FILE_FLAG_COMPR UINT64_C(0x40000)
#define FILE_FLAG_NOCOW UINT64_C(0x80000)
#define FILE_FLAG_NODUMP UINT64_C(0x100000)
#define FILE_FLAG_DIRSYNC UINT64_C(0x200000)
#define FILE_FLAG_IMMUTABLE UINT64_C(0x400000)
#define FILE_FLAG_SYNC UINT64_C(0x800000)
#define FILE_FLAG_NOCOMP UINT64_C(0x1000000)
#define FILE_FLAG_PROJINHERIT UINT64_C(0x2000000)

#define FILE_FLAGS_FAT (FILE_FLAG_HIDDEN | FILE_FLAG_SYSTEM | FILE_FLAG_ARCHIVE)
#define FILE_FLAGS_CHATTR UINT64_C(0x3ff0000)
/* Set on a file that has no contents yet. */
#define FILE_FLAGS_EARLY                                                                                               \
    (FILE_FLAG_NOATIME | FILE_FLAG_COMPR | FILE_FLAG_NOCOW | FILE_FLAG_NOCOMP | FILE_FLAG_PROJINHERIT)

/* Bits that the table does not know are dropped on the way. */
uint64_t file_flags_from_chattr(uint32_t chattr);
uint32_t file_flags_to_chattr(uint64_t flags);
uint64_t file_flags_from_fat(uint32_t fat);
uint32_t file_flags_to_fat(uint64_t flags);

#endif
