/* The worked transcript of the specification (17), spoken to the server over TLS, and its negative variants. */
#include "testing/testing.h"

#include "server/serve_for_test.h"

#define M1 "34c9f7cf822077ba1521da3a08b47d13279bbaa7572916f4f3dde67cbf009566"
#define C1 "1416cd46684f8ef515aae138421d690b3578cd79e781c29feaa14f18853ebc10"
#define C2 "7db711eadc53006696f08b3177609029d817e62151abfd308f7db079a855d323"
#define C3 "c23ab4deeac61f5b5164a5c76f37571f32deb06afdbdbc88f2b251983e90b2f0"
#define M2 "c022bb7a50a05eb51491558bed34f9628c14f701a1c9d4ead1de10a04aa67f66"
#define M1_BLOB "42ab3807be8370a1e411e31f6d657461646174612d66697273740a"
#define C1_BLOB "42ab3807be8370a1076cf5507061796c6f61642d6368756e6b2d6f6e650a"
#define C2_BLOB "42ab3807be8370a1ecccf53e7061796c6f61642d6368756e6b2d74776f0a"
#define C3_BLOB "42ab3807be8370a1816bd7da7061796c6f61642d6368756e6b2d74687265650a"
#define M2_BLOB "42ab3807be8370a16b860b7a6d657461646174612d7365636f6e640a"
#define BASE_META_CSUM "c55a0261c0b0b13fc9286e281e9126dd398502abaa76f42487de01479b4095e8"
#define BASE_PAYLOAD_CSUM "e71f18c9b349982de8baf36ae859ddd2a8f0018c0c63e878491504cf82563b87"
#define NEW_META_CSUM "425b1c52c52f73e676a20d09c8b7339b39452445a74fb10a63c09fd50413327d"
#define NEW_PAYLOAD_CSUM "d314a8950872cd699205447c4a7f82c500404cd6bfb5408f751b7ffa474e45b8"
#define BASE_DIR "host/demo/2023-11-14T22:13:20Z"
#define NEW_DIR "host/demo/2023-11-14T22:14:20Z"
#define SESSION_QUERY(time)                                                                                            \
    "backup-id=demo&backup-time=" #time "&backup-type=host&benchmark=false&debug=true&store=store1"

static const char manifest_form[] = "{\n"
                                    "  \"backup-id\": \"demo\",\n"
                                    "  \"backup-time\": %s,\n"
                                    "  \"backup-type\": \"host\",\n"
                                    "  \"files\": [\n"
                                    "    {\n"
                                    "      \"crypt-mode\": \"none\",\n"
                                    "      \"csum\": \"%s\",\n"
                                    "      \"filename\": \"root.ppxar.didx\",\n"
                                    "      \"size\": %d\n"
                                    "    },\n"
                                    "    {\n"
                                    "      \"crypt-mode\": \"none\",\n"
                                    "      \"csum\": \"%s\",\n"
                                    "      \"filename\": \"root.mpxar.didx\",\n"
                                    "      \"size\": %d\n"
                                    "    }\n"
                                    "  ],\n"
                                    "  \"signature\": null,\n"
                                    "  \"unprotected\": {}\n"
                                    "}";

static size_t from_hex(const char *hex, uint8_t out[256])
{
    size_t size = strlen(hex) / 2;
    assert_true(size <= 256 && hex_decode(hex, 2 * size, out, size));
    return size;
}

static int chunk(struct peer *p, const char *query, const char *hex)
{
    uint8_t bytes[256];
    char path[300];
    snprintf(path, sizeof path, "/dynamic_chunk?%s", query);
    return status_of(p, "POST", path, WIRE_TYPE_BINARY, bytes, from_hex(hex, bytes));
}

/* A chunk whose answer is its digest. */
static void chunk_says(struct peer *p, const char *query, const char *hex, const char *digest)
{
    char expected[100];
    assert_int_equal(chunk(p, query, hex), 200);
    snprintf(expected, sizeof expected, "{\"data\":\"%s\"}", digest);
    assert_string_equal(err.text, expected);
}

static void put_says_null(struct peer *p, const char *json)
{
    assert_int_equal(put_json(p, "/dynamic_index", json), 200);
    assert_string_equal(err.text, "{\"data\":null}");
}

/* The manifest's blob; the specification gives its sizes and checksums. */
static void manifest(const char *time, const char *payload_csum, int payload_size, const char *meta_csum, int meta_size,
                     struct buffer *out)
{
    char json[1024];
    int size = snprintf(json, sizeof json, manifest_form, time, payload_csum, payload_size, meta_csum, meta_size);
    assert_int_equal(size, 492);
    plain_blob(json, (size_t)size, out);
    assert_int_equal(out->size, 504);
}

static int upload_manifest(struct peer *p, const struct buffer *blob)
{
    int status = upload_blob(p, "index.json.blob", blob);
    if (status == 200)
        assert_string_equal(err.text, "{\"data\":null}");
    return status;
}

/* 17.3 */
static void make_base(void)
{
    struct peer p;
    struct buffer blob;
    open_backup(&p, SESSION_QUERY(1700000000));
    assert_says(&p, "GET", "/previous_backup_time", "{\"data\":null}");
    assert_int_equal(get(&p, "/previous?archive-name=index.json.blob"), 400);
    assert_says(&p, "POST", "/dynamic_index?archive-name=root.mpxar.didx", "{\"data\":1}");
    assert_says(&p, "POST", "/dynamic_index?archive-name=root.ppxar.didx", "{\"data\":2}");
    chunk_says(&p, "digest=" M1 "&encoded-size=27&size=15&wid=1", M1_BLOB, M1);
    chunk_says(&p, "digest=" C1 "&encoded-size=30&size=18&wid=2", C1_BLOB, C1);
    chunk_says(&p, "digest=" C2 "&encoded-size=30&size=18&wid=2", C2_BLOB, C2);
    put_says_null(&p, "{\"digest-list\":[\"" M1 "\"],\"offset-list\":[0],\"wid\":1}");
    put_says_null(&p, "{\"digest-list\":[\"" C1 "\",\"" C2 "\"],\"offset-list\":[0,18],\"wid\":2}");
    assert_says(&p, "POST", "/dynamic_close?chunk-count=2&csum=" BASE_PAYLOAD_CSUM "&size=36&wid=2", "{\"data\":null}");
    assert_says(&p, "POST", "/dynamic_close?chunk-count=1&csum=" BASE_META_CSUM "&size=15&wid=1", "{\"data\":null}");
    manifest("1700000000", BASE_PAYLOAD_CSUM, 36, BASE_META_CSUM, 15, &blob);
    assert_true(hex_equals("42ab3807be8370a168fa9a07", (const uint8_t *)blob.data, 12));
    assert_int_equal(upload_manifest(&p, &blob), 200);
    assert_says(&p, "POST", "/finish", "{\"data\":null}");
    buffer_deinit(&blob);
    peer_close(&p);
}

/* What the second run says, up to a row of 17.1's table. */
static void run_to(struct peer *p, int row, bool with_previous)
{
    struct buffer blob;
    open_backup(p, SESSION_QUERY(1700000060));
    assert_says(p, "GET", "/previous_backup_time", "{\"data\":1700000000}");
    if (row >= 2)
        assert_int_equal(get(p, "/previous?archive-name=index.json.blob"), 200);
    if (row >= 3 && with_previous)
        assert_int_equal(get(p, "/previous?archive-name=root.ppxar.didx"), 200);
    if (row >= 4)
        assert_int_equal(get(p, "/previous?archive-name=root.mpxar.didx"), 200);
    if (row >= 5)
        assert_says(p, "POST", "/dynamic_index?archive-name=root.mpxar.didx", "{\"data\":1}");
    if (row >= 6)
        assert_says(p, "POST", "/dynamic_index?archive-name=root.ppxar.didx", "{\"data\":2}");
    if (row >= 7)
        chunk_says(p, "digest=" C3 "&encoded-size=32&size=20&wid=2", C3_BLOB, C3);
    if (row >= 8)
        chunk_says(p, "digest=" M2 "&encoded-size=28&size=16&wid=1", M2_BLOB, M2);
    if (row >= 9)
        put_says_null(p, "{\"digest-list\":[\"" C1 "\",\"" C3 "\"],\"offset-list\":[0,18],\"wid\":2}");
    if (row >= 10)
        put_says_null(p, "{\"digest-list\":[\"" M2 "\"],\"offset-list\":[0],\"wid\":1}");
    if (row >= 11)
        assert_says(p, "POST", "/dynamic_close?chunk-count=2&csum=" NEW_PAYLOAD_CSUM "&size=38&wid=2",
                    "{\"data\":null}");
    if (row >= 12)
        assert_says(p, "POST", "/dynamic_close?chunk-count=1&csum=" NEW_META_CSUM "&size=16&wid=1", "{\"data\":null}");
    if (row >= 13) {
        manifest("1700000060", NEW_PAYLOAD_CSUM, 38, NEW_META_CSUM, 16, &blob);
        assert_true(hex_equals("42ab3807be8370a1ed98420b", blob.data, 12));
        assert_int_equal(upload_manifest(p, &blob), 200);
        buffer_deinit(&blob);
    }
    if (row >= 14)
        assert_says(p, "POST", "/finish", "{\"data\":null}");
}

static int setup(void **state)
{
    serve_setup(state);
    make_base();
    return 0;
}

/* ---- the transcript ---- */

static void check_index(const char *name, size_t size, const char *csum, const char *entries_hex)
{
    static const char magic[] = "1c914ea519bab3cd";
    struct buffer file;
    read_stored(name, &file);
    assert_int_equal(file.size, size);
    assert_true(hex_equals(magic, file.data, 8));
    assert_true(hex_equals(csum, file.data + 32, 32));
    for (size_t i = 64; i < 4096; i++)
        assert_int_equal(file.data[i], 0);
    assert_true(hex_equals(entries_hex, file.data + 4096, size - 4096));
    buffer_deinit(&file);
}

static json_t *read_manifest(const char *name, const char *magic)
{
    struct buffer file, text = BUFFER_INIT(1 << 20);
    struct blob_context *context;
    read_stored(name, &file);
    assert_true(hex_equals(magic, file.data, 8));
    assert_int_equal(blob_context_new(&context, NULL), OK);
    assert_int_equal(blob_open(context, file.data, file.size, 1 << 20, "manifest", &text, &err), OK);
    json_t *json = json_loadb((const char *)text.data, text.size, 0, NULL);
    assert_non_null(json);
    blob_context_free(context);
    buffer_deinit(&text);
    buffer_deinit(&file);
    return json;
}

static void check_stats(const char *name, int count, int size, int compressed, int duplicates)
{
    json_t *json = read_manifest(name, "31b958426fb6a37f");
    json_t *expected = json_pack("{s{sisisisi}}", "chunk_upload_stats", "count", count, "size", size, "compressed_size",
                                 compressed, "duplicates", duplicates);
    assert_true(json_equal(json_object_get(json, "unprotected"), expected));
    assert_true(json_is_null(json_object_get(json, "signature")));
    assert_int_equal(json_array_size(json_object_get(json, "files")), 2);
    json_decref(expected);
    json_decref(json);
}

static void check_file(const char *name, const char *hex)
{
    struct buffer file;
    read_stored(name, &file);
    assert_int_equal(file.size, strlen(hex) / 2);
    assert_true(hex_equals(hex, file.data, file.size));
    buffer_deinit(&file);
}

static void test_incremental_backup(void **state)
{
    (void)state;
    struct peer p, reader;
    struct answer a;
    open_backup(&p, SESSION_QUERY(1700000060));
    assert_says(&p, "GET", "/previous_backup_time", "{\"data\":1700000000}");
    call(&p, "GET", "/previous?archive-name=index.json.blob", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_false(a.json);
    assert_true(hex_equals("31b958426fb6a37f", a.body.data, 8));
    buffer_deinit(&a.body);
    /* A reader of the base beside it. */
    open_reader(&reader, "backup-id=demo&backup-time=1700000000&backup-type=host&debug=true&store=store1");
    assert_int_equal(get(&reader, "/download?file-name=root.mpxar.didx"), 200);
    call(&reader, "GET", "/chunk?digest=" M1, NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_true(hex_equals(M1_BLOB, a.body.data, a.body.size));
    buffer_deinit(&a.body);
    call(&p, "GET", "/previous?archive-name=root.ppxar.didx", NULL, NULL, 0, &a);
    assert_int_equal(a.body.size, 4176);
    buffer_deinit(&a.body);
    call(&p, "GET", "/previous?archive-name=root.mpxar.didx", NULL, NULL, 0, &a);
    assert_int_equal(a.body.size, 4136);
    buffer_deinit(&a.body);
    peer_close(&reader);
    peer_close(&p);

    run_to(&p, 14, true);
    peer_close(&p);
    check_index(NEW_DIR "/root.ppxar.didx", 4176, NEW_PAYLOAD_CSUM, "1200000000000000" C1 "2600000000000000" C3);
    check_index(NEW_DIR "/root.mpxar.didx", 4136, NEW_META_CSUM, "1000000000000000" M2);
    check_stats(BASE_DIR "/index.json.blob", 3, 555, 87, 0);
    check_stats(NEW_DIR "/index.json.blob", 2, 540, 60, 0);
    check_file(".chunks/34c9/" M1, M1_BLOB);
    check_file(".chunks/1416/" C1, C1_BLOB);
    check_file(".chunks/7db7/" C2, C2_BLOB);
    check_file(".chunks/c23a/" C3, C3_BLOB);
    check_file(".chunks/c022/" M2, M2_BLOB);
    struct buffer owner;
    read_stored("host/demo/owner", &owner);
    assert_int_equal(owner.size, strlen(TOKEN "\n"));
    assert_memory_equal(owner.data, TOKEN "\n", owner.size);
    buffer_deinit(&owner);
}

static void test_restore(void **state)
{
    (void)state;
    struct peer p;
    struct answer a;
    run_to(&p, 14, true);
    peer_close(&p);
    open_reader(&p, "backup-id=demo&backup-time=1700000060&backup-type=host&debug=true&store=store1");
    assert_int_equal(get(&p, "/chunk?digest=" C1), 401); /* row 5 before row 3 */
    call(&p, "GET", "/download?file-name=index.json.blob", NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_false(a.json);
    assert_true(hex_equals("31b958426fb6a37f", a.body.data, 8));
    buffer_deinit(&a.body);
    call(&p, "GET", "/download?file-name=root.mpxar.didx", NULL, NULL, 0, &a);
    assert_int_equal(a.body.size, 4136);
    buffer_deinit(&a.body);
    call(&p, "GET", "/download?file-name=root.ppxar.didx", NULL, NULL, 0, &a);
    assert_int_equal(a.body.size, 4176);
    buffer_deinit(&a.body);
    static const char *const chunks[][2] = {{M2, M2_BLOB}, {C1, C1_BLOB}, {C3, C3_BLOB}};
    for (size_t i = 0; i < 3; i++) {
        char path[200];
        snprintf(path, sizeof path, "/chunk?digest=%s", chunks[i][0]);
        call(&p, "GET", path, NULL, NULL, 0, &a);
        assert_int_equal(a.status, 200);
        assert_int_equal(a.body.size, strlen(chunks[i][1]) / 2);
        assert_true(hex_equals(chunks[i][1], a.body.data, a.body.size));
        buffer_deinit(&a.body);
    }
    assert_int_equal(get(&p, "/chunk?digest=" C2), 401);
    peer_close(&p);
}

/* ---- negative variants, in the order of the table ---- */

static void test_appends_need_the_base_or_the_upload(void **state)
{
    (void)state;
    struct peer p;
    run_to(&p, 8, false);
    assert_int_equal(
        put_json(&p, "/dynamic_index", "{\"digest-list\":[\"" C1 "\",\"" C3 "\"],\"offset-list\":[0,18],\"wid\":2}"),
        400);
    assert_int_equal(post(&p, "/finish"), 400);
    peer_close(&p);
}

static void test_offsets_are_contiguous(void **state)
{
    (void)state;
    struct peer p;
    run_to(&p, 8, true);
    assert_int_equal(
        put_json(&p, "/dynamic_index", "{\"digest-list\":[\"" C1 "\",\"" C3 "\"],\"offset-list\":[0,17],\"wid\":2}"),
        400);
    /* C1 is in the index, yet it is lost: neither it nor the backup can be finished. */
    assert_int_equal(put_json(&p, "/dynamic_index", "{\"digest-list\":[\"" C3 "\"],\"offset-list\":[18],\"wid\":2}"),
                     200);
    assert_int_equal(post(&p, "/dynamic_close?chunk-count=2&csum=" NEW_PAYLOAD_CSUM "&size=38&wid=2"), 400);
    assert_int_equal(post(&p, "/finish"), 400);
    peer_close(&p);
}

static void test_chunks_are_what_they_are_announced_as(void **state)
{
    (void)state;
    struct peer p;
    char broken[] = C3_BLOB;
    char zeroed[] = C3_BLOB;
    run_to(&p, 6, true);
    broken[sizeof broken - 2] = '1';
    assert_int_equal(chunk(&p, "digest=" C3 "&encoded-size=32&size=20&wid=2", broken), 400);
    assert_int_equal(chunk(&p, "digest=" C3 "&encoded-size=32&size=19&wid=2", C3_BLOB), 400);
    assert_int_equal(chunk(&p, "digest=" C3 "&encoded-size=32&size=21&wid=2", C3_BLOB), 400);
    assert_int_equal(chunk(&p, "digest=" C3 "&encoded-size=31&size=20&wid=2", C3_BLOB), 400);
    assert_int_equal(chunk(&p, "digest=" C3 "&encoded-size=33&size=20&wid=2", C3_BLOB), 400);
    assert_false(is_stored(".chunks/c23a/" C3));
    memset(zeroed + 16, '0', 8);
    assert_int_equal(chunk(&p, "digest=" C3 "&encoded-size=32&size=20&wid=2", zeroed), 200);
    check_file(".chunks/c23a/" C3, C3_BLOB);
    peer_close(&p);
}

static void test_blobs_need_their_checksum(void **state)
{
    (void)state;
    struct peer p;
    struct buffer blob;
    run_to(&p, 12, true);
    manifest("1700000060", NEW_PAYLOAD_CSUM, 38, NEW_META_CSUM, 16, &blob);
    memset(blob.data + 8, 0, 4);
    assert_int_equal(upload_manifest(&p, &blob), 400);
    buffer_deinit(&blob);
    peer_close(&p);
}

static void test_a_close_says_what_the_index_is(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "/dynamic_close?chunk-count=1&csum=" NEW_PAYLOAD_CSUM "&size=38&wid=2",
        "/dynamic_close?chunk-count=2&csum=" NEW_PAYLOAD_CSUM "&size=37&wid=2",
        "/dynamic_close?chunk-count=2&csum=" NEW_META_CSUM "&size=38&wid=2",
    };
    for (size_t i = 0; i < 3; i++) {
        struct peer p;
        run_to(&p, 10, true);
        assert_int_equal(post(&p, wrong[i]), 400);
        assert_int_equal(post(&p, "/dynamic_close?chunk-count=2&csum=" NEW_PAYLOAD_CSUM "&size=38&wid=2"), 400);
        assert_int_equal(post(&p, "/dynamic_close?chunk-count=1&csum=" NEW_META_CSUM "&size=16&wid=1"), 200);
        assert_int_equal(post(&p, "/finish"), 400);
        peer_close(&p);
        assert_true(goes_away(NEW_DIR));
    }
}

static void test_finish_comes_last(void **state)
{
    (void)state;
    struct peer p;
    struct buffer blob;
    run_to(&p, 11, true);
    assert_int_equal(post(&p, "/finish"), 400); /* before row 12 */
    peer_close(&p);
    assert_true(goes_away(NEW_DIR));
    run_to(&p, 12, true);
    assert_int_equal(post(&p, "/finish"), 400); /* before row 13 */
    peer_close(&p);
    assert_true(goes_away(NEW_DIR));
    run_to(&p, 14, true);
    manifest("1700000060", NEW_PAYLOAD_CSUM, 38, NEW_META_CSUM, 16, &blob);
    assert_int_equal(upload_manifest(&p, &blob), 400); /* again, and the backup is over */
    buffer_deinit(&blob);
    peer_close(&p);
    assert_true(is_stored(NEW_DIR "/index.json.blob"));
}

static void test_names_lead_nowhere(void **state)
{
    (void)state;
    struct peer p;
    run_to(&p, 4, true);
    assert_int_equal(post(&p, "/dynamic_index?archive-name=..%2Fx.didx"), 400);
    peer_close(&p);
    assert_false(is_stored("host/demo/x.didx"));
}

static void test_a_connection_that_ends_early_leaves_nothing_but_chunks(void **state)
{
    (void)state;
    struct peer p;
    run_to(&p, 13, true);
    assert_true(is_stored(NEW_DIR));
    assert_false(is_stored(NEW_DIR "/index.json.blob")); /* it is not finished: a crash now leaves none */
    peer_close(&p);
    assert_true(goes_away(NEW_DIR));
    assert_true(is_stored(BASE_DIR "/index.json.blob"));
    check_file(".chunks/c23a/" C3, C3_BLOB);
    check_file(".chunks/c022/" M2, M2_BLOB);
    run_to(&p, 14, true);
    peer_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_incremental_backup, setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_restore, setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_appends_need_the_base_or_the_upload, setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_offsets_are_contiguous, setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_chunks_are_what_they_are_announced_as, setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_blobs_need_their_checksum, setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_a_close_says_what_the_index_is, setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_finish_comes_last, setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_names_lead_nowhere, setup, serve_teardown),
        cmocka_unit_test_setup_teardown(test_a_connection_that_ends_early_leaves_nothing_but_chunks, setup,
                                        serve_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
