#include "attr/attr_apply.h"

#include "attr/attr_read.h"
#include "attr/file_flags.h"
#include "attr/posix_acl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <linux/msdos_fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

/* By descriptor where the descriptor allows it: no path lookup. An O_PATH descriptor is reached by its link in /proc,
 * which leads to the very file it was opened on and never through a symlink at its end. */
struct place {
    int fd;
    bool by_path;
    char path[32];
};

/* One call of attr_apply. */
struct applying {
    struct place at;
    const struct attributes *a;
    struct attr_not_applied *not_applied;
    enum status first; /* failure; later ones are not told */
    struct error *err;
};

/* Where the next step's error goes. */
static struct error *err_of(struct applying *x)
{
    return x->first == OK ? x->err : NULL;
}

static bool step(struct applying *x, enum status status)
{
    if (x->first == OK)
        x->first = status;
    return status == OK;
}

/* What only root may do is no failure of a restore by somebody else. */
static bool needs_root(void)
{
    return errno == EPERM && geteuid() != 0;
}

static enum status apply_owner(const struct place *at, const struct stat_record *st, struct error *err)
{
    int failed = at->by_path ? fchownat(at->fd, "", st->uid, st->gid, AT_EMPTY_PATH) : fchown(at->fd, st->uid, st->gid);
    if (!failed || errno == EOPNOTSUPP)
        return OK;
    return fail(err, ERR_IO, "cannot change owner to %u:%u%s", st->uid, st->gid,
                needs_root() ? " (try --ignore-ownership)" : "");
}

static int set_xattr(const struct place *at, const char *name, const void *value, size_t size)
{
    return at->by_path ? setxattr(at->path, name, value, size, 0) : fsetxattr(at->fd, name, value, size, 0);
}

static bool name_needs_root(const char *name)
{
    return strncmp(name, "trusted.", 8) == 0 || strncmp(name, "security.", 9) == 0;
}

/* XFS lists an ACL a second time, as an extended attribute in a form of its own that sets the ACL when it is set. */
static bool is_acl_of_xfs(const char *name)
{
    return strcmp(name, "trusted.SGI_ACL_FILE") == 0 || strcmp(name, "trusted.SGI_ACL_DEFAULT") == 0;
}

/* *out_supported: false once the file system said that it has none of this. */
static enum status apply_xattrs(struct applying *x, bool ignore_acls, bool *out_supported, struct error *err)
{
    const struct attribute_extras *extras = x->a->extras;
    enum status first = OK;
    for (size_t i = 0; i < extras->xattr_count; i++) {
        const struct xattr *v = &extras->xattrs[i];
        if (ignore_acls && is_acl_of_xfs(v->name))
            continue;
        if (!xattr_is_stored(v->name)) {
            x->not_applied->xattrs++;
        } else if (!*out_supported) {
            x->not_applied->xattrs_denied++;
        } else if (set_xattr(&x->at, v->name, v->value, v->value_size) != 0) {
            if (errno == EOPNOTSUPP)
                *out_supported = false;
            if (!*out_supported || (name_needs_root(v->name) && needs_root()))
                x->not_applied->xattrs_denied++;
            else if (first == OK)
                first = fail(err, ERR_IO, "cannot set extended attribute %.*s", XATTR_NAME_SIZE_MAX, v->name);
        }
    }
    return first;
}

static enum status apply_fcaps(struct applying *x, struct error *err)
{
    const struct attribute_extras *extras = x->a->extras;
    if (set_xattr(&x->at, "security.capability", extras->fcaps, extras->fcaps_size) == 0)
        return OK;
    if (errno != EOPNOTSUPP && !needs_root())
        return fail(err, ERR_IO, "cannot set file capabilities");
    x->not_applied->fcaps++;
    return OK;
}

static enum status set_acl(const struct place *at, const char *name, const char *what, const struct buffer *value,
                           struct error *err)
{
    return set_xattr(at, name, value->data, value->size) == 0 ? OK : fail(err, ERR_IO, "cannot set the %s ACL", what);
}

static enum status apply_access_acl(struct applying *x, struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer value = BUFFER_INIT(XATTR_VALUE_SIZE_MAX);
    bool mask_made;
    TRY(posix_acl_build_access(x->a, &value, &mask_made, err));
    TRY(set_acl(&x->at, POSIX_ACL_ACCESS_NAME, "access", &value, err));
    x->not_applied->acl_masks += mask_made;
    return OK;
}

static enum status apply_default_acl(struct applying *x, struct error *err)
{
    CLEANUP(buffer_deinit) struct buffer value = BUFFER_INIT(XATTR_VALUE_SIZE_MAX);
    TRY(posix_acl_build_default(x->a->extras, &value, err));
    return set_acl(&x->at, POSIX_ACL_DEFAULT_NAME, "default", &value, err);
}

/* Returns whether the file now has the access ACL that its mode was stored with. */
static bool apply_acls(struct applying *x)
{
    const struct attribute_extras *extras = x->a->extras;
    bool access_set = !posix_acl_has_access(extras) || step(x, apply_access_acl(x, err_of(x)));
    bool default_set = !posix_acl_has_default(extras) || step(x, apply_default_acl(x, err_of(x)));
    x->not_applied->acls += !access_set || !default_set;
    return access_set;
}

static enum status apply_project_id(struct applying *x, struct error *err)
{
    uint64_t id = x->a->extras->project_id;
    if (id > UINT32_MAX)
        return fail(err, ERR_FORMAT, "project id %" PRIu64, id);
    struct fsxattr fsx = {0};
    if (ioctl(x->at.fd, FS_IOC_FSGETXATTR, &fsx) == 0) {
        if (fsx.fsx_projid == id)
            return OK;
        fsx.fsx_projid = (uint32_t)id;
        if (ioctl(x->at.fd, FS_IOC_FSSETXATTR, &fsx) == 0)
            return OK;
    }
    /* A target without project ids (ENOTTY, EOPNOTSUPP, ...) must not stop the restore: there is no option that leaves
     * them out. */
    if (!needs_root() && !attr_flags_error_is_tolerated(errno))
        return fail(err, ERR_IO, "cannot set project id %" PRIu64, id);
    x->not_applied->project_ids++;
    return OK;
}

static mode_t permissions(const struct attributes *a, bool owner_set, bool acl_set)
{
    mode_t mode = (mode_t)(a->stat.mode & 07777);
    if (!owner_set && !S_ISDIR(a->stat.mode))
        mode &= ~(mode_t)(S_ISUID | S_ISGID);
    if (!acl_set && a->extras && a->extras->has_group_obj)
        mode &= ~(mode_t)070 | (mode_t)((a->extras->group_obj & 7) << 3);
    return mode;
}

static enum status apply_mode(const struct place *at, mode_t mode, struct error *err)
{
    int failed = at->by_path ? chmod(at->path, mode) : fchmod(at->fd, mode);
    if (failed && errno != EOPNOTSUPP)
        return fail(err, ERR_IO, "cannot change mode to %04o", mode);
    return OK;
}

static enum status apply_mtime(const struct place *at, const struct stat_record *st, struct error *err)
{
    struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = st->mtime_secs, .tv_nsec = st->mtime_nanos},
    };
    int failed = at->by_path ? utimensat(AT_FDCWD, at->path, times, 0) : futimens(at->fd, times);
    if (failed && errno != EOPNOTSUPP)
        return fail(err, ERR_IO, "cannot set modification time");
    return OK;
}

/* A pair of ioctls that read and write 32 bits of flags. */
struct flags_ioctl {
    unsigned long get, set;
    uint32_t root_only;
    const char *what;
};
static const struct flags_ioctl chattr_ioctl = {FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_APPEND_FL | FS_IMMUTABLE_FL,
                                                "file flags"};
static const struct flags_ioctl fat_ioctl = {FAT_IOCTL_GET_ATTRIBUTES, FAT_IOCTL_SET_ATTRIBUTES, ATTR_SYS,
                                             "FAT attributes"};

/* Takes the bits of `mask` from `stored` and leaves the others as they are. *out_refused: some or all bits are not for
 * this file system or this user. */
static enum status apply_kernel_flags(int fd, const struct flags_ioctl *how, uint32_t stored, uint32_t mask,
                                      bool *out_refused, struct error *err)
{
    uint32_t present = 0;
    int failed = ioctl(fd, how->get, &present);
    uint32_t wanted = (stored & mask) | (present & ~mask);
    if (!failed && wanted != present)
        failed = ioctl(fd, how->set, &wanted);
    if (failed && needs_root()) {
        /* One such bit makes the kernel refuse all. */
        *out_refused = true;
        wanted = (wanted & ~how->root_only) | (present & how->root_only);
        failed = wanted != present && ioctl(fd, how->set, &wanted) != 0 && !needs_root();
    }
    if (!failed)
        return OK;
    if (!attr_flags_error_is_tolerated(errno))
        return fail(err, ERR_IO, "cannot set %s", how->what);
    *out_refused = true;
    return OK;
}

static void apply_flags(struct applying *x)
{
    uint64_t stored = x->a->stat.flags;
    bool refused = false;
    /* NODUMP, too, which the reference client leaves out: what was stored is not lost here. */
    if (stored & FILE_FLAGS_CHATTR)
        step(x, apply_kernel_flags(x->at.fd, &chattr_ioctl, file_flags_to_chattr(stored),
                                   file_flags_to_chattr(FILE_FLAGS_CHATTR), &refused, err_of(x)));
    if (stored & FILE_FLAGS_FAT)
        step(x, apply_kernel_flags(x->at.fd, &fat_ioctl, file_flags_to_fat(stored), file_flags_to_fat(FILE_FLAGS_FAT),
                                   &refused, err_of(x)));
    x->not_applied->flags += refused;
}

enum status attr_apply(int fd, enum attr_apply_to to, const struct attributes *a,
                       const struct attr_apply_options *options, struct attr_not_applied *not_applied,
                       struct error *err)
{
    struct applying x = {
        .at = {.fd = fd, .by_path = to == APPLY_TO_PATH_FD}, .a = a, .not_applied = not_applied, .err = err};
    if (x.at.by_path)
        snprintf(x.at.path, sizeof x.at.path, "/proc/self/fd/%d", fd);

    bool owner_set = options->ignore_ownership || step(&x, apply_owner(&x.at, &a->stat, err_of(&x)));
    bool acl_set = true;
    const struct attribute_extras *extras = a->extras;
    if (extras) {
        bool supported = true;
        if (!options->ignore_xattrs)
            step(&x, apply_xattrs(&x, options->ignore_acls, &supported, err_of(&x)));
        if (extras->has_fcaps && !options->ignore_fcaps) {
            if (supported)
                step(&x, apply_fcaps(&x, err_of(&x)));
            else
                not_applied->fcaps++;
        }
        acl_set = !options->ignore_acls && apply_acls(&x);
        if (extras->has_project_id)
            step(&x, apply_project_id(&x, err_of(&x)));
    }
    if (!options->ignore_permissions && !S_ISLNK(a->stat.mode))
        step(&x, apply_mode(&x.at, permissions(a, owner_set, acl_set), err_of(&x)));
    step(&x, apply_mtime(&x.at, &a->stat, err_of(&x)));
    apply_flags(&x);
    return x.first;
}

enum status attr_apply_early_flags(int fd, const struct attributes *a, struct attr_not_applied *not_applied,
                                   struct error *err)
{
    (void)not_applied;
    if (!(a->stat.flags & FILE_FLAGS_EARLY))
        return OK;
    bool refused;
    return apply_kernel_flags(fd, &chattr_ioctl, file_flags_to_chattr(a->stat.flags),
                              file_flags_to_chattr(FILE_FLAGS_EARLY), &refused, err);
}
