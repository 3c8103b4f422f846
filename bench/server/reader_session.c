/* A reader session: files of one snapshot, and the chunks of the indexes that were downloaded. */
#include "server/call.h"

#include "store/local_server.h"
#include "store/local_server_lists.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SPEEDTEST_SIZE = 1 << 20, SPEEDTEST_BYTE = 'A' };

struct reader_session {
    struct store *store;
    struct store_reader *snapshot; /* its lock */
    struct snapshot_id id;
    struct known known; /* authorised */
};

enum status reader_session_new(struct session *s, const struct session_options *options, struct reader_session **out,
                               struct error *err)
{
    *out = NULL;
    struct reader_session *r = calloc(1, sizeof *r);
    if (!r) {
        store_reader_close(options->reader);
        return fail(err, ERR_MEMORY, "out of memory for a session");
    }
    r->store = s->shared->store;
    r->snapshot = options->reader;
    r->id = options->id;
    *out = r;
    return known_init(&r->known, &s->shared->tables, err);
}

void reader_session_free(struct reader_session *r)
{
    if (!r)
        return;
    known_deinit(&r->known);
    store_reader_close(r->snapshot);
    free(r);
}

static bool is_blob(const char *name)
{
    return name_has_extension(name, strlen(name), ".blob");
}

static void download(struct reader_session *r, struct call *c)
{
    struct error err = {0};
    const char *name = param_get(&c->params, "file-name")->text.data;
    int fd = -1;
    uint64_t size = 0;
    enum status status = local_open_file(r->store, &r->id, name, &fd, &size, &err);
    if (status != OK) {
        if (status == ERR_NOT_FOUND)
            fail_text(&err, status, "file %s does not exist in this snapshot", name);
        call_reply_error(c, status == ERR_NOT_FOUND && is_blob(name) ? 404 : 400, err.text);
        return;
    }
    if (!is_blob(name) && register_index(&r->known, fd, size, name, &err) != OK) {
        close(fd);
        call_reply_failure(c, &err);
        return;
    }
    call_reply_file(c, fd, size);
}

static void chunk(struct reader_session *r, struct call *c)
{
    struct error err = {0};
    struct digest digest;
    const struct param_text *text = &param_get(&c->params, "digest")->text;
    bool parsed = digest_parse(text->data, text->size, &digest);
    ASSERT(parsed);
    if (known_find(&r->known, &digest) == 0) {
        call_reply_error(c, 401, "the chunk belongs to no index that was downloaded in this session");
        return;
    }
    if (c->fault_lie && c->session->faults->lie == LIE_SWAP && known_other(&r->known, &digest, &digest))
        c->fault_lie = false;
    int fd = -1;
    uint64_t size = 0;
    if (local_open_chunk(r->store, &digest, &fd, &size, &err) != OK)
        call_reply_failure(c, &err);
    else
        call_reply_file(c, fd, size);
}

void reader_session_call(struct reader_session *r, struct call *c)
{
    switch (c->rules->id) {
    case CALL_ID_LIST:
        call_reply_data(c, "[{\"subdir\":\"chunk\"},{\"subdir\":\"download\"},{\"subdir\":\"speedtest\"}]");
        break;
    case CALL_ID_DOWNLOAD: download(r, c); break;
    case CALL_ID_READ_CHUNK: chunk(r, c); break;
    case CALL_ID_SPEEDTEST: call_reply_constant(c, SPEEDTEST_BYTE, SPEEDTEST_SIZE); break;
    default: call_reply_error(c, 404, "path not found");
    }
}
