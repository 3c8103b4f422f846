#include "flow/walk_filter.h"

#include "base/log.h"
#include "flow/node.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

enum { MATCH_PATH_MAX = 64 << 20, READ_STEP = 64 << 10 };

static const char exclude_name[] = ".pxarexclude";

enum status walk_filter_init(struct walk_filter *f, const struct pattern_list *given, struct error *err)
{
    *f = (struct walk_filter){
        .given = given && pattern_list_count(given) > 0 ? given : NULL,
        .path = BUFFER_INIT(MATCH_PATH_MAX),
        .lines = BUFFER_INIT(EXCLUDE_FILE_SIZE_MAX + READ_STEP),
    };
    return pattern_list_new(&f->found, err);
}

void walk_filter_deinit(struct walk_filter *f)
{
    pattern_list_free(f->found);
    buffer_deinit(&f->path);
    buffer_deinit(&f->lines);
    *f = (struct walk_filter){0};
}

/* Appends "/name". */
static enum status append_name(struct walk_filter *f, const char *name, size_t name_size, struct error *err)
{
    size_t before = f->path.size;
    TRY(buffer_append_u8(&f->path, '/', err));
    enum status status = buffer_append(&f->path, name, name_size, err);
    if (status != OK)
        f->path.size = before;
    return status;
}

/* The match path as C text, until the buffer changes. */
static enum status path_text(struct walk_filter *f, const char **out, struct error *err)
{
    TRY(buffer_reserve(&f->path, 1, err));
    f->path.data[f->path.size] = '\0';
    *out = (const char *)f->path.data;
    return OK;
}

enum status walk_filter_enter(struct walk_filter *f, const char *name, size_t name_size, struct walk_mark *out_mark,
                              struct error *err)
{
    *out_mark = (struct walk_mark){f->path.size, pattern_list_count(f->found)};
    return append_name(f, name, name_size, err);
}

void walk_filter_leave(struct walk_filter *f, struct walk_mark mark)
{
    f->path.size = mark.path_size;
    pattern_list_cut(f->found, mark.pattern_count);
}

/* ---- .pxarexclude ---- */

/* ERR_IO or ERR_LIMIT: a read error in the sense of A5.4, whatever was read is worth nothing. */
static enum status read_lines(struct walk_filter *f, int fd, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return fail(err, ERR_IO, "cannot stat it");
    if (!S_ISREG(st.st_mode))
        return fail(err, ERR_FORMAT, "is not a regular file");
    buffer_clear(&f->lines);
    for (;;) {
        TRY(buffer_reserve(&f->lines, READ_STEP, err));
        ssize_t got = read(fd, f->lines.data + f->lines.size, READ_STEP);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(err, ERR_IO, "cannot read it");
        if (got == 0)
            return OK;
        f->lines.size += (size_t)got;
        if (f->lines.size > EXCLUDE_FILE_SIZE_MAX)
            return fail(err, ERR_LIMIT, "has more than %d bytes", EXCLUDE_FILE_SIZE_MAX);
    }
}

/* Everything that is wrong with the file itself costs its patterns alone: whoever can write here shall not be able to
 * stop the backup. */
static enum status ignore(const char *dir, const struct error *why)
{
    char shown[LOG_PATH_MAX];
    log_warning("warning: ignoring .pxarexclude after read error in \"%s\": %s", log_path(dir[0] ? dir : "/", shown),
                why->text);
    return OK;
}

/* After a failed open, with its errno (A10). */
static enum status not_opened(struct walk_filter *f, const char *dir, struct error *err)
{
    struct error why = {0};
    enum node_notice notice = notice_of_open(errno);
    if (errno == ENOENT)
        return OK;
    if (notice == NOTICE_NONE)
        return fail(err, ERR_IO, "cannot open %s", exclude_name);
    if (notice == NOTICE_VANISHED) { /* became what is not followed or not waited for */
        (void)fail_text(&why, ERR_IO, "cannot open it");
        return ignore(dir, &why);
    }
    size_t before = f->path.size;
    TRY(append_name(f, exclude_name, sizeof exclude_name - 1, err));
    const char *path;
    enum status status = path_text(f, &path, err);
    if (status == OK)
        notice_warn(notice, exclude_name, path + 1);
    f->path.size = before;
    return status;
}

/* Adds the patterns of the directory's own file. Not to be read: a warning, no patterns. */
static enum status add_patterns(struct walk_filter *f, int dir_fd, uint8_t type, struct error *err)
{
    const char *dir;
    TRY(path_text(f, &dir, err));
    struct error why = {0};
    if (type != DT_REG && type != DT_UNKNOWN) { /* opening a device may do more than reading it */
        (void)fail_text(&why, ERR_FORMAT, "is not a regular file");
        return ignore(dir, &why);
    }
    int fd = node_open_at(dir_fd, exclude_name);
    if (fd < 0)
        return not_opened(f, dir, err);
    size_t before = pattern_list_count(f->found);
    enum status status = read_lines(f, fd, &why);
    close(fd);
    if (status == OK)
        status = pattern_list_add_lines(f->found, dir, f->lines.data, f->lines.size, &why);
    if (status == OK)
        return OK;
    pattern_list_cut(f->found, before);
    if (status == ERR_MEMORY) {
        *err = why;
        return status;
    }
    return ignore(dir, &why);
}

/* ---- listing ---- */

struct judge {
    struct walk_filter *filter;
    int dir_fd;
    bool searched; /* the directory's own patterns are known */
};

/* Deeper files and later lines win: the files' patterns come after those of the command line. */
static enum pattern_result match(const struct walk_filter *f, uint8_t type)
{
    const char *path = (const char *)f->path.data;
    enum pattern_result result = pattern_list_match(f->found, path, f->path.size, type);
    if (result == PATTERN_NO_MATCH && f->given)
        result = pattern_list_match(f->given, path, f->path.size, type);
    return result;
}

/* Only for what cannot be decided otherwise. An entry that is gone by now is kept: the walk says so when its turn
 * comes. */
static enum status ask_type(struct walk_filter *f, int dir_fd, struct listing_entry *entry, struct error *err)
{
    struct stat st;
    if (fstatat(dir_fd, entry->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        entry->type = (uint8_t)IFTODT(st.st_mode);
        return OK;
    }
    entry->errnum = errno;
    if (notice_of_stat(entry->errnum) != NOTICE_NONE)
        return OK;
    const char *path;
    char shown[LOG_PATH_MAX];
    TRY(path_text(f, &path, err));
    log_path(path + 1, shown);
    errno = entry->errnum;
    return fail(err, ERR_IO, "stat failed on \"%s\"", shown);
}

static enum status judge_path(struct walk_filter *f, int dir_fd, struct listing_entry *entry, enum listing_verdict *out,
                              struct error *err)
{
    enum pattern_result result = match(f, entry->type);
    if (result == PATTERN_NEEDS_TYPE) {
        TRY(ask_type(f, dir_fd, entry, err));
        if (entry->type != DT_UNKNOWN)
            result = match(f, entry->type);
    }
    *out = result == PATTERN_EXCLUDE ? LISTING_DROP : LISTING_KEEP;
    return OK;
}

static enum status judge(void *context, struct listing_entry *entry, enum listing_verdict *out, struct error *err)
{
    struct judge *j = context;
    struct walk_filter *f = j->filter;
    *out = LISTING_KEEP;
    if (!j->searched && strcmp(entry->name, exclude_name) == 0) {
        j->searched = true;
        size_t before = pattern_list_count(f->found);
        TRY(add_patterns(f, j->dir_fd, entry->type, err));
        if (pattern_list_count(f->found) > before) {
            *out = LISTING_RESTART;
            return OK;
        }
    }
    if (!f->given && pattern_list_count(f->found) == 0)
        return OK;
    size_t before = f->path.size;
    TRY(append_name(f, entry->name, entry->name_size, err));
    enum status status = judge_path(f, j->dir_fd, entry, out, err);
    f->path.size = before;
    return status;
}

enum status walk_filter_list(struct walk_filter *f, int fd, const struct listing_options *options, struct listing *out,
                             struct error *err)
{
    struct judge j = {.filter = f, .dir_fd = fd};
    struct listing_filter filter = {judge, &j};
    struct listing_options filtered = *options;
    filtered.filter = &filter;
    return listing_read(fd, &filtered, out, err);
}
