/* Files of a snapshot on a server, each fetched once: indexes and what else is read whole. An index that was fetched
 * through a reader session lets its chunks out of it; one fetched through a backup session makes them known there. */
#include "store/remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AUTHORITY_BYTES = 64 << 10 }; /* of a file that nobody reads */

void remote_problem_set(struct remote_problem *p, const struct error *err)
{
    free(p->text);
    p->status = err->status;
    p->text = strdup(err->text);
}

enum status remote_problem_tell(const struct remote_problem *p, struct error *err)
{
    return fail(err, p->status, "%s", p->text ? p->text : "out of memory");
}

/* ---- records ---- */

static void file_free(struct remote_file *f)
{
    buffer_deinit(&f->data);
    free(f->problem.text);
    free(f);
}

static void list_free(struct remote_file *f)
{
    while (f) {
        struct remote_file *next = f->next;
        file_free(f);
        f = next;
    }
}

void remote_files_free(struct remote_reader *r)
{
    list_free(r->files);
    list_free(r->authority);
    r->files = r->authority = NULL;
}

static enum status find_or_add(struct remote_reader *r, bool is_authority, const char *name, struct remote_file **out,
                               struct error *err)
{
    struct remote_file **at = is_authority ? &r->authority : &r->files;
    for (; *at; at = &(*at)->next)
        if (strcmp((*at)->name, name) == 0) {
            *out = *at;
            return OK;
        }
    if (r->file_count >= REMOTE_NAMES_MAX)
        return fail(err, ERR_LIMIT, "%s: more than %d files of a snapshot", name, REMOTE_NAMES_MAX);
    struct remote_file *f = calloc(1, sizeof *f);
    if (!f)
        return fail(err, ERR_MEMORY, "out of memory for %s", name);
    f->reader = r;
    f->is_authority = is_authority;
    snprintf(f->name, sizeof f->name, "%s", name);
    *at = f;
    r->file_count++;
    *out = f;
    return OK;
}

static void let_go(struct remote_file *f)
{
    f->reader->kept_bytes -= f->data.size;
    buffer_deinit(&f->data);
    f->state = REMOTE_LET_GO;
}

/* ---- asking ---- */

static void ask_ahead(struct remote_reader *r);

static struct net_session *session_of(const struct remote_file *f)
{
    const struct remote_reader *r = f->reader;
    return (r->writer && !f->is_authority ? r->writer->link : r->link)->session;
}

/* It was read, or never will come: another one may be fetched in its place. */
static void end_ahead(struct remote_file *f)
{
    if (!f->is_ahead)
        return;
    f->is_ahead = false;
    f->reader->ahead_count--;
    ask_ahead(f->reader);
}

static void take_file(struct remote_file *f, const struct h2_response *response, const struct error *opening,
                      struct buffer *body)
{
    struct remote_reader *r = f->reader;
    char what[NAME_FILE_MAX + 32];
    struct error err = {0};
    snprintf(what, sizeof what, "reading %s", f->name);
    /* More than we wanted of it, which is not more than it may have. */
    bool is_cut = f->may_be_cut && response->status == ERR_LIMIT && response->http_status == 200;
    enum status status = is_cut ? OK : net_session_judge(session_of(f), what, response, opening, &err);
    if (status != OK) {
        (void)remote_missing(response, status, &err);
        remote_problem_set(&f->problem, &err);
        f->state = REMOTE_FAILED;
        return;
    }
    f->state = REMOTE_THERE;
    if (!is_cut) {
        f->data = *body;
        *body = BUFFER_INIT(0);
    }
    r->kept_bytes += f->data.size;
    if (is_cut || f->is_unread)
        let_go(f);
}

static void file_answered(void *user, struct h2_response *response, const struct error *opening)
{
    struct remote_file *f = user;
    struct remote_reader *r = f->reader;
    pthread_mutex_lock(&r->lock);
    take_file(f, response, opening, &response->body);
    if (f->state != REMOTE_THERE)
        end_ahead(f);
    remote_chunks_advance(r);
    remote_reader_answered(r);
    h2_response_free(response);
}

static enum status submit(struct remote_file *f, size_t size_max, struct error *err)
{
    struct remote_reader *r = f->reader;
    struct net_request request = {.method = "GET",
                                  .path = BUFFER_INIT(WIRE_PATH_MAX),
                                  .response_size_max = size_max,
                                  .done = file_answered,
                                  .user = f};
    bool is_previous = r->writer && !f->is_authority;
    enum status status =
        is_previous ? call_previous(&request.path, f->name, err) : call_download(&request.path, f->name, err);
    if (status != OK) {
        buffer_deinit(&request.path);
        return status;
    }
    if (net_session_submit(session_of(f), &request, err) != OK)
        return fail_within(err, "reading %s", f->name);
    f->state = REMOTE_ASKED;
    r->asked++;
    return OK;
}

/* Of a file that is not under way. */
static void ask(struct remote_file *f, size_t size_max)
{
    struct error err = {0};
    f->is_awaited = false;
    if (submit(f, size_max, &err) == OK)
        return;
    remote_problem_set(&f->problem, &err);
    f->state = REMOTE_FAILED;
}

/* The whole file, for somebody who waits. */
static void ask_whole(struct remote_file *f, size_t size_max)
{
    f->may_be_cut = f->is_unread = false;
    ask(f, size_max);
}

/* Those that will be read, in the order in which that was said, as far as there is room. */
static void ask_ahead(struct remote_reader *r)
{
    for (struct remote_file *f = r->files; f && r->ahead_count < REMOTE_AHEAD_FILES && !r->cancelled; f = f->next) {
        if (!f->is_awaited)
            continue;
        f->may_be_cut = f->size_max > STORE_AHEAD_BYTES;
        f->is_unread = false;
        ask(f, f->may_be_cut ? STORE_AHEAD_BYTES : f->size_max);
        f->is_ahead = f->state == REMOTE_ASKED;
        r->ahead_count += f->is_ahead;
    }
}

static enum status file_want(struct remote_reader *r, const char *name, struct remote_file **out, struct error *err)
{
    TRY(remote_name_check(name, NULL, err));
    if (r->cancelled)
        return remote_reader_cancelled(err);
    return find_or_add(r, false, name, out, err);
}

enum status remote_authority_want(struct remote_reader *r, const char *name, struct remote_file **out,
                                  struct error *err)
{
    TRY(remote_name_check(name, NULL, err));
    if (r->cancelled)
        return remote_reader_cancelled(err);
    TRY(remote_reader_session(r, err));
    TRY(find_or_add(r, r->writer != NULL, name, out, err));
    if ((*out)->state != REMOTE_NEW)
        return OK;
    /* The server lets the chunks out before it sends the first byte, and the bytes are read elsewhere, if at all. */
    (*out)->may_be_cut = (*out)->is_unread = true;
    ask(*out, AUTHORITY_BYTES);
    return OK;
}

/* ---- reading ---- */

/* Blobs are read once, and what is kept has a limit. */
static bool is_kept(const struct remote_file *f)
{
    return f->reader->kept_bytes <= REMOTE_KEPT_BYTES && !name_has_extension(f->name, strlen(f->name), ".blob");
}

/* Copied, or handed over if nobody needs it any more. */
static enum status give(struct remote_file *f, size_t size_max, struct buffer *out, struct error *err)
{
    if (f->state == REMOTE_FAILED)
        return remote_problem_tell(&f->problem, err);
    if (f->state != REMOTE_THERE)
        return remote_reader_cancelled(err);
    if (f->data.size > size_max)
        return fail(err, ERR_LIMIT, "%s has %zu bytes, at most %zu are possible", f->name, f->data.size, size_max);
    if (f->data.size > out->limit || f->waiters > 0 || is_kept(f)) {
        buffer_clear(out);
        return buffer_append(out, f->data.data, f->data.size, err);
    }
    size_t limit = out->limit;
    buffer_deinit(out);
    *out = f->data;
    out->limit = limit;
    f->reader->kept_bytes -= f->data.size;
    f->data = BUFFER_INIT(0);
    f->state = REMOTE_LET_GO;
    return OK;
}

static void wait_for(struct remote_file *f, size_t size_max)
{
    bool waits = true;
    f->waiters++;
    while (waits && (f->state == REMOTE_NEW || f->state == REMOTE_ASKED || f->state == REMOTE_LET_GO)) {
        if (f->state != REMOTE_ASKED)
            ask_whole(f, size_max);
        else
            waits = remote_reader_wait(f->reader);
    }
    f->waiters--;
}

enum status remote_read_file(struct store_reader *reader, const char *name, size_t size_max, struct buffer *out,
                             struct error *err)
{
    struct remote_reader *r = remote_reader_of(reader);
    struct remote_file *f;
    pthread_mutex_lock(&r->lock);
    enum status status = file_want(r, name, &f, err);
    if (status == OK) {
        wait_for(f, size_max);
        status = give(f, size_max, out, err);
        if (f->waiters == 0 && f->state == REMOTE_THERE && !is_kept(f))
            let_go(f);
        end_ahead(f);
    }
    pthread_mutex_unlock(&r->lock);
    return status;
}

void remote_prefetch_file(struct store_reader *reader, const char *name, size_t size_max)
{
    struct remote_reader *r = remote_reader_of(reader);
    struct remote_file *f;
    pthread_mutex_lock(&r->lock);
    /* Whoever reads it is told what is wrong. */
    if (file_want(r, name, &f, NULL) == OK && (f->state == REMOTE_NEW || f->state == REMOTE_LET_GO)) {
        f->is_awaited = true;
        f->size_max = size_max;
        ask_ahead(r);
    }
    pthread_mutex_unlock(&r->lock);
}
