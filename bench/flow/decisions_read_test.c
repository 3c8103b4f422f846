#include "testing/testing.h"

#include "flow/decisions_read.h"

#include <stdio.h>
#include <string.h>

static struct error error;
#define MUST(call)                                                                                                     \
    do {                                                                                                               \
        if ((call) != OK) {                                                                                            \
            print_error("%s\n", error.text);                                                                           \
            assert_true(false);                                                                                        \
        }                                                                                                              \
    } while (0)

#define CSUM "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define SETTINGS                                                                                                       \
    "\"profile\":\"stored\",\"padding_threshold\":0.1,\"cache_limit\":512,\"chunk_average\":4194304,"                  \
    "\"absorb_below\":262144,\"max_instances\":8,\"compare\":\"strict\""
#define REFERENCE                                                                                                      \
    "\"reference\":{\"reason\":\"used\",\"snapshot\":\"host/x/2026-01-02T03:04:05Z\",\"payload_csum\":\"" CSUM         \
    "\",\"payload_size\":4096}"
#define RUN                                                                                                            \
    "\"run\":{\"schema\":\"pxarbench-decisions/1\",\"archive\":\"root\",\"snapshot\":\"host/x/"                        \
    "2026-01-03T03:04:05Z\"," REFERENCE "," SETTINGS "}"
#define REUSED                                                                                                         \
    "\"path\":\"a\",\"action\":\"reused\",\"reason\":\"unchanged\",\"size\":12,\"old_offset\":16,\"offset\":32"
#define FIRST "{" RUN "," REUSED "}\n"
#define LAST "{" RUN "," REUSED ",\"after\":\"\"}\n" /* complete: a single file */

static int state_setup(void **state)
{
    *state = temp_dir_make();
    return *state ? 0 : -1;
}
static int state_teardown(void **state)
{
    temp_dir_remove(*state);
    return 0;
}

static struct decisions *open_text(const char *directory, const char *text, size_t size)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/decisions", directory);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    struct decisions *d;
    MUST(decisions_open(path, &d, &error));
    return d;
}

static void test_reads_every_member(void **state)
{
    static const char text[] =
        "{" RUN ",\"before\":\"(s\"," REUSED ",\"old_size\":12}\n"
        "{\"path\":\"b\",\"action\":\"reencoded\",\"reason\":\"size\",\"size\":3,\"old_offset\":44,\"old_size\":2,"
        "\"offset\":60,\"unknown\":[1]}\n"
        "{\"path_b64\":\"/w==\",\"action\":\"reencoded\",\"reason\":\"new\",\"size\":0,\"offset\":80}\n"
        "{\"path\":\"d\",\"action\":\"reencoded\",\"reason\":\"absorbed\",\"size\":5,\"old_offset\":90,\"offset\":96}\n"
        "{\"path\":\"e\",\"action\":\"reencoded\",\"reason\":\"touched-but-identical\",\"difference\":\"owner\","
        "\"size\":5,\"old_offset\":120,\"old_size\":5,\"offset\":117}\n"
        "{\"path\":\"f\",\"action\":\"hardlink\",\"target\":\"a\",\"after\":\"s)\"}"; /* no newline at the end */
    struct decisions *d = open_text(*state, text, sizeof text - 1);
    struct decision_line line;
    MUST(decisions_next(d, &line, &error));
    assert_non_null(line.run);
    assert_string_equal(line.run->archive, "root");
    assert_string_equal(line.run->snapshot, "host/x/2026-01-03T03:04:05Z");
    assert_true(line.run->has_reference);
    assert_string_equal(line.run->reference.id, "x");
    assert_int_equal(line.run->payload_csum.bytes[1], 0x11);
    assert_int_equal(line.run->payload_size, 4096);
    assert_int_equal(line.run->options.profile, PROFILE_STORED);
    assert_int_equal(line.run->options.threshold_ppm, 100000);
    assert_int_equal(line.run->options.cache_limit, 512);
    assert_int_equal(line.run->options.absorb_below, 262144);
    assert_int_equal(line.run->options.absorb_until, 1048576);
    assert_int_equal(line.run->options.max_instances, 8);
    assert_int_equal(line.line, 1);
    assert_string_equal(line.before, "(s");
    assert_string_equal(line.after, "");
    assert_string_equal(line.path, "a");
    assert_int_equal(line.action, DECISION_REUSED);
    assert_int_equal(line.reason, FILE_UNCHANGED);
    assert_int_equal(line.size, 12);
    assert_int_equal(line.offset, 32);
    assert_int_equal(line.old_offset, 16);
    assert_int_equal(line.old_size, 12);
    assert_true(decision_is_reusable(&line));
    MUST(decisions_next(d, &line, &error));
    assert_null(line.run);
    assert_int_equal(line.reason, FILE_SIZE);
    assert_int_equal(line.old_size, 2);
    assert_false(decision_is_reusable(&line));
    MUST(decisions_next(d, &line, &error));
    assert_string_equal(line.path, "/w==");
    assert_int_equal(line.old_offset, 0);
    MUST(decisions_next(d, &line, &error));
    assert_true(decision_is_reusable(&line));
    assert_int_equal(line.old_size, 5); /* left out: as the size */
    MUST(decisions_next(d, &line, &error));
    assert_int_equal(line.reason, FILE_OWNER);
    assert_false(decision_is_reusable(&line));
    MUST(decisions_next(d, &line, &error));
    assert_int_equal(line.action, DECISION_LINK);
    assert_string_equal(line.after, "s)");
    assert_false(decision_is_reusable(&line));
    assert_int_equal(decisions_next(d, &line, &error), ERR_CLOSED);
    decisions_close(d);
}

static void test_two_archives_and_one_without_a_reference(void **state)
{
    static const char text[] = LAST
        "{\"run\":{\"schema\":\"pxarbench-decisions/1\",\"archive\":\"other\",\"snapshot\":\"s\",\"reference\":"
        "{\"reason\":\"no-previous-snapshot\",\"snapshot\":\"\",\"payload_csum\":null,\"payload_size\":0}," SETTINGS
        "},\"path\":\"x\",\"action\":\"reencoded\",\"reason\":\"no-reference\",\"size\":1,\"offset\":16,\"after\":\"\"}"
        "\n";
    struct decisions *d = open_text(*state, text, sizeof text - 1);
    struct decision_line line;
    MUST(decisions_next(d, &line, &error));
    MUST(decisions_next(d, &line, &error));
    assert_string_equal(line.run->archive, "other");
    assert_false(line.run->has_reference);
    assert_string_equal(line.run->reference_reason, "no-previous-snapshot");
    assert_int_equal(decisions_next(d, &line, &error), ERR_CLOSED);
    decisions_close(d);
}

static void test_bad_files_are_refused_with_their_line(void **state)
{
#define FILE_LINE(members) FIRST "{\"path\":\"p\"," members "}\n"
    static const struct {
        const char *text;
        enum status status;
    } bad[] = {
        {"\n", ERR_FORMAT},
        {"nonsense\n", ERR_FORMAT},
        {"[]\n", ERR_FORMAT},
        {"{}\n", ERR_FORMAT},
        {"{" REUSED "}\n", ERR_FORMAT}, /* no run */
        {"{\"run\":{}," REUSED "}\n", ERR_FORMAT},
        {"{\"run\":{\"schema\":\"pxarbench-decisions/2\"}," REUSED "}\n", ERR_VERSION},
        {"{" RUN "," REUSED "," REUSED "}\n", ERR_FORMAT}, /* members twice */
        {"{" RUN "," REUSED ",\"before\":\"x\"}\n", ERR_FORMAT},
        {"{" RUN "," REUSED ",\"after\":3}\n", ERR_FORMAT},
        {"{" RUN ",\"action\":\"hardlink\"}\n", ERR_FORMAT},                  /* no path */
        {"{" RUN "," REUSED ",\"after\":\")\"}\n{" REUSED "}\n", ERR_FORMAT}, /* behind the end */
        {FIRST "\n", ERR_FORMAT},
        {FIRST FIRST "{", ERR_FORMAT}, /* the first archive is not complete */
        {LAST LAST "{", ERR_FORMAT},   /* cut off */
        {FILE_LINE("\"action\":\"other\""), ERR_FORMAT},
        {FILE_LINE("\"action\":\"reused\""), ERR_FORMAT},
        {FILE_LINE("\"action\":\"reused\",\"reason\":\"new\",\"size\":1,\"offset\":16,\"old_offset\":16"), ERR_FORMAT},
        {FILE_LINE("\"action\":\"reused\",\"reason\":\"unchanged\",\"size\":1,\"offset\":16"), ERR_FORMAT},
        {FILE_LINE("\"action\":\"reencoded\",\"reason\":\"unchanged\",\"size\":1,\"offset\":16"), ERR_FORMAT},
        {FILE_LINE("\"action\":\"reencoded\",\"reason\":\"other\",\"size\":1,\"offset\":16"), ERR_FORMAT},
        {FILE_LINE("\"action\":\"reencoded\",\"reason\":\"threshold\",\"size\":1,\"offset\":16"), ERR_FORMAT},
        {FILE_LINE("\"action\":\"reencoded\",\"reason\":\"touched-but-identical\",\"size\":1,\"offset\":16"),
         ERR_FORMAT},
        {FILE_LINE("\"action\":\"reencoded\",\"reason\":\"new\",\"size\":-1,\"offset\":16"), ERR_FORMAT},
        {FILE_LINE("\"action\":\"reencoded\",\"reason\":\"new\",\"size\":1.5,\"offset\":16"), ERR_FORMAT},
        {FILE_LINE("\"action\":\"reencoded\",\"reason\":\"new\",\"size\":1e99,\"offset\":16"), ERR_FORMAT},
        {FILE_LINE("\"action\":\"reencoded\",\"reason\":\"new\",\"size\":1,\"offset\":\"16\""), ERR_FORMAT},
        {FILE_LINE("\"action\":\"reencoded\",\"reason\":\"absorbed\",\"size\":1,\"offset\":16,\"old_offset\":16,"
                   "\"old_size\":2"),
         ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct decisions *d = open_text(*state, bad[i].text, strlen(bad[i].text));
        struct decision_line line;
        unsigned lines = 1;
        enum status status;
        while ((status = decisions_next(d, &line, &error)) == OK)
            lines++;
        if (status != bad[i].status)
            print_error("case %zu: %s", i, bad[i].text);
        assert_int_equal(status, bad[i].status);
        char place[32];
        (void)snprintf(place, sizeof place, "decisions: line %u: ", lines);
        assert_non_null(strstr(error.text, place));
        decisions_close(d);
    }
}

/* RUN with one thing in it replaced. */
static void check_run(const char *directory, const char *from, const char *to, enum status expected)
{
    static const char whole[] = FIRST;
    char text[sizeof whole + 256];
    const char *at = strstr(whole, from);
    assert_non_null(at);
    (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - whole), whole, to, at + strlen(from));
    struct decisions *d = open_text(directory, text, strlen(text));
    struct decision_line line;
    enum status status = decisions_next(d, &line, &error);
    if (status != expected)
        print_error("%s instead of %s: %s\n", to, from, error.text);
    assert_int_equal(status, expected);
    decisions_close(d);
}

static void test_bad_runs_are_refused(void **state)
{
    check_run(*state, "stored", "stored", OK);
    check_run(*state, "stored", "loose", ERR_FORMAT);
    check_run(*state, "0.1", "1", OK);
    check_run(*state, "0.1", "1.1", ERR_FORMAT);
    check_run(*state, "0.1", "-0.1", ERR_FORMAT);
    check_run(*state, "0.1", "\"0.1\"", ERR_FORMAT);
    check_run(*state, "\"cache_limit\":512", "\"cache_limit\":0", ERR_FORMAT);
    check_run(*state, "\"cache_limit\":512,", "", ERR_FORMAT);
    check_run(*state, "\"max_instances\":8", "\"max_instances\":0", ERR_FORMAT);
    check_run(*state, "\"max_instances\":8", "\"max_instances\":4294967296", ERR_FORMAT);
    check_run(*state, "4194304", "4194304000000", ERR_FORMAT);
    check_run(*state, "host/x/2026-01-02T03:04:05Z", "host/x", ERR_USAGE);
    check_run(*state, "host/x/2026-01-02T03:04:05Z", "../../x/2026-01-02T03:04:05Z", ERR_USAGE);
    check_run(*state, CSUM, "00", ERR_FORMAT);
    check_run(*state, "\"" CSUM "\"", "null", ERR_FORMAT);
    check_run(*state, "4096", "-1", ERR_FORMAT);
    char name[256];
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    check_run(*state, "root", name, ERR_FORMAT);
}

static void test_bytes_of_all_kinds(void **state)
{
    static const char zero[] = "{\0}\n";
    struct decisions *d = open_text(*state, zero, sizeof zero - 1);
    struct decision_line line;
    assert_int_equal(decisions_next(d, &line, &error), ERR_FORMAT);
    decisions_close(d);
    d = open_text(*state, "", 0);
    assert_int_equal(decisions_next(d, &line, &error), ERR_CLOSED);
    decisions_close(d);
}

static void test_files_cut_between_two_lines_are_refused(void **state)
{
    static const char *const cut[] = {FIRST, LAST FIRST, FIRST "{" REUSED "}\n"};
    for (size_t i = 0; i < sizeof cut / sizeof *cut; i++) {
        struct decisions *d = open_text(*state, cut[i], strlen(cut[i]));
        struct decision_line line;
        enum status status;
        while ((status = decisions_next(d, &line, &error)) == OK)
            continue;
        assert_int_equal(status, ERR_FORMAT);
        assert_non_null(strstr(error.text, "decisions: the decisions for 'root' end before its last file: "));
        decisions_close(d);
    }
}

static void test_a_line_without_end_is_refused(void **state)
{
    (void)state;
    struct decisions *d;
    MUST(decisions_open("/dev/zero", &d, &error));
    struct decision_line line;
    assert_int_equal(decisions_next(d, &line, &error), ERR_LIMIT);
    assert_non_null(strstr(error.text, "/dev/zero: line 1: "));
    decisions_close(d);
    assert_int_equal(decisions_open("/does/not/exist", &d, &error), ERR_IO);
    MUST(decisions_open("/", &d, &error));
    assert_int_equal(decisions_next(d, &line, &error), ERR_IO);
    decisions_close(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reads_every_member, state_setup, state_teardown),
        cmocka_unit_test_setup_teardown(test_two_archives_and_one_without_a_reference, state_setup, state_teardown),
        cmocka_unit_test_setup_teardown(test_bad_files_are_refused_with_their_line, state_setup, state_teardown),
        cmocka_unit_test_setup_teardown(test_bad_runs_are_refused, state_setup, state_teardown),
        cmocka_unit_test_setup_teardown(test_bytes_of_all_kinds, state_setup, state_teardown),
        cmocka_unit_test_setup_teardown(test_files_cut_between_two_lines_are_refused, state_setup, state_teardown),
        cmocka_unit_test(test_a_line_without_end_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
