#include "server/rest_pack.h"

#include "pxar/json_text.h"
#include "server/archive_functions.h"

#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <zstd.h>

enum {
    OUTPUT_MAX = 64 << 20,          /* what one call may make: a block of data, a member's names and attributes */
    CONTENTS_TABLE_MAX = 256 << 20, /* zip keeps a record of each member until the end */
    RECORD_SIZE = 256,
};

struct pack {
    enum pack_kind kind;
    const struct archive_functions *la;
    locale_t utf8, bytes; /* 0: the process's own has to do */
    struct archive *archive;
    struct archive_entry *entry;
    ZSTD_CCtx *zstd; /* of a tar.zst: libarchive makes the tar */
    struct buffer output;
    struct error error; /* of the output: it stays */
    bool given_up;
    uint64_t table_size;
    uint64_t left; /* data of the member under way */
};

/* ---- output ---- */

static enum status compress(struct pack *p, const void *data, size_t size, bool is_end, struct error *err)
{
    ZSTD_inBuffer in = {data, size, 0};
    size_t left;
    do {
        TRY(buffer_reserve(&p->output, ZSTD_CStreamOutSize(), err));
        ZSTD_outBuffer out = {p->output.data + p->output.size, p->output.capacity - p->output.size, 0};
        left = ZSTD_compressStream2(p->zstd, &out, &in, is_end ? ZSTD_e_end : ZSTD_e_continue);
        if (ZSTD_isError(left))
            return fail(err, ERR_MEMORY, "packing: %s", ZSTD_getErrorName(left));
        p->output.size += out.pos;
    } while (is_end ? left > 0 : in.pos < in.size);
    return OK;
}

/* What finds no room is swallowed and the failure kept: after an error of this function libarchive does not free all of
 * a zip file. It then only counts that nothing more is taken. A tar file that is given up ends at once: of a member
 * that is not whole libarchive would write the rest as zeros. */
static la_ssize_t take_output(struct archive *archive, void *user, const void *data, size_t size)
{
    struct pack *p = user;
    bool is_tar = p->kind == PACK_TAR_ZST;
    if (p->given_up && is_tar) {
        p->la->archive_set_error(archive, ECANCELED, "given up");
        return -1;
    }
    if (p->given_up || p->error.status != OK)
        return (la_ssize_t)size;
    enum status status =
        is_tar ? compress(p, data, size, false, &p->error) : buffer_append(&p->output, data, size, &p->error);
    ASSERT(status == p->error.status);
    return (la_ssize_t)size;
}

struct buffer *pack_output(struct pack *p)
{
    return &p->output;
}

/* ---- calls of libarchive ---- */

/* File names are bytes; libarchive wants to know what they mean, and asks the locale. A zip file says of each name
 * whether it is UTF-8, by the locale alone; readers refuse the whole file for one that is not what it says. Tar has a
 * way to say that a name is only bytes. */
static locale_t enter(const struct pack *p, const char *name)
{
    bool is_text = p->kind != PACK_ZIP || utf8_valid(name, strlen(name));
    locale_t wanted = is_text ? p->utf8 : p->bytes;
    return wanted ? uselocale(wanted) : (locale_t)0;
}

static void leave(locale_t before)
{
    if (before)
        uselocale(before);
}

/* A warning leaves the archive whole. */
static enum status check(const struct pack *p, int result, const char *what, struct error *err)
{
    if (p->error.status != OK) {
        if (err)
            *err = p->error;
        return p->error.status;
    }
    if (result == ARCHIVE_OK || result == ARCHIVE_WARN)
        return OK;
    const char *text = p->la->archive_error_string(p->archive);
    return fail(err, p->la->archive_errno(p->archive) == ENOMEM ? ERR_MEMORY : ERR_FORMAT, "packing, %s: %s", what,
                text ? text : "no reason was given");
}

/* ---- begin and end ---- */

static enum status set_up(struct pack *p, struct error *err)
{
    struct archive *a = p->archive;
    int result = p->kind == PACK_ZIP ? p->la->archive_write_set_format_zip(a) : p->la->archive_write_set_format_pax(a);
    TRY(check(p, result, "format", err));
    TRY(check(p, p->la->archive_write_set_bytes_per_block(a, 0), "block size", err));
    return check(p, p->la->archive_write_open(a, p, NULL, take_output, NULL), "begin", err);
}

enum status pack_new(enum pack_kind kind, struct pack **out, struct error *err)
{
    const struct archive_functions *la;
    *out = NULL;
    TRY(archive_functions_load(&la, err));
    struct pack *p = calloc(1, sizeof *p);
    if (!p)
        return fail(err, ERR_MEMORY, "out of memory for packing");
    p->la = la;
    p->kind = kind;
    p->output = BUFFER_INIT(OUTPUT_MAX);
    p->utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    p->bytes = newlocale(LC_CTYPE_MASK, "C", (locale_t)0);
    p->archive = la->archive_write_new();
    p->entry = la->archive_entry_new();
    p->zstd = ZSTD_createCCtx();
    locale_t before = enter(p, "");
    enum status status =
        p->archive && p->entry && p->zstd ? set_up(p, err) : fail(err, ERR_MEMORY, "out of memory for packing");
    leave(before);
    if (status != OK) {
        pack_free(p);
        return status;
    }
    *out = p;
    return OK;
}

void pack_free(struct pack *p)
{
    if (!p)
        return;
    p->given_up = true;
    locale_t before = enter(p, "");
    p->la->archive_write_free(p->archive);
    p->la->archive_entry_free(p->entry);
    leave(before);
    if (p->utf8)
        freelocale(p->utf8);
    if (p->bytes)
        freelocale(p->bytes);
    ZSTD_freeCCtx(p->zstd);
    buffer_deinit(&p->output);
    free(p);
}

enum status pack_finish(struct pack *p, struct error *err)
{
    ASSERT(p->left == 0);
    locale_t before = enter(p, "");
    enum status status = check(p, p->la->archive_write_close(p->archive), "end", err);
    leave(before);
    TRY(status);
    return p->kind == PACK_TAR_ZST ? compress(p, NULL, 0, true, err) : OK;
}

/* ---- members ---- */

bool pack_takes(const struct pack *p, uint64_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK: return true;
    case S_IFIFO:
    case S_IFCHR:
    case S_IFBLK: return p->kind == PACK_TAR_ZST;
    default: return false;
    }
}

static void set_extras(const struct pack *p, struct archive_entry *e, const struct attribute_extras *x)
{
    for (size_t i = 0; i < x->xattr_count; i++)
        p->la->archive_entry_xattr_add_entry(e, x->xattrs[i].name, x->xattrs[i].value, x->xattrs[i].value_size);
    if (x->has_fcaps)
        p->la->archive_entry_xattr_add_entry(e, "security.capability", x->fcaps, x->fcaps_size);
}

static void set_entry(const struct pack *p, const struct pack_member *m)
{
    const struct archive_functions *la = p->la;
    struct archive_entry *e = p->entry;
    const struct stat_record *s = &m->attributes->stat;
    la->archive_entry_clear(e);
    la->archive_entry_set_pathname(e, m->path);
    la->archive_entry_set_mode(e, (mode_t)(s->mode & (S_IFMT | 07777)));
    la->archive_entry_set_uid(e, s->uid);
    la->archive_entry_set_gid(e, s->gid);
    la->archive_entry_set_mtime(e, s->mtime_secs, (long)s->mtime_nanos);
    la->archive_entry_set_size(e, S_ISREG(s->mode) && !m->hardlink ? (la_int64_t)m->size : 0);
    if (m->symlink)
        la->archive_entry_set_symlink(e, m->symlink);
    if (m->hardlink)
        la->archive_entry_set_hardlink(e, m->hardlink);
    if (S_ISCHR(s->mode) || S_ISBLK(s->mode))
        la->archive_entry_set_rdev(e, makedev((unsigned)m->major, (unsigned)m->minor));
    if (p->kind == PACK_TAR_ZST && m->attributes->extras)
        set_extras(p, e, m->attributes->extras);
}

enum status pack_add(struct pack *p, const struct pack_member *member, struct error *err)
{
    ASSERT(p->left == 0);
    if (member->size > INT64_MAX)
        return fail(err, ERR_FORMAT, "a file of %" PRIu64 " bytes cannot be packed", member->size);
    p->table_size += RECORD_SIZE + strlen(member->path);
    if (p->kind == PACK_ZIP && p->table_size > CONTENTS_TABLE_MAX)
        return fail(err, ERR_LIMIT, "too many members for a zip file: a tar file has no table of contents");
    locale_t before = enter(p, member->path);
    set_entry(p, member);
    p->left = (uint64_t)p->la->archive_entry_size(p->entry);
    enum status status = check(p, p->la->archive_write_header(p->archive, p->entry), "a member", err);
    leave(before);
    return status;
}

enum status pack_data(struct pack *p, const uint8_t *data, size_t size, struct error *err)
{
    ASSERT(size <= p->left);
    locale_t before = enter(p, "");
    enum status status = OK;
    while (size > 0 && status == OK) {
        la_ssize_t written = p->la->archive_write_data(p->archive, data, size);
        status = check(p, written < 0 ? (int)written : ARCHIVE_OK, "data", err);
        if (status == OK && written <= 0)
            status = fail(err, ERR_FORMAT, "packing, data: nothing was taken");
        if (status != OK)
            break;
        data += written;
        size -= (size_t)written;
        p->left -= (uint64_t)written;
    }
    leave(before);
    return status;
}
