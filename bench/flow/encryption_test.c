/* Whole backups with a key, and back. */
#include "testing/testing.h"

#include "base/log.h"
#include "blob/blob.h"
#include "flow/backup.h"
#include "flow/backup_for_test.h"
#include "flow/catalog_dump.h"
#include "flow/restore.h"
#include "flow/snapshot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BIG_SIZE = 700000, T1 = 1700000000 };

static struct error err;
static struct crypt_config keys[2];
static const char marker[] = "attack at dawn, says the plain text";

static int setup(void **state)
{
    (void)state;
    work = temp_dir_make();
    assert_int_equal(mkdir(at("store"), 0750), 0);
    assert_int_equal(mkdir(at("store/.chunks"), 0750), 0);
    assert_int_equal(mkdir(at("tree"), 0750), 0);
    put("tree/note", marker, strlen(marker));
    uint8_t *big = make_splitmix64(BIG_SIZE, 7);
    memcpy(big + 1000, marker, strlen(marker));
    put("tree/big", big, BIG_SIZE);
    put("disk", big, BIG_SIZE);
    assert_int_equal(truncate(at("disk"), 12 << 20), 0); /* two chunks of holes */
    put("conf", marker, strlen(marker));
    free(big);
    for (unsigned i = 0; i < 2; i++) {
        uint8_t key[CRYPT_KEY_SIZE] = {(uint8_t)(i + 1)};
        assert_int_equal(crypt_config_init(&keys[i], key, NULL), OK);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    temp_dir_remove(work);
    return 0;
}

static struct store *open_with(const struct crypt_config *key)
{
    struct store *store;
    const struct store_options options = {.sync = SYNC_NONE, .create = true, .key = key};
    if (store_open(at("store"), &options, &store, &err) != OK)
        assert_string_equal(err.text, "");
    return store;
}

static enum status try_backup(const struct crypt_config *key, enum crypt_mode crypt_mode, enum detection_mode mode,
                              int64_t time, struct backup_result *out)
{
    const struct backup_source sources[] = {
        {.name = "root", .path = at("tree"), .kind = SOURCE_TREE},
        {.name = "disk", .path = at("disk"), .kind = SOURCE_IMAGE},
        {.name = "app", .path = at("conf"), .kind = SOURCE_BLOB, .extension = "conf"},
    };
    struct backup_options options = {.archive = {.mode = mode, .chunk_average = 64 << 10, .threshold_ppm = 100000},
                                     .snapshot = {.type = "host", .id = "me", .time = time},
                                     .crypt_mode = crypt_mode,
                                     .sources = sources,
                                     .source_count = 3};
    struct store *store = open_with(key);
    enum status status = backup_run(store, &options, out, &err);
    store_close(store);
    return status;
}

/* Returns the counters of the tree. */
static struct archive_stats backup(const struct crypt_config *key, enum crypt_mode crypt_mode, enum detection_mode mode,
                                   int64_t time)
{
    struct backup_result result = {0};
    if (try_backup(key, crypt_mode, mode, time, &result) != OK)
        assert_string_equal(err.text, "");
    struct archive_stats stats = result.archives[0];
    backup_result_deinit(&result);
    return stats;
}

static enum status restore(const struct crypt_config *key, int64_t time, const char *archive, const char *target)
{
    struct store *store = open_with(key);
    struct restore_stats stats;
    struct restore_options options = {0};
    struct snapshot_id id = snapshot_at(time);
    assert_int_equal(selection_new(&options.selection, &err), OK);
    enum status status = restore_snapshot(store, &id, archive, at(target), &options, &stats, &err);
    selection_free(options.selection);
    store_close(store);
    return status;
}

static void check_restores(const struct crypt_config *key, int64_t time)
{
    if (restore(key, time, "root.pxar", "out") != OK)
        assert_string_equal(err.text, "");
    expect_same("tree/note", "out/note");
    expect_same("tree/big", "out/big");
    assert_int_equal(restore(key, time, "disk.img", "out/disk"), OK);
    expect_same("disk", "out/disk");
    assert_int_equal(restore(key, time, "app.conf", "out/conf"), OK);
    expect_same("conf", "out/conf");
    char *out = strdup(at("out"));
    temp_dir_remove(out);
}

/* ---- everything that is stored ---- */

static uint64_t count_marker(const char *path)
{
    struct stat st;
    uint64_t found = 0;
    assert_int_equal(lstat(path, &st), 0);
    if (S_ISDIR(st.st_mode)) {
        DIR *d = opendir(path);
        assert_non_null(d);
        for (struct dirent *e; (e = readdir(d)) != NULL;) {
            char below[PATH_MAX];
            if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
                continue;
            assert_true(snprintf(below, sizeof below, "%s/%s", path, e->d_name) < PATH_MAX);
            found += count_marker(below);
        }
        closedir(d);
        return found;
    }
    uint8_t *data = malloc((size_t)st.st_size + 1);
    FILE *f = fopen(path, "re");
    assert_true(data && f);
    assert_int_equal(fread(data, 1, (size_t)st.st_size, f), st.st_size);
    fclose(f);
    found = memmem(data, (size_t)st.st_size, marker, strlen(marker)) != NULL;
    free(data);
    return found;
}

static void test_no_plain_text_is_stored(void **state)
{
    (void)state;
    for (int mode = MODE_LEGACY; mode <= MODE_METADATA; mode++)
        backup(&keys[0], CRYPT_ENCRYPT, (enum detection_mode)mode, T1 + mode);
    assert_int_equal(count_marker(at("store")), 0);
    for (int mode = MODE_LEGACY; mode <= MODE_METADATA; mode++)
        check_restores(&keys[0], T1 + mode);
    /* What is looked for can be found. */
    backup(&keys[0], CRYPT_SIGN_ONLY, MODE_DATA, T1 + 10);
    assert_true(count_marker(at("store")) >= 2);
}

static void test_a_mode_needs_its_key_and_a_key_its_mode(void **state)
{
    (void)state;
    struct backup_result result = {0};
    assert_int_equal(try_backup(NULL, CRYPT_ENCRYPT, MODE_DATA, T1, &result), ERR_USAGE);
    backup_result_deinit(&result);
    assert_int_equal(try_backup(NULL, CRYPT_SIGN_ONLY, MODE_DATA, T1, &result), ERR_USAGE);
    backup_result_deinit(&result);
    assert_int_equal(try_backup(&keys[0], CRYPT_NONE, MODE_DATA, T1, &result), ERR_USAGE);
    backup_result_deinit(&result);
    assert_int_equal(count_marker(at("store")), 0);
    assert_int_equal(access(at("store/host"), F_OK), -1);
}

static void test_only_the_key_reads(void **state)
{
    (void)state;
    static const char *const archives[] = {"root.pxar", "disk.img", "app.conf"};
    backup(&keys[0], CRYPT_ENCRYPT, MODE_DATA, T1);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(restore(NULL, T1, archives[i], "x"), ERR_UNSUPPORTED);
        assert_non_null(strstr(err.text, "is encrypted and cannot be read without its key"));
        assert_int_equal(restore(&keys[1], T1, archives[i], "x"), ERR_MISMATCH);
        assert_non_null(strstr(err.text, "wrong key"));
        assert_int_equal(access(at("x"), F_OK), -1);
    }
    check_restores(&keys[0], T1);
}

static void test_signed_only_is_readable_and_checked(void **state)
{
    (void)state;
    backup(&keys[0], CRYPT_SIGN_ONLY, MODE_LEGACY, T1);
    check_restores(NULL, T1);
    check_restores(&keys[0], T1);
    assert_int_equal(restore(&keys[1], T1, "app.conf", "x"), ERR_MISMATCH);
}

/* ---- a second run ---- */

static void test_metadata_run_under_the_same_key_reuses(void **state)
{
    (void)state;
    backup(&keys[0], CRYPT_ENCRYPT, MODE_DATA, T1);
    struct archive_stats second = backup(&keys[0], CRYPT_ENCRYPT, MODE_METADATA, T1 + 1);
    assert_int_equal(second.reference, REFERENCE_USED);
    assert_int_equal(second.reused_files, 2);
    assert_int_equal(second.payload.new_chunks, 2); /* the markers at both ends */
    check_restores(&keys[0], T1 + 1);
    /* Also when everything is read again: all chunks are known by their keyed digests. */
    struct archive_stats third = backup(&keys[0], CRYPT_ENCRYPT, MODE_DATA, T1 + 2);
    struct archive_stats fourth = backup(&keys[0], CRYPT_ENCRYPT, MODE_DATA, T1 + 3);
    assert_int_equal(fourth.payload.new_chunks, 0);
    assert_int_equal(fourth.payload.known_chunks, third.payload.chunks);
}

static void check_no_reference(const struct crypt_config *key_before, enum crypt_mode before,
                               const struct crypt_config *key, enum crypt_mode mode, enum reference_reason reason,
                               const char *detail)
{
    static int64_t time = T1;
    char group[PATH_MAX];
    snprintf(group, sizeof group, "%s", at("store/host"));
    backup(key_before, before, MODE_DATA, ++time);
    int64_t started = ++time;
    struct archive_stats second = backup(key, mode, MODE_METADATA, started);
    assert_int_equal(second.reference, reason);
    if (!strstr(second.reference_detail, detail))
        assert_string_equal(second.reference_detail, detail);
    assert_int_equal(second.reused_files, 0);
    /* Nothing of the other kind counts as known. */
    if ((before == CRYPT_ENCRYPT) != (mode == CRYPT_ENCRYPT) || key_before != key)
        assert_true(second.payload.known_chunks == 0 || mode != CRYPT_ENCRYPT);
    check_restores(key, started);
    temp_dir_remove(strdup(group));
}

static void test_other_keys_and_modes_are_no_reference(void **state)
{
    (void)state;
    const struct crypt_config *a = &keys[0], *b = &keys[1];
    check_no_reference(a, CRYPT_ENCRYPT, b, CRYPT_ENCRYPT, REFERENCE_MANIFEST_KEYED,
                       "wrong key - unable to verify signature since manifest's key ");
    check_no_reference(a, CRYPT_SIGN_ONLY, b, CRYPT_SIGN_ONLY, REFERENCE_MANIFEST_KEYED, "wrong key - ");
    check_no_reference(a, CRYPT_ENCRYPT, NULL, CRYPT_NONE, REFERENCE_MANIFEST_KEYED, "missing key - manifest was ");
    check_no_reference(a, CRYPT_SIGN_ONLY, NULL, CRYPT_NONE, REFERENCE_MANIFEST_KEYED, "missing key - ");
    check_no_reference(NULL, CRYPT_NONE, a, CRYPT_ENCRYPT, REFERENCE_CRYPT_MODE,
                       "has crypt mode none, this run encrypt");
    check_no_reference(NULL, CRYPT_NONE, a, CRYPT_SIGN_ONLY, REFERENCE_CRYPT_MODE, "this run sign-only");
    check_no_reference(a, CRYPT_ENCRYPT, a, CRYPT_SIGN_ONLY, REFERENCE_CRYPT_MODE,
                       "has crypt mode encrypt, this run s");
    check_no_reference(a, CRYPT_SIGN_ONLY, a, CRYPT_ENCRYPT, REFERENCE_CRYPT_MODE,
                       "has crypt mode sign-only, this run");
}

/* ---- who keeps the snapshots lies ---- */

static const char *snapshot_dir(int64_t time, char out[PATH_MAX])
{
    char text[SNAPSHOT_TEXT_SIZE];
    struct snapshot_id id = snapshot_at(time);
    snprintf(out, PATH_MAX, "%s/%s", at("store"), snapshot_id_text(&id, text));
    return out;
}

static void expect_refused(int64_t time, const char *says)
{
    static const char *const archives[] = {"root.pxar", "disk.img", "app.conf"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(restore(&keys[0], time, archives[i], "x"), ERR_MISMATCH);
        if (!strstr(err.text, says))
            assert_string_equal(err.text, says);
        assert_int_equal(access(at("x"), F_OK), -1);
    }
    struct store *store = open_with(&keys[0]);
    struct snapshot_id id = snapshot_at(time);
    assert_int_equal(catalog_dump(store, &id, NULL, (struct sink){0}, &err), ERR_MISMATCH);
    struct seen seen;
    assert_int_equal(verify_at(store, time, &seen, &err), ERR_MISMATCH);
}

static void expect_no_reference(int64_t time, enum reference_reason reason, const char *detail)
{
    struct archive_stats run = backup(&keys[0], CRYPT_ENCRYPT, MODE_METADATA, time);
    assert_int_equal(run.reference, reason);
    assert_int_equal(run.reused_files, 0);
    if (!strstr(run.reference_detail, detail))
        assert_string_equal(run.reference_detail, detail);
    check_restores(&keys[0], time);
}

/* Its signature is right: it is another snapshot's. */
static void test_another_time_in_place_of_what_was_asked_for(void **state)
{
    (void)state;
    static const char says[] = "is the manifest of host/me/2023-11-14T22:13:20Z, not of host/me/2023-11-14T22:13:25Z";
    char from[PATH_MAX], to[PATH_MAX];
    backup(&keys[0], CRYPT_ENCRYPT, MODE_DATA, T1);
    assert_int_equal(rename(snapshot_dir(T1, from), snapshot_dir(T1 + 5, to)), 0);
    expect_refused(T1 + 5, says);
    expect_no_reference(T1 + 9, REFERENCE_MANIFEST_UNREADABLE, says);
}

static void test_another_group_in_place_of_what_was_asked_for(void **state)
{
    (void)state;
    static const char says[] = "is the manifest of host/me/2023-11-14T22:13:20Z, not of vm/me/2023-11-14T22:13:20Z";
    char from[PATH_MAX];
    backup(&keys[0], CRYPT_ENCRYPT, MODE_DATA, T1);
    snprintf(from, sizeof from, "%s", at("store/host"));
    assert_int_equal(rename(from, at("store/vm")), 0);
    struct store *store = open_with(&keys[0]);
    struct snapshot_id id = {.type = "vm", .id = "me", .time = T1};
    struct store_reader *reader;
    struct manifest m = {0};
    assert_int_equal(store_reader_open(store, &id, &reader, &err), OK);
    assert_int_equal(snapshot_manifest(reader, &m, &err), ERR_MISMATCH);
    assert_non_null(strstr(err.text, says));
    store_reader_close(reader);
    store_close(store);
}

/* As somebody would who has no key. */
static void take_signature_away(int64_t time)
{
    char path[PATH_MAX], name[PATH_MAX + 32];
    struct buffer text = BUFFER_INIT(MANIFEST_SIZE_MAX), sealed = BUFFER_INIT(MANIFEST_SIZE_MAX);
    struct blob_context *blob;
    struct manifest m;
    struct store_reader *reader;
    struct snapshot_id id = snapshot_at(time);
    struct store *store = open_with(NULL);
    assert_int_equal(store_reader_open(store, &id, &reader, &err), OK);
    assert_int_equal(snapshot_manifest(reader, &m, &err), OK);
    store_reader_close(reader);
    store_close(store);
    assert_true(m.is_signed);
    m.is_signed = false;
    free(m.unprotected);
    free(m.key_fingerprint);
    m.key_fingerprint = NULL;
    m.unprotected = strdup("{}");
    assert_int_equal(manifest_write(&m, &text, &err), OK);
    assert_int_equal(blob_context_new(&blob, &err), OK);
    struct slice whole = {.data = text.data, .size = text.size};
    assert_int_equal(blob_seal(blob, &whole, 1, &sealed, &err), OK);
    snprintf(name, sizeof name, "%s/index.json.blob", snapshot_dir(time, path));
    FILE *f = fopen(name, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(sealed.data, 1, sealed.size, f), sealed.size);
    assert_int_equal(fclose(f), 0);
    blob_context_free(blob);
    buffer_deinit(&sealed);
    buffer_deinit(&text);
    manifest_deinit(&m);
}

/* bench/spec/datastore.md 6.1: accepted by readers. But it is nothing to build on. */
static void test_what_lost_its_signature(void **state)
{
    (void)state;
    backup(&keys[0], CRYPT_ENCRYPT, MODE_DATA, T1);
    take_signature_away(T1);
    uint64_t warned = log_warning_count();
    check_restores(&keys[0], T1);
    assert_int_equal(log_warning_count(), warned + 3); /* each time */
    expect_no_reference(T1 + 9, REFERENCE_MANIFEST_KEYED, "is not signed");
    assert_int_equal(log_warning_count(), warned + 4);
    struct archive_stats next = backup(&keys[0], CRYPT_ENCRYPT, MODE_METADATA, T1 + 10);
    assert_int_equal(next.reference, REFERENCE_USED);
}

/* ---- verification ---- */

static struct seen verify(const struct crypt_config *key, int64_t time)
{
    struct seen seen;
    if (verify_at(open_with(key), time, &seen, &err) != OK)
        assert_string_equal(err.text, "");
    return seen;
}

/* The chunk that holds the tree's large file's first bytes is stored under another one's name: its crc is right, and
 * without the key nobody sees anything. */
static void swap_two_chunks(void)
{
    char found[2][PATH_MAX];
    unsigned count = 0;
    DIR *d = opendir(at("store/.chunks"));
    assert_non_null(d);
    for (struct dirent *e; count < 2 && (e = readdir(d)) != NULL;) {
        char path[PATH_MAX];
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", at("store/.chunks"), e->d_name);
        DIR *below = opendir(path);
        assert_non_null(below);
        for (struct dirent *f; count < 2 && (f = readdir(below)) != NULL;)
            if (f->d_name[0] != '.')
                assert_true(snprintf(found[count++], PATH_MAX, "%s/%s", path, f->d_name) < PATH_MAX);
        closedir(below);
    }
    closedir(d);
    assert_int_equal(count, 2);
    assert_int_equal(renameat2(AT_FDCWD, found[0], AT_FDCWD, found[1], RENAME_EXCHANGE), 0);
}

static void test_verify_with_and_without_the_key(void **state)
{
    (void)state;
    backup(&keys[0], CRYPT_ENCRYPT, MODE_DATA, T1);
    struct seen seen = verify(NULL, T1);
    assert_true(seen.encrypted == 4 && seen.good == 0 && seen.failed == 0);
    assert_int_equal(seen.stats.verified_bytes, 0);
    seen = verify(&keys[0], T1);
    assert_true(seen.good == 4 && seen.encrypted == 0 && seen.failed == 0);
    assert_true(seen.stats.verified_bytes > 2 * BIG_SIZE);

    swap_two_chunks();
    seen = verify(NULL, T1);
    assert_int_equal(seen.failed, 0);
    seen = verify(&keys[0], T1);
    assert_true(seen.failed >= 1 && seen.problems[VERIFY_WRONG_DIGEST] >= 2);

    assert_int_equal(verify_at(open_with(&keys[1]), T1, &seen, &err), ERR_MISMATCH);
    assert_non_null(strstr(err.text, "wrong key"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_plain_text_is_stored, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_mode_needs_its_key_and_a_key_its_mode, setup, teardown),
        cmocka_unit_test_setup_teardown(test_only_the_key_reads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signed_only_is_readable_and_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_metadata_run_under_the_same_key_reuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_keys_and_modes_are_no_reference, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_time_in_place_of_what_was_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_group_in_place_of_what_was_asked_for, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_lost_its_signature, setup, teardown),
        cmocka_unit_test_setup_teardown(test_verify_with_and_without_the_key, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
