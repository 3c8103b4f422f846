#include "testing/testing.h"

#include "attr/attributes.h"

#include <string.h>

static void add_xattr(struct attributes *a, const char *name, const char *value)
{
    assert_int_equal(attributes_add_xattr(a, name, strlen(name), (const uint8_t *)value, strlen(value), NULL), OK);
}

/* A file that has everything. The caller deinits. */
static struct attributes full(void)
{
    struct attributes a = {
        .stat = {
            .mode = 0100640, .flags = 0x100000, .uid = 1000, .gid = 100, .mtime_secs = -2, .mtime_nanos = 750000000}};
    struct attribute_extras *x;
    assert_int_equal(attributes_extras(&a, &x, NULL), OK);
    add_xattr(&a, "user.one", "1");
    add_xattr(&a, "user.two", "");
    assert_int_equal(acl_list_add(&x->users, 1001, 6, NULL), OK);
    assert_int_equal(acl_list_add(&x->users, 1002, 4, NULL), OK);
    assert_int_equal(acl_list_add(&x->groups, 50, 4, NULL), OK);
    assert_int_equal(acl_list_add(&x->default_users, 7, 7, NULL), OK);
    assert_int_equal(acl_list_add(&x->default_groups, 8, 1, NULL), OK);
    x->has_group_obj = true;
    x->group_obj = 5;
    x->has_default = true;
    x->acl_default = (struct acl_default){7, 5, 0, ACL_PERM_UNSET};
    assert_int_equal(attributes_set_fcaps(&a, (const uint8_t *)"\1\0\0\2caps", 8, NULL), OK);
    x->has_project_id = true;
    x->project_id = 42;
    return a;
}

static void test_copy_is_equal_and_independent(void **state)
{
    (void)state;
    CLEANUP(attributes_deinit) struct attributes a = full();
    CLEANUP(attributes_deinit) struct attributes b = {0};
    assert_int_equal(attributes_copy(&a, &b, NULL), OK);
    assert_int_equal(attributes_compare(&a, &b, true), ATTRIBUTE_EQUAL);
    assert_ptr_not_equal(a.extras->xattrs[0].name, b.extras->xattrs[0].name);
    assert_string_equal(b.extras->xattrs[1].name, "user.two");
    assert_int_equal(b.extras->xattrs[1].value_size, 0);
    b.extras->fcaps[0] ^= 1;
    assert_int_equal(attributes_compare(&a, &b, true), ATTRIBUTE_FCAPS);
}

static void test_no_extras_equal_empty_extras(void **state)
{
    (void)state;
    CLEANUP(attributes_deinit) struct attributes a = {.stat = {.mode = 0100644}};
    CLEANUP(attributes_deinit) struct attributes b = {.stat = {.mode = 0100644}};
    struct attribute_extras *x;
    assert_int_equal(attributes_extras(&b, &x, NULL), OK);
    assert_int_equal(attributes_compare(&a, &b, true), ATTRIBUTE_EQUAL);
    x->has_project_id = true;
    assert_int_equal(attributes_compare(&a, &b, true), ATTRIBUTE_PROJECT_ID);
    assert_int_equal(attributes_compare(&b, &a, true), ATTRIBUTE_PROJECT_ID);
}

/* Each change alone is reported as its own kind. */
static void change_type(struct attributes *a)
{
    a->stat.mode = 0040640;
}
static void change_secs(struct attributes *a)
{
    a->stat.mtime_secs++;
}
static void change_nanos(struct attributes *a)
{
    a->stat.mtime_nanos++;
}
static void change_mode(struct attributes *a)
{
    a->stat.mode ^= 04000;
}
static void change_uid(struct attributes *a)
{
    a->stat.uid++;
}
static void change_gid(struct attributes *a)
{
    a->stat.gid++;
}
static void change_flags(struct attributes *a)
{
    a->stat.flags ^= 0x400000;
}
static void change_xattr_name(struct attributes *a)
{
    a->extras->xattrs[0].name[7] = 'O';
}
static void change_xattr_order(struct attributes *a)
{
    struct xattr first = a->extras->xattrs[0];
    a->extras->xattrs[0] = a->extras->xattrs[1];
    a->extras->xattrs[1] = first;
}
static void change_xattr_more(struct attributes *a)
{
    add_xattr(a, "user.three", "3");
}
static void change_xattr_value(struct attributes *a)
{
    a->extras->xattrs[0].value[0] = '2';
}
static void change_acl_perm(struct attributes *a)
{
    a->extras->users.entries[1].perm = 0;
}
static void change_acl_id(struct attributes *a)
{
    a->extras->groups.entries[0].id++;
}
static void change_acl_more(struct attributes *a)
{
    assert_int_equal(acl_list_add(&a->extras->default_users, 9, 1, NULL), OK);
}
static void change_acl_default_group(struct attributes *a)
{
    a->extras->default_groups.entries[0].perm = 2;
}
static void change_acl_group_obj(struct attributes *a)
{
    a->extras->group_obj = 4;
}
static void change_acl_no_group_obj(struct attributes *a)
{
    a->extras->has_group_obj = false;
}
static void change_acl_mask(struct attributes *a)
{
    a->extras->acl_default.mask = 7;
}
static void change_acl_no_default(struct attributes *a)
{
    a->extras->has_default = false;
}
static void change_fcaps(struct attributes *a)
{
    assert_int_equal(attributes_set_fcaps(a, (const uint8_t *)"\1\0\0\2cap", 7, NULL), OK);
}
static void change_no_fcaps(struct attributes *a)
{
    a->extras->has_fcaps = false;
}
static void change_project_id(struct attributes *a)
{
    a->extras->project_id = 0;
}

static const struct {
    void (*change)(struct attributes *a);
    enum attribute_difference expected;
} changes[] = {
    {change_type, ATTRIBUTE_TYPE},
    {change_secs, ATTRIBUTE_MTIME},
    {change_nanos, ATTRIBUTE_MTIME},
    {change_mode, ATTRIBUTE_MODE},
    {change_uid, ATTRIBUTE_OWNER},
    {change_gid, ATTRIBUTE_OWNER},
    {change_flags, ATTRIBUTE_FLAGS},
    {change_xattr_name, ATTRIBUTE_XATTR},
    {change_xattr_order, ATTRIBUTE_XATTR},
    {change_xattr_more, ATTRIBUTE_XATTR},
    {change_xattr_value, ATTRIBUTE_XATTR_VALUE},
    {change_acl_perm, ATTRIBUTE_ACL},
    {change_acl_id, ATTRIBUTE_ACL},
    {change_acl_more, ATTRIBUTE_ACL},
    {change_acl_default_group, ATTRIBUTE_ACL},
    {change_acl_group_obj, ATTRIBUTE_ACL},
    {change_acl_no_group_obj, ATTRIBUTE_ACL},
    {change_acl_mask, ATTRIBUTE_ACL},
    {change_acl_no_default, ATTRIBUTE_ACL},
    {change_fcaps, ATTRIBUTE_FCAPS},
    {change_no_fcaps, ATTRIBUTE_FCAPS},
    {change_project_id, ATTRIBUTE_PROJECT_ID},
};

static void test_each_difference_is_named(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        CLEANUP(attributes_deinit) struct attributes a = full();
        CLEANUP(attributes_deinit) struct attributes b = full();
        changes[i].change(&b);
        assert_int_equal(attributes_compare(&a, &b, true), changes[i].expected);
        assert_int_equal(attributes_compare(&b, &a, true), changes[i].expected);
        enum attribute_difference without_values =
            changes[i].expected == ATTRIBUTE_XATTR_VALUE ? ATTRIBUTE_EQUAL : changes[i].expected;
        assert_int_equal(attributes_compare(&a, &b, false), without_values);
    }
}

static void test_earlier_kind_wins(void **state)
{
    (void)state;
    /* Changing from the last kind to the first: always the newest change, the earlier in order, is reported. */
    CLEANUP(attributes_deinit) struct attributes a = full();
    CLEANUP(attributes_deinit) struct attributes b = full();
    for (size_t i = sizeof changes / sizeof *changes; i-- > 0;) {
        changes[i].change(&b);
        assert_int_equal(attributes_compare(&a, &b, true), changes[i].expected);
    }
}

static void test_limits(void **state)
{
    (void)state;
    CLEANUP(attributes_deinit) struct attributes a = {0};
    static uint8_t big[XATTR_VALUE_SIZE_MAX + XATTR_NAME_SIZE_MAX + 1];
    assert_int_equal(attributes_add_xattr(&a, "user.v", 6, big, sizeof big, NULL), ERR_LIMIT);
    assert_int_equal(attributes_set_fcaps(&a, big, sizeof big, NULL), ERR_LIMIT);
    assert_int_equal(attributes_add_xattr(&a, "user\0v", 6, big, 1, NULL), ERR_USAGE);
    assert_int_equal(attributes_add_xattr(&a, "user.v", 6, big, XATTR_VALUE_SIZE_MAX, NULL), OK);
    struct acl_list list = {0};
    for (int i = 0; i < ATTRIBUTES_ACL_MAX; i++)
        assert_int_equal(acl_list_add(&list, 1, 1, NULL), OK);
    assert_int_equal(acl_list_add(&list, 1, 1, NULL), ERR_LIMIT);
    free(list.entries);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copy_is_equal_and_independent),
        cmocka_unit_test(test_no_extras_equal_empty_extras),
        cmocka_unit_test(test_each_difference_is_named),
        cmocka_unit_test(test_earlier_kind_wins),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
