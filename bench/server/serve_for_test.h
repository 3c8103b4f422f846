/* What the tests of the whole server share: a server on a datastore of its own, and a client that speaks TLS, HTTP/1.1
 * and, after an upgrade, HTTP/2 to it, one step at a time. Include testing/testing.h first.
 * The client is small on purpose and waits for each answer; several requests may be under way (send_call, wait_calls).
 */
#ifndef PXB_SERVER_SERVE_FOR_TEST_H
#define PXB_SERVER_SERVE_FOR_TEST_H

#include "server/serve.h"

#include "base/clock.h"
#include "base/log.h"
#include "blob/blob.h"
#include "flow/threads.h"
#include "index/fixed_index.h"
#include "wire/h2_client.h"
#include "wire/http_body.h"
#include "wire/protocol.h"
#include "wire/upgrade.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define TOKEN "bench@pbs!ci"
#define SECRET "s3cr3t"
#define AUTHORIZATION "Authorization: PBSAPIToken " TOKEN ":" SECRET "\r\n"

static char *serve_dir;
static struct serve *serve;
static _Thread_local struct error err;

/* All with the secret s3cr3t. */
static const struct access_account serve_accounts[] = {
    {TOKEN, SECRET, PRIVILEGE_ALL},
    {"bench@pbs", SECRET, PRIVILEGE_ALL},
    {"bench@pbs!other", SECRET, PRIVILEGE_ALL},
    {"other@pbs!ci", SECRET, PRIVILEGE_ALL},
    {"some@pbs!backup", SECRET, PRIVILEGE_BACKUP},
    {"some@pbs!read", SECRET, PRIVILEGE_READ},
    {"some@pbs!nothing", SECRET, 0},
};

/* Starts a server on a new datastore called store1, or on the one that is there. */
UNUSED static void start_serve(const struct serve_limits *limits, const struct faults *faults)
{
    char path[PATH_MAX];
    if (!serve_dir)
        serve_dir = temp_dir_make();
    snprintf(path, sizeof path, "%s/store", serve_dir);
    struct serve_options options = {
        .datastore = path,
        .name = "store1",
        .accounts = serve_accounts,
        .account_count = sizeof serve_accounts / sizeof *serve_accounts,
        .sync = SYNC_NONE,
        .threads = &flow_threads,
    };
    if (limits)
        options.limits = *limits;
    if (faults)
        options.faults = *faults;
    if (serve_start(&options, &serve, &err) != OK)
        assert_string_equal(err.text, "");
}

UNUSED static int serve_setup(void **state)
{
    (void)state;
    start_serve(NULL, NULL);
    return 0;
}

UNUSED static int serve_teardown(void **state)
{
    (void)state;
    serve_stop(serve);
    serve = NULL;
    temp_dir_remove(serve_dir);
    serve_dir = NULL;
    return 0;
}

/* "DATASTORE/NAME" in one of 8 static buffers. */
UNUSED static const char *stored(const char *name)
{
    static char paths[8][PATH_MAX];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, PATH_MAX, "%s/store/%s", serve_dir, name);
    return path;
}

UNUSED static bool is_stored(const char *name)
{
    struct stat st;
    return lstat(stored(name), &st) == 0;
}

/* Until `name` is gone: connections end a moment after the client has closed them. */
UNUSED static bool goes_away(const char *name)
{
    for (int i = 0; i < 500 && is_stored(name); i++)
        poll(NULL, 0, 10);
    return !is_stored(name);
}

UNUSED static void read_stored(const char *name, struct buffer *out)
{
    *out = BUFFER_INIT(1 << 24);
    assert_int_equal(buffer_reserve(out, 1 << 24, NULL), OK);
    FILE *f = fopen(stored(name), "re");
    assert_non_null(f);
    out->size = fread(out->data, 1, 1 << 24, f);
    fclose(f);
}

/* ---- the client ---- */

struct peer {
    int fd;
    SSL_CTX *context;
    SSL *ssl;
    struct buffer behind; /* bytes that came behind a reply */
    struct h2_client *h2;
    bool ended;
};

/* A connection that gives up after 20 seconds without a byte. */
UNUSED static int connect_tcp(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)serve_port(serve))};
    const struct timeval patience = {.tv_sec = 20};
    const int on = 1;
    inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

UNUSED static void peer_open(struct peer *p)
{
    *p = (struct peer){.fd = connect_tcp(), .behind = BUFFER_INIT(1 << 24)};
    p->context = SSL_CTX_new(TLS_client_method());
    assert_non_null(p->context);
    p->ssl = SSL_new(p->context);
    SSL_set_fd(p->ssl, p->fd);
    ERR_clear_error();
    assert_int_equal(SSL_connect(p->ssl), 1);
}

UNUSED static void peer_close(struct peer *p)
{
    h2_client_free(p->h2);
    SSL_free(p->ssl);
    SSL_CTX_free(p->context);
    buffer_deinit(&p->behind);
    if (p->fd >= 0)
        close(p->fd);
    *p = (struct peer){.fd = -1};
}

UNUSED static void peer_write(struct peer *p, const void *data, size_t size)
{
    size_t written = 0;
    const uint8_t *at = data;
    while (size > 0 && !p->ended) {
        ERR_clear_error();
        if (SSL_write_ex(p->ssl, at, size, &written) != 1) {
            p->ended = true;
            break;
        }
        at += written;
        size -= written;
    }
}

/* Some bytes; 0: the end. */
UNUSED static size_t peer_read(struct peer *p, void *out, size_t size)
{
    size_t got = 0;
    ERR_clear_error();
    if (p->ended || SSL_read_ex(p->ssl, out, size, &got) != 1) {
        p->ended = true;
        return 0;
    }
    return got;
}

/* ---- HTTP/1.1 ---- */

struct plain_reply {
    int status; /* 0: the connection ended */
    char type[100];
    struct buffer body; /* ends with a NUL that does not count */
    bool closes;
    char headers[4096]; /* "name: value\n" */
};

UNUSED static void read_reply(struct peer *p, struct plain_reply *out)
{
    struct http_head head;
    struct http_body body;
    uint8_t bytes[4096];
    size_t size = 0, used = 0;
    *out = (struct plain_reply){.body = BUFFER_INIT(1 << 26)};
    http_head_init(&head, HTTP_RESPONSE);
    if (p->behind.size > 0) {
        size = p->behind.size < sizeof bytes ? p->behind.size : sizeof bytes;
        assert_true(size == p->behind.size);
        memcpy(bytes, p->behind.data, size);
        buffer_clear(&p->behind);
    }
    for (;;) {
        if (size > 0)
            assert_int_equal(http_head_feed(&head, bytes, size, &used, &err), OK);
        if (head.complete)
            break;
        size = peer_read(p, bytes, sizeof bytes);
        if (size == 0) {
            http_head_deinit(&head);
            return;
        }
    }
    out->status = head.status;
    out->closes = !http_head_keeps_alive(&head);
    const char *type = http_head_find(&head, "content-type");
    snprintf(out->type, sizeof out->type, "%s", type ? type : "");
    size_t text_size = 0;
    for (size_t i = 0; i < head.field_count && text_size < sizeof out->headers; i++)
        text_size += (size_t)snprintf(out->headers + text_size, sizeof out->headers - text_size, "%s: %s\n",
                                      head.fields[i].name, head.fields[i].value);
    if (head.status == 101) {
        assert_int_equal(buffer_append(&p->behind, bytes + used, size - used, NULL), OK);
        http_head_deinit(&head);
        return;
    }
    assert_int_equal(http_body_init(&body, &head, 1 << 26, &err), OK);
    while (!body.complete) {
        const uint8_t *piece;
        size_t piece_size, taken;
        if (used == size) {
            size = peer_read(p, bytes, sizeof bytes);
            used = 0;
            if (size == 0) {
                assert_int_equal(http_body_end(&body, &err), OK);
                break;
            }
        }
        assert_int_equal(http_body_feed(&body, bytes + used, size - used, &taken, &piece, &piece_size, &err), OK);
        used += taken;
        assert_int_equal(buffer_append(&out->body, piece, piece_size, NULL), OK);
    }
    assert_int_equal(buffer_append(&p->behind, bytes + used, size - used, NULL), OK);
    assert_int_equal(buffer_append_u8(&out->body, 0, NULL), OK);
    out->body.size--;
    http_head_deinit(&head);
}

/* One request as it is written, and its reply; the body is forgotten. Returns the status. */
UNUSED static int ask_raw(struct peer *p, const char *text)
{
    struct plain_reply reply;
    peer_write(p, text, strlen(text));
    read_reply(p, &reply);
    buffer_deinit(&reply.body);
    return reply.status;
}

/* The same over a new connection. */
UNUSED static int ask_once(const char *text)
{
    struct peer p;
    peer_open(&p);
    int status = ask_raw(&p, text);
    peer_close(&p);
    return status;
}

/* `head`: further lines. */
UNUSED static void ask(struct peer *p, const char *method, const char *target, const char *head, const void *body,
                       size_t body_size, struct plain_reply *out)
{
    char text[8192];
    int size = snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: localhost:8007\r\n%s", method, target, head);
    if (body)
        size += snprintf(text + size, sizeof text - (size_t)size, "Content-Length: %zu\r\n", body_size);
    size += snprintf(text + size, sizeof text - (size_t)size, "\r\n");
    peer_write(p, text, (size_t)size);
    if (body)
        peer_write(p, body, body_size);
    read_reply(p, out);
}

/* ---- sessions ---- */

#define BACKUP_QUERY(id, time) "backup-id=" id "&backup-time=" #time "&backup-type=host&store=store1"

/* Asks for a session as `auth` ("ID:SECRET"); returns the status, the text of a refusal goes to `err`. */
UNUSED static int upgrade_as(struct peer *p, enum session_kind kind, const char *query, const char *auth)
{
    char text[8192];
    struct plain_reply reply;
    snprintf(text, sizeof text,
             "GET /api2/json/%s?%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: PBSAPIToken %s\r\n"
             "Connection: upgrade\r\nUpgrade: %s\r\n\r\n",
             kind == SESSION_BACKUP ? "backup" : "reader", query, auth, session_protocol(kind));
    peer_write(p, text, strlen(text));
    read_reply(p, &reply);
    snprintf(err.text, sizeof err.text, "%s", reply.body.data ? (const char *)reply.body.data : "");
    buffer_deinit(&reply.body);
    if (reply.status == 101) {
        const struct h2_client_options options = {0};
        assert_int_equal(h2_client_new(&options, &p->h2, NULL), OK);
        assert_int_equal(h2_client_feed(p->h2, p->behind.data, p->behind.size, &err), OK);
        buffer_clear(&p->behind);
    }
    return reply.status;
}

UNUSED static int open_as(struct peer *p, enum session_kind kind, const char *query, const char *auth)
{
    peer_open(p);
    int status = upgrade_as(p, kind, query, auth);
    if (status != 101)
        peer_close(p);
    return status;
}

/* Tries again while the group is locked: the server may not have seen the end of the last session yet. */
UNUSED static void open_backup(struct peer *p, const char *query)
{
    int status = open_as(p, SESSION_BACKUP, query, TOKEN ":" SECRET);
    for (int i = 0; i < 200 && status == 400 && strstr(err.text, "lock"); i++) {
        poll(NULL, 0, 20);
        status = open_as(p, SESSION_BACKUP, query, TOKEN ":" SECRET);
    }
    if (status != 101)
        print_error("%s\n", err.text);
    assert_int_equal(status, 101);
}

UNUSED static void open_reader(struct peer *p, const char *query)
{
    int status = open_as(p, SESSION_READER, query, TOKEN ":" SECRET);
    if (status != 101)
        print_error("%s\n", err.text);
    assert_int_equal(status, 101);
}

/* Sends what is to be sent, and takes what comes, once. false: the connection has ended. */
UNUSED static bool pump(struct peer *p)
{
    uint8_t bytes[4096];
    const uint8_t *out;
    size_t size;
    for (;;) {
        if (h2_client_output(p->h2, &out, &size, &err) != OK || size == 0)
            break;
        peer_write(p, out, size);
        h2_client_sent(p->h2, size);
    }
    size = peer_read(p, bytes, sizeof bytes);
    if (size == 0 || h2_client_feed(p->h2, bytes, size, &err) != OK) {
        h2_client_lose(p->h2, NULL);
        return false;
    }
    return true;
}

struct answer {
    int status; /* 0: none came */
    bool json;
    struct buffer body; /* ends with a NUL that does not count */
};

UNUSED static void take_answer(struct h2_response *r, struct answer *out)
{
    *out = (struct answer){.status = r->status == OK ? r->http_status : 0, .json = r->json, .body = r->body};
    r->body = (struct buffer){0};
    out->body.limit = 0; /* it may be full */
    assert_int_equal(buffer_append_u8(&out->body, 0, NULL), OK);
    out->body.size--;
    h2_response_free(r);
}

UNUSED static int32_t send_call(struct peer *p, const char *method, const char *path, const char *type,
                                const struct slice *body)
{
    const struct h2_request request = {.method = method,
                                       .path = path,
                                       .content_type = type,
                                       .body = body,
                                       .body_count = body ? 1 : 0,
                                       .response_size_max = 1 << 25};
    int32_t id = 0;
    enum status status = h2_client_submit(p->h2, &request, &id, &err);
    assert_true(status == OK || status == ERR_NETWORK); /* 0: the server takes no more */
    return id;
}

/* The next answer, of whichever call. */
UNUSED static void next_answer(struct peer *p, struct answer *out)
{
    struct h2_response *r;
    while (!(r = h2_client_next(p->h2)))
        pump(p);
    take_answer(r, out);
}

/* A call with any body; its answer is the caller's to free. */
UNUSED static void call(struct peer *p, const char *method, const char *path, const char *type, const void *body,
                        size_t size, struct answer *out)
{
    const struct slice slice = {.data = body, .size = size};
    if (p->ended) {
        *out = (struct answer){0};
        return;
    }
    if (send_call(p, method, path, type, body ? &slice : NULL) != 0)
        next_answer(p, out);
    else
        *out = (struct answer){0};
}

/* Only the status. */
UNUSED static int status_of(struct peer *p, const char *method, const char *path, const char *type, const void *body,
                            size_t size)
{
    struct answer a;
    call(p, method, path, type, body, size, &a);
    snprintf(err.text, sizeof err.text, "%.2000s", a.body.data ? (const char *)a.body.data : "");
    buffer_deinit(&a.body);
    return a.status;
}

UNUSED static int get(struct peer *p, const char *path)
{
    return status_of(p, "GET", path, NULL, NULL, 0);
}

UNUSED static int post(struct peer *p, const char *path)
{
    return status_of(p, "POST", path, NULL, NULL, 0);
}

UNUSED static int put_json(struct peer *p, const char *path, const char *json)
{
    return status_of(p, "PUT", path, WIRE_TYPE_JSON, json, strlen(json));
}

/* The answer is exactly this. */
UNUSED static void assert_says(struct peer *p, const char *method, const char *path, const char *expected)
{
    struct answer a;
    call(p, method, path, NULL, NULL, 0, &a);
    if (a.status != 200)
        print_error("%s %s: %d %s\n", method, path, a.status, a.body.data ? (const char *)a.body.data : "");
    assert_int_equal(a.status, 200);
    assert_string_equal((const char *)a.body.data, expected);
    buffer_deinit(&a.body);
}

/* ---- chunks and snapshots ---- */

struct made_chunk {
    char digest[DIGEST_TEXT_SIZE];
    struct buffer blob;
    size_t size;
};

/* A plain blob of these bytes. */
UNUSED static void make_chunk(const void *data, size_t size, struct made_chunk *out)
{
    struct digest digest;
    const struct slice slice = {.data = data, .size = size};
    struct blob_context *context;
    *out = (struct made_chunk){.size = size, .blob = BUFFER_INIT(1 << 25)};
    digest_of(data, size, &digest);
    digest_text(&digest, out->digest);
    assert_int_equal(blob_context_new(&context, NULL), OK);
    assert_int_equal(blob_seal(context, &slice, 1, &out->blob, NULL), OK);
    blob_context_free(context);
}

UNUSED static int upload_chunk(struct peer *p, const char *call_name, int wid, const struct made_chunk *c)
{
    char path[300];
    snprintf(path, sizeof path, "/%s?digest=%.64s&encoded-size=%zu&size=%zu&wid=%d", call_name, c->digest, c->blob.size,
             c->size, wid);
    return status_of(p, "POST", path, WIRE_TYPE_BINARY, c->blob.data, c->blob.size);
}

UNUSED static int append_one(struct peer *p, const char *call_name, int wid, const char *digest, long long offset)
{
    char json[300];
    snprintf(json, sizeof json, "{\"digest-list\":[\"%.64s\"],\"offset-list\":[%lld],\"wid\":%d}", digest, offset, wid);
    return put_json(p, call_name, json);
}

/* Of dynamic entries. */
UNUSED static void index_csum(const uint64_t *ends, const char *const *digests, size_t count,
                              char out[DIGEST_TEXT_SIZE])
{
    struct digest_state *state;
    struct digest csum;
    assert_int_equal(digest_new(&state, NULL), OK);
    digest_begin(state);
    for (size_t i = 0; i < count; i++) {
        struct index_entry e = {.end = ends[i]};
        uint8_t bytes[DYNAMIC_ENTRY_SIZE];
        assert_true(digest_parse(digests[i], 64, &e.digest));
        dynamic_index_entry_bytes(&e, bytes);
        digest_update(state, bytes, sizeof bytes);
    }
    digest_finish(state, &csum);
    digest_free(state);
    digest_text(&csum, out);
}

/* A plain blob with the right checksum around any bytes; the caller frees. */
UNUSED static void plain_blob(const void *data, size_t size, struct buffer *out)
{
    *out = BUFFER_INIT(1 << 25);
    static const uint8_t magic[8] = {0x42, 0xab, 0x38, 0x07, 0xbe, 0x83, 0x70, 0xa1};
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        crc ^= ((const uint8_t *)data)[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    assert_int_equal(buffer_append(out, magic, sizeof magic, NULL), OK);
    assert_int_equal(buffer_append_u32le(out, ~crc, NULL), OK);
    assert_int_equal(buffer_append(out, data, size, NULL), OK);
}

UNUSED static int upload_blob(struct peer *p, const char *name, const struct buffer *blob)
{
    char path[400];
    snprintf(path, sizeof path, "/blob?encoded-size=%zu&file-name=%s", blob->size, name);
    return status_of(p, "POST", path, WIRE_TYPE_BINARY, blob->data, blob->size);
}

UNUSED static int upload_json(struct peer *p, const char *json)
{
    struct buffer blob;
    plain_blob(json, strlen(json), &blob);
    int status = upload_blob(p, "index.json.blob", &blob);
    buffer_deinit(&blob);
    return status;
}

/* The manifest of a snapshot with at most one file. */
UNUSED static void manifest_json(const char *id, long long time, const char *file, size_t size, const char *csum,
                                 char *out, size_t out_size)
{
    char entry[400] = "";
    if (file)
        snprintf(entry, sizeof entry, "{\"crypt-mode\":\"none\",\"csum\":\"%s\",\"filename\":\"%s\",\"size\":%zu}",
                 csum, file, size);
    snprintf(out, out_size,
             "{\"backup-id\":\"%s\",\"backup-time\":%lld,\"backup-type\":\"host\",\"files\":[%s],\"signature\":null,"
             "\"unprotected\":{}}",
             id, time, entry);
}

/* A finished snapshot with the chunks "TEXT" and "TEXT2" in root.pxar.didx. */
UNUSED static void make_snapshot(const char *query, const char *id, long long time, const char *text)
{
    struct peer p;
    struct made_chunk a, b;
    char second[256], csum[DIGEST_TEXT_SIZE], path[300], json[2048];
    snprintf(second, sizeof second, "%s2", text);
    make_chunk(text, strlen(text), &a);
    make_chunk(second, strlen(second), &b);
    open_backup(&p, query);
    assert_says(&p, "POST", "/dynamic_index?archive-name=root.pxar.didx", "{\"data\":1}");
    assert_int_equal(upload_chunk(&p, "dynamic_chunk", 1, &a), 200);
    assert_int_equal(upload_chunk(&p, "dynamic_chunk", 1, &b), 200);
    assert_int_equal(append_one(&p, "/dynamic_index", 1, a.digest, 0), 200);
    assert_int_equal(append_one(&p, "/dynamic_index", 1, b.digest, (long long)a.size), 200);
    const uint64_t ends[] = {a.size, a.size + b.size};
    index_csum(ends, (const char *const[]){a.digest, b.digest}, 2, csum);
    snprintf(path, sizeof path, "/dynamic_close?chunk-count=2&csum=%s&size=%zu&wid=1", csum, a.size + b.size);
    assert_int_equal(post(&p, path), 200);
    manifest_json(id, time, "root.pxar.didx", a.size + b.size, csum, json, sizeof json);
    assert_int_equal(upload_json(&p, json), 200);
    if (post(&p, "/finish") != 200)
        assert_string_equal(err.text, "");
    peer_close(&p);
    buffer_deinit(&a.blob);
    buffer_deinit(&b.blob);
}

#endif
