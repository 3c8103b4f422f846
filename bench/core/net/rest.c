#include "net/rest.h"

#include "net/http_exchange.h"
#include "net/login.h"
#include "net/session_open.h"
#include "wire/reply.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

enum { CALL_TIMEOUT_S = 120 };

struct rest {
    struct account *account;
    struct tls_link *link; /* NULL: none now */
    bool used;             /* an answer came over it: it may have been closed since */
    struct net_stats closed;
    int last_status;
};

enum status rest_new(struct account *account, struct rest **out, struct error *err)
{
    struct rest *r = calloc(1, sizeof *r);
    if (!r)
        return fail(err, ERR_MEMORY, "out of memory for a connection");
    r->account = account;
    *out = r;
    return OK;
}

static void disconnect(struct rest *r)
{
    session_close_link(r->link, &r->closed);
    r->link = NULL;
    r->used = false;
}

void rest_free(struct rest *r)
{
    struct sigpipe_state sigpipe;
    if (!r)
        return;
    sigpipe_block(&sigpipe);
    disconnect(r);
    sigpipe_restore(&sigpipe);
    free(r);
}

static enum status connect_if_needed(struct rest *r, struct error *err)
{
    if (r->link && r->used && !tls_link_is_idle(r->link))
        disconnect(r);
    if (r->link)
        return OK;
    const struct tls_link_options options = account_link_options(r->account);
    return tls_link_open(&options, NULL, &r->link, err);
}

struct call {
    struct rest_request request;
    const void *body;
    size_t size_max;
    const char *what;
};

static enum status exchange(struct rest *r, const struct call *call, const struct login *login,
                            struct http_answer *answer, struct error *err)
{
    struct account *a = r->account;
    struct buffer head = BUFFER_INIT(HTTP_HEAD_SIZE_MAX);
    uint64_t timeout_ns = CALL_TIMEOUT_S * UINT64_C(1000000000);
    enum status status = rest_write(&head, &call->request, a->authority, &login->credentials, err);
    if (status == OK) {
        const struct http_request_bytes request = {
            .head = &head,
            .body = call->body,
            .body_size = call->request.body_size,
            .body_max = call->size_max,
            .timeout_ns = a->stall_timeout_ns < timeout_ns ? a->stall_timeout_ns : timeout_ns,
        };
        status = http_exchange(r->link, &request, NULL, answer, err);
    }
    if (head.data)
        OPENSSL_cleanse(head.data, head.capacity);
    buffer_deinit(&head);
    return status;
}

static enum status log_in(struct rest *r, uint64_t refused, struct login *out, struct error *err)
{
    bool usable;
    TRY(login_get(r->account, r->link, refused, NULL, out, &usable, err));
    if (!usable)
        disconnect(r);
    enum status status = connect_if_needed(r, err);
    if (status != OK)
        login_deinit(out);
    return status;
}

/* One attempt. *out_lost: the connection was kept from an earlier call, and had been closed; asking again does no harm.
 */
static enum status attempt(struct rest *r, const struct call *call, uint64_t refused, struct http_answer *answer,
                           uint64_t *out_number, bool *out_lost, struct error *err)
{
    struct login login;
    *out_lost = false;
    TRY(connect_if_needed(r, err));
    TRY(log_in(r, refused, &login, err));
    bool kept = r->used;
    r->used = true;
    *out_number = login.number;
    enum status status = exchange(r, call, &login, answer, err);
    login_deinit(&login);
    *out_lost = status == ERR_NETWORK && kept && !answer->begun && strcmp(call->request.method, "GET") == 0;
    if (status != OK || !answer->reusable)
        disconnect(r);
    return status == OK ? OK : fail_within(err, "%s", call->what);
}

/* Once more when the kept connection was gone, once more when the ticket was. */
static enum status attempts(struct rest *r, const struct call *call, struct http_answer *answer, struct error *err)
{
    uint64_t refused = 0;
    for (bool again = false;;) {
        uint64_t number = 0;
        bool lost;
        enum status status = attempt(r, call, refused, answer, &number, &lost, err);
        bool old_ticket = status == OK && answer->head.status == 401 && number > 0 && refused == 0;
        if (status != OK && (!lost || again))
            return status;
        if (status == OK && !old_ticket)
            return reply_check(REPLY_REST, call->what, answer->head.status, answer->body.data, answer->body.size, err);
        again |= status != OK;
        refused = old_ticket ? number : refused;
        http_answer_deinit(answer);
    }
}

enum status rest_call(struct rest *r, const char *method, const char *path, const char *query, const char *content_type,
                      const struct slice *body, size_t size_max, const char *what, struct buffer *out,
                      struct error *err)
{
    const struct call call = {
        .request = {.method = method,
                    .path = path,
                    .query = query,
                    .content_type = content_type ? content_type
                                    : body       ? "application/json"
                                                 : NULL,
                    .body_size = body ? body->size : 0,
                    .keep_alive = true},
        .body = body ? body->data : NULL,
        .size_max = size_max,
        .what = what,
    };
    struct http_answer answer = {0};
    struct sigpipe_state sigpipe;
    struct error reason = {0};
    ASSERT(!body || strcmp(method, "GET") != 0);
    sigpipe_block(&sigpipe);
    enum status status = attempts(r, &call, &answer, &reason);
    sigpipe_restore(&sigpipe);
    r->last_status = answer.head.complete ? answer.head.status : 0;
    if (status == OK) {
        size_t limit = out->limit;
        buffer_deinit(out);
        *out = answer.body;
        out->limit = limit;
        answer.body = (struct buffer){0};
    } else {
        status = fail(err, status, "%s", reason.text);
    }
    http_answer_deinit(&answer);
    return status;
}

int rest_last_status(const struct rest *r)
{
    return r->last_status;
}

enum status rest_login(struct rest *r, struct error *err)
{
    struct login login;
    struct sigpipe_state sigpipe;
    struct error reason = {0};
    if (repository_is_token(&r->account->repository))
        return OK;
    sigpipe_block(&sigpipe);
    enum status status = connect_if_needed(r, &reason);
    if (status == OK)
        status = log_in(r, 0, &login, &reason);
    r->used |= r->link != NULL;
    sigpipe_restore(&sigpipe);
    if (status != OK)
        return fail(err, status, "%s", reason.text);
    login_deinit(&login);
    return OK;
}

void rest_stats(const struct rest *r, struct net_stats *out)
{
    *out = r->closed;
    if (r->link) {
        net_stats_add(out, tls_link_stats(r->link));
        tls_link_add_wire(tls_link_descriptor(r->link), out);
    }
}
