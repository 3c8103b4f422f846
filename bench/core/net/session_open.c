#include "net/session_open.h"

#include "base/clock.h"
#include "net/http_exchange.h"
#include "wire/reply.h"

#include <openssl/crypto.h>
#include <poll.h>

enum { LOCK_RETRIES = 5, LOCK_RETRY_NS = 200000000 };

void session_close_link(struct tls_link *l, struct net_stats *closed)
{
    if (!l)
        return;
    struct net_stats stats = *tls_link_stats(l);
    tls_link_add_wire(tls_link_descriptor(l), &stats);
    net_stats_add(closed, &stats);
    tls_link_close(l);
}

static enum status connect_anew(const struct session_opening *o, struct tls_link **link, struct error *err)
{
    const struct tls_link_options options = account_link_options(o->account);
    session_close_link(*link, o->closed);
    *link = NULL;
    return tls_link_open(&options, o->wake, link, err);
}

static const char *what_of(const struct session_opening *o)
{
    if (o->upgrade->kind == SESSION_READER)
        return "opening the snapshot";
    return o->upgrade->benchmark ? "starting the benchmark" : "starting the backup";
}

static enum status exchange_upgrade(const struct session_opening *o, struct tls_link *l, const struct login *login,
                                    struct http_answer *answer, struct error *err)
{
    struct account *a = o->account;
    struct buffer head = BUFFER_INIT(HTTP_HEAD_SIZE_MAX);
    enum status status = upgrade_write(&head, o->upgrade, a->authority, &login->credentials, err);
    if (status == OK) {
        const struct http_request_bytes request = {.head = &head, .upgrade = true, .timeout_ns = a->stall_timeout_ns};
        status = http_exchange(l, &request, o->wake, answer, err);
        if (status != OK)
            status = fail_within(err, "%s", what_of(o));
    }
    if (head.data)
        OPENSSL_cleanse(head.data, head.capacity);
    buffer_deinit(&head);
    return status;
}

/* One upgrade over `*link`. *out_refused: the number of the ticket that was not taken, 0 if that is not the matter. */
static enum status upgrade(const struct session_opening *o, struct tls_link **link, uint64_t refused,
                           struct http_answer *answer, uint64_t *out_refused, struct error *err)
{
    struct login login;
    bool usable;
    *out_refused = 0;
    TRY(login_get(o->account, *link, refused, o->wake, &login, &usable, err));
    /* What came behind the last answer would be taken for the next one. */
    usable = usable && (tls_link_stats(*link)->requests == 0 || tls_link_is_idle(*link));
    enum status status = usable ? OK : connect_anew(o, link, err);
    if (status == OK)
        status = exchange_upgrade(o, *link, &login, answer, err);
    if (status == OK && answer->head.status == 401)
        *out_refused = login.number;
    login_deinit(&login);
    return status;
}

static enum status judge(const struct session_opening *o, struct http_answer *answer, struct buffer *behind,
                         struct error *err)
{
    enum reply_place place = o->upgrade->kind == SESSION_BACKUP ? REPLY_BACKUP_UPGRADE : REPLY_READER_UPGRADE;
    TRY(reply_check(place, what_of(o), answer->head.status, answer->body.data, answer->body.size, err));
    TRY(upgrade_check_reply(&answer->head, o->upgrade->kind, err));
    *behind = answer->behind;
    answer->behind = (struct buffer){0};
    return OK;
}

/* An old ticket is replaced once. */
static enum status upgrade_and_judge(const struct session_opening *o, struct tls_link **link, struct buffer *behind,
                                     struct error *err)
{
    struct http_answer answer = {0};
    uint64_t refused = 0;
    enum status status = upgrade(o, link, 0, &answer, &refused, err);
    if (status == OK && refused > 0) {
        uint64_t again = 0;
        bool reusable = answer.reusable;
        http_answer_deinit(&answer);
        if (!reusable)
            status = connect_anew(o, link, err);
        if (status == OK)
            status = upgrade(o, link, refused, &answer, &again, err);
    }
    if (status == OK)
        status = judge(o, &answer, behind, err);
    http_answer_deinit(&answer);
    return status;
}

static enum status open_once(const struct session_opening *o, struct tls_link **out, struct buffer *behind,
                             struct error *err)
{
    struct tls_link *link = NULL;
    enum status status = connect_anew(o, &link, err);
    if (status == OK)
        status = upgrade_and_judge(o, &link, behind, err);
    if (status != OK) {
        session_close_link(link, o->closed);
        return status;
    }
    *out = link;
    return OK;
}

static enum status pause_before_retry(const struct session_opening *o, struct error *err)
{
    uint64_t until_ns = clock_monotonic_ns() + LOCK_RETRY_NS;
    for (uint64_t now_ns; (now_ns = clock_monotonic_ns()) < until_ns;) {
        struct pollfd fd = {.fd = o->wake->fd, .events = POLLIN};
        (void)poll(&fd, 1, (int)((until_ns - now_ns) / 1000000) + 1);
        if (net_wake_take(o->wake))
            return fail(err, ERR_CANCELLED, "stopped while waiting for another session's lock");
    }
    return OK;
}

enum status session_open(const struct session_opening *o, struct tls_link **out, struct buffer *behind,
                         struct error *err)
{
    for (unsigned retries = 0;; retries++) {
        enum status status = open_once(o, out, behind, err);
        if (status != ERR_LOCKED || retries == LOCK_RETRIES)
            return status;
        TRY(pause_before_retry(o, err));
    }
}
