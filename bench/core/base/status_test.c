#include "testing/testing.h"

#include "base/status.h"

#include <errno.h>
#include <string.h>

static void test_sentence_and_status_are_kept(void **state)
{
    (void)state;
    struct error err = {0};
    errno = ENOENT;
    assert_int_equal(fail(&err, ERR_FORMAT, "item %d of %s", 7, "x.mpxar"), ERR_FORMAT);
    assert_int_equal(err.status, ERR_FORMAT);
    assert_int_equal(err.errnum, 0);
    assert_string_equal(err.text, "item 7 of x.mpxar");
}

static void test_io_failure_says_why(void **state)
{
    (void)state;
    struct error err = {0};
    errno = ENOENT;
    assert_int_equal(fail(&err, ERR_IO, "open %s", "/missing"), ERR_IO);
    assert_int_equal(err.errnum, ENOENT);
    assert_string_equal(err.text, "open /missing: No such file or directory");
}

static void test_no_error_wanted(void **state)
{
    (void)state;
    assert_int_equal(fail(NULL, ERR_LIMIT, "nobody listens"), ERR_LIMIT);
    assert_int_equal(fail_within(NULL, "nobody listens"), ERR_IO);
}

static void test_overlong_text_is_cut(void **state)
{
    (void)state;
    struct error err = {0};
    char *text = (char *)make_constant(3 * ERROR_TEXT_MAX, 'x');
    text[3 * ERROR_TEXT_MAX - 1] = '\0';
    errno = EIO;
    assert_int_equal(fail(&err, ERR_IO, "%s", text), ERR_IO);
    assert_int_equal(err.errnum, EIO);
    assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
    /* A prefix still finds room at the front of a full text. */
    assert_int_equal(fail_within(&err, "%s", "root/name"), ERR_IO);
    assert_int_equal(strlen(err.text), ERROR_TEXT_MAX - 1);
    assert_memory_equal(err.text, "root/name: xxx", 14);
    assert_int_equal(fail_within(&err, "%s", text), ERR_IO);
    assert_true(strlen(err.text) < ERROR_TEXT_MAX);
    free(text);
}

static void test_prefixes_go_outside_in(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(fail(&err, ERR_MISMATCH, "digest differs"), ERR_MISMATCH);
    assert_int_equal(fail_within(&err, "chunk %u", 3U), ERR_MISMATCH);
    assert_int_equal(fail_within(&err, "snapshot"), ERR_MISMATCH);
    assert_string_equal(err.text, "snapshot: chunk 3: digest differs");
}

static enum status three_steps(enum status second, int *steps)
{
    TRY(OK);
    ++*steps;
    TRY(second);
    ++*steps;
    return OK;
}

static void test_try_returns_the_first_failure(void **state)
{
    (void)state;
    int steps = 0;
    assert_int_equal(three_steps(ERR_CLOSED, &steps), ERR_CLOSED);
    assert_int_equal(steps, 1);
    assert_int_equal(three_steps(OK, &steps), OK);
    assert_int_equal(steps, 3);
}

static void test_every_status_has_its_own_name(void **state)
{
    (void)state;
    for (int a = OK; a <= ERR_HELP; a++) {
        assert_string_not_equal(status_name((enum status)a), "unknown");
        for (int b = OK; b < a; b++)
            assert_string_not_equal(status_name((enum status)a), status_name((enum status)b));
    }
    assert_string_equal(status_name((enum status)(ERR_HELP + 1)), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sentence_and_status_are_kept),
        cmocka_unit_test(test_io_failure_says_why),
        cmocka_unit_test(test_no_error_wanted),
        cmocka_unit_test(test_overlong_text_is_cut),
        cmocka_unit_test(test_prefixes_go_outside_in),
        cmocka_unit_test(test_try_returns_the_first_failure),
        cmocka_unit_test(test_every_status_has_its_own_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
