/* A machine without libarchive: directories are not packed, and the answer says why; files are handed out all the same.
 * The server's own loader is never linked: what is included here stands for it. */
#include "testing/testing.h"

#define ARCHIVE_LIBRARY "libnobody-has-this.so.13"
#include "server/archive_functions.c"

#include "server/rest_for_test.h"

#define IN_ROOT SNAPSHOT_T1 "&archive-name=root.mpxar.didx&filepath="

static void test_directories_are_refused_with_the_reason(void **state)
{
    (void)state;
    static const char *const questions[] = {IN_ROOT "L2Q%3D", IN_ROOT "L2Q%3D&tar=1"}; /* "/d" */
    for (size_t i = 0; i < 4; i++)
        assert_error(ask("GET", STORE_PATH "pxar-file-download", questions[i % 2]), 400,
                     "libnobody-has-this.so.13 cannot be loaded");
}

static void test_files_need_no_packing(void **state)
{
    (void)state;
    struct buffer found;
    struct rest_answer answer = ask("GET", STORE_PATH "pxar-file-download", IN_ROOT "L2E%3D"); /* "/a" */
    assert_int_equal(answer.status, 200);
    assert_true(drain(&answer, 4096, &found));
    buffer_deinit(&found);
    rest_answer_deinit(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_directories_are_refused_with_the_reason),
        cmocka_unit_test(test_files_need_no_packing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
