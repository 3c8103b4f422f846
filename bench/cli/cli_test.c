#include "testing/testing.h"
#undef skip /* struct source has a member of that name */

#include "cli/cli.h"
#include "cli/files.h"
#include "cli/stats_json.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void test_only_help_and_success_exit_with_0(void **state)
{
    (void)state;
    struct error err = {.text = "said by a test"};
    assert_int_equal(cli_help(""), ERR_HELP);
    for (int status = OK; status <= ERR_HELP; status++) {
        int expected = status == OK || status == ERR_HELP ? CLI_DONE : status == ERR_USAGE ? CLI_USAGE : CLI_FAILED;
        assert_int_equal(cli_exit_code((enum status)status, &err), expected);
    }
}

static void test_numbers_are_decimal_and_whole(void **state)
{
    (void)state;
    struct error err;
    uint64_t value = 0;
    assert_int_equal(cli_parse_u64("--x", "0", 0, UINT64_MAX, &value, &err), OK);
    assert_int_equal(cli_parse_u64("--x", "18446744073709551615", 0, UINT64_MAX, &value, &err), OK);
    assert_true(value == UINT64_MAX);
    static const char *const bad[] = {"", " 1", "1 ", "+1", "-1", "0x10", "1.0", "1e3", "ten", "1\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        err = (struct error){0};
        assert_int_equal(cli_parse_u64("--x", bad[i], 0, UINT64_MAX, &value, &err), ERR_USAGE);
        assert_non_null(strstr(err.text, "--x: '"));
    }
    assert_int_equal(cli_parse_u64("--x", "18446744073709551616", 0, UINT64_MAX, &value, &err), ERR_USAGE);
    assert_int_equal(cli_parse_u64("--x", "64", 64, 100, &value, &err), OK);
    assert_int_equal(cli_parse_u64("--x", "100", 64, 100, &value, &err), OK);
    assert_int_equal(cli_parse_u64("--x", "63", 64, 100, &value, &err), ERR_USAGE);
    assert_string_equal(err.text, "--x: value must have a minimum value of 64 (got 63)");
    assert_int_equal(cli_parse_u64("--x", "101", 64, 100, &value, &err), ERR_USAGE);
    assert_string_equal(err.text, "--x: value must have a maximum value of 100 (got 101)");
    assert_int_equal(value, 100);
}

static void test_fractions_are_plain(void **state)
{
    (void)state;
    struct error err;
    double value = -1;
    assert_int_equal(cli_parse_double("--x", "0.1", 0, 1, &value, &err), OK);
    assert_true(value > 0.0999 && value < 0.1001);
    assert_int_equal(cli_parse_double("--x", "1e-1", 0, 1, &value, &err), OK);
    assert_int_equal(cli_parse_double("--x", "1", 0, 1, &value, &err), OK);
    static const char *const bad[] = {"", "nan", "inf", "0x1", "0,1", " 0", "0.1.2", "-", "1e999", "-0.1", "1.01"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(cli_parse_double("--x", bad[i], 0, 1, &value, &err), ERR_USAGE);
}

static void test_enumerations_are_exact(void **state)
{
    (void)state;
    static const char *const names[] = {"data", "metadata", NULL};
    struct error err;
    size_t index = 9;
    assert_int_equal(cli_parse_enum("--mode", "metadata", names, &index, &err), OK);
    assert_int_equal(index, 1);
    assert_int_equal(cli_parse_enum("--mode", "Data", names, &index, &err), ERR_USAGE);
    assert_string_equal(err.text, "--mode: value 'Data' is not defined in the enumeration (data, metadata).");
    assert_int_equal(cli_parse_enum("--mode", "dat", names, &index, &err), ERR_USAGE);
    assert_int_equal(cli_parse_enum("--mode", "", names, &index, &err), ERR_USAGE);
}

/* Runs the words through a table with --flag and --value and says what came of it. */
static void expect_option(int argc, char **argv, int expected, const char *text)
{
    static const struct option options[] = {{"flag", no_argument, NULL, CLI_OPTION_FIRST},
                                            {"value", required_argument, NULL, CLI_OPTION_FIRST + 1},
                                            CLI_OPTIONS_END};
    struct error err = {0};
    cli_options_begin();
    assert_int_equal(cli_next_option(argc, argv, options, &err), expected);
    if (expected == CLI_BAD_OPTION) {
        assert_int_equal(err.status, ERR_USAGE);
        assert_string_equal(err.text, text);
    } else if (text) {
        assert_string_equal(optarg, text);
    }
}

#define WORDS(...)                                                                                                     \
    (int)(sizeof((char *[]){__VA_ARGS__}) / sizeof(char *)), (char *[])                                                \
    {                                                                                                                  \
        __VA_ARGS__, NULL                                                                                              \
    }
#define W(text) ((char[]){text})

static void test_options_and_what_is_wrong_with_them(void **state)
{
    (void)state;
    expect_option(WORDS(W("cmd")), CLI_NO_MORE, NULL);
    expect_option(WORDS(W("cmd"), W("x")), CLI_NO_MORE, NULL);
    expect_option(WORDS(W("cmd"), W("x"), W("--flag")), CLI_OPTION_FIRST, NULL);
    expect_option(WORDS(W("cmd"), W("--value=a")), CLI_OPTION_FIRST + 1, "a");
    expect_option(WORDS(W("cmd"), W("x"), W("--value"), W("a b")), CLI_OPTION_FIRST + 1, "a b");
    expect_option(WORDS(W("cmd"), W("-h")), CLI_HELP, NULL);
    expect_option(WORDS(W("cmd"), W("--help")), CLI_HELP, NULL);
    expect_option(WORDS(W("cmd"), W("--"), W("--flag")), CLI_NO_MORE, NULL);
    expect_option(WORDS(W("cmd"), W("x"), W("--nope")), CLI_BAD_OPTION, "cmd: unknown option '--nope'; see --help");
    expect_option(WORDS(W("cmd"), W("--nope=1")), CLI_BAD_OPTION, "cmd: unknown option '--nope=1'; see --help");
    expect_option(WORDS(W("cmd"), W("x"), W("-ab")), CLI_BAD_OPTION, "cmd: unknown option '-a'; see --help");
    expect_option(WORDS(W("cmd"), W("--flag=1")), CLI_BAD_OPTION, "cmd: option '--flag' takes no value");
    expect_option(WORDS(W("cmd"), W("x"), W("--value")), CLI_BAD_OPTION, "cmd: option '--value' needs a value");
}

static void test_json_text_is_always_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *given, *expected;
    } cases[] = {
        {"", ""},
        {"plain", "plain"},
        {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa7", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xa7"},
        {"a\xff"
         "b",
         "a\xef\xbf\xbd"
         "b"},
        {"\xc3", "\xef\xbf\xbd"},
        {"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},                 /* overlong '/' */
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* surrogate */
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *json = cli_json_text(cases[i].given);
        assert_non_null(json);
        assert_string_equal(json_string_value(json), cases[i].expected);
        json_decref(json);
    }
}

static void test_output_file_exists_only_after_success(void **state)
{
    (void)state;
    char *dir = temp_dir_make();
    char path[4096];
    snprintf(path, sizeof path, "%s/x", dir);
    struct error err = {0};
    struct output_file file = {0}, again = {0};
    assert_int_equal(output_file_create(path, &file, &err), OK);
    assert_int_equal(output_file_create(path, &again, &err), ERR_IO);
    output_file_discard(&again); /* somebody else's: stays */
    assert_int_equal(access(path, F_OK), 0);
    output_file_discard(&file);
    assert_int_equal(access(path, F_OK), -1);
    output_file_discard(&file);

    mode_t old = umask(0);
    assert_int_equal(output_file_create(path, &file, &err), OK);
    umask(old);
    struct sink sink = output_file_sink(&file);
    assert_int_equal(sink.write(sink.context, (const uint8_t *)"abc", 3, &err), OK);
    assert_int_equal(output_file_close(&file, &err), OK);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(st.st_size, 3);
    temp_dir_remove(dir);
}

static void test_input_file_reads_and_skips_but_not_beyond_its_end(void **state)
{
    (void)state;
    enum { SIZE = 3 * FILE_BUFFER_SIZE };
    char *dir = temp_dir_make();
    char path[4096];
    snprintf(path, sizeof path, "%s/x", dir);
    uint8_t *data = make_counter(SIZE);
    struct error err = {0};
    struct output_file out = {0};
    assert_int_equal(output_file_create(path, &out, &err), OK);
    struct sink sink = output_file_sink(&out);
    assert_int_equal(sink.write(sink.context, data, SIZE, &err), OK);
    assert_int_equal(output_file_close(&out, &err), OK);

    struct input_file in = {0};
    assert_int_equal(input_file_open(path, &in, &err), OK);
    struct source source = input_file_source(&in);
    uint8_t part[64];
    size_t size;
    static const uint64_t skips[] = {0, 1, 5000, FILE_BUFFER_SIZE + 1};
    uint64_t position = 0;
    for (size_t i = 0; i < sizeof skips / sizeof *skips; i++) {
        assert_int_equal(source.skip(source.context, skips[i], &err), OK);
        position += skips[i];
        assert_int_equal(source.read(source.context, part, sizeof part, &size, &err), OK);
        assert_int_equal(size, sizeof part);
        assert_memory_equal(part, data + position, size);
        position += size;
    }
    assert_int_equal(source.skip(source.context, SIZE - position + 1, &err), ERR_FORMAT);
    input_file_close(&in);

    assert_int_equal(input_file_open(path, &in, &err), OK);
    assert_int_equal(source.skip(source.context, SIZE - 10, &err), OK);
    assert_int_equal(source.skip(source.context, 11, &err), ERR_FORMAT); /* the short way */
    input_file_close(&in);
    assert_int_equal(input_file_open(path, &in, &err), OK);
    assert_int_equal(source.skip(source.context, UINT64_MAX, &err), ERR_FORMAT);
    input_file_close(&in);
    free(data);
    temp_dir_remove(dir);
}

static void test_stats_file_is_replaced_as_a_whole(void **state)
{
    (void)state;
    char *dir = temp_dir_make();
    char path[4096];
    snprintf(path, sizeof path, "%s/stats", dir);
    struct error err = {0};
    json_t *json = json_pack("{s:f}", "x", 0.1);
    assert_int_equal(stats_file_check(path, &err), OK);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(stats_file_write(path, json, &err), OK);
    int held = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(held >= 0);
    json_object_set_new(json, "y", json_integer(2));
    assert_int_equal(stats_file_write(path, json, &err), OK);
    char text[64] = "";
    assert_int_equal(read(held, text, sizeof text - 1), 15);
    assert_string_equal(text, "{\n  \"x\": 0.1\n}\n");
    close(held);
    json_decref(json);
    assert_int_equal(stats_file_check(dir, &err), ERR_IO);
    temp_dir_remove(dir);
}

static void test_stats_name_reasons_that_occur(void **state)
{
    (void)state;
    const struct archive_options options = {.mode = MODE_METADATA, .threshold_ppm = 100000, .threads = 2};
    const struct backup_source source = {.name = "root", .path = "/"};
    struct archive_stats stats = {.reference = REFERENCE_NO_PREVIOUS, .reference_detail = "x\xff"};
    stats.reasons[FILE_NEW] = 7;
    stats.payload.size = 123;
    const struct stats_run run = {
        .error = "broken", .options = &options, .sources = &source, .archives = &stats, .archive_count = 1};
    json_t *json = stats_json_run(&run);
    assert_non_null(json);
    char *text = json_dumps(json, JSON_COMPACT | JSON_REAL_PRECISION(15));
    assert_non_null(strstr(text, "\"result\":\"failed\",\"error\":\"broken\",\"snapshot\":\"\",\"mode\":\"metadata\""));
    assert_non_null(strstr(text, "\"padding_threshold\":0.1,"));
    assert_non_null(
        strstr(text, "\"reason\":\"no-previous-snapshot\",\"detail\":\"x\xef\xbf\xbd\",\"snapshot\":\"\"}"));
    assert_non_null(strstr(text, "\"reasons\":{\"new\":7}"));
    assert_non_null(strstr(text, "\"payload\":{\"size\":123,"));
    free(text);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_help_and_success_exit_with_0),
        cmocka_unit_test(test_numbers_are_decimal_and_whole),
        cmocka_unit_test(test_fractions_are_plain),
        cmocka_unit_test(test_enumerations_are_exact),
        cmocka_unit_test(test_options_and_what_is_wrong_with_them),
        cmocka_unit_test(test_json_text_is_always_utf8),
        cmocka_unit_test(test_output_file_exists_only_after_success),
        cmocka_unit_test(test_input_file_reads_and_skips_but_not_beyond_its_end),
        cmocka_unit_test(test_stats_file_is_replaced_as_a_whole),
        cmocka_unit_test(test_stats_name_reasons_that_occur),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
