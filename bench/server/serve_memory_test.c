/* What clients can make a server hold: memory and descriptors, as bounds that do not grow with what they send. */
#include "testing/testing.h"

#include "server/serve_for_test.h"

#include <dirent.h>

enum { BUDGET = 16 << 20, TABLES = 96 << 20 };

/* Freed memory stays with a sanitizer for a while. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

static int setup(void **state)
{
    (void)state;
    const struct serve_limits limits = {.body_memory = BUDGET, .table_memory = TABLES};
    start_serve(&limits, NULL);
    return 0;
}

/* Of this process: the server is in it, and so is the client. */
static size_t resident(void)
{
    size_t total = 0, pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%zu %zu", &total, &pages), 2);
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void assert_grown_less(size_t before, size_t bound)
{
    size_t now = resident();
    size_t grown = now > before ? now - before : 0;
    if (grown >= bound)
        print_error("%zu MiB more, allowed are %zu\n", grown >> 20, bound >> 20);
    if (!SANITIZED)
        assert_true(grown < bound);
}

static unsigned descriptors(void)
{
    unsigned count = 0;
    DIR *dir = opendir("/proc/self/fd");
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static void wait_for_received(uint64_t least)
{
    struct serve_stats stats = {0};
    for (int i = 0; i < 2000 && stats.received < least; i++) {
        poll(NULL, 0, 10);
        serve_stats(serve, &stats);
    }
    assert_true(stats.received >= least);
}

static void wait_for_calls(uint64_t least)
{
    struct serve_stats stats = {0};
    for (int i = 0; i < 2000 && stats.requests_h2 < least; i++) {
        poll(NULL, 0, 10);
        serve_stats(serve, &stats);
    }
    assert_true(stats.requests_h2 >= least);
}

/* Sends what there is to send, but not more than `limit` bytes; takes nothing. Returns how many. */
static size_t send_some(struct peer *p, size_t limit)
{
    const uint8_t *out;
    size_t size, sum = 0;
    while (sum < limit && h2_client_output(p->h2, &out, &size, &err) == OK && size > 0) {
        if (size > limit - sum)
            size = limit - sum;
        peer_write(p, out, size);
        h2_client_sent(p->h2, size);
        sum += size;
    }
    return sum;
}

/* ---- uploads under way ---- */

enum { UPLOADS = 150, UPLOAD_SIZE = 200000 };

static void test_half_sent_uploads_share_one_file(void **state)
{
    (void)state;
    struct peer p;
    struct answer a;
    char path[300];
    static struct made_chunk chunks[UPLOADS];
    static struct slice bodies[UPLOADS];
    open_backup(&p, BACKUP_QUERY("demo", 1700000000));
    assert_says(&p, "POST", "/dynamic_index?archive-name=a.didx", "{\"data\":1}");
    unsigned before = descriptors();
    for (int i = 0; i < UPLOADS; i++) {
        uint8_t *bytes = make_splitmix64(UPLOAD_SIZE, (uint64_t)i);
        make_chunk(bytes, UPLOAD_SIZE, &chunks[i]);
        free(bytes);
        bodies[i] = (struct slice){.data = chunks[i].blob.data, .size = chunks[i].blob.size};
        snprintf(path, sizeof path, "/dynamic_chunk?digest=%.64s&encoded-size=%zu&size=%d&wid=1", chunks[i].digest,
                 chunks[i].blob.size, UPLOAD_SIZE);
        send_call(&p, "POST", path, WIRE_TYPE_BINARY, &bodies[i]);
    }
    struct serve_stats stats;
    serve_stats(serve, &stats);
    size_t sent = send_some(&p, 25 << 20);
    assert_int_equal(sent, 25 << 20);
    wait_for_received(stats.received + (25 << 20));
    serve_stats(serve, &stats);
    assert_int_equal(stats.chunks, 0); /* all of them are under way */
    assert_true(stats.memory_peak <= BUDGET);
    assert_true(descriptors() <= before + 2);
    for (int i = 0; i < UPLOADS; i++) {
        next_answer(&p, &a);
        if (a.status != 200)
            print_error("%s\n", (const char *)a.body.data);
        assert_int_equal(a.status, 200);
        buffer_deinit(&a.body);
    }
    serve_stats(serve, &stats);
    assert_int_equal(stats.chunks, UPLOADS);
    peer_close(&p);
    for (int i = 0; i < UPLOADS; i++)
        buffer_deinit(&chunks[i].blob);
}

enum { LOGS = 10, LOG_SENT = 15 << 20 };

static void test_half_sent_logs_cost_no_memory_beyond_the_budget(void **state)
{
    (void)state;
    struct peer peers[LOGS];
    uint8_t *bytes = make_constant(LOG_SENT, 7);
    static const char head[] =
        "POST /api2/json/admin/datastore/store1/upload-backup-log?backup-id=demo&backup-time=1700000000&"
        "backup-type=host HTTP/1.1\r\nHost: x\r\n" AUTHORIZATION "Content-Length: 16777216\r\n\r\n";
    size_t before = resident();
    for (int i = 0; i < LOGS; i++) {
        peer_open(&peers[i]);
        peer_write(&peers[i], head, sizeof head - 1);
        peer_write(&peers[i], bytes, LOG_SENT);
    }
    wait_for_received((uint64_t)LOGS * LOG_SENT);
    assert_grown_less(before, BUDGET + (48 << 20));
    for (int i = 0; i < LOGS; i++)
        peer_close(&peers[i]);
    free(bytes);
}

/* ---- what was looked at ---- */

enum { SESSIONS = 20, CHUNK_SIZE = 16 << 20 };

static void test_idle_sessions_keep_nothing_of_the_chunks_they_sent(void **state)
{
    (void)state;
    struct peer peers[SESSIONS];
    struct made_chunk chunk;
    uint8_t *zeros = make_constant(CHUNK_SIZE, 0);
    make_chunk(zeros, CHUNK_SIZE, &chunk);
    free(zeros);
    size_t before = resident();
    for (int i = 0; i < SESSIONS; i++) {
        char query[200];
        snprintf(query, sizeof query, "backup-id=g%d&backup-time=1700000000&backup-type=host&store=store1", i);
        open_backup(&peers[i], query);
        assert_says(&peers[i], "POST", "/dynamic_index?archive-name=a.didx", "{\"data\":1}");
        assert_int_equal(upload_chunk(&peers[i], "dynamic_chunk", 1, &chunk), 200);
    }
    assert_grown_less(before, 100 << 20);
    for (int i = 0; i < SESSIONS; i++)
        peer_close(&peers[i]);
    buffer_deinit(&chunk.blob);
}

/* ---- what is sent ---- */

static void test_speed_tests_that_nobody_reads_cost_nothing(void **state)
{
    (void)state;
    struct peer p;
    make_snapshot(BACKUP_QUERY("demo", 1700000000), "demo", 1700000000, "text");
    open_reader(&p, BACKUP_QUERY("demo", 1700000000));
    assert_int_equal(get(&p, "/"), 200); /* how many streams there may be is known now */
    struct serve_stats stats;
    serve_stats(serve, &stats);
    size_t before = resident();
    for (int i = 0; i < 200; i++)
        send_call(&p, "GET", "/speedtest", NULL, NULL);
    send_some(&p, SIZE_MAX);
    wait_for_calls(stats.requests_h2 + 200);
    assert_grown_less(before, 64 << 20);
    peer_close(&p);
}

enum { DOWNLOADS = 12, DECODED_SIZE = 30 << 20 };

static void make_blob_snapshot(void)
{
    struct peer p;
    struct made_chunk blob;
    struct digest csum;
    char csum_text[DIGEST_TEXT_SIZE], json[2048];
    uint8_t *zeros = make_constant(DECODED_SIZE, 0);
    make_chunk(zeros, DECODED_SIZE, &blob);
    free(zeros);
    digest_of(blob.blob.data, blob.blob.size, &csum);
    open_backup(&p, BACKUP_QUERY("demo", 1700000000));
    assert_int_equal(upload_blob(&p, "z.blob", &blob.blob), 200);
    manifest_json("demo", 1700000000, "z.blob", blob.blob.size, digest_text(&csum, csum_text), json, sizeof json);
    assert_int_equal(upload_json(&p, json), 200);
    assert_int_equal(post(&p, "/finish"), 200);
    peer_close(&p);
    buffer_deinit(&blob.blob);
}

static void test_decoded_blobs_that_nobody_reads_share_the_budget(void **state)
{
    (void)state;
    struct peer peers[DOWNLOADS];
    char byte;
    make_blob_snapshot();
    size_t before = resident();
    for (int i = 0; i < DOWNLOADS; i++) {
        static const char text[] =
            "GET /api2/json/admin/datastore/store1/download-decoded?backup-id=demo&backup-time=1700000000&"
            "backup-type=host&file-name=z.blob HTTP/1.1\r\nHost: x\r\n" AUTHORIZATION "\r\n";
        peer_open(&peers[i]);
        peer_write(&peers[i], text, sizeof text - 1);
        assert_int_equal(peer_read(&peers[i], &byte, 1), 1); /* it is decoded */
    }
    assert_grown_less(before, BUDGET + (128 << 20));
    for (int i = 0; i < DOWNLOADS; i++)
        peer_close(&peers[i]);
    /* Whoever reads gets all of it. */
    struct peer p;
    struct plain_reply reply;
    peer_open(&p);
    ask(&p, "GET",
        "/api2/json/admin/datastore/store1/download-decoded?backup-id=demo&backup-time=1700000000&"
        "backup-type=host&file-name=z.blob",
        AUTHORIZATION, NULL, 0, &reply);
    assert_int_equal(reply.status, 200);
    assert_int_equal(reply.body.size, DECODED_SIZE);
    for (size_t i = 0; i < reply.body.size; i++)
        assert_true(reply.body.data[i] == 0);
    buffer_deinit(&reply.body);
    peer_close(&p);
}

/* ---- what sessions remember ---- */

#define BASE_DIR "host/demo/2023-11-14T22:13:20Z"

static void test_declared_images_take_no_space(void **state)
{
    (void)state;
    struct peer p;
    struct stat st;
    const long long largest = 1ll << 50;
    char path[200];
    open_backup(&p, BACKUP_QUERY("demo", 1700000000));
    snprintf(path, sizeof path, "/fixed_index?archive-name=a.img.fidx&size=%lld", largest);
    assert_says(&p, "POST", path, "{\"data\":1}");
    assert_int_equal(stat(stored(BASE_DIR "/a.img.tmp_fidx"), &st), 0);
    assert_true(st.st_size <= 4096);
    /* What one image may have, all of a session's together may. */
    assert_int_equal(post(&p, "/fixed_index?archive-name=b.img.fidx&size=1"), 400);
    assert_non_null(strstr(err.text, "more than"));
    peer_close(&p);
    assert_true(goes_away(BASE_DIR));
    /* And the budget is for all sessions: one fits, a second one does not until the first is gone. */
    struct peer other;
    open_backup(&p, BACKUP_QUERY("demo", 1700000000));
    open_backup(&other, BACKUP_QUERY("other", 1700000000));
    assert_int_equal(post(&p, path), 200);
    assert_int_equal(post(&other, path), 400);
    assert_non_null(strstr(err.text, "memory"));
    assert_int_equal(post(&other, "/dynamic_index?archive-name=a.didx"), 200);
    peer_close(&p);
    assert_true(goes_away(BASE_DIR));
    assert_int_equal(post(&other, path), 200);
    peer_close(&other);
}

/* How many of `count` more indexes can be begun. */
static int begin_indexes(struct peer *p, int first, int count)
{
    char path[100];
    for (int i = first; i < first + count; i++) {
        snprintf(path, sizeof path, "/%s_index?archive-name=a%d.%cidx%s", i % 2 ? "dynamic" : "fixed", i,
                 i % 2 ? 'd' : 'f', i % 2 ? "" : "&size=9");
        if (post(p, path) != 200)
            return i - first;
    }
    return count;
}

/* Each session may have some, whatever the others do, and 256 where there is room. */
static void test_open_indexes_are_limited(void **state)
{
    (void)state;
    struct peer peers[5];
    for (int i = 0; i < 5; i++) {
        char query[200];
        snprintf(query, sizeof query, "backup-id=g%d&backup-time=1700000000&backup-type=host&store=store1", i);
        open_backup(&peers[i], query);
        assert_int_equal(begin_indexes(&peers[i], 0, 256), i < 4 ? 256 : 64);
    }
    assert_non_null(strstr(err.text, "too many open indexes"));
    peer_close(&peers[0]);
    assert_true(goes_away("host/g0"));
    assert_int_equal(begin_indexes(&peers[4], 64, 192), 192);
    for (int i = 1; i < 5; i++)
        peer_close(&peers[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_half_sent_uploads_share_one_file, setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_half_sent_logs_cost_no_memory_beyond_the_budget, setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_idle_sessions_keep_nothing_of_the_chunks_they_sent, setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_speed_tests_that_nobody_reads_cost_nothing, setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_decoded_blobs_that_nobody_reads_share_the_budget, setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_declared_images_take_no_space, setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_open_indexes_are_limited, setup, serve_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
