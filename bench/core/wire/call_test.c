#include "testing/testing.h"

#include "base/hex.h"
#include "wire/call.h"
#include "wire/protocol.h"

#include <stdio.h>
#include <string.h>

static struct buffer path = {.limit = 8192};
static struct error err;

#define C1 "1416cd46684f8ef515aae138421d690b3578cd79e781c29feaa14f18853ebc10"
#define C3 "c23ab4deeac61f5b5164a5c76f37571f32deb06afdbdbc88f2b251983e90b2f0"
#define M2 "c022bb7a50a05eb51491558bed34f9628c14f701a1c9d4ead1de10a04aa67f66"
#define PAYLOAD_CSUM "d314a8950872cd699205447c4a7f82c500404cd6bfb5408f751b7ffa474e45b8"

static const uint8_t *bytes_of(const char *hex)
{
    static uint8_t digest[CALL_DIGEST_SIZE];
    assert_true(hex_decode(hex, strlen(hex), digest, sizeof digest));
    return digest;
}

static void assert_path(enum status status, const char *expected)
{
    assert_int_equal(status, OK);
    assert_string_equal((const char *)path.data, expected);
    assert_int_equal(path.size, strlen(expected) + 1);
}

/* bench/spec/protocol.md 17.1. */
static void test_writes_the_transcripts_paths(void **state)
{
    (void)state;
    assert_path(call_previous(&path, "index.json.blob", &err), "/previous?archive-name=index.json.blob");
    assert_path(call_create(&path, CALL_DYNAMIC, "root.mpxar.didx", 7, &err),
                "/dynamic_index?archive-name=root.mpxar.didx");
    assert_path(call_chunk(&path, CALL_DYNAMIC, 2, bytes_of(C3), 20, 32, &err),
                "/dynamic_chunk?digest=" C3 "&encoded-size=32&size=20&wid=2");
    assert_path(call_close(&path, CALL_DYNAMIC, 2, 2, 38, bytes_of(PAYLOAD_CSUM), &err),
                "/dynamic_close?chunk-count=2&csum=" PAYLOAD_CSUM "&size=38&wid=2");
    assert_path(call_blob(&path, "index.json.blob", 504, &err), "/blob?encoded-size=504&file-name=index.json.blob");
    assert_path(call_download(&path, "root.mpxar.didx", &err), "/download?file-name=root.mpxar.didx");
    assert_path(call_read_chunk(&path, bytes_of(M2), &err), "/chunk?digest=" M2);
    assert_string_equal(call_append_path(CALL_DYNAMIC), "/dynamic_index");
}

static void test_writes_the_calls_of_images(void **state)
{
    (void)state;
    assert_path(call_create(&path, CALL_FIXED, "disk.img.fidx", 4194305, &err),
                "/fixed_index?archive-name=disk.img.fidx&size=4194305");
    assert_path(call_chunk(&path, CALL_FIXED, 256, bytes_of(C1), 1, 13, &err),
                "/fixed_chunk?digest=" C1 "&encoded-size=13&size=1&wid=256");
    assert_path(call_close(&path, CALL_FIXED, 1, 0, 0, bytes_of(C1), &err),
                "/fixed_close?chunk-count=0&csum=" C1 "&size=0&wid=1");
    assert_string_equal(call_append_path(CALL_FIXED), "/fixed_index");
}

static void test_names_are_encoded_and_bounded(void **state)
{
    (void)state;
    assert_path(call_download(&path, "a b/c&d=e", &err), "/download?file-name=a+b%2Fc%26d%3De");
    char name[5000];
    memset(name, 'n', sizeof name);
    name[WIRE_PATH_MAX - strlen("/download?file-name=")] = '\0';
    assert_int_equal(call_download(&path, name, &err), OK);
    name[WIRE_PATH_MAX - strlen("/download?file-name=")] = 'n';
    name[WIRE_PATH_MAX - strlen("/download?file-name=") + 1] = '\0';
    assert_int_equal(call_download(&path, name, &err), ERR_LIMIT);
    name[4999] = '\0';
    memset(name, 'n', 4999);
    assert_int_equal(call_download(&path, name, &err), ERR_LIMIT);
}

static void test_writes_the_transcripts_appends(void **state)
{
    (void)state;
    struct call_append append = CALL_APPEND_INIT;
    struct buffer body = BUFFER_INIT(CALL_APPEND_BODY_MAX);
    assert_int_equal(call_append_add(&append, bytes_of(C1), 0, &err), OK);
    assert_int_equal(call_append_add(&append, bytes_of(C3), 18, &err), OK);
    assert_int_equal(call_append_finish(&append, 2, &body, &err), OK);
    static const char p1[] = "{\"digest-list\":[\"" C1 "\",\"" C3 "\"],\"offset-list\":[0,18],\"wid\":2}";
    assert_int_equal(body.size, 180);
    assert_int_equal(sizeof p1 - 1, 180);
    assert_memory_equal(body.data, p1, 180);
    assert_int_equal(append.count, 0);
    assert_int_equal(call_append_add(&append, bytes_of(M2), 0, &err), OK);
    assert_int_equal(call_append_finish(&append, 1, &body, &err), OK);
    assert_int_equal(body.size, 110);
    assert_memory_equal(body.data, "{\"digest-list\":[\"" M2 "\"],\"offset-list\":[0],\"wid\":1}", 110);
    call_append_deinit(&append);
    buffer_deinit(&body);
}

static void test_the_largest_append_fits_the_oldest_servers(void **state)
{
    (void)state;
    struct call_append append = CALL_APPEND_INIT;
    struct buffer body = BUFFER_INIT(CALL_APPEND_BODY_MAX);
    for (int i = 0; i < WIRE_APPEND_ENTRIES_MAX; i++)
        assert_int_equal(call_append_add(&append, bytes_of(C1), UINT64_MAX, &err), OK);
    assert_int_equal(call_append_add(&append, bytes_of(C1), 0, &err), ERR_LIMIT);
    assert_int_equal(append.count, WIRE_APPEND_ENTRIES_MAX);
    assert_int_equal(call_append_finish(&append, UINT32_MAX, &body, &err), OK);
    assert_true(body.size <= WIRE_PARAMETER_BODY_MAX_OLD);
    call_append_deinit(&append);
    buffer_deinit(&body);
}

static int done(void **state)
{
    (void)state;
    buffer_deinit(&path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_writes_the_transcripts_paths),
        cmocka_unit_test(test_writes_the_calls_of_images),
        cmocka_unit_test(test_names_are_encoded_and_bounded),
        cmocka_unit_test(test_writes_the_transcripts_appends),
        cmocka_unit_test(test_the_largest_append_fits_the_oldest_servers),
    };
    return cmocka_run_group_tests(tests, NULL, done);
}
