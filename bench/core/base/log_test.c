#include "testing/testing.h"

#include "base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What was written to standard error while it was caught, NUL-terminated. The caller frees it. */
struct capture {
    int saved;
    int pipe_read;
};

static struct capture capture_begin(void)
{
    struct capture c;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    c.saved = dup(STDERR_FILENO);
    c.pipe_read = ends[0];
    assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    close(ends[1]);
    return c;
}

static char *capture_end(struct capture *c)
{
    fflush(stderr);
    dup2(c->saved, STDERR_FILENO);
    close(c->saved);
    size_t used = 0, capacity = 1 << 17;
    char *text = calloc(1, capacity);
    assert_non_null(text);
    for (ssize_t got; (got = read(c->pipe_read, text + used, capacity - 1 - used)) > 0;)
        used += (size_t)got;
    close(c->pipe_read);
    return text;
}

static void test_levels_and_warnings(void **state)
{
    (void)state;
    uint64_t before = log_warning_count();
    struct capture c = capture_begin();
    log_set_level(LOG_WARNING);
    log_error("cannot open %s", "x");
    log_warning("%d vanished", 2);
    log_info("not shown");
    bool info = log_enabled(LOG_INFO);
    log_set_level(LOG_ERROR);
    log_warning("not shown, but counted");
    log_set_level(LOG_INFO);
    log_info("shown again");
    char *text = capture_end(&c);
    assert_false(info);
    assert_string_equal(text, "error: cannot open x\n2 vanished\nshown again\n");
    assert_int_equal(log_warning_count() - before, 2);
    free(text);
}

static void test_lines_only_show_themselves(void **state)
{
    (void)state;
    struct capture c = capture_begin();
    log_error("denied: %s", "a\nerror: b\r\x1b[31m");
    log_warning("%s", "\xc2\x9b"
                      "31m \xe2\x80\xae"
                      "cba \xff \xc3\xa4");
    char *text = capture_end(&c);
    assert_string_equal(text, "error: denied: a\\x0aerror: b\\x0d\\x1b[31m\n"
                              "\\xc2\\x9b31m \\xe2\\x80\\xaecba \\xff \xc3\xa4\n");
    free(text);
}

static void *write_lines(void *argument)
{
    for (int i = 0; i < 200; i++)
        log_info("%s", (const char *)argument);
    return NULL;
}

static void test_lines_of_threads_stay_whole(void **state)
{
    (void)state;
    static char words[3][40] = {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
                                "cccccccccccccccccccccccccccccc"};
    struct capture c = capture_begin();
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, words[i]), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    char *text = capture_end(&c);
    size_t lines = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), lines++)
        assert_true(strcmp(line, words[0]) == 0 || strcmp(line, words[1]) == 0 || strcmp(line, words[2]) == 0);
    assert_int_equal(lines, 600);
    free(text);
}

static void test_progress_is_silent_at_first(void **state)
{
    (void)state;
    struct capture c = capture_begin();
    for (int i = 0; i < 1000; i++)
        progress_update("%d files", i);
    bool due = progress_due();
    progress_end();
    char *text = capture_end(&c);
    assert_false(due);
    assert_string_equal(text, "");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_levels_and_warnings),
        cmocka_unit_test(test_lines_only_show_themselves),
        cmocka_unit_test(test_lines_of_threads_stay_whole),
        cmocka_unit_test(test_progress_is_silent_at_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
