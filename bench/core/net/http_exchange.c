#include "net/http_exchange.h"

#include "base/clock.h"
#include "wire/http_body.h"
#include "wire/protocol.h"

#include <inttypes.h>
#include <openssl/crypto.h>
#include <stdlib.h>

enum { INTERIM_MAX = 8, BODY_RESERVE = 4 << 10 };

struct exchange {
    struct tls_link *link;
    const struct http_request_bytes *request;
    struct http_answer *answer;
    struct http_body body;
    size_t head_sent;
    size_t body_sent;
    unsigned interim;
    bool send_failed;
    bool cut; /* enough of an error's text */
    bool complete;
    struct error send_error;
    uint8_t *received;
};

static void cleanse(struct buffer *b)
{
    if (b->data)
        OPENSSL_cleanse(b->data, b->capacity);
    buffer_deinit(b);
}

void http_answer_deinit(struct http_answer *answer)
{
    http_head_deinit(&answer->head);
    cleanse(&answer->body);
    cleanse(&answer->behind);
    *answer = (struct http_answer){0};
}

static bool sent_all(const struct exchange *x)
{
    return x->head_sent == x->request->head->size && x->body_sent == x->request->body_size;
}

/* What is left of a piece that may be large. A server that answers early and closes must still be heard. */
static bool send_some(struct exchange *x)
{
    bool moved = false;
    while (!sent_all(x) && !x->send_failed) {
        const struct buffer *head = x->request->head;
        bool in_head = x->head_sent < head->size;
        const uint8_t *data = in_head ? head->data + x->head_sent : (const uint8_t *)x->request->body + x->body_sent;
        size_t left = in_head ? head->size - x->head_sent : x->request->body_size - x->body_sent;
        size_t sent;
        if (tls_link_send(x->link, data, left, &sent, &x->send_error) != OK) {
            x->send_failed = true;
            return true;
        }
        if (sent == 0)
            return moved;
        *(in_head ? &x->head_sent : &x->body_sent) += sent;
        moved = true;
    }
    return moved;
}

static bool is_good(const struct exchange *x)
{
    return x->answer->head.status == (x->request->upgrade ? 101 : 200);
}

/* A whole head was read. */
static enum status begin_body(struct exchange *x, struct error *err)
{
    struct http_answer *answer = x->answer;
    int status = answer->head.status;
    if (status == 101 && x->request->upgrade) {
        x->complete = true;
        return OK;
    }
    if (status == 101)
        return fail(err, ERR_FORMAT, "it switches to another protocol, which nobody asked for");
    if (status < 200) {
        if (++x->interim > INTERIM_MAX)
            return fail(err, ERR_LIMIT, "more than %d heads come before it", INTERIM_MAX);
        http_head_deinit(&answer->head);
        http_head_init(&answer->head, HTTP_RESPONSE);
        return buffer_reserve(&answer->head.text, HTTP_HEAD_SIZE_MAX, err);
    }
    answer->body = BUFFER_INIT(is_good(x) && x->request->body_max > 0 ? x->request->body_max : WIRE_ERROR_TEXT_MAX);
    answer->reusable = http_head_keeps_alive(&answer->head);
    TRY(http_body_init(&x->body, &answer->head, is_good(x) ? answer->body.limit : UINT64_MAX, err));
    /* A login's answer holds a ticket: buffers that grow leave copies behind. */
    size_t reserve = answer->body.limit < BODY_RESERVE ? answer->body.limit : BODY_RESERVE;
    TRY(buffer_reserve(&answer->body, reserve, err));
    x->complete = x->body.complete;
    return OK;
}

static enum status keep_piece(struct exchange *x, const uint8_t *piece, size_t size, struct error *err)
{
    struct buffer *body = &x->answer->body;
    if (!is_good(x) && size > WIRE_ERROR_TEXT_MAX - body->size) {
        size = WIRE_ERROR_TEXT_MAX - body->size;
        x->cut = x->complete = true;
    }
    return size > 0 ? buffer_append(body, piece, size, err) : OK;
}

static enum status feed(struct exchange *x, const uint8_t *data, size_t size, struct error *err)
{
    struct http_answer *answer = x->answer;
    answer->begun = true;
    while (size > 0 && !x->complete) {
        size_t used = 0;
        if (!answer->head.complete) {
            TRY(http_head_feed(&answer->head, data, size, &used, err));
            if (answer->head.complete)
                TRY(begin_body(x, err));
        } else {
            const uint8_t *piece = NULL;
            size_t piece_size = 0;
            TRY(http_body_feed(&x->body, data, size, &used, &piece, &piece_size, err));
            if (piece_size > 0)
                TRY(keep_piece(x, piece, piece_size, err));
            x->complete |= x->body.complete;
        }
        data += used;
        size -= used;
    }
    if (size == 0)
        return OK;
    answer->reusable = false; /* nobody asked for more */
    answer->behind = BUFFER_INIT(TLS_LINK_RECEIVE_SIZE);
    return answer->head.status == 101 ? buffer_append(&answer->behind, data, size, err) : OK;
}

/* The connection ended, for this reason. */
static enum status ended(struct exchange *x, const struct error *reason, struct error *err)
{
    struct http_answer *answer = x->answer;
    answer->reusable = false;
    if (answer->head.complete) {
        x->complete = !is_good(x) || (reason->status == ERR_CLOSED && http_body_end(&x->body, NULL) == OK);
        if (x->complete)
            return OK;
    }
    if (x->send_failed)
        return fail(err, ERR_NETWORK, "%s", x->send_error.text);
    return fail(err, ERR_NETWORK, "%s%s", reason->text, answer->begun ? " within an answer" : " instead of answering");
}

/* One turn; *out_moved: there may be more to do at once. */
static enum status turn(struct exchange *x, bool *out_moved, struct error *err)
{
    size_t size = 0;
    bool moved = send_some(x);
    struct error reason;
    *out_moved = true;
    enum status status = tls_link_receive(x->link, x->received, TLS_LINK_RECEIVE_SIZE, &size, &reason);
    if (status != OK)
        return ended(x, &reason, err);
    if (size > 0) {
        status = feed(x, x->received, size, err);
        OPENSSL_cleanse(x->received, size);
        if (status != OK && x->answer->head.complete && x->answer->head.status >= 400) {
            /* The rest of an error's text is broken; the error itself is not. */
            x->complete = true;
            x->answer->reusable = false;
        } else if (status != OK) {
            return err ? fail_within(err, "the server's answer cannot be used") : status;
        }
    } else if (x->send_failed) {
        /* What the server said before it closed has been read. */
        return ended(x, &x->send_error, err);
    }
    *out_moved = moved || size > 0;
    return OK;
}

static enum status run(struct exchange *x, struct net_wake *wake, struct error *err)
{
    uint64_t end_ns = clock_monotonic_ns() + x->request->timeout_ns;
    while (!x->complete) {
        bool moved = false;
        TRY(turn(x, &moved, err));
        if (x->complete)
            break;
        if (clock_monotonic_ns() >= end_ns)
            return fail(err, ERR_NETWORK, "no whole answer came within %" PRIu64 " ms",
                        x->request->timeout_ns / 1000000);
        if (net_wake_stopped(wake))
            return fail(err, ERR_CANCELLED, "stopped");
        if (!moved)
            TRY(tls_link_wait(x->link, !sent_all(x) && !x->send_failed, end_ns, wake, err));
    }
    if (x->cut || !sent_all(x))
        x->answer->reusable = false;
    /* An error may come early; that all went well cannot be known of what is still here. */
    if (is_good(x) && !sent_all(x))
        return fail(err, ERR_FORMAT, "the server's answer cannot be used: it came before the whole request was sent");
    return OK;
}

enum status http_exchange(struct tls_link *l, const struct http_request_bytes *request, struct net_wake *wake,
                          struct http_answer *answer, struct error *err)
{
    struct net_stats *stats = tls_link_stats(l);
    *answer = (struct http_answer){0};
    http_head_init(&answer->head, HTTP_RESPONSE);
    struct exchange x = {.link = l, .request = request, .answer = answer, .received = malloc(TLS_LINK_RECEIVE_SIZE)};
    if (!x.received)
        return fail(err, ERR_MEMORY, "out of memory for an answer");
    stats->requests++;
    enum status status = buffer_reserve(&answer->head.text, HTTP_HEAD_SIZE_MAX, err);
    if (status == OK)
        status = run(&x, wake, err);
    free(x.received);
    if (status == OK)
        stats->round_trips++;
    return status;
}
