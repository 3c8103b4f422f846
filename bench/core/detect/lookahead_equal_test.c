#include "testing/testing.h"

#include "detect/lookahead_equal.h"

#include <stdlib.h>
#include <string.h>

/* One digest by letter, sizes apart. */
static void check(const char *digests, const uint64_t *sizes, const uint32_t *want)
{
    struct index_entry entries[16] = {0};
    struct dynamic_index index = {.entries = entries, .count = strlen(digests)};
    uint64_t end = 0;
    for (size_t k = 0; k < index.count; k++) {
        entries[k].end = end += sizes[k];
        memset(entries[k].digest.bytes, 1, DIGEST_SIZE);
        entries[k].digest.bytes[DIGEST_SIZE - 1] = (uint8_t)digests[k]; /* all of a digest counts */
    }
    uint32_t *first;
    struct error err = {0};
    assert_int_equal(equal_entries(&index, &first, &err), OK);
    for (size_t k = 0; k < index.count; k++)
        assert_int_equal(first[k], want[k]);
    free(first);
}

static void test_entries_of_equal_contents_have_the_same_first(void **state)
{
    (void)state;
    check("pqpqqxp", (const uint64_t[]){5, 7, 5, 7, 7, 5, 5}, (const uint32_t[]){0, 1, 0, 1, 1, 5, 0});
    check("zzzz", (const uint64_t[]){9, 9, 9, 9}, (const uint32_t[]){0, 0, 0, 0});
    check("fedcba", (const uint64_t[]){1, 1, 1, 1, 1, 1}, (const uint32_t[]){0, 1, 2, 3, 4, 5});
}

static void test_another_size_is_another_chunk(void **state)
{
    (void)state;
    check("ppppp", (const uint64_t[]){5, 6, 5, 6, 4}, (const uint32_t[]){0, 1, 0, 1, 4});
}

/* A million, so that anything worse than sorting would be noticed. */
static void test_very_many_equal_entries(void **state)
{
    (void)state;
    enum { MANY = 1000000 };
    struct dynamic_index index = {.entries = calloc(MANY, sizeof(struct index_entry)), .count = MANY};
    assert_non_null(index.entries);
    for (size_t k = 0; k < MANY; k++) {
        index.entries[k].end = (k + 1) * 10;
        index.entries[k].digest.bytes[9] = k % 2;
    }
    uint32_t *first;
    struct error err = {0};
    assert_int_equal(equal_entries(&index, &first, &err), OK);
    for (size_t k = 0; k < MANY; k++)
        assert_int_equal(first[k], k % 2);
    free(first);
    free(index.entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries_of_equal_contents_have_the_same_first),
        cmocka_unit_test(test_another_size_is_another_chunk),
        cmocka_unit_test(test_very_many_equal_entries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
