/* What tests of whole backups share, here and in server/: a directory to work in, and what is to come back out.
 * Include testing/testing.h first. */
#ifndef PXB_FLOW_BACKUP_FOR_TEST_H
#define PXB_FLOW_BACKUP_FOR_TEST_H

#include "flow/verify.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static char *work; /* the test makes it and removes it */

/* "WORK/NAME"; good for seven further calls. */
UNUSED static const char *at(const char *name)
{
    static char paths[8][PATH_MAX];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, PATH_MAX, "%s/%s", work, name);
    return path;
}

UNUSED static void put(const char *name, const void *data, size_t size)
{
    FILE *f = fopen(at(name), "we");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

UNUSED static void expect_same(const char *one, const char *other)
{
    char a[1 << 16], b[1 << 16];
    FILE *f = fopen(at(one), "re"), *g = fopen(at(other), "re");
    if (!f || !g)
        assert_string_equal(one, other);
    for (size_t got = 1; got > 0;) {
        got = fread(a, 1, sizeof a, f);
        assert_int_equal(fread(b, 1, sizeof b, g), got);
        assert_memory_equal(a, b, got);
    }
    fclose(f);
    fclose(g);
}

UNUSED static struct snapshot_id snapshot_at(int64_t time)
{
    return (struct snapshot_id){.type = "host", .id = "me", .time = time};
}

/* ---- verification ---- */

struct seen {
    unsigned good, failed, encrypted; /* files */
    unsigned problems[VERIFY_WRONG_LENGTH + 1];
    unsigned problem_count;
    char first[ERROR_TEXT_MAX]; /* problem */
    struct verify_stats stats;
};

static enum status see_problem(void *context, const struct verify_problem *problem, struct error *e UNUSED)
{
    struct seen *seen = context;
    seen->problems[problem->kind]++;
    if (seen->problem_count++ == 0)
        snprintf(seen->first, sizeof seen->first, "%s", problem->text);
    return OK;
}

static enum status see_file(void *context, const struct verify_file *file, struct error *e UNUSED)
{
    struct seen *seen = context;
    seen->good += file->verdict == VERIFY_GOOD;
    seen->failed += file->verdict == VERIFY_FAILED;
    seen->encrypted += file->verdict == VERIFY_ENCRYPTED;
    return OK;
}

/* The snapshot of that time; closes the store. */
UNUSED static enum status verify_at(struct store *store, int64_t time, struct seen *out, struct error *e)
{
    *out = (struct seen){0};
    const struct verify_reporter reporter = {.problem = see_problem, .file_done = see_file, .context = out};
    const struct snapshot_id id = snapshot_at(time);
    enum status status = verify_snapshot(store, &id, NULL, 0, &reporter, &out->stats, e);
    store_close(store);
    return status;
}

#endif
