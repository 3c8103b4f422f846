/* Readers against the server of fake_server_for_test.h, which lets out no chunk whose index was not downloaded. */
#include "testing/testing.h"

#include "store/fake_server_for_test.h"

#include <unistd.h>

enum { CHUNKS = 50 };

struct snapshot_fixture {
    struct store *s;
    uint8_t index[INDEX_HEADER_SIZE + CHUNKS * DYNAMIC_ENTRY_SIZE];
    struct index_entry entries[CHUNKS];
    char names[CHUNKS][DIGEST_TEXT_SIZE];
    uint8_t *chunks[CHUNKS];
    struct store_hint hints[CHUNKS];
    size_t chunk_size;
};

static void setup(struct snapshot_fixture *f, size_t chunk_size)
{
    fake_start();
    f->chunk_size = chunk_size;
    dynamic_index_header_bytes(&(struct index_header){.ctime = 1}, f->index);
    for (unsigned k = 0; k < CHUNKS; k++) {
        f->entries[k].end = chunk_size * (k + 1);
        digest_of(&k, sizeof k, &f->entries[k].digest);
        dynamic_index_entry_bytes(&f->entries[k], f->index + INDEX_HEADER_SIZE + k * DYNAMIC_ENTRY_SIZE);
        f->chunks[k] = make_constant(chunk_size, (uint8_t)k);
        f->hints[k] = (struct store_hint){f->entries[k].digest, chunk_size};
        fake_add_file(digest_text(&f->entries[k].digest, f->names[k]), f->chunks[k], chunk_size);
    }
    fake_add_file("a.didx", f->index, sizeof f->index);
    fake_add_file("index.json.blob", "manifest", 8);
    fake->previous_time = 5;
    f->s = fake_store();
}

static void teardown(struct snapshot_fixture *f)
{
    store_close(f->s);
    fake_stop(false);
    for (unsigned k = 0; k < CHUNKS; k++)
        free(f->chunks[k]);
}

static struct store_reader *open_reader(struct snapshot_fixture *f)
{
    const struct snapshot_id id = {.type = "host", .id = "demo", .time = 5};
    struct store_reader *r;
    struct error err = {0};
    if (store_reader_open(f->s, &id, &r, &err) != OK)
        assert_string_equal(err.text, "");
    return r;
}

static struct store_writer *begin(struct snapshot_fixture *f)
{
    const struct snapshot_id id = {.type = "host", .id = "demo", .time = 6};
    struct store_writer *w;
    assert_int_equal(store_begin(f->s, &id, &w, NULL), OK);
    return w;
}

static void expect_chunk(struct snapshot_fixture *f, struct store_reader *r, unsigned k)
{
    struct buffer out = BUFFER_INIT(WIRE_CHUNK_ENCODED_MAX);
    struct error err = {0};
    if (store_get_chunk(r, "a.didx", &f->entries[k].digest, &out, &err) != OK)
        assert_string_equal(err.text, "");
    assert_int_equal(out.size, f->chunk_size);
    assert_memory_equal(out.data, f->chunks[k], f->chunk_size);
    buffer_deinit(&out);
}

static void test_files_come_once(void **state)
{
    (void)state;
    struct snapshot_fixture f;
    setup(&f, 100);
    struct store_reader *r = open_reader(&f);
    fake_settle();
    assert_int_equal(fake_calls(CALL_ID_DOWNLOAD), 1); /* the manifest, before anybody asked */
    struct buffer out = BUFFER_INIT(1 << 20);
    assert_int_equal(store_read_file(r, "index.json.blob", 1 << 20, &out, NULL), OK);
    assert_int_equal(out.size, 8);
    store_prefetch_file(r, "a.didx", 1 << 20);
    assert_int_equal(store_read_file(r, "a.didx", 1 << 20, &out, NULL), OK);
    assert_int_equal(store_read_file(r, "a.didx", sizeof f.index, &out, NULL), OK);
    assert_memory_equal(out.data, f.index, sizeof f.index);
    assert_int_equal(store_read_file(r, "a.didx", sizeof f.index - 1, &out, NULL), ERR_LIMIT);
    assert_int_equal(fake_calls(CALL_ID_DOWNLOAD), 2);
    expect_chunk(&f, r, 3);
    assert_int_equal(fake_calls(CALL_ID_DOWNLOAD), 2); /* its chunks are let out */
    assert_int_equal(store_read_file(r, "missing.didx", 1 << 20, &out, NULL), ERR_NOT_FOUND);
    static const char *const wrong[] = {"", "../a.didx", "a", "a.didx/", ".a.didx"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(store_read_file(r, wrong[i], 1 << 20, &out, NULL), ERR_USAGE);
    buffer_deinit(&out);
    store_reader_close(r);
    teardown(&f);
}

static void test_index_comes_before_its_chunks(void **state)
{
    (void)state;
    struct snapshot_fixture f;
    setup(&f, 100);
    struct store_reader *r = open_reader(&f);
    expect_chunk(&f, r, 0);
    expect_chunk(&f, r, 0);
    assert_int_equal(fake_calls(CALL_ID_READ_CHUNK), 2); /* not kept */
    struct buffer out = BUFFER_INIT(1 << 20);
    struct digest unknown;
    digest_of("x", 1, &unknown);
    assert_int_equal(store_get_chunk(r, "missing.didx", &unknown, &out, NULL), ERR_NOT_FOUND);
    buffer_deinit(&out);
    store_reader_close(r);
    teardown(&f);
}

static void test_previous_files_come_through_the_backup(void **state)
{
    (void)state;
    struct snapshot_fixture f;
    setup(&f, 100);
    struct store_writer *w = begin(&f);
    struct store_reader *r;
    struct buffer out = BUFFER_INIT(1 << 20);
    assert_int_equal(store_previous_open(w, false, &r, NULL), OK);
    store_prefetch_file(r, "a.didx", 1 << 20);
    assert_int_equal(store_read_file(r, "a.didx", 1 << 20, &out, NULL), OK);
    assert_memory_equal(out.data, f.index, sizeof f.index);
    assert_int_equal(fake_calls(CALL_ID_PREVIOUS), 1);
    assert_int_equal(fake->known_count, CHUNKS);
    assert_int_equal(fake->sessions, 1);
    for (unsigned k = 0; k < CHUNKS; k++)
        expect_chunk(&f, r, k);
    assert_int_equal(fake->sessions, 2);
    assert_int_equal(fake_calls(CALL_ID_DOWNLOAD), 1);
    assert_int_equal(fake_calls(CALL_ID_READ_CHUNK), CHUNKS);
    for (unsigned k = 0; k < CHUNKS; k++) /* another reader of the same stream */
        expect_chunk(&f, r, k);
    assert_int_equal(fake_calls(CALL_ID_READ_CHUNK), CHUNKS);
    store_reader_close(r);
    store_abort(w);
    buffer_deinit(&out);
    teardown(&f);
}

static void test_previous_connects_early_if_chunks_are_wanted(void **state)
{
    (void)state;
    struct snapshot_fixture f;
    setup(&f, 100);
    struct store_writer *w = begin(&f);
    struct store_reader *r;
    assert_int_equal(store_previous_open(w, true, &r, NULL), OK);
    assert_int_equal(fake->sessions, 2);
    store_prefetch_file(r, "a.didx", 1 << 20); /* closed with a request under way */
    store_reader_close(r);
    store_abort(w);
    struct net_stats stats;
    store_net_stats(f.s, &stats);
    assert_int_equal(stats.connections, 2);
    teardown(&f);
}

/* Whoever waits for its chunks does not wait for it a second time, nor holds it twice. */
static void test_an_index_that_was_read_is_not_transferred_again(void **state)
{
    (void)state;
    enum { ENTRIES = 3000 };
    static uint8_t large[INDEX_HEADER_SIZE + ENTRIES * DYNAMIC_ENTRY_SIZE];
    struct snapshot_fixture f;
    setup(&f, 100);
    memcpy(large, f.index, sizeof f.index);
    for (unsigned k = CHUNKS; k < ENTRIES; k++) {
        struct index_entry entry = {.end = 100 * (k + 1)};
        digest_of(&k, sizeof k, &entry.digest);
        dynamic_index_entry_bytes(&entry, large + INDEX_HEADER_SIZE + k * DYNAMIC_ENTRY_SIZE);
    }
    fake_add_file("large.didx", large, sizeof large);
    struct store_writer *w = begin(&f);
    struct store_reader *r;
    struct buffer out = BUFFER_INIT(1 << 20);
    assert_int_equal(store_previous_open(w, true, &r, NULL), OK);
    assert_int_equal(store_read_file(r, "large.didx", 1 << 20, &out, NULL), OK);
    assert_int_equal(out.size, sizeof large);
    assert_int_equal(fake->cut, 0);
    assert_int_equal(store_get_chunk(r, "large.didx", &f.entries[9].digest, &out, NULL), OK);
    assert_int_equal(fake_calls(CALL_ID_DOWNLOAD), 1);
    assert_int_equal(fake->cut, 1);
    assert_int_equal(store_get_chunk(r, "large.didx", &f.entries[8].digest, &out, NULL), OK);
    assert_int_equal(fake_calls(CALL_ID_DOWNLOAD), 1);
    store_reader_close(r);
    store_abort(w);
    buffer_deinit(&out);
    teardown(&f);
}

/* A snapshot has up to 65536 files, and its manifest says how long they may be. */
static void test_files_fetched_ahead_are_bounded(void **state)
{
    (void)state;
    enum { FILES = 12 };
    struct snapshot_fixture f;
    char names[FILES][16];
    setup(&f, 100);
    for (unsigned k = 0; k < FILES; k++) {
        snprintf(names[k], sizeof names[k], "%u.didx", k);
        fake_add_file(names[k], f.index, sizeof f.index);
    }
    for (int previous = 0; previous < 2; previous++) {
        struct store_writer *w = previous ? begin(&f) : NULL;
        struct store_reader *r;
        struct buffer out = BUFFER_INIT(1 << 20);
        if (previous)
            assert_int_equal(store_previous_open(w, true, &r, NULL), OK);
        else
            r = open_reader(&f);
        assert_int_equal(store_read_file(r, "index.json.blob", 1 << 20, &out, NULL), OK);
        enum call_id call = previous ? CALL_ID_PREVIOUS : CALL_ID_DOWNLOAD;
        for (unsigned k = 0; k < FILES; k++)
            store_prefetch_file(r, names[k], 1 << 30);
        fake_settle();
        for (unsigned k = 0; k < FILES; k++) { /* what has arrived counts until it is read */
            fake_settle();
            assert_int_equal(fake_calls(call), 1 + (k + 4 < FILES ? k + 4 : FILES));
            assert_int_equal(store_read_file(r, names[k], 1 << 20, &out, NULL), OK);
            assert_int_equal(out.size, sizeof f.index);
        }
        store_reader_close(r);
        store_abort(w);
        buffer_deinit(&out);
    }
    teardown(&f);
}

static void test_a_long_file_is_not_fetched_ahead_whole(void **state)
{
    (void)state;
    enum { SIZE = STORE_AHEAD_BYTES + 1 };
    struct snapshot_fixture f;
    setup(&f, 100);
    uint8_t *large = make_constant(SIZE, 3);
    fake_add_file("large.fidx", large, SIZE);
    struct store_reader *r = open_reader(&f);
    struct buffer out = BUFFER_INIT(SIZE);
    store_prefetch_file(r, "large.fidx", SIZE);
    fake_settle();
    assert_int_equal(fake->cut, 1);
    assert_int_equal(store_read_file(r, "large.fidx", SIZE, &out, NULL), OK);
    assert_int_equal(out.size, SIZE);
    assert_int_equal(fake_calls(CALL_ID_DOWNLOAD), 3);
    assert_int_equal(fake->cut, 1);
    /* Asked for before the answer came: the same. */
    store_reader_close(r);
    r = open_reader(&f);
    store_prefetch_file(r, "large.fidx", SIZE);
    assert_int_equal(store_read_file(r, "large.fidx", SIZE, &out, NULL), OK);
    assert_int_equal(out.size, SIZE);
    assert_int_equal(store_read_file(r, "large.fidx", SIZE - 1, &out, NULL), ERR_LIMIT);
    store_reader_close(r);
    buffer_deinit(&out);
    free(large);
    teardown(&f);
}

static void test_cache_has_a_limit(void **state)
{
    (void)state;
    struct snapshot_fixture f;
    setup(&f, 4 << 20);
    struct store_writer *w = begin(&f);
    struct store_reader *r;
    assert_int_equal(store_previous_open(w, true, &r, NULL), OK);
    for (unsigned k = 0; k < 20; k++)
        expect_chunk(&f, r, k);
    for (unsigned k = 19; k >= 4; k--) /* 64 MiB */
        expect_chunk(&f, r, k);
    assert_int_equal(fake_calls(CALL_ID_READ_CHUNK), 20);
    expect_chunk(&f, r, 3);
    assert_int_equal(fake_calls(CALL_ID_READ_CHUNK), 21);
    expect_chunk(&f, r, 4); /* used last */
    assert_int_equal(fake_calls(CALL_ID_READ_CHUNK), 21);
    expect_chunk(&f, r, 19); /* made room */
    assert_int_equal(fake_calls(CALL_ID_READ_CHUNK), 22);
    store_reader_close(r);
    store_abort(w);
    teardown(&f);
}

/* ---- hints ---- */

static void test_hints_are_asked_for_at_once(void **state)
{
    (void)state;
    struct snapshot_fixture f;
    setup(&f, 100);
    struct store_reader *r = open_reader(&f);
    fake_settle();
    fake_hold();
    store_prefetch(r, "a.didx", f.hints, 10);
    assert_int_equal(fake_calls(CALL_ID_READ_CHUNK), 0); /* the index first */
    fake_let_go();
    fake_settle();
    assert_int_equal(fake_calls(CALL_ID_READ_CHUNK), 10);
    store_prefetch(r, "a.didx", f.hints, 10); /* known */
    for (unsigned k = 0; k < 10; k++)
        expect_chunk(&f, r, k);
    assert_int_equal(fake_calls(CALL_ID_READ_CHUNK), 10);
    store_reader_close(r);
    teardown(&f);
}

static void test_hints_are_bounded_in_bytes(void **state)
{
    (void)state;
    struct snapshot_fixture f;
    setup(&f, 4 << 20);
    struct store_reader *r = open_reader(&f);
    fake_hold();
    store_prefetch(r, "a.didx", f.hints, CHUNKS);
    fake_let_go();
    fake_settle();
    assert_int_equal(fake_calls(CALL_ID_READ_CHUNK), 16); /* what found no room is forgotten */
    /* Newer ones drive out the oldest. */
    store_prefetch(r, "a.didx", f.hints + 20, 4);
    fake_settle();
    assert_int_equal(fake_calls(CALL_ID_READ_CHUNK), 20);
    expect_chunk(&f, r, 4);
    expect_chunk(&f, r, 15);
    for (unsigned k = 20; k < 24; k++)
        expect_chunk(&f, r, k);
    assert_int_equal(fake_calls(CALL_ID_READ_CHUNK), 20);
    expect_chunk(&f, r, 0);
    assert_int_equal(fake_calls(CALL_ID_READ_CHUNK), 21);
    store_reader_close(r);
    teardown(&f);
}

static void test_what_is_under_way_keeps_its_room(void **state)
{
    (void)state;
    struct snapshot_fixture f;
    setup(&f, 4 << 20);
    struct store_reader *r = open_reader(&f);
    expect_chunk(&f, r, 49); /* the index is there */
    fake_hold();
    store_prefetch(r, "a.didx", f.hints, 16);
    store_prefetch(r, "a.didx", f.hints + 16, 16);
    assert_int_equal(fake_calls(CALL_ID_READ_CHUNK), 17);
    fake_let_go();
    for (unsigned k = 0; k < 32; k++)
        expect_chunk(&f, r, k);
    assert_int_equal(fake_calls(CALL_ID_READ_CHUNK), 33);
    store_reader_close(r);
    teardown(&f);
}

/* ---- failures ---- */

static void test_failures(void **state)
{
    (void)state;
    static const struct {
        int http;
        enum status status;
    } cases[] = {{400, ERR_NOT_FOUND}, {401, ERR_FORMAT}, {404, ERR_NOT_FOUND}, {500, ERR_NETWORK}, {0, ERR_NETWORK}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct snapshot_fixture f;
        setup(&f, 100);
        struct store_reader *r = open_reader(&f);
        struct buffer out = BUFFER_INIT(1 << 20);
        struct error err = {0};
        expect_chunk(&f, r, 9);
        fake->fail_call = CALL_ID_READ_CHUNK;
        fake->fail_nth = 2 + i % 2;
        fake->fail_status = cases[i].http;
        store_prefetch(r, "a.didx", f.hints, 2);
        enum status first = store_get_chunk(r, "a.didx", &f.entries[0].digest, &out, &err);
        enum status second = store_get_chunk(r, "a.didx", &f.entries[1].digest, &out, &err);
        assert_int_equal(i % 2 ? second : first, cases[i].status);
        if (cases[i].http) {
            assert_int_equal(i % 2 ? first : second, OK);
            expect_chunk(&f, r, (unsigned)(i % 2)); /* asked for once more */
        }
        if (!strstr(err.text, "reading chunk"))
            assert_string_equal(err.text, "");
        buffer_deinit(&out);
        store_reader_close(r);
        teardown(&f);
    }
}

/* What one index does not let out another one may. */
static void test_a_chunk_of_two_indexes(void **state)
{
    (void)state;
    struct snapshot_fixture f;
    setup(&f, 100);
    struct store_reader *r = open_reader(&f);
    struct buffer out = BUFFER_INIT(1 << 20);
    store_prefetch(r, "missing.didx", f.hints, 1);
    fake_settle();
    expect_chunk(&f, r, 0);
    assert_int_equal(store_get_chunk(r, "missing.didx", &f.entries[0].digest, &out, NULL), ERR_NOT_FOUND);
    buffer_deinit(&out);
    store_reader_close(r);
    teardown(&f);
}

static void test_session_that_does_not_stand(void **state)
{
    (void)state;
    struct snapshot_fixture f;
    setup(&f, 100);
    fake->opening = ERR_NOT_FOUND;
    const struct snapshot_id id = {.type = "host", .id = "demo", .time = 5};
    struct store_reader *r;
    struct error err = {0};
    assert_int_equal(store_reader_open(f.s, &id, &r, &err), ERR_NOT_FOUND);
    assert_null(r);
    teardown(&f);
}

/* ---- given up: nothing is answered before the end, so that without it these tests would not end ---- */

struct waiting {
    struct snapshot_fixture *f;
    struct store_reader *r;
    bool for_file;
    enum status status;
};

static void *wait_main(void *argument)
{
    struct waiting *waiting = argument;
    struct buffer out = BUFFER_INIT(1 << 20);
    waiting->status = waiting->for_file
                          ? store_read_file(waiting->r, "b.didx", 1 << 20, &out, NULL)
                          : store_get_chunk(waiting->r, "a.didx", &waiting->f->entries[7].digest, &out, NULL);
    buffer_deinit(&out);
    return NULL;
}

static void test_cancel_wakes_who_waits(void **state)
{
    (void)state;
    for (int previous = 0; previous < 2; previous++) {
        struct snapshot_fixture f;
        setup(&f, 100);
        fake_add_file("b.didx", f.index, sizeof f.index);
        struct store_writer *w = previous ? begin(&f) : NULL;
        struct store_reader *r;
        if (previous)
            assert_int_equal(store_previous_open(w, true, &r, NULL), OK);
        else
            r = open_reader(&f);
        expect_chunk(&f, r, 3);
        fake_settle();
        fake_hold();
        pthread_t threads[2];
        struct waiting waiting[2];
        for (int i = 0; i < 2; i++) {
            waiting[i] = (struct waiting){.f = &f, .r = r, .for_file = i > 0};
            assert_int_equal(pthread_create(&threads[i], NULL, wait_main, &waiting[i]), 0);
        }
        enum call_id file_call = previous ? CALL_ID_PREVIOUS : CALL_ID_DOWNLOAD;
        unsigned files = previous ? 1 : 3; /* manifest, a.didx, b.didx */
        while (fake_calls(CALL_ID_READ_CHUNK) < 2 || fake_calls(file_call) < files)
            usleep(100);
        store_reader_cancel(r);
        for (int i = 0; i < 2; i++) {
            pthread_join(threads[i], NULL);
            assert_int_equal(waiting[i].status, ERR_CANCELLED);
        }
        store_reader_close(r);
        store_abort(w);
        teardown(&f);
    }
}

/* What was asked of the backup's session is answered when that ends, and the reader is closed before. */
static void test_a_cancelled_reader_closes_at_once(void **state)
{
    (void)state;
    struct snapshot_fixture f;
    setup(&f, 100);
    struct store_writer *w = begin(&f);
    struct store_reader *r;
    assert_int_equal(store_previous_open(w, true, &r, NULL), OK);
    fake_settle();
    fake_hold();
    store_prefetch_file(r, "a.didx", 1 << 20);
    store_prefetch(r, "a.didx", f.hints, 5);
    store_cancel(w);
    store_reader_cancel(r);
    store_reader_close(r);
    store_abort(w);
    teardown(&f);
}

/* ---- threads ---- */

struct reading {
    struct snapshot_fixture *f;
    struct store_reader *r;
    unsigned number;
};

static void *read_main(void *argument)
{
    struct reading *reading = argument;
    struct snapshot_fixture *f = reading->f;
    struct buffer out = BUFFER_INIT(WIRE_CHUNK_ENCODED_MAX);
    for (unsigned i = 0; i < 400; i++) {
        unsigned k = (i * (7 + reading->number) + reading->number) % CHUNKS;
        struct error err = {0};
        store_prefetch(reading->r, "a.didx", f->hints + k, CHUNKS - k < 5 ? CHUNKS - k : 5);
        if (store_get_chunk(reading->r, "a.didx", &f->entries[k].digest, &out, &err) != OK ||
            out.size != f->chunk_size || memcmp(out.data, f->chunks[k], out.size) != 0)
            fake_violation("chunk %u: %s", k, err.text);
        if (i % 50 == 0 && store_read_file(reading->r, "a.didx", 1 << 20, &out, &err) != OK)
            fake_violation("%s", err.text);
    }
    buffer_deinit(&out);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    for (int previous = 0; previous < 2; previous++) {
        struct snapshot_fixture f;
        setup(&f, 3000);
        struct store_writer *w = previous ? begin(&f) : NULL;
        struct store_reader *r;
        if (previous)
            assert_int_equal(store_previous_open(w, true, &r, NULL), OK);
        else
            r = open_reader(&f);
        pthread_t threads[4];
        struct reading readings[4];
        for (unsigned i = 0; i < 4; i++) {
            readings[i] = (struct reading){&f, r, i};
            assert_int_equal(pthread_create(&threads[i], NULL, read_main, &readings[i]), 0);
        }
        for (unsigned i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        store_reader_close(r);
        store_abort(w);
        teardown(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_come_once),
        cmocka_unit_test(test_index_comes_before_its_chunks),
        cmocka_unit_test(test_previous_files_come_through_the_backup),
        cmocka_unit_test(test_previous_connects_early_if_chunks_are_wanted),
        cmocka_unit_test(test_an_index_that_was_read_is_not_transferred_again),
        cmocka_unit_test(test_files_fetched_ahead_are_bounded),
        cmocka_unit_test(test_a_long_file_is_not_fetched_ahead_whole),
        cmocka_unit_test(test_cache_has_a_limit),
        cmocka_unit_test(test_hints_are_asked_for_at_once),
        cmocka_unit_test(test_hints_are_bounded_in_bytes),
        cmocka_unit_test(test_what_is_under_way_keeps_its_room),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_a_chunk_of_two_indexes),
        cmocka_unit_test(test_session_that_does_not_stand),
        cmocka_unit_test(test_cancel_wakes_who_waits),
        cmocka_unit_test(test_a_cancelled_reader_closes_at_once),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
