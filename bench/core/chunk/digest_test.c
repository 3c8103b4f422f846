#include "testing/testing.h"

#include "chunk/digest.h"

#include <string.h>

static const char *const empty_text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
static const char *const hello_text = "a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447";

static void assert_digest(const struct digest *d, const char *expected)
{
    char text[DIGEST_TEXT_SIZE];
    assert_string_equal(digest_text(d, text), expected);
}

static void test_one_shot(void **state)
{
    (void)state;
    struct digest d;
    digest_of("hello world\n", 12, &d);
    assert_digest(&d, hello_text);
    digest_of(NULL, 0, &d);
    assert_digest(&d, empty_text);
}

static void test_zero_chunks_of_the_specification(void **state)
{
    (void)state;
    static const struct {
        size_t size;
        const char *digest;
    } rows[] = {
        {64 << 10, "de2f256064a0af797747c2b97505dc0b9f3df0de4f489eac731c23ae9ca9cc31"},
        {128 << 10, "fa43239bcee7b97ca62f007cc68487560a39e19f74f3dde7486db3f98df8e471"},
        {256 << 10, "8a39d2abd3999ab73c34db2476849cddf303ce389b35826850f9a700589b4a90"},
        {512 << 10, "07854d2fef297a06ba81685e660c332de36d5d18d546927d30daad6d7fda1541"},
        {1024 << 10, "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58"},
        {2048 << 10, "5647f05ec18958947d32874eeb788fa396a05d0bab7c1b71f112ceb7e9b31eee"},
        {4096 << 10, "bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t *zeros = make_constant(rows[i].size, 0);
        struct digest d;
        digest_of(zeros, rows[i].size, &d);
        assert_digest(&d, rows[i].digest);
        free(zeros);
    }
}

static void test_state_is_reusable_and_parts_do_not_matter(void **state)
{
    (void)state;
    struct digest_state *s = NULL;
    assert_int_equal(digest_new(&s, NULL), OK);
    for (size_t split = 0; split <= 12; split++) {
        struct digest d;
        digest_begin(s);
        digest_update(s, "hello world\n", split);
        digest_update(s, &"hello world\n"[split], 12 - split);
        digest_finish(s, &d);
        assert_digest(&d, hello_text);
        digest_begin(s);
        digest_finish(s, &d);
        assert_digest(&d, empty_text);
    }
    /* What was begun and not finished leaves nothing behind. */
    struct digest d;
    digest_begin(s);
    digest_update(s, "x", 1);
    digest_begin(s);
    digest_update(s, "hello world\n", 12);
    digest_finish(s, &d);
    assert_digest(&d, hello_text);
    digest_free(s);
    digest_free(NULL);
}

static void test_text_goes_both_ways(void **state)
{
    (void)state;
    struct digest a;
    struct digest b;
    digest_of("hello world\n", 12, &a);
    assert_true(digest_parse(hello_text, 64, &b));
    assert_true(digest_equal(&a, &b));
    b.bytes[DIGEST_SIZE - 1] ^= 1;
    assert_false(digest_equal(&a, &b));
    assert_false(digest_parse(hello_text, 63, &b));
    assert_false(digest_parse("", 0, &b));
    char wrong[65];
    memcpy(wrong, hello_text, 65);
    wrong[63] = 'g';
    assert_false(digest_parse(wrong, 64, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_shot),
        cmocka_unit_test(test_zero_chunks_of_the_specification),
        cmocka_unit_test(test_state_is_reusable_and_parts_do_not_matter),
        cmocka_unit_test(test_text_goes_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
