#include "testing/testing.h"

#include "flow/packer.h"

#include <string.h>

static struct slice pack(struct packer *p, const void *data, size_t size)
{
    struct slice out;
    struct error err = {0};
    assert_int_equal(packer_pack(p, data, size, &out, &err), OK);
    assert_int_equal(out.size, size);
    return out;
}

static void test_small_writes_share_a_slab(void **state)
{
    (void)state;
    struct packer p = {0};
    struct slice first = pack(&p, "abc", 3), second = pack(&p, "defg", 4);
    assert_ptr_equal(first.slab, second.slab);
    assert_memory_equal(first.data, "abc", 3);
    assert_memory_equal(second.data, "defg", 4);
    packer_deinit(&p);
    packer_deinit(&p);
    /* The slices outlive the packer. */
    assert_memory_equal(second.data, "defg", 4);
    slab_release(first.slab);
    slab_release(second.slab);
}

static void test_writes_of_any_size_stay_whole(void **state)
{
    (void)state;
    static uint8_t data[200000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 7 + (i >> 8));
    struct packer p = {0};
    struct slice slices[64];
    size_t count = 0;
    for (size_t size = 1; size <= sizeof data; size = size * 3 / 2 + 1)
        slices[count++] = pack(&p, data + size % 1000, size < sizeof data - 1000 ? size : sizeof data - 1000);
    slices[count++] = pack(&p, data, 0);
    for (size_t i = 0; i < count; i++)
        for (size_t k = i + 1; k < count; k++) /* none lies in another */
            assert_true(slices[i].data + slices[i].size <= slices[k].data ||
                        slices[k].data + slices[k].size <= slices[i].data || slices[i].slab != slices[k].slab);
    size_t i = 0;
    for (size_t size = 1; size <= sizeof data; size = size * 3 / 2 + 1, i++)
        assert_memory_equal(slices[i].data, data + size % 1000, slices[i].size);
    for (i = 0; i < count; i++)
        slab_release(slices[i].slab);
    packer_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_small_writes_share_a_slab),
        cmocka_unit_test(test_writes_of_any_size_stay_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
