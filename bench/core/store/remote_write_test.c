/* Backups against the server of fake_server_for_test.h, which judges every call. */
#include "testing/testing.h"

#include "store/fake_server_for_test.h"

#include "base/hex.h"

#include <unistd.h>

static struct snapshot_id snapshot(int64_t time)
{
    struct snapshot_id s = {.type = "host", .id = "demo", .time = time};
    return s;
}

static struct store_writer *begin(struct store *s)
{
    struct store_writer *w;
    struct error err = {0};
    struct snapshot_id id = snapshot(1700000060);
    if (store_begin(s, &id, &w, &err) != OK)
        assert_string_equal(err.text, "");
    return w;
}

static struct digest digest_number(unsigned number)
{
    struct digest d;
    digest_of(&number, sizeof number, &d);
    return d;
}

static enum status put(struct store_writer *w, uint32_t stream, const struct digest *d, size_t raw, size_t encoded,
                       struct error *err)
{
    bool is_new = false;
    struct buffer blob = BUFFER_INIT(WIRE_CHUNK_ENCODED_MAX);
    assert_int_equal(buffer_append_zeros(&blob, encoded, NULL), OK);
    enum status status = store_put_chunk(
        w, &(struct store_chunk){.digest = d, .raw_size = raw, .stream = stream, .blob = &blob}, &is_new, err);
    assert_true(status != OK || (is_new && blob.size == 0 && blob.limit == WIRE_CHUNK_ENCODED_MAX));
    buffer_deinit(&blob);
    return status;
}

static enum status finish(struct store_writer *w, struct error *err)
{
    static const uint8_t manifest[504] = {0};
    return store_finish(w, manifest, sizeof manifest, err);
}

static void finish_index(struct store_index *index, uint64_t size, uint64_t count)
{
    struct digest csum;
    uint64_t found_size = 0, found_count = 0;
    struct error err = {0};
    if (store_index_finish(index, &csum, &found_size, &found_count, &err) != OK)
        assert_string_equal(err.text, "");
    assert_int_equal(found_size, size);
    assert_int_equal(found_count, count);
}

/* ---- the worked transcript ---- */

static struct digest digest_hex(const char *text)
{
    struct digest d;
    assert_true(digest_parse(text, 64, &d));
    return d;
}

static size_t index_file(uint8_t *out, const struct index_entry *entries, size_t count)
{
    dynamic_index_header_bytes(&(struct index_header){.ctime = 1}, out);
    for (size_t i = 0; i < count; i++)
        dynamic_index_entry_bytes(&entries[i], out + INDEX_HEADER_SIZE + i * DYNAMIC_ENTRY_SIZE);
    return INDEX_HEADER_SIZE + count * DYNAMIC_ENTRY_SIZE;
}

/* bench/spec/protocol.md 17.1, without the reader session. */
static void test_transcript(void **state)
{
    (void)state;
    fake_start();
    struct digest c1 = digest_hex("1416cd46684f8ef515aae138421d690b3578cd79e781c29feaa14f18853ebc10");
    struct digest c2 = digest_hex("7db711eadc53006696f08b3177609029d817e62151abfd308f7db079a855d323");
    struct digest c3 = digest_hex("c23ab4deeac61f5b5164a5c76f37571f32deb06afdbdbc88f2b251983e90b2f0");
    struct digest m1 = digest_hex("34c9f7cf822077ba1521da3a08b47d13279bbaa7572916f4f3dde67cbf009566");
    struct digest m2 = digest_hex("c022bb7a50a05eb51491558bed34f9628c14f701a1c9d4ead1de10a04aa67f66");
    uint8_t payload[INDEX_HEADER_SIZE + 2 * DYNAMIC_ENTRY_SIZE], metadata[INDEX_HEADER_SIZE + DYNAMIC_ENTRY_SIZE];
    const struct index_entry old_payload[] = {{18, c1}, {36, c2}}, old_metadata[] = {{15, m1}};
    fake_add_file("root.ppxar.didx", payload, index_file(payload, old_payload, 2));
    fake_add_file("root.mpxar.didx", metadata, index_file(metadata, old_metadata, 1));
    fake_add_file("index.json.blob", "manifest blob", 13);
    fake->previous_time = 1700000000;

    struct store *s = fake_store();
    struct store_writer *w = begin(s);
    struct snapshot_id previous;
    assert_true(store_previous(w, &previous));
    assert_int_equal(previous.time, 1700000000);
    assert_string_equal(previous.id, "demo");
    struct store_reader *r;
    struct buffer file = BUFFER_INIT(1 << 20);
    assert_int_equal(store_previous_open(w, false, &r, NULL), OK);
    assert_int_equal(store_read_file(r, "index.json.blob", 1 << 20, &file, NULL), OK);
    assert_int_equal(store_read_file(r, "root.ppxar.didx", 1 << 20, &file, NULL), OK);
    assert_int_equal(store_read_file(r, "root.mpxar.didx", 1 << 20, &file, NULL), OK);
    assert_int_equal(file.size, sizeof metadata);
    assert_memory_equal(file.data, metadata, sizeof metadata);

    struct store_index *mpxar, *ppxar;
    assert_int_equal(store_index_begin(w, "root.mpxar.didx", &mpxar, NULL), OK);
    assert_int_equal(store_index_begin(w, "root.ppxar.didx", &ppxar, NULL), OK);
    assert_int_equal(store_index_append(ppxar, 18, &c1, false, NULL), OK);
    assert_int_equal(store_index_append(ppxar, 38, &c3, true, NULL), OK);
    assert_int_equal(put(w, store_index_stream(ppxar), &c3, 20, 32, NULL), OK);
    assert_int_equal(store_index_append(mpxar, 16, &m2, true, NULL), OK);
    assert_int_equal(put(w, store_index_stream(mpxar), &m2, 16, 28, NULL), OK);
    finish_index(ppxar, 38, 2);
    finish_index(mpxar, 16, 1);
    store_reader_close(r);
    assert_int_equal(finish(w, NULL), OK);
    assert_true(fake->finished);
    assert_int_equal(fake->sessions, 1);

    static const char *const calls[] = {
        "GET /previous_backup_time\n",
        "GET /previous?archive-name=index.json.blob\n",
        "GET /previous?archive-name=root.ppxar.didx\n",
        "GET /previous?archive-name=root.mpxar.didx\n",
        "POST /dynamic_index?archive-name=root.mpxar.didx\n",
        "POST /dynamic_index?archive-name=root.ppxar.didx\n",
        "POST /dynamic_chunk?digest=c23ab4deeac61f5b5164a5c76f37571f32deb06afdbdbc88f2b251983e90b2f0&encoded-size=32"
        "&size=20&wid=2\n",
        "POST /dynamic_chunk?digest=c022bb7a50a05eb51491558bed34f9628c14f701a1c9d4ead1de10a04aa67f66&encoded-size=28"
        "&size=16&wid=1\n",
        "PUT /dynamic_index\n",
        "POST /dynamic_close?chunk-count=2&csum=d314a8950872cd699205447c4a7f82c500404cd6bfb5408f751b7ffa474e45b8"
        "&size=38&wid=2\n",
        "PUT /dynamic_index\n",
        "POST /dynamic_close?chunk-count=1&csum=425b1c52c52f73e676a20d09c8b7339b39452445a74fb10a63c09fd50413327d"
        "&size=16&wid=1\n",
        "POST /blob?encoded-size=504&file-name=index.json.blob\n",
        "POST /finish\n",
    };
    char expected[4096] = "";
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        strcat(expected, calls[i]);
    assert_string_equal(fake->log, expected);
    buffer_deinit(&file);
    store_close(s);
    fake_stop(false);
}

/* ---- order ---- */

static void test_first_backup_asks_for_nothing_previous(void **state)
{
    (void)state;
    fake_start();
    struct store *s = fake_store();
    struct store_writer *w = begin(s);
    struct snapshot_id previous;
    struct store_reader *r;
    assert_false(store_previous(w, &previous));
    assert_int_equal(store_previous_open(w, true, &r, NULL), ERR_NOT_FOUND);
    struct store_index *index;
    struct digest d = digest_number(1);
    assert_int_equal(store_index_begin(w, "a.didx", &index, NULL), OK);
    for (uint64_t k = 0; k < 3; k++) /* the same chunk three times: one upload */
        assert_int_equal(store_index_append(index, 10 * (k + 1), &d, k == 0, NULL), OK);
    assert_int_equal(put(w, store_index_stream(index), &d, 10, 20, NULL), OK);
    finish_index(index, 30, 3);
    assert_int_equal(store_put_blob(w, "x.conf.blob", (const uint8_t *)"0123456789abcdef", 16, NULL), OK);
    assert_int_equal(finish(w, NULL), OK);
    assert_int_equal(fake->calls[CALL_ID_PREVIOUS], 0);
    assert_int_equal(fake->calls[CALL_ID_DYNAMIC_CHUNK], 1);
    store_close(s);
    fake_stop(false);
}

static void test_expected_indexes_are_created_once(void **state)
{
    (void)state;
    fake_start();
    struct store *s = fake_store();
    struct store_writer *w = begin(s);
    struct store_index *index, *other;
    struct digest d = digest_number(1);
    store_index_expect(w, "m.didx");
    store_index_expect(w, "p.didx");
    store_index_expect(w, "p.didx");
    store_index_expect(w, "no index");
    assert_int_equal(fake_calls(CALL_ID_DYNAMIC_INDEX), 2);
    assert_int_equal(store_index_begin(w, "p.didx", &index, NULL), OK);
    assert_int_equal(store_index_begin(w, "p.didx", &other, NULL), ERR_EXISTS);
    assert_int_equal(fake_calls(CALL_ID_DYNAMIC_INDEX), 2);
    assert_int_equal(store_index_append(index, 10, &d, true, NULL), OK);
    assert_int_equal(put(w, store_index_stream(index), &d, 10, 20, NULL), OK);
    finish_index(index, 10, 1);
    struct error err = {0};
    assert_int_equal(finish(w, &err), ERR_FORMAT); /* never begun */
    assert_non_null(strstr(err.text, "m.didx was not completed"));
    store_close(s);
    fake_stop(false);
}

static void test_appends_wait_for_answers(void **state)
{
    (void)state;
    for (int backwards = 0; backwards < 2; backwards++) {
        fake_start();
        struct store *s = fake_store();
        struct store_writer *w = begin(s);
        struct store_index *index;
        assert_int_equal(store_index_begin(w, "a.didx", &index, NULL), OK);
        struct digest d = digest_number(0);
        assert_int_equal(store_index_append(index, 10, &d, true, NULL), OK);
        assert_int_equal(put(w, store_index_stream(index), &d, 10, 20, NULL), OK); /* the number has come */
        fake_hold();
        fake->backwards = backwards > 0;
        for (unsigned k = 1; k < 1000; k++) {
            d = digest_number(k);
            assert_int_equal(store_index_append(index, 10 * (k + 1), &d, true, NULL), OK);
            assert_int_equal(put(w, store_index_stream(index), &d, 10, 20, NULL), OK);
        }
        assert_int_equal(fake_calls(CALL_ID_DYNAMIC_APPEND), 0);
        store_index_end(index);
        assert_int_equal(fake_calls(CALL_ID_DYNAMIC_APPEND), 0);
        fake_let_go();
        finish_index(index, 10000, 1000);
        /* Backwards the first answer comes last: everything is ready at once. */
        if (backwards)
            assert_int_equal(fake->calls[CALL_ID_DYNAMIC_APPEND], 2);
        assert_in_range(fake->largest_append, 64, 512);
        assert_int_equal(finish(w, NULL), OK);
        store_close(s);
        fake_stop(false);
    }
}

/* A chunk may be put for one index and listed by another. */
static void test_appends_wait_for_chunks_of_other_indexes(void **state)
{
    (void)state;
    fake_start();
    struct store *s = fake_store();
    struct store_writer *w = begin(s);
    struct store_index *a, *b;
    struct digest d = digest_number(1), e = digest_number(2);
    assert_int_equal(store_index_begin(w, "a.didx", &a, NULL), OK);
    assert_int_equal(store_index_begin(w, "b.didx", &b, NULL), OK);
    assert_int_equal(store_index_append(b, 10, &e, true, NULL), OK);
    assert_int_equal(put(w, store_index_stream(b), &e, 10, 20, NULL), OK); /* both have their numbers */
    while (fake_calls(CALL_ID_DYNAMIC_CHUNK) < 1)
        usleep(100);
    fake_hold();
    assert_int_equal(store_index_append(a, 10, &d, true, NULL), OK);
    assert_int_equal(put(w, store_index_stream(a), &d, 10, 20, NULL), OK);
    assert_int_equal(store_index_append(b, 20, &d, false, NULL), OK);
    store_index_end(b);
    assert_int_equal(fake_calls(CALL_ID_DYNAMIC_APPEND), 0);
    fake_let_go();
    finish_index(a, 10, 1);
    finish_index(b, 20, 2);
    assert_int_equal(finish(w, NULL), OK);
    store_close(s);
    fake_stop(false);
}

static void *finish_main(void *argument)
{
    return finish(argument, NULL) == OK ? argument : NULL;
}

static void test_finish_waits_for_all_answers(void **state)
{
    (void)state;
    fake_start();
    struct store *s = fake_store();
    struct store_writer *w = begin(s);
    fake_hold();
    assert_int_equal(store_put_blob(w, "x.blob", (const uint8_t *)"0123456789abcdef", 16, NULL), OK);
    pthread_t thread;
    void *good;
    assert_int_equal(pthread_create(&thread, NULL, finish_main, w), 0);
    usleep(50000);
    assert_int_equal(fake_calls(CALL_ID_BLOB), 1); /* no manifest yet */
    fake_let_go();
    pthread_join(thread, &good);
    assert_non_null(good);
    assert_true(fake->finished);
    store_close(s);
    fake_stop(false);
}

/* Entries without uploads, as a reference gives them. */
static void test_known_entries_go_in_batches(void **state)
{
    (void)state;
    enum { COUNT = 2000 };
    static uint8_t old[INDEX_HEADER_SIZE + COUNT * DYNAMIC_ENTRY_SIZE];
    static struct index_entry entries[COUNT];
    fake_start();
    for (unsigned k = 0; k < COUNT; k++)
        entries[k] = (struct index_entry){7 * (k + 1), digest_number(k)};
    fake_add_file("a.didx", old, index_file(old, entries, COUNT));
    fake->previous_time = 5;
    struct store *s = fake_store();
    struct store_writer *w = begin(s);
    struct store_reader *r;
    struct buffer file = BUFFER_INIT(1 << 20);
    assert_int_equal(store_previous_open(w, false, &r, NULL), OK);
    assert_int_equal(store_read_file(r, "a.didx", 1 << 20, &file, NULL), OK);
    struct store_index *index;
    assert_int_equal(store_index_begin(w, "a.didx", &index, NULL), OK);
    while (fake_calls(CALL_ID_DYNAMIC_INDEX) == 0)
        usleep(100);
    usleep(10000);
    fake_hold();
    for (unsigned k = 0; k < 511; k++)
        assert_int_equal(store_index_append(index, entries[k].end, &entries[k].digest, false, NULL), OK);
    assert_int_equal(fake_calls(CALL_ID_DYNAMIC_APPEND), 0);
    for (unsigned k = 511; k < COUNT; k++)
        assert_int_equal(store_index_append(index, entries[k].end, &entries[k].digest, false, NULL), OK);
    assert_int_equal(fake_calls(CALL_ID_DYNAMIC_APPEND), 1);
    assert_int_equal(fake->largest_append, 512);
    fake_let_go();
    finish_index(index, 7 * COUNT, COUNT);
    assert_int_equal(fake->largest_append, 512);
    assert_int_equal(fake->calls[CALL_ID_DYNAMIC_APPEND], (COUNT + 511) / 512);
    assert_int_equal(fake->calls[CALL_ID_DYNAMIC_CHUNK], 0);
    store_reader_close(r);
    assert_int_equal(finish(w, NULL), OK);
    buffer_deinit(&file);
    store_close(s);
    fake_stop(false);
}

/* ---- many threads ---- */

struct load {
    struct store_writer *w;
    struct store_index *index;
    unsigned first, count;
    size_t blob_size;
};

static void *load_main(void *argument)
{
    struct load *load = argument;
    for (unsigned k = 0; k < load->count; k++) {
        struct digest d = digest_number(load->first + k / 2); /* each twice */
        struct error err = {0};
        if (store_index_append(load->index, 10 * (k + 1), &d, k % 2 == 0, &err) != OK ||
            (k % 2 == 0 && put(load->w, store_index_stream(load->index), &d, 10, 1000, &err) != OK))
            fake_violation("%s", err.text);
    }
    return NULL;
}

static void *put_all(void *argument)
{
    struct load *load = argument;
    for (unsigned k = 0; k < load->count; k++) {
        struct digest d = digest_number(k);
        if (store_index_append(load->index, 1 + 4 * (k + 1), &d, true, NULL) != OK ||
            put(load->w, store_index_stream(load->index), &d, 4, load->blob_size, NULL) != OK)
            fake_violation("a chunk could not be put");
    }
    return NULL;
}

static void test_requests_under_way_are_bounded(void **state)
{
    (void)state;
    fake_start();
    struct store *s = fake_store();
    struct store_writer *w = begin(s);
    struct load load = {.w = w, .count = 3000, .blob_size = 20};
    assert_int_equal(store_index_begin(w, "a.didx", &load.index, NULL), OK);
    struct digest d = digest_number(5000);
    assert_int_equal(store_index_append(load.index, 1, &d, true, NULL), OK);
    assert_int_equal(put(w, store_index_stream(load.index), &d, 1, 20, NULL), OK);
    while (fake_calls(CALL_ID_DYNAMIC_CHUNK) < 1)
        usleep(100);
    fake_hold();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, put_all, &load), 0);
    for (unsigned i = 0; i < 200 && fake_calls(CALL_ID_DYNAMIC_CHUNK) < 1024; i++)
        usleep(10000);
    usleep(50000);
    assert_in_range(fake_calls(CALL_ID_DYNAMIC_CHUNK), 1023, 1025);
    fake_let_go();
    pthread_join(thread, NULL);
    finish_index(load.index, 12001, 3001);
    assert_int_equal(finish(w, NULL), OK);
    store_close(s);
    fake_stop(false);
}

static void test_streams_at_a_time(void **state)
{
    (void)state;
    fake_start();
    struct store *s = fake_store();
    struct store_writer *w = begin(s);
    pthread_t threads[3];
    struct load loads[3];
    for (unsigned i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "%u.didx", i);
        loads[i] = (struct load){.w = w, .first = 100000 * i, .count = 1500};
        assert_int_equal(store_index_begin(w, name, &loads[i].index, NULL), OK);
        assert_int_equal(pthread_create(&threads[i], NULL, load_main, &loads[i]), 0);
    }
    for (unsigned i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < 3; i++)
        store_index_end(loads[i].index);
    for (unsigned i = 0; i < 3; i++)
        finish_index(loads[i].index, 15000, 1500);
    assert_int_equal(finish(w, NULL), OK);
    store_close(s);
    fake_stop(false);
}

static void test_bodies_under_way_are_bounded(void **state)
{
    (void)state;
    fake_start();
    struct store *s = fake_store();
    struct store_writer *w = begin(s);
    struct load load = {.w = w, .count = 40, .blob_size = 4 << 20};
    assert_int_equal(store_index_begin(w, "a.didx", &load.index, NULL), OK);
    struct digest d = digest_number(1000);
    assert_int_equal(store_index_append(load.index, 1, &d, true, NULL), OK);
    assert_int_equal(put(w, store_index_stream(load.index), &d, 1, 20, NULL), OK);
    while (fake_calls(CALL_ID_DYNAMIC_CHUNK) < 1)
        usleep(100);
    fake_hold();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, put_all, &load), 0);
    for (unsigned i = 0; i < 200 && fake_calls(CALL_ID_DYNAMIC_CHUNK) < 16; i++)
        usleep(10000);
    usleep(50000);
    assert_in_range(fake_calls(CALL_ID_DYNAMIC_CHUNK), 16, 17); /* 64 MiB */
    fake_let_go();
    pthread_join(thread, NULL);
    finish_index(load.index, 161, 41);
    assert_in_range(fake->bodies_max, 60 << 20, 64 << 20);
    assert_int_equal(finish(w, NULL), OK);
    struct net_stats stats;
    store_net_stats(s, &stats);
    assert_int_equal(stats.connections, 1);
    assert_true(stats.waited_ns > 0);
    store_close(s);
    fake_stop(false);
}

static void *put_blobs(void *argument)
{
    enum { SIZE = 15 << 20 };
    struct load *load = argument;
    uint8_t *blob = make_constant(SIZE, 1);
    for (unsigned k = 0; k < load->count; k++) {
        char name[32];
        snprintf(name, sizeof name, "%u.blob", k);
        if (store_put_blob(load->w, name, blob, SIZE, NULL) != OK)
            fake_violation("a blob could not be put");
    }
    free(blob);
    return NULL;
}

static void test_blobs_are_bodies_too(void **state)
{
    (void)state;
    fake_start();
    struct store *s = fake_store();
    struct store_writer *w = begin(s);
    struct load load = {.w = w, .count = 8};
    pthread_t thread;
    fake_hold();
    assert_int_equal(pthread_create(&thread, NULL, put_blobs, &load), 0);
    for (unsigned i = 0; i < 200 && fake_calls(CALL_ID_BLOB) < 4; i++)
        usleep(10000);
    usleep(50000);
    assert_int_equal(fake_calls(CALL_ID_BLOB), 4); /* 64 MiB */
    fake_let_go();
    pthread_join(thread, NULL);
    assert_int_equal(fake_calls(CALL_ID_BLOB), 8);
    assert_int_equal(fake->bodies_max, 60 << 20);
    assert_int_equal(finish(w, NULL), OK);
    store_close(s);
    fake_stop(false);
}

/* ---- given up ---- */

static void *put_until_cancelled(void *argument)
{
    struct load *load = argument;
    for (unsigned k = 0; k < load->count; k++) {
        struct digest d = digest_number(k);
        enum status status = store_index_append(load->index, 1 + 4 * (k + 1), &d, true, NULL);
        if (status == OK)
            status = put(load->w, store_index_stream(load->index), &d, 4, load->blob_size, NULL);
        if (status != OK)
            return status == ERR_CANCELLED ? argument : NULL;
    }
    return NULL;
}

/* Nothing is answered before the end: without it this test does not end. */
static void test_cancel_wakes_who_waits(void **state)
{
    (void)state;
    fake_start();
    struct store *s = fake_store();
    struct store_writer *w = begin(s);
    struct load load = {.w = w, .count = 40, .blob_size = 4 << 20};
    assert_int_equal(store_index_begin(w, "a.didx", &load.index, NULL), OK);
    struct digest d = digest_number(1000);
    assert_int_equal(store_index_append(load.index, 1, &d, true, NULL), OK);
    assert_int_equal(put(w, store_index_stream(load.index), &d, 1, 20, NULL), OK);
    fake_hold();
    pthread_t thread;
    void *was_cancelled;
    assert_int_equal(pthread_create(&thread, NULL, put_until_cancelled, &load), 0);
    for (unsigned i = 0; i < 200 && fake_calls(CALL_ID_DYNAMIC_CHUNK) < 16; i++)
        usleep(10000);
    store_cancel(w);
    pthread_join(thread, &was_cancelled);
    assert_non_null(was_cancelled);
    assert_int_equal(store_put_blob(w, "x.blob", (const uint8_t *)"0123456789abcdef", 16, NULL), ERR_CANCELLED);
    struct digest csum;
    uint64_t size, count;
    assert_int_equal(store_index_finish(load.index, &csum, &size, &count, NULL), ERR_CANCELLED);
    store_abort(w);
    assert_false(fake->finished);
    store_close(s);
    fake_stop(false);
}

static void test_a_cause_stays_the_cause(void **state)
{
    (void)state;
    fake_start();
    struct store *s = fake_store();
    struct store_writer *w = begin(s);
    struct error err = {0};
    fake->fail_call = CALL_ID_BLOB;
    fake->fail_nth = 1;
    fake->fail_status = 400;
    assert_int_equal(store_put_blob(w, "x.blob", (const uint8_t *)"0123456789abcdef", 16, NULL), OK);
    fake_settle();
    store_cancel(w);
    assert_int_equal(finish(w, &err), ERR_REFUSED);
    store_close(s);
    fake_stop(false);
}

/* ---- images ---- */

static void test_fixed_index(void **state)
{
    (void)state;
    fake_start();
    struct store *s = fake_store();
    struct store_writer *w = begin(s);
    struct store_fixed_index *index;
    struct error err = {0};
    assert_int_equal(store_fixed_index_begin(w, "x.img.fidx", 1 << 20, 1 << 20, &index, &err), ERR_UNSUPPORTED);
    assert_int_equal(store_fixed_index_begin(w, "x.img.didx", 1 << 20, 4 << 20, &index, &err), ERR_USAGE);
    uint64_t size = (UINT64_C(200) << 22) + 5;
    assert_int_equal(store_fixed_index_begin(w, "x.img.fidx", size, 4 << 20, &index, &err), OK);
    struct digest zero = digest_number(77), last = digest_number(78), csum;
    for (unsigned k = 0; k <= 200; k++)
        assert_int_equal(store_fixed_index_put(index, k, k < 200 ? &zero : &last, k % 200 == 0, &err), OK);
    assert_int_equal(put(w, store_fixed_index_stream(index), &zero, 4 << 20, 100, &err), OK);
    assert_int_equal(put(w, store_fixed_index_stream(index), &last, 5, 17, &err), OK);
    assert_int_equal(store_fixed_index_finish(index, &csum, &err), OK);
    assert_int_equal(finish(w, &err), OK);
    assert_int_equal(fake->calls[CALL_ID_FIXED_CHUNK], 2);
    store_close(s);
    fake_stop(false);
}

static void test_fixed_index_refuses(void **state)
{
    (void)state;
    fake_start();
    struct store *s = fake_store();
    struct store_writer *w = begin(s);
    struct digest d = digest_number(1), csum;
    struct error err = {0};
    struct store_fixed_index *index;
    assert_int_equal(store_fixed_index_begin(w, "a.fidx", 3 << 22, 4 << 20, &index, &err), OK);
    assert_int_equal(store_fixed_index_put(index, 3, &d, true, &err), ERR_USAGE);
    assert_int_equal(store_fixed_index_put(index, 0, &d, true, &err), ERR_FORMAT); /* after a failure */
    store_fixed_index_abort(index);
    assert_int_equal(store_fixed_index_begin(w, "b.fidx", 3 << 22, 4 << 20, &index, &err), OK);
    assert_int_equal(store_fixed_index_put(index, 0, &d, true, &err), OK);
    assert_int_equal(store_fixed_index_put(index, 0, &d, true, &err), ERR_EXISTS);
    store_fixed_index_abort(index);
    assert_int_equal(store_fixed_index_begin(w, "c.fidx", 3 << 22, 4 << 20, &index, &err), OK);
    assert_int_equal(store_fixed_index_put(index, 1, &d, true, &err), OK);
    assert_int_equal(store_fixed_index_finish(index, &csum, &err), ERR_FORMAT); /* never written */
    assert_int_equal(finish(w, &err), ERR_FORMAT);                              /* given up */
    assert_false(fake->finished);
    store_close(s);
    fake_stop(false);
}

/* ---- what goes wrong ---- */

static void test_bad_input(void **state)
{
    (void)state;
    fake_start();
    struct store *s = fake_store();
    struct store_writer *w = begin(s);
    struct error err = {0};
    struct store_index *index, *other;
    struct digest d = digest_number(1), csum;
    uint64_t size, count;
    static const char *const wrong[] = {"", "a", "a.blob", "a.fidx", "../a.didx", "a/b.didx", ".a.didx", "-a.didx"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(store_index_begin(w, wrong[i], &index, &err), ERR_USAGE);
    assert_int_equal(store_index_begin(w, "a.didx", &index, &err), OK);
    assert_int_equal(store_index_begin(w, "a.didx", &other, &err), ERR_EXISTS);
    assert_int_equal(store_index_append(index, 10, &d, true, &err), OK);
    assert_int_equal(put(w, 1, &d, 10, 20, &err), ERR_USAGE); /* no such index */
    assert_int_equal(put(w, 0, &d, 10, 12, &err), ERR_LIMIT);
    assert_int_equal(put(w, 0, &d, 0, 20, &err), ERR_LIMIT);
    assert_int_equal(put(w, 0, &d, (16 << 20) + 1, 20, &err), ERR_LIMIT);
    assert_int_equal(put(w, 0, &d, 10, 20, &err), OK);
    assert_int_equal(store_index_append(index, 10, &d, false, &err), ERR_FORMAT); /* does not grow */
    assert_int_equal(store_index_append(index, 20, &d, false, &err), ERR_FORMAT);
    assert_int_equal(store_index_finish(index, &csum, &size, &count, &err), ERR_FORMAT);
    assert_int_equal(store_index_begin(w, "empty.didx", &index, &err), OK);
    store_index_end(index);
    assert_int_equal(store_index_finish(index, &csum, &size, &count, &err), ERR_FORMAT);
    const uint8_t *blob = (const uint8_t *)"0123456789abcdef";
    assert_int_equal(store_put_blob(w, "index.json.blob", blob, 16, &err), ERR_USAGE);
    assert_int_equal(store_put_blob(w, "x.didx", blob, 16, &err), ERR_USAGE);
    assert_int_equal(store_put_blob(w, "x.blob", blob, 11, &err), ERR_LIMIT);
    assert_int_equal(store_put_blob(w, "x.blob", blob, 16, &err), OK);
    assert_int_equal(store_put_blob(w, "x.blob", blob, 16, &err), ERR_EXISTS);
    assert_int_equal(finish(w, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "a.didx was not completed"));
    assert_int_equal(fake->calls[CALL_ID_DYNAMIC_CLOSE], 0); /* never with nothing */
    store_close(s);
    fake_stop(false);
}

/* A whole small backup; what the first failing call says. */
static enum status small_backup(struct store *s, struct error *err)
{
    struct store_writer *w;
    struct snapshot_id id = snapshot(1700000060);
    struct store_index *index = NULL;
    struct digest csum;
    uint64_t size, count;
    TRY(store_begin(s, &id, &w, err));
    enum status status = store_index_begin(w, "a.didx", &index, err);
    for (unsigned k = 0; k < 100 && status == OK; k++) {
        struct digest d = digest_number(k);
        status = store_index_append(index, 10 * (k + 1), &d, true, err);
        if (status == OK)
            status = put(w, store_index_stream(index), &d, 10, 20, err);
    }
    if (status == OK)
        status = store_put_blob(w, "x.blob", (const uint8_t *)"0123456789abcdef", 16, err);
    if (status == OK) {
        status = store_index_finish(index, &csum, &size, &count, err);
        index = NULL;
    }
    store_index_abort(index);
    if (status == OK)
        return finish(w, err);
    /* It stays the same failure, whatever is called. */
    struct error again = {0};
    assert_int_equal(store_index_begin(w, "b.didx", &index, &again), status);
    assert_string_equal(again.text, err->text);
    if (index)
        store_index_abort(index);
    store_abort(w);
    return status;
}

static void test_every_call_may_fail(void **state)
{
    (void)state;
    static const struct {
        enum call_id call;
        unsigned nth;
    } calls[] = {{CALL_ID_PREVIOUS_BACKUP_TIME, 1},
                 {CALL_ID_DYNAMIC_INDEX, 1},
                 {CALL_ID_DYNAMIC_CHUNK, 1},
                 {CALL_ID_DYNAMIC_CHUNK, 50},
                 {CALL_ID_DYNAMIC_CHUNK, 100},
                 {CALL_ID_DYNAMIC_APPEND, 1},
                 {CALL_ID_DYNAMIC_APPEND, 2},
                 {CALL_ID_DYNAMIC_CLOSE, 1},
                 {CALL_ID_BLOB, 1},
                 {CALL_ID_BLOB, 2},
                 {CALL_ID_FINISH, 1}};
    static const int statuses[] = {400, 0, 500, 404};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (size_t k = 0; k < sizeof statuses / sizeof *statuses; k++) {
            fake_start();
            struct store *s = fake_store();
            struct error err = {0};
            fake->fail_call = calls[i].call;
            fake->fail_nth = calls[i].nth;
            fake->fail_status = statuses[k];
            enum status expected = statuses[k] == 400 ? ERR_REFUSED : statuses[k] == 404 ? ERR_NOT_FOUND : ERR_NETWORK;
            assert_int_equal(small_backup(s, &err), expected);
            assert_true(strlen(err.text) > 20);
            if (statuses[k] && !strstr(err.text, "as you wish")) /* the server's words */
                assert_string_equal(err.text, "");
            assert_true(!fake->finished || calls[i].call == CALL_ID_FINISH);
            bool is_unknown = calls[i].call == CALL_ID_FINISH && expected == ERR_NETWORK;
            assert_int_equal(strstr(err.text, ": list the snapshots first, host/demo/") != NULL, is_unknown);
            store_close(s);
            fake_stop(false);
        }
}

static void test_strange_answers(void **state)
{
    (void)state;
    static const int64_t times[] = {1700000060, 1700000061, -5};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        fake_start();
        fake->previous_time = times[i];
        struct store *s = fake_store();
        struct error err = {0};
        assert_int_equal(small_backup(s, &err), ERR_FORMAT);
        store_close(s);
        fake_stop(false);
    }
}

static void test_abort_with_everything_under_way(void **state)
{
    (void)state;
    fake_start();
    struct store *s = fake_store();
    struct store_writer *w = begin(s);
    struct store_index *index;
    struct digest d = digest_number(1);
    assert_int_equal(store_index_begin(w, "a.didx", &index, NULL), OK);
    assert_int_equal(store_index_append(index, 10, &d, true, NULL), OK);
    assert_int_equal(put(w, store_index_stream(index), &d, 10, 20, NULL), OK);
    fake_hold();
    for (unsigned k = 2; k < 200; k++) {
        d = digest_number(k);
        assert_int_equal(store_index_append(index, 10 * k, &d, true, NULL), OK);
        assert_int_equal(put(w, store_index_stream(index), &d, 10, 20, NULL), OK);
    }
    assert_int_equal(store_put_blob(w, "x.blob", (const uint8_t *)"0123456789abcdef", 16, NULL), OK);
    store_index_abort(index);
    store_abort(w);
    assert_false(fake->finished);
    store_close(s);
    fake_stop(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transcript),
        cmocka_unit_test(test_first_backup_asks_for_nothing_previous),
        cmocka_unit_test(test_expected_indexes_are_created_once),
        cmocka_unit_test(test_appends_wait_for_answers),
        cmocka_unit_test(test_appends_wait_for_chunks_of_other_indexes),
        cmocka_unit_test(test_finish_waits_for_all_answers),
        cmocka_unit_test(test_known_entries_go_in_batches),
        cmocka_unit_test(test_streams_at_a_time),
        cmocka_unit_test(test_requests_under_way_are_bounded),
        cmocka_unit_test(test_bodies_under_way_are_bounded),
        cmocka_unit_test(test_blobs_are_bodies_too),
        cmocka_unit_test(test_cancel_wakes_who_waits),
        cmocka_unit_test(test_a_cause_stays_the_cause),
        cmocka_unit_test(test_fixed_index),
        cmocka_unit_test(test_fixed_index_refuses),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_every_call_may_fail),
        cmocka_unit_test(test_strange_answers),
        cmocka_unit_test(test_abort_with_everything_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
