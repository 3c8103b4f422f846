/* Files of a snapshot on a server, each fetched once: indexes and what else is read whole. An index that was fetched
 * through a reader session lets its chunks out of it; one fetched through a backup session makes them known there. */
#include "store/remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INDEX_FILE_SIZE_MAX = 1 << 30 }; /* 27 million chunks */

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

static struct net_session *session_of(const struct remote_file *f)
{
    const struct remote_reader *r = f->reader;
    return (r->writer && !f->is_authority ? r->writer->link : r->link)->session;
}

static void file_answered(void *user, struct h2_response *response, const struct error *opening)
{
    struct remote_file *f = user;
    struct remote_reader *r = f->reader;
    char what[NAME_FILE_MAX + 32];
    struct error err = {0};
    pthread_mutex_lock(&r->lock);
    snprintf(what, sizeof what, "reading %s", f->name);
    enum status status = net_session_judge(session_of(f), what, response, opening, &err);
    if (status != OK) {
        (void)remote_missing(response, status, &err);
        remote_problem_set(&f->problem, &err);
        f->state = REMOTE_FAILED;
    } else {
        f->data = response->body;
        response->body = BUFFER_INIT(0);
        f->size = f->data.size;
        f->state = REMOTE_THERE;
        r->kept_bytes += f->data.size;
        if (f->is_authority)
            let_go(f);
    }
    r->asked--;
    remote_chunks_advance(r);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
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

static void ask(struct remote_file *f, size_t size_max)
{
    struct error err = {0};
    if (submit(f, size_max, &err) == OK)
        return;
    remote_problem_set(&f->problem, &err);
    f->state = REMOTE_FAILED;
}

static enum status file_want(struct remote_reader *r, const char *name, size_t size_max, struct remote_file **out,
                             struct error *err)
{
    TRY(remote_name_check(name, NULL, err));
    TRY(find_or_add(r, false, name, out, err));
    if ((*out)->state == REMOTE_NEW || (*out)->state == REMOTE_LET_GO)
        ask(*out, size_max);
    return OK;
}

enum status remote_authority_want(struct remote_reader *r, const char *name, struct remote_file **out,
                                  struct error *err)
{
    TRY(remote_name_check(name, NULL, err));
    TRY(remote_reader_session(r, err));
    TRY(find_or_add(r, r->writer != NULL, name, out, err));
    if ((*out)->state != REMOTE_NEW)
        return OK;
    size_t size_max = INDEX_FILE_SIZE_MAX;
    for (const struct remote_file *f = r->files; r->writer && f; f = f->next)
        if (strcmp(f->name, name) == 0 && f->size > 0)
            size_max = f->size; /* the same file */
    ask(*out, size_max);
    return OK;
}

/* ---- reading ---- */

/* A record that nobody waits for: blobs are read once, and what is kept has a limit. */
static void settle(struct remote_file *f)
{
    struct remote_reader *r = f->reader;
    if (f->waiters > 0 || f->state != REMOTE_THERE)
        return;
    if (r->kept_bytes > REMOTE_KEPT_BYTES || name_has_extension(f->name, strlen(f->name), ".blob"))
        let_go(f);
}

static enum status copy_file(const struct remote_file *f, size_t size_max, struct buffer *out, struct error *err)
{
    if (f->state == REMOTE_FAILED)
        return remote_problem_tell(&f->problem, err);
    if (f->data.size > size_max)
        return fail(err, ERR_LIMIT, "%s has %zu bytes, at most %zu are possible", f->name, f->data.size, size_max);
    buffer_clear(out);
    return buffer_append(out, f->data.data, f->data.size, err);
}

enum status remote_read_file(struct store_reader *reader, const char *name, size_t size_max, struct buffer *out,
                             struct error *err)
{
    struct remote_reader *r = remote_reader_of(reader);
    struct remote_file *f;
    pthread_mutex_lock(&r->lock);
    enum status status = file_want(r, name, size_max, &f, err);
    if (status == OK) {
        f->waiters++;
        while (f->state == REMOTE_ASKED)
            remote_wait(r->store, &r->changed, &r->lock);
        f->waiters--;
        status = copy_file(f, size_max, out, err);
        settle(f);
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
    if (file_want(r, name, size_max, &f, NULL) != OK)
        f = NULL;
    pthread_mutex_unlock(&r->lock);
}
