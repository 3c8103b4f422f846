/* One fault at a time in a small snapshot: each is found, named and placed; nothing is changed. */
#include "testing/testing.h"

#include "blob/blob.h"
#include "flow/verify.h"
#include "flow/verify_seen.h"
#include "store/test_store.h"

enum { CHUNK_SIZE = 4096, IMAGE_SIZE = 2 * CHUNK_SIZE + 100 };

static char *dir;
static struct store *store;
static struct blob_context *context;
static struct snapshot_id id;
static struct digest digests[4]; /* of the chunks: 1000, 2000 bytes; one of CHUNK_SIZE; one of 100 */
static struct digest blob_digest;

static const size_t sizes[4] = {1000, 2000, CHUNK_SIZE, 100};

static void seal(const uint8_t *data, size_t size, struct buffer *out)
{
    struct slice slice = {.data = data, .size = size};
    assert_int_equal(blob_seal(context, &slice, 1, out, NULL), OK);
}

static void chunk_path(size_t k, char out[PATH_MAX])
{
    char name[CHUNK_NAME_SIZE];
    chunk_name(&digests[k], name);
    snprintf(out, PATH_MAX, "%s/.chunks/%s", dir, name);
}

/* a.mpxar.didx: chunks 0, 1, 0, 1; disk.img.fidx: 2, 2, 3; x.conf.blob. */
struct snapshot_plan {
    const char *index_mode, *blob_mode;
    uint64_t index_size_off, blob_size_off; /* added to the manifest's */
    bool index_csum_wrong, blob_csum_wrong;
    uint64_t last_end_off; /* added to the last end of the dynamic index */
    bool twice;            /* b.mpxar.didx is the same once more */
};

static void write_manifest(const struct manifest *m, struct store_writer *w)
{
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(1 << 20);
    CLEANUP(buffer_deinit) struct buffer sealed = BUFFER_INIT(1 << 20);
    assert_int_equal(manifest_write(m, &text, NULL), OK);
    seal(text.data, text.size, &sealed);
    assert_int_equal(store_finish(w, sealed.data, sealed.size, NULL), OK);
}

static void make_index(const struct snapshot_plan *plan, struct store_writer *w, struct manifest *m, const char *name)
{
    struct store_index *index;
    struct digest csum;
    uint64_t end = 0, size, count;
    assert_int_equal(store_index_begin(w, name, &index, NULL), OK);
    for (size_t k = 0; k < 4; k++) {
        end += sizes[k % 2];
        assert_int_equal(
            store_index_append(index, k == 3 ? end + plan->last_end_off : end, &digests[k % 2], false, NULL), OK);
    }
    assert_int_equal(store_index_finish(index, &csum, &size, &count, NULL), OK);
    csum.bytes[0] ^= plan->index_csum_wrong;
    assert_int_equal(manifest_add(m, name, plan->index_mode, size + plan->index_size_off, &csum, NULL), OK);
}

static void make(const struct snapshot_plan *plan)
{
    CLEANUP(buffer_deinit) struct buffer sealed = BUFFER_INIT(CHUNK_BLOB_SIZE_MAX);
    struct store_writer *w = begin(store, &id);
    for (size_t k = 0; k < 4; k++) {
        bool is_new;
        uint8_t *data = make_lcg(sizes[k], k + 1);
        digest_of(data, sizes[k], &digests[k]);
        seal(data, sizes[k], &sealed);
        assert_int_equal(
            store_put_chunk(w, &(struct store_chunk){.digest = &digests[k], .blob = &sealed}, &is_new, NULL), OK);
        free(data);
    }
    struct manifest m;
    struct store_fixed_index *fixed;
    struct digest csum;
    assert_int_equal(manifest_init(&m, id.type, id.id, id.time, NULL), OK);
    make_index(plan, w, &m, "a.mpxar.didx");
    if (plan->twice)
        make_index(plan, w, &m, "b.mpxar.didx");

    assert_int_equal(store_fixed_index_begin(w, "disk.img.fidx", IMAGE_SIZE, CHUNK_SIZE, &fixed, NULL), OK);
    for (uint64_t k = 0; k < 3; k++)
        assert_int_equal(store_fixed_index_put(fixed, k, &digests[k < 2 ? 2 : 3], false, NULL), OK);
    assert_int_equal(store_fixed_index_finish(fixed, &csum, NULL), OK);
    assert_int_equal(manifest_add(&m, "disk.img.fidx", "none", IMAGE_SIZE, &csum, NULL), OK);

    seal((const uint8_t *)"some text", 9, &sealed);
    assert_int_equal(store_put_blob(w, "x.conf.blob", sealed.data, sealed.size, NULL), OK);
    digest_of(sealed.data, sealed.size, &blob_digest);
    csum = blob_digest;
    csum.bytes[0] ^= plan->blob_csum_wrong;
    assert_int_equal(manifest_add(&m, "x.conf.blob", plan->blob_mode, sealed.size + plan->blob_size_off, &csum, NULL),
                     OK);
    write_manifest(&m, w);
    manifest_deinit(&m);
}

static const struct snapshot_plan good = {.index_mode = "none", .blob_mode = "none"};

static int setup(void **state)
{
    (void)state;
    dir = small_store_dir();
    store = open_store_at(dir);
    id = snapshot("x", 60);
    return blob_context_new(&context, NULL) == OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    blob_context_free(context);
    store_close(store);
    temp_dir_remove(dir);
    return 0;
}

/* ---- what is reported, as text: "file problem [chunk number @ offset]", "= file verdict" ---- */

static char reported[4096];

static enum status keep_problem(void *unused, const struct verify_problem *p, struct error *err)
{
    (void)unused;
    (void)err;
    size_t used = strlen(reported);
    used += (size_t)snprintf(reported + used, sizeof reported - used, "%s %s", p->file, verify_problem_name(p->kind));
    for (size_t k = 0; k < 4 && p->chunk; k++)
        if (digest_equal(p->chunk, &digests[k]))
            used += (size_t)snprintf(reported + used, sizeof reported - used, " %zu@%u", k, (unsigned)p->offset);
    snprintf(reported + used, sizeof reported - used, "\n");
    assert_true(strlen(p->text) > 0);
    return OK;
}

static enum status keep_file(void *unused, const struct verify_file *f, struct error *err)
{
    (void)unused;
    (void)err;
    static const char *const verdicts[] = {"good", "failed", "encrypted"};
    size_t used = strlen(reported);
    snprintf(reported + used, sizeof reported - used, "= %s %s %u\n", f->file->filename, verdicts[f->verdict],
             (unsigned)f->problems);
    return OK;
}

static struct verify_stats verify(const char *const *archives, size_t count)
{
    static const struct verify_reporter reporter = {.problem = keep_problem, .file_done = keep_file};
    struct verify_stats stats;
    struct error err = {0};
    reported[0] = '\0';
    if (verify_snapshot(store, &id, archives, count, &reporter, &stats, &err) != OK)
        assert_string_equal(err.text, "");
    return stats;
}

static void assert_reported(const char *wanted)
{
    verify(NULL, 0);
    assert_string_equal(reported, wanted);
}

#define IMAGE_GOOD "= disk.img.fidx good 0\n"
#define BLOB_GOOD "= x.conf.blob good 0\n"
#define INDEX_GOOD "= a.mpxar.didx good 0\n"

/* ---- good ones ---- */

static void test_good_snapshot_each_chunk_once(void **state)
{
    (void)state;
    make(&good);
    struct verify_stats stats = verify(NULL, 0);
    assert_string_equal(reported, INDEX_GOOD IMAGE_GOOD BLOB_GOOD);
    assert_int_equal(stats.files, 3);
    assert_int_equal(stats.problems, 0);
    assert_int_equal(stats.chunks, 4);
    assert_int_equal(stats.verified_bytes, 1000 + 2000 + CHUNK_SIZE + 100 + 9);
    assert_int_equal(stats.encrypted_files, 0);
}

static void test_only_the_archives_asked_for(void **state)
{
    (void)state;
    make(&good);
    static const char *const image[] = {"disk.img"};
    static const char *const both[] = {"x.conf", "disk.img.fidx"};
    assert_int_equal(verify(image, 1).chunks, 2);
    assert_string_equal(reported, IMAGE_GOOD);
    assert_int_equal(verify(both, 2).files, 2);
    assert_string_equal(reported, IMAGE_GOOD BLOB_GOOD);

    static const char *const none[] = {"nothing.img"};
    static const struct verify_reporter reporter = {.problem = keep_problem, .file_done = keep_file};
    struct verify_stats stats;
    assert_int_equal(verify_snapshot(store, &id, none, 1, &reporter, &stats, NULL), ERR_NOT_FOUND);
}

/* ---- chunks ---- */

static void put_blob_file(const char *path, const void *data, size_t size)
{
    CLEANUP(buffer_deinit) struct buffer sealed = BUFFER_INIT(CHUNK_BLOB_SIZE_MAX);
    seal(data, size, &sealed);
    put_file(path, sealed.data, sealed.size);
}

static void test_missing_chunk(void **state)
{
    (void)state;
    char path[PATH_MAX];
    make(&good);
    chunk_path(1, path);
    assert_int_equal(unlink(path), 0);
    assert_reported("a.mpxar.didx missing-chunk 1@1000\n= a.mpxar.didx failed 1\n" IMAGE_GOOD BLOB_GOOD);
}

/* It is looked at once; the next file that refers to it is told the same of it. */
static void test_bad_chunk_of_two_files(void **state)
{
    (void)state;
    char path[PATH_MAX];
    static const struct snapshot_plan twice = {.index_mode = "none", .blob_mode = "none", .twice = true};
    make(&twice);
    chunk_path(1, path);
    assert_int_equal(unlink(path), 0);
    assert_reported("a.mpxar.didx missing-chunk 1@1000\n= a.mpxar.didx failed 1\n"
                    "b.mpxar.didx missing-chunk 1@1000\n= b.mpxar.didx failed 1\n" IMAGE_GOOD BLOB_GOOD);
    put_blob_file(path, "x", 1);
    assert_reported("a.mpxar.didx wrong-digest 1@1000\n= a.mpxar.didx failed 1\n"
                    "b.mpxar.didx wrong-digest 1@1000\n= b.mpxar.didx failed 1\n" IMAGE_GOOD BLOB_GOOD);
    put_file(path, "x", 1);
    assert_reported("a.mpxar.didx damaged-chunk 1@1000\n= a.mpxar.didx failed 1\n"
                    "b.mpxar.didx damaged-chunk 1@1000\n= b.mpxar.didx failed 1\n" IMAGE_GOOD BLOB_GOOD);
}

static void flip_byte(const char *path, off_t at)
{
    uint8_t byte = 0;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && pread(fd, &byte, 1, at) == 1);
    byte ^= 1;
    assert_true(pwrite(fd, &byte, 1, at) == 1 && close(fd) == 0);
}

static void test_every_part_of_a_chunk_counts(void **state)
{
    (void)state;
    char path[PATH_MAX];
    make(&good);
    chunk_path(2, path);
    static const off_t places[] = {0, 7, 8, 11, 12, 12 + CHUNK_SIZE - 1}; /* random data is stored as it is */
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        flip_byte(path, places[i]);
        assert_reported(INDEX_GOOD "disk.img.fidx damaged-chunk 2@0\n= disk.img.fidx failed 1\n" BLOB_GOOD);
        flip_byte(path, places[i]);
        assert_reported(INDEX_GOOD IMAGE_GOOD BLOB_GOOD);
    }
    put_file(path, "", 0);
    assert_reported(INDEX_GOOD "disk.img.fidx damaged-chunk 2@0\n= disk.img.fidx failed 1\n" BLOB_GOOD);
    struct stat st; /* nothing was renamed: it lies there as we made it */
    assert_int_equal(stat(path, &st), 0);
    char bad[PATH_MAX + 8];
    snprintf(bad, sizeof bad, "%s.0.bad", path);
    assert_false(exists(bad));
}

static void test_other_content_has_another_digest(void **state)
{
    (void)state;
    char path[PATH_MAX];
    make(&good);
    chunk_path(3, path);
    uint8_t *data = make_lcg(100, 99);
    put_blob_file(path, data, 100);
    free(data);
    assert_reported(INDEX_GOOD "disk.img.fidx wrong-digest 3@8192\n= disk.img.fidx failed 1\n" BLOB_GOOD);
}

static void test_length_is_that_of_the_range(void **state)
{
    (void)state;
    /* The index agrees with its manifest and not with the chunk, which was good at its first reference. */
    struct snapshot_plan plan = good;
    plan.last_end_off = 1;
    make(&plan);
    assert_reported("a.mpxar.didx wrong-length 1@4000\n= a.mpxar.didx failed 1\n" IMAGE_GOOD BLOB_GOOD);
}

static void test_wrong_length_at_the_first_reference(void **state)
{
    (void)state;
    struct store_writer *w = begin(store, &id);
    CLEANUP(buffer_deinit) struct buffer sealed = BUFFER_INIT(1 << 20);
    struct store_index *index;
    struct manifest m;
    struct digest csum;
    uint64_t size, count;
    bool is_new;
    digest_of("abc", 3, &digests[0]);
    seal((const uint8_t *)"abc", 3, &sealed);
    assert_int_equal(store_put_chunk(w, &(struct store_chunk){.digest = &digests[0], .blob = &sealed}, &is_new, NULL),
                     OK);
    assert_int_equal(store_index_begin(w, "a.mpxar.didx", &index, NULL), OK);
    assert_int_equal(store_index_append(index, 2, &digests[0], false, NULL), OK);
    assert_int_equal(store_index_append(index, UINT64_C(1) << 40, &digests[0], false, NULL), OK);
    assert_int_equal(store_index_finish(index, &csum, &size, &count, NULL), OK);
    assert_int_equal(manifest_init(&m, id.type, id.id, id.time, NULL), OK);
    assert_int_equal(manifest_add(&m, "a.mpxar.didx", "none", size, &csum, NULL), OK);
    write_manifest(&m, w);
    manifest_deinit(&m);
    assert_reported("a.mpxar.didx wrong-length 0@0\n= a.mpxar.didx failed 1\n"); /* once per file */
}

static const char encrypted_hex[] = "7b6785be222d4cf0e1ca9204a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
                                    "a9d9a977a4acd6f19ac6494e9fd8f95142c64fd077edba19b1f27bbb";

static void encrypted_bytes(uint8_t out[56])
{
    assert_true(hex_decode(encrypted_hex, 112, out, 56));
}

static void test_kind_must_be_that_of_the_mode(void **state)
{
    (void)state;
    char path[PATH_MAX];
    uint8_t encrypted[56];
    make(&good);
    chunk_path(0, path);
    encrypted_bytes(encrypted);
    put_file(path, encrypted, sizeof encrypted);
    assert_reported("a.mpxar.didx wrong-kind 0@0\n= a.mpxar.didx failed 1\n" IMAGE_GOOD BLOB_GOOD);
}

static void test_encrypted_chunks_and_blobs_are_checked_by_crc(void **state)
{
    (void)state;
    char path[PATH_MAX];
    uint8_t encrypted[56];
    struct snapshot_plan plan = good;
    plan.index_mode = "encrypt";
    make(&plan);
    encrypted_bytes(encrypted);
    /* Chunks that are not encrypted. */
    assert_reported(
        "a.mpxar.didx wrong-kind 0@0\na.mpxar.didx wrong-kind 1@1000\n= a.mpxar.didx failed 2\n" IMAGE_GOOD BLOB_GOOD);
    for (size_t k = 0; k < 2; k++) {
        chunk_path(k, path);
        put_file(path, encrypted, sizeof encrypted);
    }
    assert_int_equal(verify(NULL, 0).encrypted_files, 1);
    assert_string_equal(reported, "= a.mpxar.didx encrypted 0\n" IMAGE_GOOD BLOB_GOOD);
    flip_byte(path, 55);
    assert_reported("a.mpxar.didx damaged-chunk 1@1000\n= a.mpxar.didx failed 1\n" IMAGE_GOOD BLOB_GOOD);
    flip_byte(path, 55);
    flip_byte(path, 20); /* the iv is not covered: only the key tells */
    assert_reported("= a.mpxar.didx encrypted 0\n" IMAGE_GOOD BLOB_GOOD);
}

static void test_unencrypted_blob_of_an_encrypted_run_is_decoded(void **state)
{
    (void)state;
    struct snapshot_plan plan = good; /* as the wrapped key is listed */
    plan.blob_mode = "encrypt";
    make(&plan);
    assert_int_equal(verify(NULL, 0).encrypted_files, 0);
    assert_string_equal(reported, INDEX_GOOD IMAGE_GOOD BLOB_GOOD);
}

static void test_damaged_chunk_is_loaded_once_and_reported_for_each_file(void **state)
{
    (void)state;
    char path[PATH_MAX];
    struct snapshot_plan plan = good;
    plan.twice = true;
    make(&plan);
    chunk_path(0, path);
    put_file(path, "garbage garbage", 15);
    assert_int_equal(verify(NULL, 0).chunks, 4);
    assert_string_equal(reported, "a.mpxar.didx damaged-chunk 0@0\n= a.mpxar.didx failed 1\n"
                                  "b.mpxar.didx damaged-chunk 0@0\n= b.mpxar.didx failed 1\n" IMAGE_GOOD BLOB_GOOD);
}

static void test_correct_insert_repairs(void **state)
{
    (void)state;
    char path[PATH_MAX];
    make(&good);
    chunk_path(0, path);
    put_file(path, "", 0);
    assert_reported("a.mpxar.didx damaged-chunk 0@0\n= a.mpxar.didx failed 1\n" IMAGE_GOOD BLOB_GOOD);
    id.time = 120;
    make(&good);
    assert_reported(INDEX_GOOD IMAGE_GOOD BLOB_GOOD);
    id.time = 60;
    assert_reported(INDEX_GOOD IMAGE_GOOD BLOB_GOOD);
}

/* ---- files ---- */

static const char *stored(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "host/x/1970-01-01T00:01:00Z/%.100s", name);
    return at(dir, path);
}

static void test_index_must_be_that_of_the_manifest(void **state)
{
    (void)state;
    struct snapshot_plan plan = good;
    plan.index_csum_wrong = true;
    make(&plan);
    assert_reported("a.mpxar.didx wrong-csum\n= a.mpxar.didx failed 1\n" IMAGE_GOOD BLOB_GOOD);
    /* Chunks of such an index are not looked at. */
    char path[PATH_MAX];
    chunk_path(0, path);
    assert_int_equal(unlink(path), 0);
    assert_reported("a.mpxar.didx wrong-csum\n= a.mpxar.didx failed 1\n" IMAGE_GOOD BLOB_GOOD);
}

static void test_size_of_the_index_must_be_that_of_the_manifest(void **state)
{
    (void)state;
    struct snapshot_plan plan = good;
    plan.index_size_off = 1;
    make(&plan);
    assert_reported("a.mpxar.didx wrong-size\n= a.mpxar.didx failed 1\n" IMAGE_GOOD BLOB_GOOD);
}

static void test_csum_in_the_header_is_not_trusted(void **state)
{
    (void)state;
    make(&good);
    flip_byte(stored("a.mpxar.didx"), INDEX_CSUM_OFFSET);
    flip_byte(stored("disk.img.fidx"), INDEX_CSUM_OFFSET + 31);
    assert_reported(INDEX_GOOD IMAGE_GOOD BLOB_GOOD);
}

static void test_damaged_and_missing_files(void **state)
{
    (void)state;
    make(&good);
    flip_byte(stored("a.mpxar.didx"), 0);
    assert_int_equal(truncate(stored("disk.img.fidx"), INDEX_HEADER_SIZE + 1), 0);
    assert_int_equal(unlink(stored("x.conf.blob")), 0);
    assert_reported("a.mpxar.didx damaged-index\n= a.mpxar.didx failed 1\n"
                    "disk.img.fidx damaged-index\n= disk.img.fidx failed 1\n"
                    "x.conf.blob missing-file\n= x.conf.blob failed 1\n");
    assert_int_equal(mkdir(stored("x.conf.blob"), 0755), 0);
    assert_int_equal(unlink(stored("a.mpxar.didx")), 0);
    assert_int_equal(symlink("/dev/zero", stored("a.mpxar.didx")), 0);
    assert_reported("a.mpxar.didx unreadable\n= a.mpxar.didx failed 1\n"
                    "disk.img.fidx damaged-index\n= disk.img.fidx failed 1\n"
                    "x.conf.blob unreadable\n= x.conf.blob failed 1\n");
}

static void test_changed_digest_in_an_index(void **state)
{
    (void)state;
    make(&good);
    flip_byte(stored("disk.img.fidx"), INDEX_HEADER_SIZE + 5);
    assert_reported(INDEX_GOOD "disk.img.fidx wrong-csum\n= disk.img.fidx failed 1\n" BLOB_GOOD);
}

static void test_blob_must_be_that_of_the_manifest(void **state)
{
    (void)state;
    struct snapshot_plan plan = good;
    plan.blob_csum_wrong = true;
    make(&plan);
    assert_reported(INDEX_GOOD IMAGE_GOOD "x.conf.blob wrong-csum\n= x.conf.blob failed 1\n");
    id.time = 120;
    plan.blob_csum_wrong = false;
    plan.blob_size_off = 5;
    make(&plan);
    assert_reported(INDEX_GOOD IMAGE_GOOD "x.conf.blob wrong-size\n= x.conf.blob failed 1\n");
}

static void test_damaged_blob(void **state)
{
    (void)state;
    make(&good);
    flip_byte(stored("x.conf.blob"), 12);
    assert_reported(INDEX_GOOD IMAGE_GOOD "x.conf.blob wrong-csum\nx.conf.blob damaged-blob\n= x.conf.blob failed 2\n");
}

static void test_unfinished_snapshot_is_not_found(void **state)
{
    (void)state;
    make(&good);
    static const struct verify_reporter reporter = {.problem = keep_problem, .file_done = keep_file};
    struct verify_stats stats;
    put_file(stored(MANIFEST_NAME), "garbage", 7);
    assert_int_not_equal(verify_snapshot(store, &id, NULL, 0, &reporter, &stats, NULL), OK);
    id.time = 61;
    assert_int_equal(verify_snapshot(store, &id, NULL, 0, &reporter, &stats, NULL), ERR_NOT_FOUND);
}

/* ---- the table of chunks ---- */

static void test_seen_chunks_are_found_again(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    CLEANUP(verify_seen_deinit) struct verify_seen seen = {0};
    for (int round = 0; round < 2; round++)
        for (uint64_t i = 0; i < COUNT; i++) {
            struct digest d = {{0}}; /* as alike as can be; number 0 is all zeros */
            store_u64le(d.bytes + 24, i);
            struct seen_chunk *found;
            assert_int_equal(verify_seen_find(&seen, &d, &found, NULL), OK);
            assert_int_equal(found->used, round == 1);
            assert_int_equal(found->size, round == 1 ? i : 0);
            found->used = true;
            found->size = (uint32_t)i;
        }
    assert_int_equal(seen.count, COUNT);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_good_snapshot_each_chunk_once),
        TEST(test_only_the_archives_asked_for),
        TEST(test_missing_chunk),
        TEST(test_bad_chunk_of_two_files),
        TEST(test_every_part_of_a_chunk_counts),
        TEST(test_other_content_has_another_digest),
        TEST(test_length_is_that_of_the_range),
        TEST(test_wrong_length_at_the_first_reference),
        TEST(test_kind_must_be_that_of_the_mode),
        TEST(test_encrypted_chunks_and_blobs_are_checked_by_crc),
        TEST(test_unencrypted_blob_of_an_encrypted_run_is_decoded),
        TEST(test_damaged_chunk_is_loaded_once_and_reported_for_each_file),
        TEST(test_correct_insert_repairs),
        TEST(test_index_must_be_that_of_the_manifest),
        TEST(test_size_of_the_index_must_be_that_of_the_manifest),
        TEST(test_csum_in_the_header_is_not_trusted),
        TEST(test_damaged_and_missing_files),
        TEST(test_changed_digest_in_an_index),
        TEST(test_blob_must_be_that_of_the_manifest),
        TEST(test_damaged_blob),
        TEST(test_unfinished_snapshot_is_not_found),
        cmocka_unit_test(test_seen_chunks_are_found_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
