#include "testing/testing.h"

#include "wire/http_body.h"

#include <string.h>

static struct error err;
static struct buffer got = {.limit = 1 << 20};
static size_t consumed;

/* The body behind `headers`, fed in pieces; what the connection's end says when `end`. */
static enum status read_body(const char *headers, const char *bytes, size_t piece, uint64_t size_max, bool end)
{
    struct http_head head;
    struct http_body body;
    size_t used = 0;
    size_t size = strlen(bytes);
    http_head_init(&head, HTTP_RESPONSE);
    assert_int_equal(http_head_feed(&head, headers, strlen(headers), &used, &err), OK);
    assert_true(head.complete);
    enum status status = http_body_init(&body, &head, size_max, &err);
    http_head_deinit(&head);
    buffer_clear(&got);
    consumed = 0;
    while (status == OK && consumed < size && !body.complete) {
        const uint8_t *part;
        size_t part_size;
        size_t now = size - consumed < piece ? size - consumed : piece;
        status = http_body_feed(&body, bytes + consumed, now, &used, &part, &part_size, &err);
        if (status == OK) {
            assert_true(used > 0);
            consumed += used;
            assert_int_equal(buffer_append(&got, part, part_size, &err), OK);
        }
    }
    if (status == OK && end)
        status = http_body_end(&body, &err);
    else if (status == OK)
        assert_true(body.complete);
    return status;
}

static void assert_body(const char *headers, const char *bytes, const char *expected, size_t left, bool end)
{
    for (size_t piece = 1; piece <= strlen(bytes) + 1; piece++) {
        assert_int_equal(read_body(headers, bytes, piece, 1000, end), OK);
        assert_int_equal(got.size, strlen(expected));
        if (got.size > 0)
            assert_memory_equal(got.data, expected, got.size);
        assert_int_equal(consumed, strlen(bytes) - left);
    }
}

#define OK_HEAD "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK_HEAD "Transfer-Encoding: chunked\r\n\r\n"

static void test_bodies_of_known_length_end_there(void **state)
{
    (void)state;
    assert_body(OK_HEAD "Content-Length: 5\r\n\r\n", "helloHTTP", "hello", 4, false);
    assert_body(OK_HEAD "Content-Length: 0\r\n\r\n", "HTTP", "", 4, false);
    assert_body("HTTP/1.1 204 No\r\n\r\n", "HTTP", "", 4, true);
    assert_int_equal(read_body(OK_HEAD "Content-Length: 5\r\n\r\n", "hell", 9, 1000, true), ERR_NETWORK);
    assert_int_equal(read_body(OK_HEAD "Content-Length: 1001\r\n\r\n", "", 9, 1000, true), ERR_LIMIT);
}

static void test_bodies_without_length_end_with_the_connection(void **state)
{
    (void)state;
    assert_body(OK_HEAD "\r\n", "all of this", "all of this", 0, true);
    assert_int_equal(read_body(OK_HEAD "\r\n", "all of this", 4, 10, true), ERR_LIMIT);
}

static void test_chunked_bodies(void **state)
{
    (void)state;
    assert_body(CHUNKED, "5\r\nhello\r\n1;x=\"y\"\r\n \r\n00A\r\n0123456789\r\n0\r\n\r\nHTTP", "hello 0123456789", 4,
                false);
    assert_body(CHUNKED, "0\r\nA: b\r\nC: d\r\n\r\n", "", 0, false);
    assert_body(CHUNKED,
                "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n1\r\ne\r\n1\r\nf\r\n1\r\ng\r\n1\r\nh\r\n1\r\ni\r\n1\r\nj\r\n"
                "1\r\nk\r\n1\r\nl\r\n1\r\nm\r\n1\r\nn\r\n1\r\no\r\n1\r\np\r\n1\r\nq\r\n1\r\nr\r\n0\r\n\r\n",
                "abcdefghijklmnopqr", 0, false);
    static const char *const bad[] = {
        "1\r\na\r\n\r\n",
        "\r\n",
        "g\r\n",
        "5 \r\nhello\r\n",
        "5\nhello",
        "5\r\nhellox\r\n",
        "5\r\nhello\n",
        "5\r\nhello\r\r",
        "-5\r\nhello\r\n",
        "0\r\n\r\r",
        "0\r\nA\n\r\n",
        "5\rxhello",
        "1000000000000000\r\n",
        "5;\x01\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t piece = 1; piece < 20; piece++)
            if (read_body(CHUNKED, bad[i], piece, 1000, true) != ERR_FORMAT) {
                print_error("accepted: %s\n", bad[i]);
                assert_true(false);
            }
    assert_int_equal(read_body(CHUNKED, "5\r\nhello\r\n", 3, 1000, true), ERR_NETWORK);
    assert_int_equal(read_body(CHUNKED, "5\r\nhello\r\n6\r\n", 3, 10, true), ERR_LIMIT);
    assert_int_equal(read_body(CHUNKED, "FFFFFFFFFFFFFF\r\n", 3, 10, true), ERR_LIMIT);
}

static void test_trailers_and_extensions_are_bounded(void **state)
{
    (void)state;
    char *text = malloc(40000);
    assert_non_null(text);
    memset(text, 'x', 40000);
    text[39999] = '\0';
    memcpy(text, "5;", 2);
    assert_int_equal(read_body(CHUNKED, text, 1000, 1000, true), ERR_FORMAT);
    memcpy(text, "0\r\nA:", 5);
    assert_int_equal(read_body(CHUNKED, text, 1000, 1000, true), ERR_FORMAT);
    free(text);
}

static int done(void **state)
{
    (void)state;
    buffer_deinit(&got);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies_of_known_length_end_there),
        cmocka_unit_test(test_bodies_without_length_end_with_the_connection),
        cmocka_unit_test(test_chunked_bodies),
        cmocka_unit_test(test_trailers_and_extensions_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, done);
}
