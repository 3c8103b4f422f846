#include "attr/attr_apply.h"

#include "attr/attr_read.h"
#include "attr/file_flags.h"
#include "attr/posix_acl.h"
#include "base/log_path.h"

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
    const struct attr_apply_options *options;
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

static int stat_of(const struct place *at, struct stat *out)
{
    return fstatat(at->fd, "", out, AT_EMPTY_PATH);
}

static enum status apply_owner(const struct place *at, const struct stat_record *st, struct error *err)
{
    /* Of these chown would say nothing and leave the owner as it is. */
    if (st->uid == (uid_t)-1 || st->gid == (gid_t)-1)
        return fail(err, ERR_FORMAT, "no file can have the owner %" PRIu32 ":%" PRIu32, st->uid, st->gid);
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
    char name[LOG_PATH_MAX];
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
                first = fail(err, ERR_IO, "cannot set extended attribute %.300s", log_path(v->name, name));
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
    struct attributes shown = *x->a;
    if (x->options->ignore_permissions) {
        /* An ACL is a mode, too: this one has the mode that the file is to keep. */
        struct stat st;
        if (stat_of(&x->at, &st))
            return fail(err, ERR_IO, "cannot stat for the access ACL");
        shown.stat.mode = st.st_mode;
    }
    TRY(posix_acl_build_access(&shown, &value, &mask_made, err));
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

/* What a file inherited from the default ACL of its directory, and what was there before: the archive does not have it,
 * and with the stored mode it would give rights to those it names, for the group bits become its mask. */
static enum status drop_acl(const struct place *at, const char *name, const char *what, struct error *err)
{
    ssize_t present = at->by_path ? getxattr(at->path, name, NULL, 0) : fgetxattr(at->fd, name, NULL, 0);
    if (present < 0)
        return OK;
    int failed = at->by_path ? removexattr(at->path, name) : fremovexattr(at->fd, name);
    if (failed && errno != ENODATA)
        return fail(err, ERR_IO, "cannot remove the %s ACL that the archive does not have", what);
    return OK;
}

static void drop_foreign_acls(struct applying *x)
{
    if (!posix_acl_has_access(x->a->extras) && !S_ISLNK(x->a->stat.mode))
        step(x, drop_acl(&x->at, POSIX_ACL_ACCESS_NAME, "access", err_of(x)));
    if (!posix_acl_has_default(x->a->extras) && S_ISDIR(x->a->stat.mode))
        step(x, drop_acl(&x->at, POSIX_ACL_DEFAULT_NAME, "default", err_of(x)));
}

/* Returns whether the file now has the access ACL that its mode was stored with. */
static bool apply_acls(struct applying *x)
{
    const struct attribute_extras *extras = x->a->extras;
    bool access_set = !posix_acl_has_access(extras) || step(x, apply_access_acl(x, err_of(x)));
    bool default_set = !posix_acl_has_default(extras) || step(x, apply_default_acl(x, err_of(x)));
    if (!access_set)
        step(x, drop_acl(&x->at, POSIX_ACL_ACCESS_NAME, "access", err_of(x)));
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

/* Whoever owns the file now, by chown or because it was refused or not wanted: nobody else's program runs as him. */
static mode_t set_id_bits(struct applying *x)
{
    const struct stat_record *stored = &x->a->stat;
    mode_t wanted = (mode_t)(stored->mode & (S_ISUID | S_ISGID));
    if (wanted == 0 || S_ISDIR(stored->mode))
        return wanted;
    struct stat st;
    mode_t kept = wanted;
    bool known = stat_of(&x->at, &st) == 0;
    if (!known || st.st_uid != stored->uid)
        kept &= ~(mode_t)S_ISUID;
    if (!known || st.st_gid != stored->gid)
        kept &= ~(mode_t)S_ISGID;
    x->not_applied->set_ids += kept != wanted;
    return kept;
}

static mode_t permissions(struct applying *x, bool acl_set)
{
    const struct attributes *a = x->a;
    mode_t mode = (mode_t)(a->stat.mode & 01777) | set_id_bits(x);
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

/* Seconds that every file system can hold. */
enum { MTIME_SAFE_MIN = 315532800 + 86400 /* FAT begins with 1980, in local time */, MTIME_SAFE_MAX = INT32_MAX - 1 };

static enum status apply_mtime(struct applying *x, struct error *err)
{
    const struct place *at = &x->at;
    const struct stat_record *st = &x->a->stat;
    struct timespec times[2] = {
        {.tv_nsec = UTIME_OMIT},
        {.tv_sec = st->mtime_secs, .tv_nsec = st->mtime_nanos},
    };
    int failed = at->by_path ? utimensat(AT_FDCWD, at->path, times, 0) : futimens(at->fd, times);
    if (failed && errno != EOPNOTSUPP)
        return fail(err, ERR_IO, "cannot set modification time");
    /* The kernel takes any time and silently makes it one that the file system can hold. */
    struct stat now;
    if ((st->mtime_secs < MTIME_SAFE_MIN || st->mtime_secs > MTIME_SAFE_MAX) && stat_of(at, &now) == 0 &&
        now.st_mtim.tv_sec != st->mtime_secs)
        x->not_applied->mtimes++;
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

/* Whether a refusal is no error: not for this file system, or not for this user. */
static bool flags_refused(void)
{
    return needs_root() || attr_flags_error_is_tolerated(errno);
}

/* One bit that is not taken makes the kernel refuse all: each alone. Those that forbid every other change come last. */
static enum status set_flags_one_by_one(int fd, const struct flags_ioctl *how, uint32_t present, uint32_t wanted,
                                        bool *out_refused, struct error *err)
{
    for (int last = 0; last < 2; last++) {
        for (uint32_t bit = 1; bit != 0; bit <<= 1) {
            if (!((wanted ^ present) & bit) || last != ((how->root_only & bit) != 0))
                continue;
            uint32_t next = present ^ bit;
            if (ioctl(fd, how->set, &next) == 0)
                present ^= bit;
            else if (flags_refused())
                *out_refused = true;
            else
                return fail(err, ERR_IO, "cannot set %s", how->what);
        }
    }
    return OK;
}

/* Takes the bits of `mask` from `stored` and leaves the others as they are. *out_refused: some or all bits are not for
 * this file system or this user. */
static enum status apply_kernel_flags(int fd, const struct flags_ioctl *how, uint32_t stored, uint32_t mask,
                                      bool *out_refused, struct error *err)
{
    uint32_t present = 0;
    if (ioctl(fd, how->get, &present) == 0) {
        uint32_t wanted = (stored & mask) | (present & ~mask);
        if (wanted == present || ioctl(fd, how->set, &wanted) == 0)
            return OK;
        if (flags_refused())
            return set_flags_one_by_one(fd, how, present, wanted, out_refused, err);
    } else if (flags_refused()) {
        *out_refused = true;
        return OK;
    }
    return fail(err, ERR_IO, "cannot set %s", how->what);
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
        .at = {.fd = fd, .by_path = to == APPLY_TO_PATH_FD},
        .a = a,
        .options = options,
        .not_applied = not_applied,
        .err = err,
    };
    if (x.at.by_path)
        snprintf(x.at.path, sizeof x.at.path, "/proc/self/fd/%d", fd);

    if (!options->ignore_ownership)
        step(&x, apply_owner(&x.at, &a->stat, err_of(&x)));
    /* Before extended attributes, for on XFS one of these may be an ACL. */
    if (!options->ignore_acls)
        drop_foreign_acls(&x);
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
        step(&x, apply_mode(&x.at, permissions(&x, acl_set), err_of(&x)));
    step(&x, apply_mtime(&x, err_of(&x)));
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
