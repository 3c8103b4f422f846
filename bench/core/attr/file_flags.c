#include "attr/file_flags.h"

#include <assert.h>
#include <linux/fs.h>
#include <linux/msdos_fs.h>

struct pair {
    uint64_t flag;
    uint32_t kernel;
};

static const struct pair chattr_pairs[] = {
    {FILE_FLAG_APPEND, FS_APPEND_FL},       {FILE_FLAG_NOATIME, FS_NOATIME_FL},
    {FILE_FLAG_COMPR, FS_COMPR_FL},         {FILE_FLAG_NOCOW, FS_NOCOW_FL},
    {FILE_FLAG_NODUMP, FS_NODUMP_FL},       {FILE_FLAG_DIRSYNC, FS_DIRSYNC_FL},
    {FILE_FLAG_IMMUTABLE, FS_IMMUTABLE_FL}, {FILE_FLAG_SYNC, FS_SYNC_FL},
    {FILE_FLAG_NOCOMP, FS_NOCOMP_FL},       {FILE_FLAG_PROJINHERIT, FS_PROJINHERIT_FL},
};
static const struct pair fat_pairs[] = {
    {FILE_FLAG_HIDDEN, ATTR_HIDDEN},
    {FILE_FLAG_SYSTEM, ATTR_SYS},
    {FILE_FLAG_ARCHIVE, ATTR_ARCH},
};

enum {
    CHATTR_PAIRS = sizeof chattr_pairs / sizeof chattr_pairs[0],
    FAT_PAIRS = sizeof fat_pairs / sizeof fat_pairs[0],
};

static_assert(FS_APPEND_FL == 0x20 && FS_NOATIME_FL == 0x80 && FS_COMPR_FL == 4 && FS_NOCOW_FL == 0x800000 &&
                  FS_NODUMP_FL == 0x40 && FS_DIRSYNC_FL == 0x10000 && FS_IMMUTABLE_FL == 0x10 && FS_SYNC_FL == 8 &&
                  FS_NOCOMP_FL == 0x400 && FS_PROJINHERIT_FL == 0x20000000,
              "the kernel's bits are those of pxar.md 6");
static_assert(ATTR_HIDDEN == 2 && ATTR_SYS == 4 && ATTR_ARCH == 32, "the FAT bits are those of pxar.md 6");

static uint64_t from_kernel(const struct pair *pairs, size_t count, uint32_t kernel)
{
    uint64_t flags = 0;
    for (size_t i = 0; i < count; i++)
        if (kernel & pairs[i].kernel)
            flags |= pairs[i].flag;
    return flags;
}

static uint32_t to_kernel(const struct pair *pairs, size_t count, uint64_t flags)
{
    uint32_t kernel = 0;
    for (size_t i = 0; i < count; i++)
        if (flags & pairs[i].flag)
            kernel |= pairs[i].kernel;
    return kernel;
}

uint64_t file_flags_from_chattr(uint32_t chattr)
{
    return from_kernel(chattr_pairs, CHATTR_PAIRS, chattr);
}

uint32_t file_flags_to_chattr(uint64_t flags)
{
    return to_kernel(chattr_pairs, CHATTR_PAIRS, flags);
}

uint64_t file_flags_from_fat(uint32_t fat)
{
    return from_kernel(fat_pairs, FAT_PAIRS, fat);
}

uint32_t file_flags_to_fat(uint64_t flags)
{
    return to_kernel(fat_pairs, FAT_PAIRS, flags);
}
