#include "testing/testing.h"

#include "base/buffer.h"

#include <string.h>

static void test_appends_in_order(void **state)
{
    (void)state;
    struct error err = {0};
    struct buffer b = BUFFER_INIT(1000);
    assert_int_equal(buffer_append(&b, "ab", 2, &err), OK);
    assert_int_equal(buffer_append_u8(&b, 0x7f, &err), OK);
    assert_int_equal(buffer_append_u32le(&b, 0x01020304, &err), OK);
    assert_int_equal(buffer_append_u64le(&b, 0x1112131415161718, &err), OK);
    assert_int_equal(buffer_append_zeros(&b, 3, &err), OK);
    assert_int_equal(buffer_printf(&b, &err, "%s=%d", "n", 42), OK);
    assert_int_equal(b.size, 22);
    assert_memory_equal(b.data, "ab\x7f\x04\x03\x02\x01\x18\x17\x16\x15\x14\x13\x12\x11\0\0\0n=42", 22);
    buffer_clear(&b);
    assert_int_equal(b.size, 0);
    buffer_deinit(&b);
    assert_null(b.data);
    assert_int_equal(b.limit, 1000);
    buffer_deinit(&b);
}

static void test_content_survives_growth(void **state)
{
    (void)state;
    struct error err = {0};
    struct buffer b = BUFFER_INIT(1 << 20);
    uint8_t *data = make_splitmix64(1 << 20, 1);
    for (size_t at = 0, step = 1; at<1 << 20; at += step, step = step * 2>(1 << 20) - at ? 1 : step * 2) {
        if (step > (1 << 20) - at)
            step = (1 << 20) - at;
        assert_int_equal(buffer_append(&b, data + at, step, &err), OK);
    }
    assert_int_equal(b.size, 1 << 20);
    assert_memory_equal(b.data, data, b.size);
    assert_true(b.capacity <= 1 << 20);
    free(data);
    buffer_deinit(&b);
}

/* A ceiling below the first allocation's size must hold too. */
static void test_ceiling_holds_for_every_limit(void **state)
{
    (void)state;
    for (size_t limit = 1; limit < 300; limit++) {
        struct error err = {0};
        struct buffer b = BUFFER_INIT(limit);
        for (size_t i = 0; i < limit; i++)
            assert_int_equal(buffer_append_u8(&b, (uint8_t)i, &err), OK);
        assert_int_equal(buffer_append_u8(&b, 1, &err), ERR_LIMIT);
        assert_int_equal(buffer_append_zeros(&b, SIZE_MAX, &err), ERR_LIMIT);
        assert_int_equal(buffer_reserve(&b, SIZE_MAX - 1, &err), ERR_LIMIT);
        assert_int_equal(b.size, limit);
        for (size_t i = 0; i < limit; i++)
            assert_int_equal(b.data[i], (uint8_t)i);
        buffer_deinit(&b);
    }
}

static void test_failed_append_keeps_what_was_there(void **state)
{
    (void)state;
    struct error err = {0};
    struct buffer b = BUFFER_INIT(10);
    assert_int_equal(buffer_append(&b, "12345", 5, &err), OK);
    assert_int_equal(buffer_append(&b, "678901", 6, &err), ERR_LIMIT);
    assert_string_equal(err.text, "buffer of 5 bytes cannot take 6 more: the limit is 10");
    assert_int_equal(buffer_printf(&b, &err, "%s", "678901"), ERR_LIMIT);
    assert_int_equal(b.size, 5);
    assert_memory_equal(b.data, "12345", 5);
    assert_int_equal(buffer_append(&b, "67890", 5, &err), OK);
    buffer_deinit(&b);
}

static void test_no_limit_given_means_the_default(void **state)
{
    (void)state;
    struct error err = {0};
    struct buffer b = {0};
    assert_int_equal(buffer_append(&b, "x", 1, &err), OK);
    assert_int_equal(buffer_reserve(&b, BUFFER_LIMIT_DEFAULT, &err), ERR_LIMIT);
    buffer_deinit(&b);
}

static void test_array_new_is_zeroed_and_bounded(void **state)
{
    (void)state;
    struct error err = {0};
    void *memory = NULL;
    assert_int_equal(array_new(100, 8, 100, "things", &memory, &err), OK);
    for (size_t i = 0; i < 800; i++)
        assert_int_equal(((uint8_t *)memory)[i], 0);
    free(memory);
    assert_int_equal(array_new(0, 8, 100, "things", &memory, &err), OK);
    assert_non_null(memory);
    free(memory);
    assert_int_equal(array_new(101, 8, 100, "things", &memory, &err), ERR_LIMIT);
    assert_string_equal(err.text, "101 things are more than the limit of 100");
    assert_int_equal(array_new(SIZE_MAX / 2, 4, SIZE_MAX, "things", &memory, &err), ERR_MEMORY);
}

static void test_array_grows_to_its_ceiling(void **state)
{
    (void)state;
    for (size_t ceiling = 1; ceiling < 70; ceiling++) {
        struct error err = {0};
        void *array = NULL;
        size_t capacity = 0;
        for (size_t count = 0; count < ceiling; count++) {
            assert_int_equal(array_grow(&array, count, &capacity, sizeof(uint32_t), ceiling, "things", &err), OK);
            assert_true(capacity > count && capacity <= ceiling);
            ((uint32_t *)array)[count] = (uint32_t)count;
        }
        assert_int_equal(array_grow(&array, ceiling, &capacity, sizeof(uint32_t), ceiling, "things", &err), ERR_LIMIT);
        for (size_t i = 0; i < ceiling; i++)
            assert_int_equal(((uint32_t *)array)[i], i);
        free(array);
    }
    struct error err = {0};
    void *array = NULL;
    size_t capacity = 0;
    assert_int_equal(array_grow(&array, 0, &capacity, 1, 1000, "things", &err), OK);
    assert_int_equal(capacity, 16);
    free(array);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appends_in_order),
        cmocka_unit_test(test_content_survives_growth),
        cmocka_unit_test(test_ceiling_holds_for_every_limit),
        cmocka_unit_test(test_failed_append_keeps_what_was_there),
        cmocka_unit_test(test_no_limit_given_means_the_default),
        cmocka_unit_test(test_array_new_is_zeroed_and_bounded),
        cmocka_unit_test(test_array_grows_to_its_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
