/* Readers: of any finished snapshot, through a session of its own; of the previous one while a backup runs, whose files
 * come through the backup's session and whose chunks through a reader session beside it. */
#include "store/remote.h"

#include "index/manifest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum status remote_reader_session(struct remote_reader *r, struct error *err)
{
    return r->link ? OK : remote_link_open(r->store, SESSION_READER, &r->id, &r->link, err);
}

bool remote_reader_wait(struct remote_reader *r)
{
    if (!r->cancelled)
        remote_wait(r->store, &r->changed, &r->lock);
    return !r->cancelled;
}

enum status remote_reader_cancelled(struct error *err)
{
    return fail(err, ERR_CANCELLED, "reading was given up");
}

static void reader_cancel(struct store_reader *reader)
{
    struct remote_reader *r = remote_reader_of(reader);
    pthread_mutex_lock(&r->lock);
    r->cancelled = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static void reader_free(struct remote_reader *r)
{
    remote_chunks_free(r);
    remote_files_free(r);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    free(r);
}

/* Closing and the last answer: whichever comes second frees. */
static void unlock_and_free(struct remote_reader *r)
{
    bool is_last = r->closed && r->asked == 0;
    pthread_mutex_unlock(&r->lock);
    if (is_last)
        reader_free(r);
}

void remote_reader_answered(struct remote_reader *r)
{
    r->asked--;
    pthread_cond_broadcast(&r->changed);
    unlock_and_free(r);
}

static void reader_close(struct store_reader *reader)
{
    struct remote_reader *r = remote_reader_of(reader);
    pthread_mutex_lock(&r->lock);
    bool waits = !r->cancelled;
    r->cancelled = true; /* answers ask for nothing more */
    pthread_mutex_unlock(&r->lock);
    remote_link_close(r->store, r->link); /* what is unanswered there is answered now */
    /* What was asked of a backup's session is still under way. A backup that goes on ends with nothing under way; of
     * one that does not the answers come when it is aborted. */
    pthread_mutex_lock(&r->lock);
    r->link = NULL;
    while (waits && r->asked > 0)
        remote_wait(r->store, &r->changed, &r->lock);
    r->closed = true;
    unlock_and_free(r);
}

static void chunk_path(const struct store_reader *reader, const struct digest *digest, char *out, size_t out_size)
{
    const struct remote_reader *r = (const struct remote_reader *)reader;
    char text[DIGEST_TEXT_SIZE];
    snprintf(out, out_size, "%s, chunk %s", r->store->text, digest_text(digest, text));
}

static enum status reader_new(struct remote_store *s, const struct snapshot_id *id, struct remote_reader **out,
                              struct error *err)
{
    static const struct reader_ops ops = {.is_remote = true,
                                          .cancel = reader_cancel,
                                          .close = reader_close,
                                          .read_file = remote_read_file,
                                          .prefetch_file = remote_prefetch_file,
                                          .get_chunk = remote_get_chunk,
                                          .prefetch = remote_prefetch,
                                          .chunk_path = chunk_path};
    struct remote_reader *r = calloc(1, sizeof *r);
    if (!r)
        return fail(err, ERR_MEMORY, "out of memory for a reader");
    r->head = (struct reader_head){.ops = &ops, .key = s->head.key};
    r->store = s;
    r->id = *id;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    *out = r;
    return OK;
}

enum status remote_reader_open(struct store *s, const struct snapshot_id *id, struct store_reader **out,
                               struct error *err)
{
    struct remote_reader *r;
    TRY(reader_new(remote_store_of(s), id, &r, err));
    struct store_reader *reader = (struct store_reader *)r;
    enum status status = remote_reader_session(r, err);
    if (status == OK) {
        /* Everyone begins with it: it is asked for as soon as the session stands. */
        remote_prefetch_file(reader, REMOTE_MANIFEST_NAME, MANIFEST_SIZE_MAX);
        status = net_session_wait_open(r->link->session, err);
    }
    if (status != OK) {
        reader_close(reader);
        return status;
    }
    *out = reader;
    return OK;
}

enum status remote_previous_open(struct store_writer *writer, bool wants_chunks, struct store_reader **out,
                                 struct error *err)
{
    struct remote_writer *w = (struct remote_writer *)writer;
    struct remote_reader *r;
    TRY(reader_new(w->store, &w->previous, &r, err));
    r->writer = w;
    r->cached_max = REMOTE_CACHED_BYTES; /* a cursor and those who look ahead of it read the same */
    struct store_reader *reader = (struct store_reader *)r;
    enum status status = wants_chunks ? remote_reader_session(r, err) : OK;
    if (status != OK) {
        reader_close(reader);
        return status;
    }
    *out = reader;
    return OK;
}
