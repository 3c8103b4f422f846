#include "attr/attr_apply.h"

#include "attr/attr_read.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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

static enum status apply_owner(const struct place *at, const struct stat_record *st, struct error *err)
{
    int failed = at->by_path ? fchownat(at->fd, "", st->uid, st->gid, AT_EMPTY_PATH) : fchown(at->fd, st->uid, st->gid);
    if (failed && errno != EOPNOTSUPP)
        return fail(err, ERR_IO, "cannot change owner to %u:%u", st->uid, st->gid);
    return OK;
}

static enum status apply_xattrs(const struct place *at, const struct attribute_extras *extras,
                                struct attr_not_applied *not_applied, struct error *err)
{
    for (size_t i = 0; i < extras->xattr_count; i++) {
        const struct xattr *x = &extras->xattrs[i];
        if (!xattr_is_stored(x->name)) {
            not_applied->xattrs++;
            continue;
        }
        int failed = at->by_path ? setxattr(at->path, x->name, x->value, x->value_size, 0)
                                 : fsetxattr(at->fd, x->name, x->value, x->value_size, 0);
        if (failed && errno == EOPNOTSUPP)
            return OK;
        if (failed)
            return fail(err, ERR_IO, "cannot set extended attribute %.*s", XATTR_NAME_SIZE_MAX, x->name);
    }
    return OK;
}

/* With an ACL the stored group bits are its mask, an upper bound for the named entries too. Without the ACL they would
 * be the rights of the group itself, more than it had. */
static mode_t permissions(const struct attributes *a)
{
    mode_t mode = (mode_t)(a->stat.mode & 07777);
    if (a->extras && a->extras->has_group_obj)
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

enum status attr_apply(int fd, enum attr_apply_to to, const struct attributes *a,
                       const struct attr_apply_options *options, struct attr_not_applied *not_applied,
                       struct error *err)
{
    struct place at = {.fd = fd, .by_path = to == APPLY_TO_PATH_FD};
    if (at.by_path)
        snprintf(at.path, sizeof at.path, "/proc/self/fd/%d", fd);

    if (!options->ignore_ownership)
        TRY(apply_owner(&at, &a->stat, err));
    const struct attribute_extras *extras = a->extras;
    if (extras) {
        if (!options->ignore_xattrs)
            TRY(apply_xattrs(&at, extras, not_applied, err));
        not_applied->fcaps += extras->has_fcaps;
        not_applied->acls += extras->users.count > 0 || extras->groups.count > 0 || extras->has_group_obj ||
                             extras->has_default || extras->default_users.count > 0 || extras->default_groups.count > 0;
        not_applied->project_ids += extras->has_project_id;
    }
    not_applied->flags += a->stat.flags != 0;
    if (!options->ignore_permissions && !S_ISLNK(a->stat.mode))
        TRY(apply_mode(&at, permissions(a), err));
    return apply_mtime(&at, &a->stat, err);
}
