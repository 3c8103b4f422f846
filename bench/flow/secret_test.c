#include "testing/testing.h"

#include "flow/protected.h"
#include "flow/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static char *dir;
static struct error err;

static const char *const names[] = {"PBS_PASSWORD", "PBS_PASSWORD_FD", "PBS_PASSWORD_FILE", "PBS_PASSWORD_CMD",
                                    "CREDENTIALS_DIRECTORY"};

static int clear(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        unsetenv(names[i]);
    return 0;
}

static int setup(void **state)
{
    dir = temp_dir_make();
    return clear(state);
}

static int teardown(void **state)
{
    (void)state;
    temp_dir_remove(dir);
    return 0;
}

static const char *at(const char *name)
{
    static char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static const char *file_with(const char *name, const void *data, size_t size)
{
    const char *path = at(name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    return path;
}

static void set(const char *name, const char *value)
{
    assert_int_equal(setenv(name, value, 1), 0);
}

static void check(const char *wanted)
{
    struct secret s;
    if (secret_lookup("PBS_PASSWORD", &s, &err) != OK)
        assert_string_equal(err.text, "");
    if (!wanted) {
        assert_null(s.text);
    } else {
        assert_non_null(s.text);
        assert_string_equal(s.text, wanted);
        assert_int_equal(s.size, strlen(wanted));
    }
    secret_deinit(&s);
    assert_null(s.text);
}

static void refused(enum status status, const char *says)
{
    struct secret s;
    assert_int_equal(secret_lookup("PBS_PASSWORD", &s, &err), status);
    assert_null(s.text);
    if (!strstr(err.text, says))
        assert_string_equal(err.text, says);
}

/* A descriptor that has the text to read and then ends. */
static void set_fd(const char *text, size_t size)
{
    char number[16];
    int fd = open(file_with("fd", text, size), O_RDONLY);
    assert_true(fd >= 0);
    snprintf(number, sizeof number, "%d", fd);
    set("PBS_PASSWORD_FD", number);
}

static void test_nothing_defined(void **state)
{
    (void)state;
    check(NULL);
    set("CREDENTIALS_DIRECTORY", at("nowhere"));
    check(NULL);
    set("CREDENTIALS_DIRECTORY", dir);
    check(NULL);
}

static void test_value_itself(void **state)
{
    (void)state;
    set("PBS_PASSWORD", "geheim");
    check("geheim");
    set("PBS_PASSWORD", "s\xc3\xbc\xc3\x9f \xf0\x9f\x94\x91\nsecond");
    check("s\xc3\xbc\xc3\x9f \xf0\x9f\x94\x91");
    set("PBS_PASSWORD", "crlf\r\nx");
    check("crlf");
    set("PBS_PASSWORD", "cr\r");
    check("cr\r"); /* no line end */
    set("PBS_PASSWORD", "");
    check("");
    set("PBS_PASSWORD", "\nx");
    check("");
}

static void test_descriptor_is_read_and_closed(void **state)
{
    (void)state;
    set_fd("geheim\r\nmore\n", 13);
    int fd = atoi(getenv("PBS_PASSWORD_FD"));
    check("geheim");
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(errno, EBADF);
    refused(ERR_IO, "PBS_PASSWORD_FD: read");
    set_fd("", 0);
    check("");
    set_fd("no end of line", 14);
    check("no end of line");
}

/* Who holds the other end open need not be waited for. */
static void test_descriptor_of_a_pipe_that_stays_open(void **state)
{
    (void)state;
    int ends[2];
    char number[16];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "line\n", 5), 5);
    snprintf(number, sizeof number, "%d", ends[0]);
    set("PBS_PASSWORD_FD", number);
    check("line");
    close(ends[1]);
}

static void test_file(void **state)
{
    (void)state;
    set("PBS_PASSWORD_FILE", file_with("f", "geheim\nmore", 11));
    check("geheim");
    set("PBS_PASSWORD_FILE", file_with("f", "", 0));
    check("");
    set("PBS_PASSWORD_FILE", at("missing"));
    refused(ERR_IO, "PBS_PASSWORD_FILE: open ");
    set("PBS_PASSWORD_FILE", dir);
    refused(ERR_IO, "PBS_PASSWORD_FILE: read");
}

static void test_command(void **state)
{
    (void)state;
    set("PBS_PASSWORD_CMD", "printf 'geheim\\r\\nmore'");
    check("geheim");
    set("PBS_PASSWORD_CMD", "true");
    check("");
    /* No shell: nothing is expanded, nothing chained. */
    set("PBS_PASSWORD_CMD", "echo $HOME ; false && `x`");
    check("$HOME ; false && `x`");
    /* What follows the first line is read all the same: the command does not fail for a pipe that nobody reads. */
    set("PBS_PASSWORD_CMD", "sh -c 'echo first; i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890; "
                            "i=$((i+1)); done || exit 9'");
    check("first");
}

static void test_commands_that_fail(void **state)
{
    (void)state;
    set("PBS_PASSWORD_CMD", "false");
    refused(ERR_NOT_FOUND, "PBS_PASSWORD_CMD: the command failed with exit code 1");
    set("PBS_PASSWORD_CMD", "sh -c 'echo geheim; exit 3'");
    refused(ERR_NOT_FOUND, "exit code 3");
    assert_null(strstr(err.text, "geheim"));
    set("PBS_PASSWORD_CMD", "sh -c 'echo geheim; kill -9 $$'");
    refused(ERR_NOT_FOUND, "signal 9");
    set("PBS_PASSWORD_CMD", "/nowhere/at/all x");
    refused(ERR_IO, "PBS_PASSWORD_CMD: start /nowhere/at/all");
    set("PBS_PASSWORD_CMD", "");
    refused(ERR_USAGE, "PBS_PASSWORD_CMD: is empty");
    set("PBS_PASSWORD_CMD", "echo 'x");
    refused(ERR_USAGE, "has no end");
    set("PBS_PASSWORD_CMD", "yes");
    refused(ERR_LIMIT, "does not stop writing");
}

static void test_first_defined_source_wins_even_if_empty(void **state)
{
    (void)state;
    set("CREDENTIALS_DIRECTORY", dir);
    file_with("proxmox-backup-client.password", "credential", 10);
    set("PBS_PASSWORD_CMD", "echo command");
    set("PBS_PASSWORD_FILE", file_with("f", "file\n", 5));
    set_fd("descriptor\n", 11);
    set("PBS_PASSWORD", "");
    check("");
    unsetenv("PBS_PASSWORD");
    check("descriptor");
    unsetenv("PBS_PASSWORD_FD");
    check("file");
    set("PBS_PASSWORD_FILE", at("missing"));
    refused(ERR_IO, "PBS_PASSWORD_FILE"); /* no falling through */
    unsetenv("PBS_PASSWORD_FILE");
    check("command");
    unsetenv("PBS_PASSWORD_CMD");
    check("credential");
    unlink(at("proxmox-backup-client.password"));
}

static void test_credentials_are_taken_whole(void **state)
{
    (void)state;
    set("CREDENTIALS_DIRECTORY", dir);
    file_with("proxmox-backup-client.password", "line\nline\n", 10);
    check("line\nline\n");
    struct secret s;
    file_with("proxmox-backup-client.encryption-password", "other", 5);
    assert_int_equal(secret_lookup("PBS_ENCRYPTION_PASSWORD", &s, &err), OK);
    assert_string_equal(s.text, "other");
    secret_deinit(&s);
    assert_int_equal(secret_lookup("PBS_SOMETHING", &s, &err), OK);
    assert_null(s.text);
    unlink(at("proxmox-backup-client.password"));
    assert_int_equal(mkdir(at("proxmox-backup-client.password"), 0700), 0);
    refused(ERR_IO, "proxmox-backup-client.password: read");
    assert_int_equal(rmdir(at("proxmox-backup-client.password")), 0);
}

static void test_numbers_of_descriptors(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "x", "-1", "3x", " 3", "99999999999999999999", "4294967296"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        set("PBS_PASSWORD_FD", bad[i]);
        refused(ERR_USAGE, "is not the number of a descriptor");
    }
    set("PBS_PASSWORD_FD", "987654");
    refused(ERR_IO, "PBS_PASSWORD_FD: read");
}

static void test_only_utf8(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\x80", "a\xc3",   "\xc0\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe0\x80\x80", "\xf0\x80\x80\x80",
        "\xff", "\xe2\x82"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        set("PBS_PASSWORD", bad[i]);
        refused(ERR_FORMAT, "PBS_PASSWORD: is not text in UTF-8");
    }
    unsetenv("PBS_PASSWORD");
    set("PBS_PASSWORD_FILE", file_with("f", "a\0b\n", 4));
    refused(ERR_FORMAT, "at byte 1");
    set("PBS_PASSWORD_FILE", file_with("f", "good\n\xff", 6)); /* only the first line counts */
    check("good");
}

static void test_sizes_are_bounded(void **state)
{
    (void)state;
    uint8_t *large = make_constant(SECRET_SIZE_MAX + 1, 'x');
    large[SECRET_SIZE_MAX] = '\0';
    set("PBS_PASSWORD", (const char *)large);
    refused(ERR_LIMIT, "PBS_PASSWORD: longer than");
    unsetenv("PBS_PASSWORD");
    set("PBS_PASSWORD_FILE", file_with("f", large, SECRET_SIZE_MAX));
    refused(ERR_LIMIT, "PBS_PASSWORD_FILE: longer than");
    set("PBS_PASSWORD_FILE", "/dev/zero");
    refused(ERR_LIMIT, "PBS_PASSWORD_FILE: longer than");
    large[SECRET_SIZE_MAX - 1] = '\0';
    set("PBS_PASSWORD_FILE", file_with("f", large, SECRET_SIZE_MAX - 1));
    check((const char *)large);
    free(large);
}

/* Whether /proc/self/smaps says "dd" (do not dump) of the mapping that has the address. */
static bool is_kept_out_of_dumps(const void *address)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    assert_non_null(f);
    char line[1024];
    bool inside = false, found = false;
    while (fgets(line, sizeof line, f)) {
        unsigned long begin, end;
        if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
            inside = (uintptr_t)address >= begin && (uintptr_t)address < end;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, " dd") != NULL;
    }
    fclose(f);
    return found;
}

static void test_secrets_are_in_no_core_dump(void **state)
{
    (void)state;
    struct secret s;
    assert_int_equal(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
    set("PBS_PASSWORD", "geheim");
    assert_int_equal(secret_lookup("PBS_PASSWORD", &s, &err), OK);
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
    assert_true(is_kept_out_of_dumps(s.text));
    assert_false(is_kept_out_of_dumps(dir)); /* the heap: what is looked for can be absent */
    secret_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_nothing_defined, clear),
        cmocka_unit_test_setup(test_value_itself, clear),
        cmocka_unit_test_setup(test_descriptor_is_read_and_closed, clear),
        cmocka_unit_test_setup(test_descriptor_of_a_pipe_that_stays_open, clear),
        cmocka_unit_test_setup(test_file, clear),
        cmocka_unit_test_setup(test_command, clear),
        cmocka_unit_test_setup(test_commands_that_fail, clear),
        cmocka_unit_test_setup(test_first_defined_source_wins_even_if_empty, clear),
        cmocka_unit_test_setup(test_credentials_are_taken_whole, clear),
        cmocka_unit_test_setup(test_numbers_of_descriptors, clear),
        cmocka_unit_test_setup(test_only_utf8, clear),
        cmocka_unit_test_setup(test_sizes_are_bounded, clear),
        cmocka_unit_test_setup(test_secrets_are_in_no_core_dump, clear),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
