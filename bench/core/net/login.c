#include "net/login.h"

#include "base/clock.h"
#include "net/http_exchange.h"
#include "wire/reply.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum {
    BODY_MAX = 6 * (ACCOUNT_TEXT_MAX + REPOSITORY_TEXT_MAX) + 64, /* every character as "\u00XX" */
    REPLY_MAX = 64 << 10,
    LOGIN_SLICE_NS = 50000000,
};

static const char host_cookie[] = "__Host-PBSAuthCookie";

static void ticket_free(struct ticket *ticket)
{
    if (ticket)
        OPENSSL_cleanse(ticket, sizeof *ticket);
    free(ticket);
}

void login_deinit(struct login *login)
{
    ticket_free(login->ticket);
    *login = (struct login){0};
}

static enum status ticket_copy(const struct ticket *ticket, struct login *out, struct error *err)
{
    struct ticket *copy = malloc(sizeof *copy);
    if (!copy)
        return fail(err, ERR_MEMORY, "out of memory for a ticket");
    *copy = *ticket;
    *out = (struct login){
        .credentials = {.cookie_name = copy->cookie_name, .ticket = copy->ticket, .csrf_token = copy->csrf_token},
        .ticket = copy,
        .number = copy->number,
    };
    return OK;
}

/* By hand: jansson would leave copies of the password behind. */
static enum status append_json_text(struct buffer *out, const char *text, struct error *err)
{
    TRY(buffer_append_u8(out, '"', err));
    for (const char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p;
        if (c < ' ')
            TRY(buffer_printf(out, err, "\\u%04x", c));
        else if (c == '"' || c == '\\')
            TRY(buffer_printf(out, err, "\\%c", c));
        else
            TRY(buffer_append_u8(out, c, err));
    }
    return buffer_append_u8(out, '"', err);
}

static enum status write_body(const struct account *a, struct buffer *body, struct error *err)
{
    static const char begin[] = "{\"username\":", middle[] = ",\"password\":";
    /* At once: a buffer that grows leaves copies behind. */
    TRY(buffer_reserve(body, BODY_MAX, err));
    TRY(buffer_append(body, begin, sizeof begin - 1, err));
    TRY(append_json_text(body, a->repository.auth_id, err));
    TRY(buffer_append(body, middle, sizeof middle - 1, err));
    TRY(append_json_text(body, a->secret, err));
    return buffer_append_u8(body, '}', err);
}

/* Text that may stand in a header. */
static enum status take_text(const char *what, const char *text, size_t size, char out[ACCOUNT_TEXT_MAX + 1],
                             struct error *err)
{
    if (size == 0 || size > ACCOUNT_TEXT_MAX)
        return fail(err, ERR_FORMAT, "logging in: the server's %s has %zu bytes", what, size);
    for (size_t i = 0; i < size; i++)
        if (text[i] <= ' ' || text[i] >= 0x7f)
            return fail(err, ERR_FORMAT, "logging in: the server's %s has characters that cannot be sent back", what);
    memcpy(out, text, size);
    out[size] = '\0';
    return OK;
}

static enum status take_member(const json_t *data, const char *name, const char *what, char out[ACCOUNT_TEXT_MAX + 1],
                               struct error *err)
{
    const json_t *value = json_object_get(data, name);
    if (!json_is_string(value))
        return fail(err, ERR_FORMAT, "logging in: the server's answer has no %s", what);
    return take_text(what, json_string_value(value), json_string_length(value), out, err);
}

/* The cookie that newer servers set: "name=value; ...". */
static const char *find_cookie(const struct http_head *head, size_t *out_size)
{
    size_t name_size = sizeof host_cookie - 1;
    for (size_t i = 0; i < head->field_count; i++) {
        const char *value = head->fields[i].value;
        if (strcasecmp(head->fields[i].name, "set-cookie") == 0 && strncmp(value, host_cookie, name_size) == 0 &&
            value[name_size] == '=') {
            *out_size = strcspn(value + name_size + 1, ";");
            return value + name_size + 1;
        }
    }
    return NULL;
}

static bool wants_second_factor(const json_t *data)
{
    const json_t *ticket = json_object_get(data, "ticket");
    return json_is_string(ticket) && strncmp(json_string_value(ticket), "PBS:!tfa!", 9) == 0;
}

static enum status read_ticket(const struct account *a, const struct http_head *head, const json_t *data,
                               struct ticket *out, struct error *err)
{
    size_t size = 0;
    const char *cookie = find_cookie(head, &size);
    if (wants_second_factor(data))
        return fail(err, ERR_UNSUPPORTED,
                    "logging in: %s has a second factor, which is not supported: use an API token of that user",
                    a->repository.auth_id);
    if (cookie) {
        TRY(take_text("cookie", cookie, size, out->ticket, err));
        out->cookie_name = host_cookie;
    } else {
        TRY(take_member(data, "ticket", "ticket", out->ticket, err));
    }
    return take_member(data, "CSRFPreventionToken", "CSRF token", out->csrf_token, err);
}

static void cleanse(struct buffer *b)
{
    if (b->data)
        OPENSSL_cleanse(b->data, b->capacity);
    buffer_deinit(b);
}

static void cleanse_json(const json_t *data)
{
    static const char *const members[] = {"ticket", "CSRFPreventionToken"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        const json_t *value = json_object_get(data, members[i]);
        if (json_is_string(value))
            OPENSSL_cleanse((void *)(uintptr_t)json_string_value(value), json_string_length(value));
    }
}

static enum status exchange_ticket(struct account *a, struct tls_link *l, struct net_wake *wake, struct buffer *head,
                                   struct buffer *body, struct http_answer *answer, struct ticket *out,
                                   struct error *err)
{
    const struct http_credentials nobody = {0};
    TRY(write_body(a, body, err));
    const struct rest_request call = {
        .method = "POST", .path = "access/ticket", .body_size = body->size, .keep_alive = true};
    TRY(rest_write(head, &call, a->authority, &nobody, err));
    const struct http_request_bytes request = {
        .head = head,
        .body = body->data,
        .body_size = body->size,
        .body_max = REPLY_MAX,
        .timeout_ns = a->stall_timeout_ns,
    };
    enum status status = http_exchange(l, &request, wake, answer, err);
    if (status != OK)
        return fail_within(err, "logging in as %s", a->repository.auth_id);
    json_t *data;
    TRY(reply_check(REPLY_REST, "logging in", answer->head.status, answer->body.data, answer->body.size, err));
    TRY(reply_data("logging in", answer->body.data, answer->body.size, &data, err));
    status = read_ticket(a, &answer->head, data, out, err);
    cleanse_json(data);
    json_decref(data);
    return status;
}

static enum status call(struct account *a, struct tls_link *l, struct net_wake *wake, struct ticket *out,
                        bool *out_usable, struct error *err)
{
    struct buffer head = BUFFER_INIT(HTTP_HEAD_SIZE_MAX);
    struct buffer body = BUFFER_INIT(BODY_MAX);
    struct http_answer answer = {0};
    enum status status = exchange_ticket(a, l, wake, &head, &body, &answer, out, err);
    *out_usable = answer.reusable;
    cleanse(&head);
    cleanse(&body);
    http_answer_deinit(&answer);
    return status;
}

static bool usable_ticket(const struct account *a, uint64_t refused)
{
    return a->ticket && a->ticket->number != refused &&
           clock_monotonic_ns() - a->ticket_ns < TICKET_AGE_MAX_S * UINT64_C(1000000000);
}

static void wait_a_little(struct account *a)
{
    uint64_t until_ns = clock_monotonic_ns() + LOGIN_SLICE_NS;
    const struct timespec until = {.tv_sec = (time_t)(until_ns / 1000000000), .tv_nsec = (long)(until_ns % 1000000000)};
    (void)pthread_cond_timedwait(&a->changed, &a->lock, &until);
}

/* Under the lock. OK with a ticket, or as the one who is to call. */
static enum status wait_for_others(struct account *a, uint64_t refused, const struct net_wake *wake, struct error *err)
{
    uint64_t calls = a->calls;
    while (!usable_ticket(a, refused) && a->calling) {
        if (net_wake_stopped(wake))
            return fail(err, ERR_CANCELLED, "stopped while another connection logs in");
        wait_a_little(a);
    }
    if (!usable_ticket(a, refused) && a->calls != calls && a->refusal.status != OK)
        return fail(err, a->refusal.status, "%s", a->refusal.text);
    return OK;
}

static enum status call_for_all(struct account *a, struct tls_link *l, struct net_wake *wake, bool *out_usable,
                                struct error *err)
{
    struct error reason = {0};
    struct ticket *ticket = calloc(1, sizeof *ticket);
    if (!ticket)
        return fail(err, ERR_MEMORY, "out of memory for a ticket");
    a->calling = true;
    pthread_mutex_unlock(&a->lock);
    enum status status = call(a, l, wake, ticket, out_usable, &reason);
    pthread_mutex_lock(&a->lock);
    a->calling = false;
    a->calls++;
    a->refusal = (struct error){0};
    if (status == OK) {
        ticket->number = (a->ticket ? a->ticket->number : 0) + 1;
        ticket_free(a->ticket);
        a->ticket = ticket;
        a->ticket_ns = clock_monotonic_ns();
    } else {
        ticket_free(ticket);
        /* A connection that broke, or that was closed, says nothing to the others. */
        if (status == ERR_REFUSED || status == ERR_UNSUPPORTED)
            a->refusal = reason;
    }
    pthread_cond_broadcast(&a->changed);
    return status == OK ? OK : fail(err, status, "%s", reason.text);
}

enum status login_get(struct account *a, struct tls_link *l, uint64_t refused, struct net_wake *wake, struct login *out,
                      bool *out_usable, struct error *err)
{
    *out = (struct login){0};
    *out_usable = true;
    if (repository_is_token(&a->repository)) {
        out->credentials.token_id = a->repository.auth_id;
        out->credentials.token_secret = a->secret;
        return OK;
    }
    pthread_mutex_lock(&a->lock);
    enum status status = wait_for_others(a, refused, wake, err);
    if (status == OK && !usable_ticket(a, refused))
        status = call_for_all(a, l, wake, out_usable, err);
    if (status == OK)
        status = ticket_copy(a->ticket, out, err);
    pthread_mutex_unlock(&a->lock);
    return status;
}
