#include "testing/testing.h"

#include "base/io.h"

#include <string.h>

/* Gives at most `step` bytes at a time and fails when it reaches `broken_at`. */
struct trickle {
    struct memory_source memory;
    size_t step;
    size_t broken_at;
};

static enum status trickle_read(void *context, uint8_t *data, size_t size, size_t *out_size, struct error *err)
{
    struct trickle *t = context;
    if (t->memory.position >= t->broken_at)
        return fail(err, ERR_LIMIT, "broken at %zu", t->broken_at);
    struct source whole = source_over_memory(&t->memory, "");
    return whole.read(whole.context, data, size < t->step ? size : t->step, out_size, err);
}

static struct source trickle_source(struct trickle *t)
{
    return (struct source){.read = trickle_read, .context = t, .name = "trickle"};
}

static enum status counted_skip(void *context, uint64_t size, struct error *err)
{
    (void)err;
    *(uint64_t *)context += size;
    return OK;
}

static void test_short_reads_are_joined(void **state)
{
    (void)state;
    uint8_t *data = make_splitmix64(40000, 3);
    uint8_t *out = make_constant(40000, 0);
    for (size_t step = 1; step <= 65536; step *= 4) {
        struct trickle t = {.memory = {data, 40000, 0}, .step = step, .broken_at = SIZE_MAX};
        struct source s = trickle_source(&t);
        struct error err = {0};
        assert_int_equal(source_read_exact(&s, out, 100, 0, &err), OK);
        assert_int_equal(source_skip(&s, 20000, 100, &err), OK);
        assert_int_equal(source_read_exact(&s, out + 100, 19900, 20100, &err), OK);
        assert_memory_equal(out, data, 100);
        assert_memory_equal(out + 100, data + 20100, 19900);
        assert_int_equal(source_read_exact(&s, out, 0, 40000, &err), OK);
    }
    free(out);
    free(data);
}

static void test_early_end_names_its_offset(void **state)
{
    (void)state;
    uint8_t data[10] = {0}, out[20];
    struct trickle t = {.memory = {data, 10, 0}, .step = 4, .broken_at = SIZE_MAX};
    struct source s = trickle_source(&t);
    struct error err = {0};
    assert_int_equal(source_read_exact(&s, out, 20, 1000, &err), ERR_FORMAT);
    assert_string_equal(err.text, "trickle: ends early at offset 1010: 10 more bytes wanted");
    t.memory.position = 0;
    assert_int_equal(source_skip(&s, 20000, 1000, &err), ERR_FORMAT);
    assert_string_equal(err.text, "trickle: ends early at offset 1010: 16374 more bytes wanted");
    /* Also beyond the first of the blocks that are dropped. */
    uint8_t *large = make_constant(40000, 1);
    struct memory_source m = {.data = large, .size = 40000};
    s = source_over_memory(&m, "memory");
    assert_int_equal(source_skip(&s, 50000, 1000, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "ends early at offset 41000:"));
    free(large);
}

static void test_failure_of_the_source_passes_through(void **state)
{
    (void)state;
    uint8_t data[10] = {0}, out[10];
    struct trickle t = {.memory = {data, 10, 0}, .step = 4, .broken_at = 8};
    struct source s = trickle_source(&t);
    struct error err = {0};
    assert_int_equal(source_read_exact(&s, out, 10, 0, &err), ERR_LIMIT);
    assert_string_equal(err.text, "broken at 8");
}

static void test_a_source_that_can_skip_is_asked_to(void **state)
{
    (void)state;
    uint64_t skipped = 0;
    struct source s = {.skip = counted_skip, .context = &skipped, .name = "skipper"};
    struct error err = {0};
    assert_int_equal(source_skip(&s, UINT64_C(1) << 40, 0, &err), OK);
    assert_true(skipped == UINT64_C(1) << 40);
}

static void test_memory_ends_with_nothing(void **state)
{
    (void)state;
    struct memory_source m = {.data = (const uint8_t *)"abc", .size = 3};
    struct source s = source_over_memory(&m, "memory");
    struct error err = {0};
    uint8_t out[8];
    size_t got = 99;
    assert_int_equal(s.read(s.context, out, 8, &got, &err), OK);
    assert_int_equal(got, 3);
    assert_int_equal(s.read(s.context, out, 8, &got, &err), OK);
    assert_int_equal(got, 0);
    struct memory_source none = {0};
    s = source_over_memory(&none, "memory");
    assert_int_equal(s.read(s.context, out, 8, &got, &err), OK);
    assert_int_equal(got, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_reads_are_joined),
        cmocka_unit_test(test_early_end_names_its_offset),
        cmocka_unit_test(test_failure_of_the_source_passes_through),
        cmocka_unit_test(test_a_source_that_can_skip_is_asked_to),
        cmocka_unit_test(test_memory_ends_with_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
