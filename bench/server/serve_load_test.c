/* Many at once: uploads of one session, sessions of one server, more memory than there is, an end in the middle. */
#include "testing/testing.h"

#include "server/serve_for_test.h"

enum { UPLOADS = 200, CHUNK_SIZE = 4 << 20, SESSIONS = 50, BUDGET = 64 << 20 };

static int setup_small(void **state)
{
    (void)state;
    const struct serve_limits limits = {.body_memory = BUDGET};
    start_serve(&limits, NULL);
    return 0;
}

/* 72: 800 MiB under way at once would be too much for the windows, and for the budget. */
static void test_200_uploads_of_4_mib_interleaved(void **state)
{
    (void)state;
    struct peer p;
    struct answer a;
    struct made_chunk chunk;
    char path[300], expected[100];
    uint8_t *bytes = make_splitmix64(CHUNK_SIZE, 3);
    make_chunk(bytes, CHUNK_SIZE, &chunk);
    free(bytes);
    const struct slice body = {.data = chunk.blob.data, .size = chunk.blob.size};
    snprintf(path, sizeof path, "/dynamic_chunk?digest=%s&encoded-size=%zu&size=%d&wid=1", chunk.digest,
             chunk.blob.size, CHUNK_SIZE);
    snprintf(expected, sizeof expected, "{\"data\":\"%s\"}", chunk.digest);
    open_backup(&p, BACKUP_QUERY("demo", 1700000000));
    assert_says(&p, "POST", "/dynamic_index?archive-name=a.didx", "{\"data\":1}");
    for (int i = 0; i < UPLOADS; i++)
        send_call(&p, "POST", path, WIRE_TYPE_BINARY, &body);
    for (int i = 0; i < UPLOADS; i++) {
        next_answer(&p, &a);
        assert_int_equal(a.status, 200);
        assert_string_equal((const char *)a.body.data, expected);
        buffer_deinit(&a.body);
    }
    struct serve_stats stats;
    serve_stats(serve, &stats);
    assert_int_equal(stats.chunks, UPLOADS);
    assert_int_equal(stats.chunks_known, UPLOADS - 1);
    assert_true(stats.memory_peak > CHUNK_SIZE && stats.memory_peak <= BUDGET);
    peer_close(&p);
    buffer_deinit(&chunk.blob);
}

/* What is sent is much more than a connection holds: it must go on whenever there is room again. */
static void test_large_downloads_do_not_stall(void **state)
{
    (void)state;
    struct peer p;
    struct answer a;
    struct made_chunk chunk;
    char path[300], csum[DIGEST_TEXT_SIZE], json[2048];
    uint8_t *bytes = make_splitmix64(12 << 20, 3);
    make_chunk(bytes, 12 << 20, &chunk);
    free(bytes);
    open_backup(&p, BACKUP_QUERY("demo", 1700000000));
    assert_says(&p, "POST", "/dynamic_index?archive-name=a.didx", "{\"data\":1}");
    assert_int_equal(upload_chunk(&p, "dynamic_chunk", 1, &chunk), 200);
    assert_int_equal(append_one(&p, "/dynamic_index", 1, chunk.digest, 0), 200);
    const uint64_t ends[] = {12 << 20};
    index_csum(ends, (const char *const[]){chunk.digest}, 1, csum);
    snprintf(path, sizeof path, "/dynamic_close?chunk-count=1&csum=%s&size=%d&wid=1", csum, 12 << 20);
    assert_int_equal(post(&p, path), 200);
    manifest_json("demo", 1700000000, "a.didx", 12 << 20, csum, json, sizeof json);
    assert_int_equal(upload_json(&p, json), 200);
    assert_int_equal(post(&p, "/finish"), 200);
    peer_close(&p);
    open_reader(&p, BACKUP_QUERY("demo", 1700000000));
    assert_int_equal(get(&p, "/download?file-name=a.didx"), 200);
    snprintf(path, sizeof path, "/chunk?digest=%.64s", chunk.digest);
    for (int i = 0; i < 40; i++) /* more than files that may be open for it */
        send_call(&p, "GET", path, NULL, NULL);
    for (int i = 0; i < 40; i++) {
        next_answer(&p, &a);
        assert_int_equal(a.status, 200);
        assert_int_equal(a.body.size, chunk.blob.size);
        assert_memory_equal(a.body.data, chunk.blob.data, a.body.size);
        buffer_deinit(&a.body);
    }
    peer_close(&p);
    buffer_deinit(&chunk.blob);
}

/* ---- 50 sessions ---- */

struct client {
    int number;
    struct thread *thread;
    bool good;
};

static bool back_up(const struct client *c, struct peer *p, const struct made_chunk *chunks)
{
    char csum[DIGEST_TEXT_SIZE], path[300], json[2048], id[20];
    uint64_t end = 0, ends[4];
    const char *digests[4];
    if (post(p, "/dynamic_index?archive-name=root.pxar.didx") != 200)
        return false;
    for (int i = 0; i < 4; i++) {
        if (upload_chunk(p, "dynamic_chunk", 1, &chunks[i]) != 200 ||
            append_one(p, "/dynamic_index", 1, chunks[i].digest, (long long)end) != 200)
            return false;
        ends[i] = end += chunks[i].size;
        digests[i] = chunks[i].digest;
    }
    index_csum(ends, digests, 4, csum);
    snprintf(path, sizeof path, "/dynamic_close?chunk-count=4&csum=%s&size=%llu&wid=1", csum, (unsigned long long)end);
    if (post(p, path) != 200)
        return false;
    snprintf(id, sizeof id, "g%d", c->number);
    manifest_json(id, 1700000000, "root.pxar.didx", (size_t)end, csum, json, sizeof json);
    return upload_json(p, json) == 200 && post(p, "/finish") == 200;
}

static bool read_again(struct peer *p, const struct made_chunk *chunks)
{
    struct answer a;
    char path[200];
    if (get(p, "/download?file-name=root.pxar.didx") != 200)
        return false;
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "/chunk?digest=%.64s", chunks[i].digest);
        call(p, "GET", path, NULL, NULL, 0, &a);
        bool same = a.status == 200 && a.body.size == chunks[i].blob.size &&
                    memcmp(a.body.data, chunks[i].blob.data, a.body.size) == 0;
        buffer_deinit(&a.body);
        if (!same)
            return false;
    }
    return true;
}

/* One chunk is everybody's, three are its own. */
static void client_run(void *argument)
{
    struct client *c = argument;
    struct made_chunk chunks[4];
    struct peer p;
    char query[200];
    for (int i = 0; i < 4; i++) {
        uint8_t *bytes = make_splitmix64(100000, i == 0 ? 1 : (uint64_t)(100 * c->number + i + 1000));
        make_chunk(bytes, 100000, &chunks[i]);
        free(bytes);
    }
    snprintf(query, sizeof query, "backup-id=g%d&backup-time=1700000000&backup-type=host&store=store1", c->number);
    if (open_as(&p, SESSION_BACKUP, query, TOKEN ":" SECRET) == 101) {
        c->good = back_up(c, &p, chunks);
        peer_close(&p);
    }
    if (c->good && open_as(&p, SESSION_READER, query, TOKEN ":" SECRET) == 101) {
        c->good = read_again(&p, chunks);
        peer_close(&p);
    }
    for (int i = 0; i < 4; i++)
        buffer_deinit(&chunks[i].blob);
}

static void test_50_sessions_of_different_groups(void **state)
{
    (void)state;
    struct client clients[SESSIONS] = {0};
    for (int i = 0; i < SESSIONS; i++) {
        clients[i].number = i;
        assert_int_equal(flow_threads.start("client", client_run, &clients[i], &clients[i].thread, &err), OK);
    }
    for (int i = 0; i < SESSIONS; i++)
        flow_threads.join(clients[i].thread);
    struct serve_stats stats;
    serve_stats(serve, &stats);
    for (int i = 0; i < SESSIONS; i++) {
        char name[100];
        snprintf(name, sizeof name, "host/g%d/2023-11-14T22:13:20Z/index.json.blob", i);
        assert_true(clients[i].good && is_stored(name));
    }
    assert_int_equal(stats.sessions_finished, SESSIONS);
    assert_int_equal(stats.sessions_reader, SESSIONS);
    assert_int_equal(stats.chunks, 4 * SESSIONS);
    assert_int_equal(stats.chunks_known, SESSIONS - 1);
}

/* ---- the end ---- */

static void hammer(void *argument)
{
    struct client *c = argument;
    struct peer p;
    char query[200];
    uint8_t *bytes = make_constant(1 << 20, 1);
    snprintf(query, sizeof query, "backup-id=g%d&backup-time=1700000000&backup-type=host&store=store1", c->number);
    if (open_as(&p, SESSION_BACKUP, query, TOKEN ":" SECRET) == 101) {
        while (status_of(&p, "POST", "/speedtest", NULL, bytes, 1 << 20) == 200)
            c->good = true;
        peer_close(&p);
    }
    free(bytes);
}

static void test_a_stop_in_the_middle(void **state)
{
    (void)state;
    struct client clients[8] = {0};
    struct serve_stats stats;
    for (int i = 0; i < 8; i++) {
        clients[i].number = i;
        assert_int_equal(flow_threads.start("client", hammer, &clients[i], &clients[i].thread, &err), OK);
    }
    for (int i = 0; i < 1000; i++) {
        serve_stats(serve, &stats);
        if (stats.requests_h2 >= 40 && stats.sessions_backup == 8)
            break;
        poll(NULL, 0, 10);
    }
    assert_true(stats.requests_h2 >= 40 && stats.sessions_backup == 8);
    uint64_t begin = clock_monotonic_ns();
    serve_stop(serve);
    serve = NULL;
    assert_true(clock_monotonic_ns() - begin < UINT64_C(10000000000));
    for (int i = 0; i < 8; i++) {
        char name[100];
        flow_threads.join(clients[i].thread);
        snprintf(name, sizeof name, "host/g%d", i);
        assert_false(is_stored(name));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_200_uploads_of_4_mib_interleaved, setup_small, serve_teardown),
        cmocka_unit_test_setup_teardown(test_large_downloads_do_not_stall, serve_setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_50_sessions_of_different_groups, serve_setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_a_stop_in_the_middle, serve_setup, serve_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
