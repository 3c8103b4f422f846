/* What the tests of sessions share: a peer that does what `script` says, an account there, and a session. */
#ifndef PXB_NET_SESSION_FOR_TEST_H
#define PXB_NET_SESSION_FOR_TEST_H

#include "net/session.h"
#include "net/tls_peer_for_test.h"

static struct peer peer;
static struct peer_script script; /* for the next `begin`, as is the timeout */
static unsigned stall_timeout_ms;
static struct error err;
static struct account *account;
static struct net_session *session;

static const struct upgrade_request backup = {
    .kind = SESSION_BACKUP,
    .store = "store1",
    .backup_type = "host",
    .backup_id = "demo",
    .backup_time = 1700000060,
};

/* `peer` runs. */
static void begin_with(const struct account_options *options, const struct upgrade_request *upgrade)
{
    check_ok(account_new(options, &account, &err), &err);
    check_ok(net_session_start(account, upgrade, &peer_threads, &session, &err), &err);
    err = (struct error){0};
}

static UNUSED void begin_as(const char *auth_id, const struct upgrade_request *upgrade)
{
    peer_start(&peer, &script);
    struct account_options options = peer_account(&peer, auth_id);
    options.stall_timeout_ms = stall_timeout_ms;
    options.connect_timeout_ms = 600000;
    begin_with(&options, upgrade);
}

static UNUSED void begin(void)
{
    begin_as("u@pbs!tok", &backup);
}

static UNUSED void finish(void)
{
    net_session_close(session);
    account_free(account);
    peer_stop(&peer);
    peer_drop(&peer);
    script = (struct peer_script){0};
    stall_timeout_ms = 0;
    session = NULL;
}

static struct net_request request_of(const char *method, const char *path, size_t body_size)
{
    struct net_request request = {.method = method,
                                  .path = BUFFER_INIT(WIRE_PATH_MAX + 1),
                                  .content_type = body_size > 0 ? WIRE_TYPE_BINARY : NULL,
                                  .body = BUFFER_INIT(PEER_STREAM_MAX),
                                  .response_size_max = PEER_STREAM_MAX};
    struct error own;
    ASSERT(buffer_append(&request.path, path, strlen(path) + 1, &own) == OK);
    if (body_size > 0)
        ASSERT(buffer_append(&request.body, peer_pattern, body_size, &own) == OK);
    return request;
}

static UNUSED enum status call_for(const char *method, const char *path, size_t body_size, struct h2_response **out)
{
    struct net_request request = request_of(method, path, body_size);
    err = (struct error){0};
    enum status status = net_session_call(session, &request, "calling", out, &err);
    assert_null(request.path.data);
    assert_null(request.body.data);
    return status;
}

/* A POST whose answer does not matter. */
static UNUSED enum status call(const char *path, size_t body_size)
{
    struct h2_response *response;
    enum status status = call_for("POST", path, body_size, &response);
    if (status == OK)
        h2_response_free(response);
    return status;
}

/* Requests whose answers are awaited elsewhere. */
struct flight {
    atomic_uint answered, good, opening;
    enum status last;
    char text[ERROR_TEXT_MAX];
};

static void flight_done(void *user, struct h2_response *response, const struct error *opening)
{
    struct flight *f = user;
    struct error own;
    ASSERT(response);
    enum status status = net_session_judge(session, "calling", response, opening, &own);
    f->last = status;
    if (status != OK)
        snprintf(f->text, sizeof f->text, "%.*s", (int)sizeof f->text - 1, own.text);
    h2_response_free(response);
    atomic_fetch_add(&f->opening, opening != NULL);
    atomic_fetch_add(&f->good, status == OK);
    atomic_fetch_add(&f->answered, 1);
}

static UNUSED enum status submit(struct flight *f, const char *path, size_t body_size)
{
    struct net_request request = request_of("POST", path, body_size);
    request.done = flight_done;
    request.user = f;
    return net_session_submit(session, &request, &err);
}

static UNUSED void wait_for(struct flight *f, unsigned count)
{
    while (atomic_load(&f->answered) < count)
        usleep(1000);
    assert_int_equal(atomic_load(&f->answered), count);
}

#endif
