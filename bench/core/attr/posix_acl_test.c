#include "testing/testing.h"

#include "attr/posix_acl.h"

#include <string.h>

enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 16, OTHER = 32 };

/* A value as the kernel gives it. */
struct value {
    uint8_t bytes[512];
    size_t size;
};

static struct value start(uint32_t version)
{
    struct value v = {.size = 4};
    store_u32le(v.bytes, version);
    return v;
}

static void add(struct value *v, unsigned tag, unsigned perm, uint32_t id)
{
    v->bytes[v->size++] = (uint8_t)tag;
    v->bytes[v->size++] = (uint8_t)(tag >> 8);
    v->bytes[v->size++] = (uint8_t)perm;
    v->bytes[v->size++] = (uint8_t)(perm >> 8);
    store_u32le(v->bytes + v->size, id);
    v->size += 4;
}

/* u::7 u:9:6 u:5:4 g::5 g:8:1 m::6 o::0 */
static struct value full_acl(void)
{
    struct value v = start(2);
    add(&v, USER_OBJ, 7, UINT32_MAX);
    add(&v, USER, 6, 9);
    add(&v, USER, 4, 5);
    add(&v, GROUP_OBJ, 5, UINT32_MAX);
    add(&v, GROUP, 1, 8);
    add(&v, MASK, 6, UINT32_MAX);
    add(&v, OTHER, 0, UINT32_MAX);
    return v;
}

static void test_access_keeps_named_entries_sorted_and_the_group(void **state)
{
    (void)state;
    struct value v = full_acl();
    CLEANUP(attributes_deinit) struct attributes a = {0};
    assert_int_equal(posix_acl_parse_access(v.bytes, v.size, "acl", &a, NULL), OK);
    const struct attribute_extras *x = a.extras;
    assert_int_equal(x->users.count, 2);
    assert_int_equal(x->users.entries[0].id, 5);
    assert_int_equal(x->users.entries[0].perm, 4);
    assert_int_equal(x->users.entries[1].id, 9);
    assert_int_equal(x->users.entries[1].perm, 6);
    assert_int_equal(x->groups.count, 1);
    assert_int_equal(x->groups.entries[0].id, 8);
    assert_int_equal(x->groups.entries[0].perm, 1);
    assert_true(x->has_group_obj);
    assert_int_equal(x->group_obj, 5);
    assert_false(x->has_default);
    assert_true(posix_acl_has_access(x));
    assert_false(posix_acl_has_default(x));
}

static void test_same_id_is_sorted_by_rights(void **state)
{
    (void)state;
    struct value v = start(2);
    add(&v, GROUP, 7, 3);
    add(&v, GROUP, 2, 3);
    add(&v, GROUP, 7, UINT32_MAX - 1); /* ids are unsigned */
    add(&v, GROUP, 0, 1);
    CLEANUP(attributes_deinit) struct attributes a = {0};
    assert_int_equal(posix_acl_parse_access(v.bytes, v.size, "acl", &a, NULL), OK);
    static const struct acl_entry expected[] = {{1, 0}, {3, 2}, {3, 7}, {UINT32_MAX - 1, 7}};
    assert_int_equal(a.extras->groups.count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(a.extras->groups.entries[i].id, expected[i].id);
        assert_int_equal(a.extras->groups.entries[i].perm, expected[i].perm);
    }
}

static void test_group_object_only_with_a_mask(void **state)
{
    (void)state;
    struct value v = start(2);
    add(&v, USER_OBJ, 6, UINT32_MAX);
    add(&v, GROUP_OBJ, 4, UINT32_MAX);
    add(&v, OTHER, 4, UINT32_MAX);
    CLEANUP(attributes_deinit) struct attributes a = {0};
    assert_int_equal(posix_acl_parse_access(v.bytes, v.size, "acl", &a, NULL), OK);
    assert_false(posix_acl_has_access(a.extras));

    add(&v, MASK, 4, UINT32_MAX);
    CLEANUP(attributes_deinit) struct attributes b = {0};
    assert_int_equal(posix_acl_parse_access(v.bytes, v.size, "acl", &b, NULL), OK);
    assert_true(b.extras->has_group_obj);
    assert_int_equal(b.extras->group_obj, 4);

    struct value mask_alone = start(2);
    add(&mask_alone, MASK, 4, UINT32_MAX);
    CLEANUP(attributes_deinit) struct attributes c = {0};
    assert_int_equal(posix_acl_parse_access(mask_alone.bytes, mask_alone.size, "acl", &c, NULL), OK);
    assert_false(posix_acl_has_access(c.extras));
}

static void test_default_marks_what_is_missing(void **state)
{
    (void)state;
    struct value v = start(2);
    add(&v, USER_OBJ, 7, UINT32_MAX);
    add(&v, GROUP_OBJ, 5, UINT32_MAX);
    add(&v, OTHER, 0, UINT32_MAX);
    CLEANUP(attributes_deinit) struct attributes a = {0};
    assert_int_equal(posix_acl_parse_default(v.bytes, v.size, "acl", &a, NULL), OK);
    assert_true(a.extras->has_default);
    assert_int_equal(a.extras->acl_default.user_obj, 7);
    assert_int_equal(a.extras->acl_default.group_obj, 5);
    assert_int_equal(a.extras->acl_default.other, 0);
    assert_true(a.extras->acl_default.mask == UINT64_MAX);

    /* Any one of the four is enough. */
    static const unsigned tags[] = {USER_OBJ, GROUP_OBJ, OTHER, MASK};
    for (size_t i = 0; i < 4; i++) {
        struct value one = start(2);
        add(&one, tags[i], 3, UINT32_MAX);
        CLEANUP(attributes_deinit) struct attributes b = {0};
        assert_int_equal(posix_acl_parse_default(one.bytes, one.size, "acl", &b, NULL), OK);
        assert_true(b.extras->has_default);
        const struct acl_default *d = &b.extras->acl_default;
        const uint64_t parts[] = {d->user_obj, d->group_obj, d->other, d->mask};
        for (size_t part = 0; part < 4; part++)
            assert_true(parts[part] == (part == i ? 3 : UINT64_MAX));
    }
}

static void test_default_named_entries(void **state)
{
    (void)state;
    struct value v = full_acl();
    CLEANUP(attributes_deinit) struct attributes a = {0};
    assert_int_equal(posix_acl_parse_default(v.bytes, v.size, "acl", &a, NULL), OK);
    const struct attribute_extras *x = a.extras;
    assert_int_equal(x->users.count + x->groups.count, 0);
    assert_false(x->has_group_obj);
    assert_int_equal(x->default_users.count, 2);
    assert_int_equal(x->default_users.entries[0].id, 5);
    assert_int_equal(x->default_groups.count, 1);
    assert_int_equal(x->default_groups.entries[0].id, 8);
    assert_int_equal(x->acl_default.mask, 6);
    assert_true(posix_acl_has_default(x));
    assert_false(posix_acl_has_access(x));
}

static void test_empty_value_says_nothing(void **state)
{
    (void)state;
    struct value v = start(2);
    CLEANUP(attributes_deinit) struct attributes a = {0};
    assert_int_equal(posix_acl_parse_access(v.bytes, v.size, "acl", &a, NULL), OK);
    assert_int_equal(posix_acl_parse_default(v.bytes, v.size, "acl", &a, NULL), OK);
    assert_false(posix_acl_has_access(a.extras));
    assert_false(posix_acl_has_default(a.extras));
}

static void assert_rejected(const struct value *v, const char *expected)
{
    for (int i = 0; i < 2; i++) {
        CLEANUP(attributes_deinit) struct attributes a = {0};
        struct error err = {0};
        enum status status = i == 0 ? posix_acl_parse_access(v->bytes, v->size, "d/f: access ACL", &a, &err)
                                    : posix_acl_parse_default(v->bytes, v->size, "d/f: access ACL", &a, &err);
        assert_int_equal(status, ERR_FORMAT);
        assert_non_null(strstr(err.text, "d/f: access ACL"));
        assert_non_null(strstr(err.text, expected));
    }
}

static void test_malformed_values_are_rejected(void **state)
{
    (void)state;
    struct value v = full_acl();
    for (size_t size = 0; size < v.size; size++) {
        if (size >= 4 && (size - 4) % 8 == 0)
            continue;
        struct value cut = v;
        cut.size = size;
        assert_rejected(&cut, "ends early");
    }
    v = start(1);
    assert_rejected(&v, "version 1 at offset 0");
    v = start(0x10002);
    assert_rejected(&v, "version 65538");
    static const unsigned unknown[] = {0, 3, 64, 0x100, 0x8001};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        v = start(2);
        add(&v, USER_OBJ, 7, UINT32_MAX);
        add(&v, unknown[i], 4, 1);
        assert_rejected(&v, "at offset 12");
    }
    v = start(2);
    add(&v, USER, 8, 1);
    assert_rejected(&v, "rights 0x8 at offset 4");
    v = start(2);
    add(&v, GROUP, 0x100, 1);
    assert_rejected(&v, "rights 0x100");
    static const unsigned single[] = {USER_OBJ, GROUP_OBJ, OTHER, MASK};
    for (size_t i = 0; i < 4; i++) {
        v = start(2);
        add(&v, single[i], 0, UINT32_MAX);
        add(&v, single[i], 0, UINT32_MAX);
        assert_rejected(&v, "second entry");
    }
}

static void assert_built(const struct buffer *b, const struct value *expected)
{
    assert_int_equal(b->size, expected->size);
    assert_memory_equal(b->data, expected->bytes, expected->size);
}

static void test_access_is_built_from_mode_and_lists(void **state)
{
    (void)state;
    CLEANUP(attributes_deinit) struct attributes a = {.stat.mode = 0100760};
    struct value v = full_acl();
    assert_int_equal(posix_acl_parse_access(v.bytes, v.size, "acl", &a, NULL), OK);
    CLEANUP(buffer_deinit) struct buffer b = BUFFER_INIT(XATTR_VALUE_SIZE_MAX);
    bool mask_made = true;
    assert_int_equal(posix_acl_build_access(&a, &b, &mask_made, NULL), OK);
    assert_false(mask_made);
    struct value expected = start(2);
    add(&expected, USER_OBJ, 7, UINT32_MAX);
    add(&expected, USER, 4, 5);
    add(&expected, USER, 6, 9);
    add(&expected, GROUP_OBJ, 5, UINT32_MAX);
    add(&expected, GROUP, 1, 8);
    add(&expected, MASK, 6, UINT32_MAX);
    add(&expected, OTHER, 0, UINT32_MAX);
    assert_built(&b, &expected);
}

static void test_named_entries_without_a_group_object_get_a_mask(void **state)
{
    (void)state;
    CLEANUP(attributes_deinit) struct attributes a = {.stat.mode = 0100654};
    struct attribute_extras *x;
    assert_int_equal(attributes_extras(&a, &x, NULL), OK);
    assert_int_equal(acl_list_add(&x->users, 77, 7, NULL), OK);
    CLEANUP(buffer_deinit) struct buffer b = BUFFER_INIT(XATTR_VALUE_SIZE_MAX);
    bool mask_made = false;
    assert_int_equal(posix_acl_build_access(&a, &b, &mask_made, NULL), OK);
    assert_true(mask_made);
    struct value expected = start(2);
    add(&expected, USER_OBJ, 6, UINT32_MAX);
    add(&expected, USER, 7, 77);
    add(&expected, GROUP_OBJ, 5, UINT32_MAX);
    add(&expected, MASK, 5, UINT32_MAX);
    add(&expected, OTHER, 4, UINT32_MAX);
    assert_built(&b, &expected);
}

static void test_default_leaves_out_what_is_not_set(void **state)
{
    (void)state;
    struct value v = start(2);
    add(&v, USER_OBJ, 7, UINT32_MAX);
    add(&v, GROUP_OBJ, 5, UINT32_MAX);
    add(&v, OTHER, 1, UINT32_MAX);
    CLEANUP(attributes_deinit) struct attributes a = {0};
    assert_int_equal(posix_acl_parse_default(v.bytes, v.size, "acl", &a, NULL), OK);
    CLEANUP(buffer_deinit) struct buffer b = BUFFER_INIT(XATTR_VALUE_SIZE_MAX);
    assert_int_equal(posix_acl_build_default(a.extras, &b, NULL), OK);
    assert_built(&b, &v);
}

static void test_hostile_archives_are_refused(void **state)
{
    (void)state;
    CLEANUP(buffer_deinit) struct buffer b = BUFFER_INIT(XATTR_VALUE_SIZE_MAX);
    bool mask_made;
    CLEANUP(attributes_deinit) struct attributes rights = {0};
    struct attribute_extras *x;
    assert_int_equal(attributes_extras(&rights, &x, NULL), OK);
    assert_int_equal(acl_list_add(&x->users, 1, 8, NULL), OK);
    assert_int_equal(posix_acl_build_access(&rights, &b, &mask_made, NULL), ERR_FORMAT);
    x->users.entries[0] = (struct acl_entry){.id = 1, .perm = ACL_PERM_UNSET};
    assert_int_equal(posix_acl_build_access(&rights, &b, &mask_made, NULL), ERR_FORMAT);
    x->users.entries[0] = (struct acl_entry){.id = UINT64_C(1) << 32, .perm = 7};
    assert_int_equal(posix_acl_build_access(&rights, &b, &mask_made, NULL), ERR_FORMAT);
    x->has_default = true;
    x->acl_default.mask = UINT64_MAX - 1;
    assert_int_equal(posix_acl_build_default(x, &b, NULL), ERR_FORMAT);

    CLEANUP(attributes_deinit) struct attributes many = {0};
    assert_int_equal(attributes_extras(&many, &x, NULL), OK);
    x->groups.entries = calloc(8192, sizeof x->groups.entries[0]);
    assert_non_null(x->groups.entries);
    x->groups.count = 8187; /* and four objects: the last that fits into 64 KiB */
    buffer_clear(&b);
    assert_int_equal(posix_acl_build_access(&many, &b, &mask_made, NULL), OK);
    assert_true(b.size <= XATTR_VALUE_SIZE_MAX && b.size > XATTR_VALUE_SIZE_MAX - 8);
    x->groups.count = 8188;
    buffer_clear(&b);
    assert_int_equal(posix_acl_build_access(&many, &b, &mask_made, NULL), ERR_LIMIT);
    assert_int_equal(b.size, 0); /* not even begun */
    x->groups.count = 8192;
    struct error err = {0};
    assert_int_equal(posix_acl_build_access(&many, &b, &mask_made, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "0 users and 8192 groups"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_access_keeps_named_entries_sorted_and_the_group),
        cmocka_unit_test(test_same_id_is_sorted_by_rights),
        cmocka_unit_test(test_group_object_only_with_a_mask),
        cmocka_unit_test(test_default_marks_what_is_missing),
        cmocka_unit_test(test_default_named_entries),
        cmocka_unit_test(test_empty_value_says_nothing),
        cmocka_unit_test(test_malformed_values_are_rejected),
        cmocka_unit_test(test_access_is_built_from_mode_and_lists),
        cmocka_unit_test(test_named_entries_without_a_group_object_get_a_mask),
        cmocka_unit_test(test_default_leaves_out_what_is_not_set),
        cmocka_unit_test(test_hostile_archives_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
