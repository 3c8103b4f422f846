#include "attr/attr_read.h"

#include "attr/file_flags.h"
#include "attr/posix_acl.h"

#include <errno.h>
#include <linux/fs.h>
#include <linux/msdos_fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
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
    bool skip_e2big;
};

struct attr_features attr_features_of(uint64_t fs_magic)
{
    switch (fs_magic) {
    case 0xEF53:     /* ext2, ext3, ext4 */
    case 0x58465342: /* XFS */
    case 0x2FC12FC1: /* ZFS */
        return (struct attr_features){.xattrs = true, .acl = true, .fcaps = true, .project_id = true};
    case 0x01021994: /* tmpfs */ return (struct attr_features){.acl = true};
    case 0x65735546: /* FUSE */ return (struct attr_features){.xattrs = true, .fat_flags = true};
    case 0x4d44: /* MSDOS, VFAT */ return (struct attr_features){.fat_flags = true};
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

void attr_reader_skip_e2big(struct attr_reader *r, bool skip)
{
    r->skip_e2big = skip;
}

/* Where one file's attributes go. */
struct reading {
    struct attr_reader *r;
    int fd;
    const struct attr_features *features;
    const char *path;
    struct attributes *out;
    bool stopped;     /* by E2BIG: nothing more of this file's list is looked at */
    bool xattrs_left; /* met, but the file system's are not stored */
    bool acls_left, fcaps_left;
    struct error *err;
};

/* E2BIG of the list (`name` NULL) or of a value; errno still says so. */
static enum status e2big(struct reading *x, const char *name)
{
    if (!x->r->skip_e2big)
        return fail(x->err, ERR_IO, "%s: cannot %s extended attribute%s%s (try --skip-e2big-xattr)", x->path,
                    name ? "read" : "list", name ? " " : "s", name ? name : "");
    x->stopped = true;
    return OK;
}

static enum status read_xattr(struct reading *x, const char *name, size_t name_size)
{
    ssize_t size;
    TRY(read_grown(&x->r->value, x->fd, name, x->path, &size, x->err));
    if (size < 0 && errno == E2BIG)
        return e2big(x, name);
    if (size < 0 && (errno == ENODATA || errno == EOPNOTSUPP || errno == EBADF))
        return OK;
    if (size < 0)
        return fail(x->err, ERR_IO, "%s: cannot read extended attribute %s", x->path, name);
    if (size > XATTR_VALUE_SIZE_MAX)
        return fail(x->err, ERR_LIMIT, "%s: the value of extended attribute %s has more than %d bytes", x->path, name,
                    XATTR_VALUE_SIZE_MAX);
    return attributes_add_xattr(x->out, name, name_size, (const uint8_t *)x->r->value.data, (size_t)size, x->err);
}

/* E2BIG is as fatal as the rest here, whatever the option says. */
static enum status read_fcaps(struct reading *x)
{
    ssize_t size;
    TRY(read_grown(&x->r->value, x->fd, "security.capability", x->path, &size, x->err));
    if (size < 0 && (errno == ENODATA || errno == EBADF || errno == EOPNOTSUPP))
        return OK;
    if (size < 0)
        return fail(x->err, ERR_IO, "%s: cannot read file capabilities", x->path);
    return attributes_set_fcaps(x->out, (const uint8_t *)x->r->value.data, (size_t)size, x->err);
}

static enum status read_acl(struct reading *x, const char *name, bool is_default)
{
    const char *what = is_default ? "default ACL" : "access ACL";
    ssize_t size;
    TRY(read_grown(&x->r->value, x->fd, name, x->path, &size, x->err));
    if (size < 0 && (errno == EOPNOTSUPP || errno == EBADF || errno == ENODATA))
        return OK;
    if (size < 0)
        return fail(x->err, ERR_IO, "%s: cannot read the %s", x->path, what);
    const uint8_t *value = (const uint8_t *)x->r->value.data;
    enum status status = is_default ? posix_acl_parse_default(value, (size_t)size, what, x->out, x->err)
                                    : posix_acl_parse_access(value, (size_t)size, what, x->out, x->err);
    return status == OK ? OK : fail_within(x->err, "%s", x->path);
}

static enum status read_listed(struct reading *x, const char *name, size_t name_size)
{
    const struct attr_features *f = x->features;
    if (strcmp(name, "security.capability") == 0) {
        if (f->xattrs && f->fcaps)
            return read_fcaps(x);
        x->fcaps_left = true;
        return OK;
    }
    bool is_default = strcmp(name, POSIX_ACL_DEFAULT_NAME) == 0;
    if (is_default || strcmp(name, POSIX_ACL_ACCESS_NAME) == 0) {
        if (f->xattrs && f->acl)
            return read_acl(x, name, is_default);
        x->acls_left = true;
        return OK;
    }
    if (name_size > XATTR_NAME_SIZE_MAX || !xattr_is_stored(name))
        return OK;
    if (f->xattrs)
        return read_xattr(x, name, name_size);
    x->xattrs_left = true;
    return OK;
}

static enum status read_list(struct reading *x)
{
    struct scratch *names = &x->r->names;
    ssize_t list_size;
    TRY(read_grown(names, x->fd, NULL, x->path, &list_size, x->err));
    if (list_size < 0) {
        /* Where none are stored they are listed only to be counted: that cannot fail a run. */
        if (!x->features->xattrs || errno == EOPNOTSUPP || errno == EBADF)
            return OK;
        return errno == E2BIG ? e2big(x, NULL) : fail(x->err, ERR_IO, "%s: cannot list extended attributes", x->path);
    }
    const char *end = names->data + list_size;
    for (const char *name = names->data; name < end && !x->stopped;) {
        size_t name_size = strnlen(name, (size_t)(end - name));
        if (name_size == (size_t)(end - name))
            return fail(x->err, ERR_FORMAT, "%s: the list of extended attributes does not end with a zero byte",
                        x->path);
        TRY(read_listed(x, name, name_size));
        name += name_size + 1;
    }
    return OK;
}

/* Extended attributes and what is stored in some of them. */
static enum status read_xattrs(struct attr_reader *r, int fd, const struct attr_features *features, const char *path,
                               struct attributes *out, struct attr_not_stored *not_stored, struct error *err)
{
    struct reading x = {.r = r, .fd = fd, .features = features, .path = path, .out = out, .err = err};
    TRY(read_list(&x));
    if (x.xattrs_left)
        atomic_fetch_add(&not_stored->xattrs, 1);
    if (x.acls_left)
        atomic_fetch_add(&not_stored->acls, 1);
    if (x.fcaps_left)
        atomic_fetch_add(&not_stored->fcaps, 1);
    return OK;
}

static enum status read_flags(int fd, const struct attr_features *features, const char *path, struct attributes *out,
                              struct error *err)
{
    /* The kernel fills 32 bits, whatever the type in the number of the ioctl says. */
    uint32_t chattr = 0, fat = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &chattr) == 0)
        out->stat.flags |= file_flags_from_chattr(chattr);
    else if (!attr_flags_error_is_tolerated(errno))
        return fail(err, ERR_IO, "%s: cannot read file flags", path);
    if (!features->fat_flags)
        return OK;
    if (ioctl(fd, FAT_IOCTL_GET_ATTRIBUTES, &fat) == 0)
        out->stat.flags |= file_flags_from_fat(fat);
    else if (!attr_flags_error_is_tolerated(errno))
        return fail(err, ERR_IO, "%s: cannot read FAT attributes", path);
    return OK;
}

static enum status read_project_id(int fd, const char *path, struct attributes *out, struct error *err)
{
    struct fsxattr fsx = {0};
    if (ioctl(fd, FS_IOC_FSGETXATTR, &fsx) != 0)
        return attr_flags_error_is_tolerated(errno) ? OK : fail(err, ERR_IO, "%s: cannot read project id", path);
    if (fsx.fsx_projid == 0)
        return OK;
    struct attribute_extras *x;
    TRY(attributes_extras(out, &x, err));
    x->has_project_id = true;
    x->project_id = fsx.fsx_projid;
    return OK;
}

bool attr_flags_error_is_tolerated(int errnum)
{
    return errnum == ENOTTY || errnum == ENOSYS || errnum == EBADF || errnum == EOPNOTSUPP || errnum == EINVAL;
}

enum status attr_read(struct attr_reader *r, int fd, const struct attr_features *features, const char *path,
                      struct attributes *out, struct attr_not_stored *not_stored, struct error *err)
{
    TRY(read_xattrs(r, fd, features, path, out, not_stored, err));
    TRY(read_flags(fd, features, path, out, err));
    bool can_have_project = S_ISREG(out->stat.mode) || S_ISDIR(out->stat.mode);
    return features->project_id && can_have_project ? read_project_id(fd, path, out, err) : OK;
}
