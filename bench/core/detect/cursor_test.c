/* The merge join over archives made by the encoder. */
#include "testing/testing.h"

#include "detect/cursor.h"
#include "pxar/encoder.h"

#include <string.h>

static struct error error;

static enum status into_buffer(void *context, const uint8_t *data, size_t size, struct error *err)
{
    return buffer_append(context, data, size, err);
}
static enum status nowhere(void *context, const uint8_t *data, size_t size, struct error *err)
{
    (void)context;
    (void)data;
    (void)size;
    (void)err;
    return OK;
}

static const struct attributes directory = {.stat = {.mode = 040755}};
static const struct attributes regular = {.stat = {.mode = 0100644}};

/* "a" file, "b/" with "x" file and "y/" with "z" file, "c" file, "d/" with "x" file. */
static void make_archive(struct buffer *out)
{
    *out = BUFFER_INIT(1 << 20);
    struct encoder *e;
    struct sink metadata = {into_buffer, out}, payload = {nowhere, NULL};
    assert_int_equal(encoder_new(metadata, payload, &directory, NULL, 0, &e, &error), OK);
    assert_int_equal(encoder_file(e, "a", &regular, 1, NULL, &error), OK);
    assert_int_equal(encoder_directory_begin(e, "b", &directory, &error), OK);
    assert_int_equal(encoder_file(e, "x", &regular, 2, NULL, &error), OK);
    assert_int_equal(encoder_directory_begin(e, "y", &directory, &error), OK);
    assert_int_equal(encoder_file(e, "z", &regular, 3, NULL, &error), OK);
    assert_int_equal(encoder_directory_end(e, &error), OK);
    assert_int_equal(encoder_directory_end(e, &error), OK);
    assert_int_equal(encoder_file(e, "c", &regular, 4, NULL, &error), OK);
    assert_int_equal(encoder_directory_begin(e, "d", &directory, &error), OK);
    assert_int_equal(encoder_file(e, "x", &regular, 5, NULL, &error), OK);
    assert_int_equal(encoder_directory_end(e, &error), OK);
    assert_int_equal(encoder_finish(e, &error), OK);
    encoder_free(e);
}

struct walk {
    struct buffer bytes;
    struct memory_source memory;
    struct decoder *decoder;
    struct cursor cursor;
};

static void walk_begin(struct walk *w)
{
    make_archive(&w->bytes);
    w->memory = (struct memory_source){.data = w->bytes.data, .size = w->bytes.size};
    assert_int_equal(decoder_new(source_over_memory(&w->memory, "previous"), NULL, &w->decoder, &error), OK);
    assert_int_equal(cursor_init(&w->cursor, w->decoder, &error), OK);
}

static void walk_end(struct walk *w)
{
    decoder_free(w->decoder);
    buffer_deinit(&w->bytes);
}

/* Size of the file found, or -1. */
static int look(struct walk *w, const char *name)
{
    const struct archive_entry *found;
    assert_int_equal(cursor_find(&w->cursor, name, strlen(name), &found, &error), OK);
    if (!found)
        return -1;
    assert_string_equal(found->name, name);
    return found->kind == ENTRY_FILE ? (int)found->size : -2;
}

static void enter(struct walk *w, const char *name)
{
    assert_int_equal(cursor_enter(&w->cursor, name, strlen(name), &error), OK);
}
static void leave(struct walk *w)
{
    assert_int_equal(cursor_leave(&w->cursor, &error), OK);
}

static void test_same_tree_finds_everything(void **state)
{
    (void)state;
    struct walk w;
    walk_begin(&w);
    assert_int_equal(look(&w, "a"), 1);
    enter(&w, "b");
    assert_int_equal(look(&w, "x"), 2);
    enter(&w, "y");
    assert_int_equal(look(&w, "z"), 3);
    leave(&w);
    leave(&w);
    assert_int_equal(look(&w, "c"), 4);
    enter(&w, "d");
    assert_int_equal(look(&w, "x"), 5);
    leave(&w);
    walk_end(&w);
}

static void test_directories_that_are_gone_are_passed(void **state)
{
    (void)state;
    struct walk w;
    walk_begin(&w);
    assert_int_equal(look(&w, "c"), 4); /* a and b/ are gone: nothing in b/ may be taken for a member of the root */
    assert_int_equal(look(&w, "x"), -1);
    walk_end(&w);
}

static void test_new_directories_match_nothing(void **state)
{
    (void)state;
    struct walk w;
    walk_begin(&w);
    enter(&w, "aa");
    assert_int_equal(look(&w, "x"), -1);
    enter(&w, "y"); /* below a directory without counterpart nothing has one */
    assert_int_equal(look(&w, "z"), -1);
    leave(&w);
    leave(&w);
    enter(&w, "b");
    assert_int_equal(look(&w, "x"), 2);
    assert_int_equal(look(&w, "xx"), -1);
    leave(&w);
    assert_int_equal(look(&w, "c"), 4);
    walk_end(&w);
}

static void test_file_that_became_a_directory_has_no_parallel(void **state)
{
    (void)state;
    struct walk w;
    walk_begin(&w);
    enter(&w, "a");
    assert_int_equal(look(&w, "x"), -1);
    leave(&w);
    assert_int_equal(look(&w, "b"), -2); /* and a directory that became a file is found as what it was */
    assert_int_equal(look(&w, "c"), 4);
    walk_end(&w);
}

static void test_leaving_early_skips_the_rest_of_a_directory(void **state)
{
    (void)state;
    struct walk w;
    walk_begin(&w);
    enter(&w, "b");
    leave(&w);
    enter(&w, "d");
    assert_int_equal(look(&w, "x"), 5);
    leave(&w);
    assert_int_equal(look(&w, "zz"), -1);
    walk_end(&w);
}

static void test_truncated_archive_is_an_error_not_a_miss(void **state)
{
    (void)state;
    struct buffer bytes;
    make_archive(&bytes);
    struct memory_source memory = {.data = bytes.data, .size = bytes.size - 60};
    struct decoder *d;
    struct cursor c;
    assert_int_equal(decoder_new(source_over_memory(&memory, "previous"), NULL, &d, &error), OK);
    assert_int_equal(cursor_init(&c, d, &error), OK);
    const struct archive_entry *found;
    assert_int_not_equal(cursor_find(&c, "zzz", 3, &found, &error), OK);
    decoder_free(d);
    buffer_deinit(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_tree_finds_everything),
        cmocka_unit_test(test_directories_that_are_gone_are_passed),
        cmocka_unit_test(test_new_directories_match_nothing),
        cmocka_unit_test(test_file_that_became_a_directory_has_no_parallel),
        cmocka_unit_test(test_leaving_early_skips_the_rest_of_a_directory),
        cmocka_unit_test(test_truncated_archive_is_an_error_not_a_miss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
