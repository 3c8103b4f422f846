#include "attr/attr_read.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

/* The kernel's own ceilings are 64 KiB for a list and for a value. The largest buffer is one byte above, so that a file
 * system without these ceilings is met by an answer that fits or by ERANGE, never by a cut value. */
enum { BUFFER_SIZE_START = 4096, BUFFER_SIZE_MAX = XATTR_VALUE_SIZE_MAX + 1 };

struct scratch {
    char *data;
    size_t capacity;
};

struct attr_reader {
    struct scratch names; /* apart from values: names are walked while values are read */
    struct scratch value;
};

struct attr_features attr_features_of(uint64_t fs_magic)
{
    switch (fs_magic) {
    case 0xEF53:     /* ext2, ext3, ext4 */
    case 0x58465342: /* XFS */
    case 0x2FC12FC1: /* ZFS */
        return (struct attr_features){.xattrs = true, .acl = true, .fcaps = true, .project_id = true};
    case 0x01021994: /* tmpfs */ return (struct attr_features){.acl = true};
    case 0x65735546: /* FUSE */ return (struct attr_features){.xattrs = true};
    case 0x4d44: /* MSDOS, VFAT */ return (struct attr_features){0};
    default: /* Btrfs and everything unknown */
        return (struct attr_features){.xattrs = true, .acl = true, .fcaps = true};
    }
}

bool fs_is_virtual(uint64_t fs_magic)
{
    switch (fs_magic) {
    case 0x42494e4d: /* binfmt_misc */
    case 0x63677270: /* cgroup2 */
    case 0x0027e0eb: /* cgroup */
    case 0x62656570: /* configfs */
    case 0x64626720: /* debugfs */
    case 0x1cd1:     /* devpts */
    case 0xde5e81e4: /* efivarfs */
    case 0x65735543: /* fusectl */
    case 0x958458f6: /* hugetlbfs */
    case 0x19800202: /* mqueue */
    case 0x6e667364: /* nfsd */
    case 0x9fa0:     /* proc */
    case 0x6165676c: /* pstore */
    case 0x67596969: /* rpc_pipefs */
    case 0x73636673: /* securityfs */
    case 0xf97cff8c: /* selinuxfs */
    case 0x43415d53: /* smackfs */
    case 0x62656572: /* sysfs */ return true;
    default: return false;
    }
}

void attributes_from_stat(const struct stat *st, struct attributes *out)
{
    out->stat = (struct stat_record){
        .mode = st->st_mode,
        .uid = st->st_uid,
        .gid = st->st_gid,
        .mtime_secs = st->st_mtim.tv_sec,
        .mtime_nanos = (uint32_t)st->st_mtim.tv_nsec,
    };
}

static enum status scratch_grow(struct scratch *s, size_t capacity, struct error *err)
{
    char *data = realloc(s->data, capacity);
    if (!data)
        return fail(err, ERR_MEMORY, "out of memory for %zu bytes of extended attributes", capacity);
    s->data = data;
    s->capacity = capacity;
    return OK;
}

enum status attr_reader_new(struct attr_reader **out, struct error *err)
{
    struct attr_reader *r = calloc(1, sizeof *r);
    if (!r)
        return fail(err, ERR_MEMORY, "out of memory for an attribute reader");
    if (scratch_grow(&r->names, BUFFER_SIZE_START, err) != OK ||
        scratch_grow(&r->value, BUFFER_SIZE_START, err) != OK) {
        attr_reader_free(r);
        return ERR_MEMORY;
    }
    *out = r;
    return OK;
}

void attr_reader_free(struct attr_reader *r)
{
    if (!r)
        return;
    free(r->names.data);
    free(r->value.data);
    free(r);
}

/* The list of names (`name` NULL) or the value of one. OK with *out_size -1: nothing, errno says why. */
static enum status read_grown(struct scratch *s, int fd, const char *name, const char *path, ssize_t *out_size,
                              struct error *err)
{
    for (;;) {
        ssize_t size = name ? fgetxattr(fd, name, s->data, s->capacity) : flistxattr(fd, s->data, s->capacity);
        if (size >= 0 || errno != ERANGE) {
            *out_size = size;
            return OK;
        }
        if (s->capacity >= BUFFER_SIZE_MAX)
            return fail(err, ERR_LIMIT, "%s: %s are longer than %d bytes", path,
                        name ? "the value of an extended attribute" : "the names of extended attributes",
                        XATTR_VALUE_SIZE_MAX);
        size_t capacity = s->capacity * 4 < BUFFER_SIZE_MAX ? s->capacity * 4 : BUFFER_SIZE_MAX;
        TRY(scratch_grow(s, capacity, err));
    }
}

bool xattr_is_stored(const char *name)
{
    return strncmp(name, "user.", 5) == 0 || strncmp(name, "trusted.", 8) == 0 || strcmp(name, "security.NTACL") == 0;
}

enum status attr_read_xattrs(struct attr_reader *r, int fd, const struct attr_features *features, const char *path,
                             struct attributes *out, struct attr_not_stored *not_stored, struct error *err)
{
    ssize_t list_size;
    TRY(read_grown(&r->names, fd, NULL, path, &list_size, err));
    if (list_size < 0) {
        /* Where none are stored they are listed only to be counted: that cannot fail a run. */
        if (!features->xattrs || errno == EOPNOTSUPP || errno == EBADF)
            return OK;
        return fail(err, ERR_IO, "%s: cannot list extended attributes", path);
    }

    bool has_acl = false, has_others = false;
    const char *end = r->names.data + list_size;
    for (const char *name = r->names.data; name < end;) {
        size_t name_size = strnlen(name, (size_t)(end - name));
        if (name_size == (size_t)(end - name))
            return fail(err, ERR_FORMAT, "%s: the list of extended attributes does not end with a zero byte", path);
        const char *next = name + name_size + 1;
        if (strcmp(name, "security.capability") == 0) {
            atomic_fetch_add(&not_stored->fcaps, 1);
        } else if (strncmp(name, "system.posix_acl_", 17) == 0) {
            has_acl = true;
        } else if (name_size <= XATTR_NAME_SIZE_MAX && xattr_is_stored(name) && !features->xattrs) {
            has_others = true;
        } else if (name_size <= XATTR_NAME_SIZE_MAX && xattr_is_stored(name)) {
            ssize_t value_size;
            TRY(read_grown(&r->value, fd, name, path, &value_size, err));
            if (value_size >= 0) {
                if (value_size > XATTR_VALUE_SIZE_MAX)
                    return fail(err, ERR_LIMIT, "%s: the value of extended attribute %s has more than %d bytes", path,
                                name, XATTR_VALUE_SIZE_MAX);
                TRY(attributes_add_xattr(out, name, name_size, (const uint8_t *)r->value.data, (size_t)value_size,
                                         err));
            } else if (errno != ENODATA && errno != EOPNOTSUPP && errno != EBADF) {
                return fail(err, ERR_IO, "%s: cannot read extended attribute %s", path, name);
            }
        }
        name = next;
    }
    /* Access and default ACL of one directory count once. */
    if (has_acl)
        atomic_fetch_add(&not_stored->acls, 1);
    if (has_others)
        atomic_fetch_add(&not_stored->xattrs, 1);
    return OK;
}
