#include "testing/testing.h"

#include "server/fault_state.h"

#include <string.h>

static struct error err;

static void test_names_and_values(void **state)
{
    (void)state;
    struct faults f = {0};
    static const char *const good[] = {
        "delay-in=15ms",
        "delay-out=300us",
        "rate-in=125M",
        "rate-out=1MiB",
        "cut-in=17",
        "cut-out=64Ki",
        "cut-connection=2",
        "cut-with-reset",
        "cut-call=PUT dynamic_index#3",
        "cut-when=after-reply",
        "delay-call=*",
        "delay-call-by=2s",
        "error-call=finish",
        "error-status=503",
        "error-early=1",
        "lie-call=chunk#2",
        "lie=flip",
        "read-rate=1K",
        "streams=1",
        "stream-window=65535",
        "connection-window=65535",
        "frame-size=16384",
        "header-list=4096",
        "goaway-after=9",
        "reset-with-cancel",
        "lax",
        "split-101",
        "join-101",
        "settings-late=10",
        "drop-chunk=4",
        "base-failed",
        "release-lock-at-end",
        "delay-401=3s",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(faults_set(&f, good[i], &err), OK);
        char name[40];
        size_t size = strcspn(good[i], "=");
        memcpy(name, good[i], size);
        name[size] = '\0';
        assert_non_null(strstr(faults_help(), name)); /* --help knows each */
    }
    assert_int_equal(f.delay_in_us, 15000);
    assert_int_equal(f.delay_out_us, 300);
    assert_int_equal(f.rate_in, 125000000);
    assert_int_equal(f.rate_out, 1 << 20);
    assert_int_equal(f.cut_in, 17);
    assert_int_equal(f.cut_out, 64 << 10);
    assert_string_equal(f.cut_call.name, "PUT dynamic_index");
    assert_int_equal(f.cut_call.k, 3);
    assert_int_equal(f.cut_when, CUT_AFTER_REPLY);
    assert_int_equal(f.delay_call_ms, 2000);
    assert_int_equal(f.error_status, 503);
    assert_true(f.cut_with_reset && f.error_early && f.lax && f.split_101 && f.join_101 && f.base_failed);
    assert_int_equal(f.lie, LIE_FLIP);
    assert_int_equal(f.settings_late_ms, 10);
    assert_int_equal(f.delay_401_ms, 3000);
    assert_int_equal(faults_set(&f, "lax=0", &err), OK);
    assert_false(f.lax);
}

static void test_nonsense_is_refused(void **state)
{
    (void)state;
    struct faults f = {0};
    static const char *const bad[] = {
        "",
        "=",
        "nothing",
        "delay-in",
        "delay-in=",
        "delay-in=-1",
        "delay-in=1h",
        "delay-in=99999999999s",
        "delay-in=61s",
        "rate-in=x",
        "rate-in=1T",
        "rate-in=1MB",
        "cut-in=18446744073709551616",
        "cut-in=99999999999999999999G",
        "cut-when=later",
        "lie=big",
        "lax=yes",
        "error-status=99",
        "error-status=1000",
        "streams=4294967296",
        "cut-call=",
        "cut-call=#1",
        "cut-call=x#",
        "cut-call=x#0",
        "cut-call=x#1x",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (faults_set(&f, bad[i], &err) != ERR_USAGE)
            assert_string_equal(bad[i], "refused");
    char long_call[100] = "cut-call=";
    memset(long_call + 9, 'x', FAULT_CALL_MAX);
    assert_int_equal(faults_set(&f, long_call, &err), ERR_USAGE);
}

static void test_calls_are_counted(void **state)
{
    (void)state;
    struct fault_state s;
    const struct faults none = {0};
    const struct fault_call third = {.name = "POST blob", .k = 3}, every = {.name = "blob"},
                            any = {.name = "*", .k = 2};
    fault_state_init(&s, &none);
    for (unsigned k = 1; k < 6; k++) {
        assert_true(fault_state_hits(&s, FAULT_CUT, &third, "POST", "blob") == (k == 3));
        assert_false(fault_state_hits(&s, FAULT_CUT, &third, "GET", "blob"));
        assert_false(fault_state_hits(&s, FAULT_CUT, &third, "POST", "blobs"));
        assert_true(fault_state_hits(&s, FAULT_ERROR, &every, "POST", "blob"));
        assert_true(fault_state_hits(&s, FAULT_LIE, &any, "GET", "x") == (k == 2));
        assert_true(fault_state_drops(&s, 2) == (k == 2));
        assert_false(fault_state_drops(&s, 0));
    }
    unsigned before = fault_state_generation(&s), generation;
    struct faults f = {.cut_in = 5, .cut_out = 6, .cut_connection = 2}, got;
    fault_state_set(&s, &f);
    assert_true(fault_state_generation(&s) != before);
    fault_state_connect(&s, &got, &generation);
    assert_int_equal(got.cut_in, 0);
    fault_state_connect(&s, &got, &generation);
    assert_int_equal(got.cut_in, 5);
    assert_int_equal(got.cut_out, 6);
    assert_int_equal(generation, fault_state_generation(&s));
    fault_state_connect(&s, &got, &generation);
    assert_int_equal(got.cut_in, 0);
    assert_true(fault_state_hits(&s, FAULT_LIE, &any, "GET", "x") == false); /* counters began again */
    fault_state_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_and_values),
        cmocka_unit_test(test_nonsense_is_refused),
        cmocka_unit_test(test_calls_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
