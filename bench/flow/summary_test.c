#include "testing/testing.h"

#include "flow/summary.h"

#include <string.h>

static void expect_summary(const struct archive_stats *a, const char *expected)
{
    struct buffer out = BUFFER_INIT(65536);
    struct error err = {0};
    assert_int_equal(summary_change_detection(a, &out, &err), OK);
    assert_int_equal(buffer_append_u8(&out, 0, &err), OK);
    assert_string_equal((const char *)out.data, expected);
    buffer_deinit(&out);
}

static void expect_upload(const char *archive, const struct stream_stats *s, const char *expected)
{
    struct buffer out = BUFFER_INIT(65536);
    struct error err = {0};
    assert_int_equal(summary_upload(archive, s, &out, &err), OK);
    assert_int_equal(buffer_append_u8(&out, 0, &err), OK);
    assert_string_equal((const char *)out.data, expected);
    buffer_deinit(&out);
}

static void expect_catalog(const struct stream_stats *s, const char *expected)
{
    struct buffer out = BUFFER_INIT(65536);
    struct error err = {0};
    assert_int_equal(summary_catalog(s, &out, &err), OK);
    assert_int_equal(buffer_append_u8(&out, 0, &err), OK);
    assert_string_equal((const char *)out.data, expected);
    buffer_deinit(&out);
}

static void test_example_14_1_upstream(void **state)
{
    (void)state;
    const struct archive_stats a = {
        .reference = REFERENCE_USED,
        .files = 5,
        .reused_files = 2,
        .reused_bytes = 500016 + 11000016,
        .reencoded_files = 3,
        .reencoded_bytes = 12000016 + 310016 + 400516,
        .injected_chunks = 2,
        .injected_bytes = 12200080,
        .padding_bytes = 700048,
        .partial_chunks = 2,
    };
    expect_summary(&a, "Change detection summary:\n"
                       " - 5 total files (0 hardlinks)\n"
                       " - 2 unchanged, reusable files with 10.967 MiB data\n"
                       " - 3 changed or non-reusable files with 12.122 MiB data\n"
                       " - 683.641 KiB padding in 2 partially reused chunks");
    const struct stream_stats s = {
        .size = 24910660,
        .chunks = 5,
        .known_chunks = 1,
        .known_bytes = 12000032,
        .injected_chunks = 2,
        .injected_bytes = 12200080,
        .new_chunks = 2,
        .new_bytes = 710548,
        .compressed_bytes = 2048,
        .duration_ns = 250000000,
    };
    expect_upload("root.ppxar", &s,
                  "root.ppxar: reused 11.635 MiB from previous snapshot for unchanged files (2 chunks)\n"
                  "root.ppxar: had to backup 693.895 KiB of 23.757 MiB (compressed 2 KiB) in 0.25 s"
                  " (average 2.711 MiB/s)\n"
                  "root.ppxar: backup was done incrementally, reused 23.079 MiB (97.1%)");
}

static void test_example_14_1_tight(void **state)
{
    (void)state;
    const struct archive_stats a = {
        .reference = REFERENCE_USED,
        .files = 5,
        .reused_files = 3,
        .reused_bytes = 12000016 + 500016 + 11000016,
        .reencoded_files = 2,
        .reencoded_bytes = 310016 + 400516,
        .injected_chunks = 2,
        .injected_bytes = 23800080,
        .padding_bytes = 300032,
        .partial_chunks = 2,
    };
    expect_summary(&a, "Change detection summary:\n"
                       " - 5 total files (0 hardlinks)\n"
                       " - 3 unchanged, reusable files with 22.411 MiB data\n"
                       " - 2 changed or non-reusable files with 693.879 KiB data\n"
                       " - 293 KiB padding in 2 partially reused chunks");
    const struct stream_stats s = {
        .size = 24510644,
        .chunks = 5,
        .injected_chunks = 2,
        .injected_bytes = 23800080,
        .new_chunks = 3,
        .new_bytes = 710564,
        .compressed_bytes = 150,
        .duration_ns = 1234567890,
    };
    expect_upload("root.ppxar", &s,
                  "root.ppxar: reused 22.698 MiB from previous snapshot for unchanged files (2 chunks)\n"
                  "root.ppxar: had to backup 693.91 KiB of 23.375 MiB (compressed 150 B) in 1.23 s"
                  " (average 562.067 KiB/s)\n"
                  "root.ppxar: backup was done incrementally, reused 22.698 MiB (97.1%)");
}

static void test_example_14_2_nothing_changed(void **state)
{
    (void)state;
    const struct archive_stats a = {
        .reference = REFERENCE_USED,
        .reused_files = 5,
        .reused_bytes = 24200080,
        .injected_chunks = 3,
        .injected_bytes = 24200112,
        .padding_bytes = 32,
        .partial_chunks = 2,
    };
    expect_summary(&a, "Change detection summary:\n"
                       " - 5 total files (0 hardlinks)\n"
                       " - 5 unchanged, reusable files with 23.079 MiB data\n"
                       " - 0 changed or non-reusable files with 0 B data\n"
                       " - 32 B padding in 2 partially reused chunks");
    const struct stream_stats s = {
        .size = 24200144,
        .injected_chunks = 3,
        .injected_bytes = 24200112,
        .new_chunks = 2,
        .new_bytes = 32,
        .compressed_bytes = 56,
        .duration_ns = 10000000,
    };
    expect_upload("root.ppxar", &s,
                  "root.ppxar: reused 23.079 MiB from previous snapshot for unchanged files (3 chunks)\n"
                  "root.ppxar: had to backup 32 B of 23.079 MiB (compressed 56 B) in 0.01 s (average 3.125 KiB/s)\n"
                  "root.ppxar: backup was done incrementally, reused 23.079 MiB (100.0%)");
}

static void test_example_14_9_counts_unreferenced_chunks_as_padded(void **state)
{
    (void)state;
    struct archive_stats a = {
        .reference = REFERENCE_USED,
        .reused_files = 59,
        .reused_bytes = 59 * 20016,
        .reencoded_files = 1,
        .reencoded_bytes = 20016,
        .injected_chunks = 60,
        .injected_bytes = 620512 + 580480,
        .padding_bytes = 20048,
        .partial_chunks = 3,
        .unreferenced_chunks = 1, /* of them */
    };
    expect_summary(&a, "Change detection summary:\n"
                       " - 60 total files (0 hardlinks)\n"
                       " - 59 unchanged, reusable files with 1.126 MiB data\n"
                       " - 1 changed or non-reusable files with 19.547 KiB data\n"
                       " - 19.578 KiB padding in 3 partially reused chunks");
}

static void test_names_are_counted_whatever_their_number_per_inode(void **state)
{
    (void)state;
    /* One inode with four names, one file of its own: D8 would say 3 files, 1 hardlink. */
    const struct archive_stats a = {
        .reference = REFERENCE_USED,
        .reused_files = 1,
        .reused_bytes = 116,
        .reencoded_files = 1,
        .reencoded_bytes = 1024,
        .hardlink_inodes = 1,
        .hardlink_names = 3,
        .padding_bytes = 0,
    };
    expect_summary(&a, "Change detection summary:\n"
                       " - 5 total files (3 hardlinks)\n"
                       " - 1 unchanged, reusable files with 116 B data\n"
                       " - 1 changed or non-reusable files with 1 KiB data\n"
                       " - 0 B padding in 0 partially reused chunks");
}

static void test_summary_is_empty_without_reference(void **state)
{
    (void)state;
    for (int reason = 0; reason < REFERENCE_REASON_COUNT; reason++) {
        const struct archive_stats a = {.reference = (enum reference_reason)reason, .reencoded_files = 1};
        struct buffer out = BUFFER_INIT(65536);
        struct error err = {0};
        assert_int_equal(summary_change_detection(&a, &out, &err), OK);
        bool in_use =
            reason == REFERENCE_USED || reason == REFERENCE_METADATA_BROKE || reason == REFERENCE_ROOT_UNREADABLE;
        assert_int_equal(out.size != 0, in_use);
        buffer_deinit(&out);
    }
}

static void test_upload_line_alone_for_first_backup(void **state)
{
    (void)state;
    const struct stream_stats s = {
        .size = 400, .chunks = 1, .new_chunks = 1, .new_bytes = 400, .compressed_bytes = 120, .duration_ns = 0};
    expect_upload("a-b_1.mpxar", &s,
                  "a-b_1.mpxar: had to backup 400 B of 400 B (compressed 120 B) in 0.00 s (average 381.47 MiB/s)");
}

static void test_incremental_line_needs_more_than_a_mebibyte(void **state)
{
    (void)state;
    struct stream_stats s = {.size = 1048576, .known_bytes = 1048576, .known_chunks = 1, .duration_ns = 1000000000};
    expect_upload("x.mpxar", &s, "x.mpxar: had to backup 0 B of 1 MiB (compressed 0 B) in 1.00 s (average 0 B/s)");
    s.size = 1048577;
    s.new_bytes = 1;
    expect_upload("x.mpxar", &s,
                  "x.mpxar: had to backup 1 B of 1 MiB (compressed 0 B) in 1.00 s (average 1 B/s)\n"
                  "x.mpxar: backup was done incrementally, reused 1 MiB (100.0%)");
}

static void test_average_survives_huge_numbers(void **state)
{
    (void)state;
    const struct stream_stats fast = {.size = UINT64_C(1) << 60, .new_bytes = UINT64_C(1) << 60, .duration_ns = 1000};
    expect_upload("x.ppxar", &fast,
                  "x.ppxar: had to backup 1024 PiB of 1024 PiB (compressed 0 B) in 0.00 s (average 16384 PiB/s)");
    /* 2^44 bytes in 2^45 us: the product with 10^6 does not fit. */
    const struct stream_stats slow = {
        .size = UINT64_C(1) << 44, .new_bytes = UINT64_C(1) << 44, .duration_ns = (UINT64_C(1) << 45) * 1000};
    expect_upload("x.ppxar", &slow,
                  "x.ppxar: had to backup 16 TiB of 16 TiB (compressed 0 B) in 35184372.09 s (average 488.281 KiB/s)");
}

static void test_catalog_has_a_line_of_its_own(void **state)
{
    (void)state;
    const struct stream_stats small = {.size = 71, .known_bytes = 71, .known_chunks = 1, .duration_ns = 1000};
    expect_catalog(&small, "Uploaded backup catalog (71 B)");
    const struct stream_stats large = {.size = 2097152, .known_bytes = 1048576, .duration_ns = 1000};
    expect_catalog(&large, "Uploaded backup catalog (2 MiB)\n"
                           "catalog.pcat1: backup was done incrementally, reused 1 MiB (50.0%)");
}

static void expect_reasons(const struct archive_stats *a, const char *expected)
{
    struct buffer out = BUFFER_INIT(65536);
    struct error err = {0};
    assert_int_equal(summary_reasons(a, &out, &err), OK);
    assert_int_equal(buffer_append_u8(&out, 0, &err), OK);
    assert_string_equal((const char *)out.data, expected);
    buffer_deinit(&out);
}

static void test_reasons_most_frequent_first(void **state)
{
    (void)state;
    struct archive_stats a = {.reference = REFERENCE_USED, .file_bytes_read = 3400};
    a.reasons[FILE_UNCHANGED] = 1000;
    a.reasons[FILE_NEW] = 1, a.reason_bytes[FILE_NEW] = 16;
    a.reasons[FILE_SIZE] = 2, a.reason_bytes[FILE_SIZE] = 1024;
    a.reasons[FILE_MTIME] = 2, a.reason_bytes[FILE_MTIME] = 2048;
    a.reasons[FILE_ABSORBED] = 7, a.reason_bytes[FILE_ABSORBED] = 112;
    a.reasons[FILE_THRESHOLD] = 7, a.reason_bytes[FILE_THRESHOLD] = 112;
    expect_reasons(&a,
                   "Reasons for storing file data anew:\n"
                   " - threshold: 7 files, 112 B (unchanged; old chunk given up: too large a part of it is of no use)\n"
                   " - absorbed: 7 files, 112 B (unchanged; small old chunk given up: written anew with what is"
                   " beside it)\n"
                   " - mtime: 2 files, 2 KiB\n"
                   " - size: 2 files, 1 KiB\n"
                   " - new: 1 file, 16 B (not there in the previous snapshot)\n"
                   "File data read: 3.32 KiB.");
}

/* D15: that nothing changed must not be hidden behind "changed or non-reusable". */
static void test_rejected_ranges_are_named(void **state)
{
    (void)state;
    struct archive_stats a = {.reference = REFERENCE_USED, .rejected_ranges = 20};
    a.reasons[FILE_THRESHOLD] = 200000, a.reason_bytes[FILE_THRESHOLD] = 3200000;
    expect_reasons(&a, "Reasons for storing file data anew:\n"
                       " - threshold: 200000 files, 3.052 MiB (unchanged; range rejected: too large a part of its old"
                       " chunks is of no use)\n"
                       "No file data was read.");
}

static void test_what_was_only_touched(void **state)
{
    (void)state;
    struct archive_stats a = {.reference = REFERENCE_USED,
                              .file_bytes_read = 84,
                              .compared_touched = true,
                              .touched_identical_files = 1,
                              .touched_identical_bytes = 100};
    a.reasons[FILE_MODE] = 1, a.reason_bytes[FILE_MODE] = 100;
    expect_reasons(&a, "Reasons for storing file data anew:\n"
                       " - mode: 1 file, 100 B\n"
                       "Touched, but identical: 1 of these files, 100 B\n"
                       "File data read: 84 B.");
}

static void test_no_reasons_where_nothing_was_asked_for_or_read(void **state)
{
    (void)state;
    struct archive_stats a = {.reference = REFERENCE_NOT_ASKED, .file_bytes_read = 84};
    a.reasons[FILE_NO_REFERENCE] = 1;
    expect_reasons(&a, "");
    a = (struct archive_stats){.reference = REFERENCE_USED};
    a.reasons[FILE_UNCHANGED] = 20;
    expect_reasons(&a, "No file data was read.");
    a = (struct archive_stats){.reference = REFERENCE_NO_PREVIOUS, .file_bytes_read = 4};
    a.reasons[FILE_NO_REFERENCE] = 1, a.reason_bytes[FILE_NO_REFERENCE] = 20;
    expect_reasons(&a, "Reasons for storing file data anew:\n"
                       " - no-reference: 1 file, 20 B (nothing to compare with)\n"
                       "File data read: 4 B.");
    a.reference = REFERENCE_METADATA_BROKE;
    expect_reasons(&a, "Reasons for storing file data anew:\n"
                       " - no-reference: 1 file, 20 B (the previous metadata archive became unreadable)\n"
                       "File data read: 4 B.");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_catalog_has_a_line_of_its_own),
        cmocka_unit_test(test_example_14_1_upstream),
        cmocka_unit_test(test_example_14_1_tight),
        cmocka_unit_test(test_example_14_2_nothing_changed),
        cmocka_unit_test(test_example_14_9_counts_unreferenced_chunks_as_padded),
        cmocka_unit_test(test_names_are_counted_whatever_their_number_per_inode),
        cmocka_unit_test(test_summary_is_empty_without_reference),
        cmocka_unit_test(test_upload_line_alone_for_first_backup),
        cmocka_unit_test(test_incremental_line_needs_more_than_a_mebibyte),
        cmocka_unit_test(test_average_survives_huge_numbers),
        cmocka_unit_test(test_reasons_most_frequent_first),
        cmocka_unit_test(test_rejected_ranges_are_named),
        cmocka_unit_test(test_what_was_only_touched),
        cmocka_unit_test(test_no_reasons_where_nothing_was_asked_for_or_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
