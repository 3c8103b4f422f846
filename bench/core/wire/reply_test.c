#include "testing/testing.h"

#include "wire/protocol.h"
#include "wire/reply.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static struct error err;

static enum status check(enum reply_place place, int http_status, const char *text)
{
    err = (struct error){0};
    return reply_check(place, "doing this", http_status, text, strlen(text), &err);
}

/* bench/spec/protocol.md 18. */
static void test_every_row_of_the_error_catalogue(void **state)
{
    (void)state;
    static const struct {
        enum reply_place place;
        int http_status;
        const char *text;
        enum status status;
        const char *advice;
    } rows[] = {
        {REPLY_BACKUP_UPGRADE, 101, "", OK, ""},
        {REPLY_BACKUP_SESSION, 200, "", OK, ""},
        {REPLY_REST, 301, "", ERR_UNSUPPORTED, "port"},
        {REPLY_BACKUP_UPGRADE, 308, "", ERR_UNSUPPORTED, "port"},
        {REPLY_BACKUP_UPGRADE, 400, "parameter verification errors", ERR_UNSUPPORTED, "version"},
        {REPLY_BACKUP_UPGRADE, 400, "missing Upgrade header", ERR_UNSUPPORTED, "proxy"},
        {REPLY_BACKUP_UPGRADE, 400, "invalid protocol name", ERR_UNSUPPORTED, "proxy"},
        {REPLY_BACKUP_UPGRADE, 400, "unable to acquire LOCK on group", ERR_LOCKED, "another backup"},
        {REPLY_BACKUP_UPGRADE, 400, "backup owner check failed", ERR_REFUSED, "belongs to another"},
        {REPLY_BACKUP_UPGRADE, 400, "backup timestamp is older than last backup", ERR_EXISTS, "later backup time"},
        {REPLY_BACKUP_UPGRADE, 400, "backup directory already exists", ERR_EXISTS, "another backup time"},
        {REPLY_BACKUP_UPGRADE, 400, "no such datastore", ERR_REFUSED, "refused"},
        {REPLY_READER_UPGRADE, 400, "permission check failed", ERR_REFUSED, "may not read"},
        {REPLY_READER_UPGRADE, 400, "snapshot does not exist", ERR_NOT_FOUND, "no such snapshot"},
        {REPLY_READER_UPGRADE, 400, "locked by another", ERR_LOCKED, "written or removed"},
        {REPLY_BACKUP_SESSION, 400, "unable to lock: timestamp exists", ERR_REFUSED, "refused"},
        {REPLY_REST, 401, "authentication failed", ERR_REFUSED, "credentials"},
        {REPLY_BACKUP_UPGRADE, 401, "", ERR_REFUSED, "credentials"},
        {REPLY_READER_SESSION, 401, "", ERR_FORMAT, "no index"},
        {REPLY_BACKUP_UPGRADE, 403, "permission check failed", ERR_REFUSED, "privilege"},
        {REPLY_REST, 404, "", ERR_NOT_FOUND, "no such thing"},
        {REPLY_BACKUP_SESSION, 404, "", ERR_NOT_FOUND, "no such thing"},
        {REPLY_REST, 414, "", ERR_LIMIT, "too long"},
        {REPLY_REST, 429, "", ERR_REFUSED, "refused"},
        {REPLY_REST, 503, "<html>", ERR_NETWORK, "try again"},
        {REPLY_REST, 101, "", ERR_FORMAT, "no place"},
        {REPLY_BACKUP_UPGRADE, 200, "<html>", ERR_FORMAT, "no place"},
        {REPLY_BACKUP_SESSION, 204, "", ERR_FORMAT, "no place"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        enum status status = check(rows[i].place, rows[i].http_status, rows[i].text);
        if (status != rows[i].status || !strstr(err.text, rows[i].advice)) {
            print_error("row %zu: %s '%s'\n", i, status_name(status), err.text);
            assert_true(false);
        }
        if (status != OK)
            assert_memory_equal(err.text, "doing this: ", 12);
        if (status != OK && rows[i].text[0])
            assert_non_null(strstr(err.text, rows[i].text));
    }
}

static void test_the_servers_words_are_made_harmless(void **state)
{
    (void)state;
    assert_int_equal(check(REPLY_REST, 400, " \r\n a\x1b[31mred\x07\n\n b\xc3\xa4\xff\xe2\x82 \t\n"), ERR_REFUSED);
    assert_non_null(strstr(err.text, "words: a [31mred b\xc3\xa4\?\?\?)"));
    assert_int_equal(check(REPLY_REST, 403,
                           "denied \xc2\x9b"
                           "31m \xe2\x80\xae"
                           "cba \xe0\x80\x80 \xed\xa0\x80"),
                     ERR_REFUSED);
    assert_non_null(strstr(err.text, "words: denied \?\?31m \?\?\?cba \?\?\? \?\?\?)"));
    char *text = malloc(100000);
    assert_non_null(text);
    memset(text, 'x', 100000);
    assert_int_equal(reply_check(REPLY_REST, "this", 400, text, 100000, &err), ERR_REFUSED);
    assert_true(strlen(err.text) < 600);
    free(text);
    assert_int_equal(reply_check(REPLY_REST, "this", 400, "\0\0", 2, &err), ERR_REFUSED);
    assert_non_null(strstr(err.text, "(status 400)"));
}

/* `{"data":[{},{},...]}` of this many objects. */
static char *make_envelope(size_t count, size_t *out_size)
{
    char *text = malloc(3 * count + 16);
    assert_non_null(text);
    size_t size = (size_t)sprintf(text, "{\"data\":[");
    for (size_t i = 0; i < count; i++, size += 3)
        memcpy(text + size, "{},", 3);
    memcpy(text + size - 1, "]}", 2);
    *out_size = size + 1;
    return text;
}

static long resident_peak_kb(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

static void test_memory_for_json_is_bounded(void **state)
{
    (void)state;
    size_t size;
    json_t *value;
    char *text = make_envelope(WIRE_JSON_REPLY_MAX / 3 - 8, &size);
    long before_kb = resident_peak_kb();
    assert_int_equal(reply_data("asking", text, size, &value, &err), ERR_LIMIT);
    assert_memory_equal(err.text, "asking: ", 8);
    assert_true(resident_peak_kb() - before_kb < 16 << 10); /* each object would take 235 bytes: 80 MiB */
    assert_int_equal(reply_list("asking", text, size, &value, &err), OK);
    assert_int_equal(json_array_size(value), WIRE_JSON_REPLY_MAX / 3 - 8);
    json_decref(value);
    free(text);
    text = make_envelope(REPLY_LIST_VALUES_MAX, &size);
    before_kb = resident_peak_kb();
    assert_int_equal(reply_list("asking", text, size, &value, &err), ERR_LIMIT);
    assert_true(resident_peak_kb() - before_kb < 16 << 10);
    free(text);
    text = make_envelope((REPLY_VALUES_MAX - 3) / 2, &size);
    assert_int_equal(reply_data("asking", text, size, &value, &err), OK);
    json_decref(value);
    free(text);
}

static enum status data(const char *text, json_t **out)
{
    *out = NULL;
    return reply_data("asking", text, strlen(text), out, &err);
}

static void test_data_is_taken_out_of_its_envelope(void **state)
{
    (void)state;
    json_t *value;
    assert_int_equal(data("{\"data\":1700000000,\"total\":3}", &value), OK);
    assert_int_equal(json_integer_value(value), 1700000000);
    json_decref(value);
    assert_int_equal(data("{\"data\":null}", &value), OK);
    assert_true(json_is_null(value));
    json_decref(value);
    assert_int_equal(data("", &value), OK);
    assert_true(json_is_null(value));
    json_decref(value);
    assert_int_equal(data("{\"data\":[{\"a\":1}]}", &value), OK);
    assert_int_equal(json_array_size(value), 1);
    json_decref(value);
    assert_int_equal(data("{}", &value), ERR_FORMAT);
    assert_int_equal(data("[1]", &value), ERR_FORMAT);
    assert_int_equal(data("{\"data\":1", &value), ERR_FORMAT);
    assert_int_equal(data("{\"data\":1}x", &value), ERR_FORMAT);
    assert_non_null(strstr(err.text, "asking: "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory_for_json_is_bounded),
        cmocka_unit_test(test_every_row_of_the_error_catalogue),
        cmocka_unit_test(test_the_servers_words_are_made_harmless),
        cmocka_unit_test(test_data_is_taken_out_of_its_envelope),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
