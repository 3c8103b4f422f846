/* Inserting chunks: every row of datastore.md 8.2, several writers at once, a full disk. */
#include "testing/testing.h"

#include "store/test_store.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

enum { SKIPPED = 77 };

static char *dir;
static struct store *store;
static char chunk_dir[PATH_MAX]; /* of all digests used here */
static char target[PATH_MAX];    /* the file of `digest` */
static struct digest digest;

static int setup(void **state)
{
    (void)state;
    dir = small_store_dir();
    store = open_store_at(dir);
    digest = (struct digest){{0xa3, 0x42, 0xe8}};
    char name[CHUNK_NAME_SIZE];
    chunk_name(&digest, name);
    snprintf(chunk_dir, sizeof chunk_dir, "%s/.chunks/a342", dir);
    snprintf(target, sizeof target, "%s/.chunks/%s", dir, name);
    assert_int_equal(mkdir(chunk_dir, 0750), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    store_close(store);
    temp_dir_remove(dir);
    return 0;
}

static unsigned files_in(const char *path)
{
    unsigned count = 0;
    DIR *d = opendir(path);
    if (!d)
        return 0;
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        count += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
    closedir(d);
    return count;
}

static void put_there(enum blob_kind kind, size_t size)
{
    uint8_t *blob = fake_blob(kind, size, 'o');
    put_file(target, blob, size);
    free(blob);
    const struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 2000}};
    assert_int_equal(utimensat(AT_FDCWD, target, old, 0), 0);
}

static enum status insert(enum blob_kind kind, size_t size, bool *is_new, struct error *err)
{
    uint8_t *blob = fake_blob(kind, size, 'n');
    enum status status = local_put_chunk(store, &digest, blob, size, is_new, err);
    free(blob);
    return status;
}

static char content_there(off_t *size)
{
    char last = 0;
    struct stat st;
    assert_int_equal(stat(target, &st), 0);
    *size = st.st_size;
    int fd = open(target, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &last, 1, st.st_size - 1), 1);
    close(fd);
    return last;
}

static void assert_new(enum blob_kind kind, size_t size)
{
    bool is_new = false;
    struct error err = {0};
    if (insert(kind, size, &is_new, &err) != OK)
        assert_string_equal(err.text, "");
    assert_true(is_new);
    off_t there;
    assert_int_equal(content_there(&there), 'n');
    assert_int_equal(there, size);
    assert_int_equal(mode_of(target), 0644);
    assert_int_equal(files_in(chunk_dir), 1);
}

static void assert_duplicate(enum blob_kind kind, size_t size, size_t size_there)
{
    bool is_new = true;
    struct error err = {0};
    if (insert(kind, size, &is_new, &err) != OK)
        assert_string_equal(err.text, "");
    assert_false(is_new);
    off_t there;
    struct stat st;
    assert_int_equal(lstat(target, &st), 0);
    assert_true(st.st_atime > 2000);
    assert_int_equal(st.st_mtime, 2000);
    assert_int_equal(content_there(&there), 'o');
    assert_int_equal(there, size_there);
    assert_int_equal(files_in(chunk_dir), 1);
}

static void assert_refused(enum blob_kind kind, size_t size, enum status status)
{
    bool is_new = true;
    struct error err = {0};
    assert_int_equal(insert(kind, size, &is_new, &err), status);
    assert_non_null(strstr(err.text, "a342e8"));
    assert_false(is_new);
    assert_int_equal(files_in(chunk_dir), 1);
}

static void test_nothing_there_is_new(void **state)
{
    (void)state;
    umask(022);
    assert_new(BLOB_PLAIN, 100);
    assert_string_equal(strrchr(target, '/') - 4, target + strlen(target) - 69); /* a342/<64 hex> */
}

static void test_missing_directory_is_made(void **state)
{
    (void)state;
    assert_int_equal(rmdir(chunk_dir), 0);
    assert_new(BLOB_ZSTD, 100);
    assert_int_equal(mode_of(chunk_dir), 0750);
}

static void test_dangling_link_is_replaced(void **state)
{
    (void)state;
    assert_int_equal(symlink("nowhere", target), 0);
    assert_new(BLOB_PLAIN, 100);
    struct stat st;
    assert_int_equal(lstat(target, &st), 0);
    assert_true(S_ISREG(st.st_mode));
}

static void test_link_to_a_chunk_counts_as_chunk(void **state)
{
    (void)state;
    put_there(BLOB_PLAIN, 100);
    char elsewhere[PATH_MAX];
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", dir);
    assert_int_equal(rename(target, elsewhere), 0);
    assert_int_equal(symlink("../../elsewhere", target), 0);
    bool is_new = true;
    assert_int_equal(insert(BLOB_PLAIN, 100, &is_new, NULL), OK);
    assert_false(is_new);
    struct stat st;
    assert_int_equal(stat(elsewhere, &st), 0);
    assert_int_equal(st.st_mtime, 2000);
    struct buffer out = BUFFER_INIT(1 << 20);
    assert_int_equal(local_get_chunk(store, &digest, &out, NULL), OK);
    assert_int_equal(out.size, 100);
    buffer_deinit(&out);
}

static void test_other_than_a_regular_file_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(mkdir(target, 0755), 0);
    assert_refused(BLOB_PLAIN, 100, ERR_FORMAT);
    assert_int_equal(rmdir(target), 0);
    assert_int_equal(mkfifo(target, 0644), 0);
    assert_refused(BLOB_ENCRYPTED, 100, ERR_FORMAT);
    assert_int_equal(unlink(target), 0);
    assert_int_equal(symlink(".", target), 0);
    assert_refused(BLOB_PLAIN, 100, ERR_FORMAT);
}

static void test_same_size_is_a_duplicate_of_any_kind(void **state)
{
    (void)state;
    static const enum blob_kind kinds[] = {BLOB_PLAIN, BLOB_ZSTD, BLOB_ENCRYPTED, BLOB_ENCRYPTED_ZSTD};
    for (size_t there = 0; there < 4; there++)
        for (size_t new = 0; new < 4; new ++) {
            put_there(kinds[there], 100);
            assert_duplicate(kinds[new], 100, 100);
        }
}

static void test_size_zero_is_replaced(void **state)
{
    (void)state;
    put_file(target, "", 0);
    assert_new(BLOB_PLAIN, 100);
    put_file(target, "", 0);
    assert_new(BLOB_ENCRYPTED, 100);
}

static void test_encrypted_never_replaces_unencrypted(void **state)
{
    (void)state;
    put_there(BLOB_PLAIN, 90);
    assert_refused(BLOB_ENCRYPTED, 100, ERR_MISMATCH);
    put_there(BLOB_ZSTD, 110);
    assert_refused(BLOB_ENCRYPTED_ZSTD, 100, ERR_MISMATCH);
    put_file(target, "not a blob at all", 17);
    assert_refused(BLOB_ENCRYPTED, 100, ERR_NOT_ARCHIVE);
}

static void test_encrypted_uncompressed_sizes_must_agree(void **state)
{
    (void)state;
    put_there(BLOB_ENCRYPTED, 90);
    assert_refused(BLOB_ENCRYPTED, 100, ERR_MISMATCH);
}

static void test_encrypted_otherwise_keeps_what_is_there(void **state)
{
    (void)state;
    put_there(BLOB_ENCRYPTED, 90);
    assert_duplicate(BLOB_ENCRYPTED_ZSTD, 100, 90);
    put_there(BLOB_ENCRYPTED_ZSTD, 110);
    assert_duplicate(BLOB_ENCRYPTED, 100, 110);
    put_there(BLOB_ENCRYPTED_ZSTD, 110);
    assert_duplicate(BLOB_ENCRYPTED_ZSTD, 100, 110);
}

static void test_unencrypted_keeps_the_smaller(void **state)
{
    (void)state;
    put_there(BLOB_ZSTD, 99);
    assert_duplicate(BLOB_PLAIN, 100, 99);
    put_there(BLOB_PLAIN, 101);
    assert_new(BLOB_ZSTD, 100);
}

static void test_replacing_writes_whatever_is_there(void **state)
{
    (void)state;
    uint8_t *blob = fake_blob(BLOB_PLAIN, 100, 'n');
    off_t size;
    put_there(BLOB_PLAIN, 100); /* inserting would call it a duplicate */
    assert_int_equal(local_replace_chunk(store, &digest, blob, 100, NULL), OK);
    assert_int_equal(content_there(&size), 'n');
    put_there(BLOB_PLAIN, 50);
    assert_int_equal(local_replace_chunk(store, &digest, blob, 100, NULL), OK);
    assert_int_equal(content_there(&size), 'n');
    assert_int_equal(size, 100);
    assert_int_equal(unlink(target), 0);
    assert_int_equal(local_replace_chunk(store, &digest, blob, 100, NULL), OK);
    assert_int_equal(unlink(target), 0);
    assert_int_equal(mkfifo(target, 0644), 0);
    assert_int_equal(local_replace_chunk(store, &digest, blob, 100, NULL), ERR_FORMAT);
    assert_int_equal(files_in(chunk_dir), 1);
    free(blob);
}

static void test_refuses_what_is_no_blob(void **state)
{
    (void)state;
    bool is_new;
    uint8_t *blob = make_constant(100, 7);
    assert_int_not_equal(local_put_chunk(store, &digest, blob, 100, &is_new, NULL), OK);
    free(blob);
    blob = fake_blob(BLOB_PLAIN, CHUNK_BLOB_SIZE_MAX + 1, 0);
    assert_int_equal(local_put_chunk(store, &digest, blob, CHUNK_BLOB_SIZE_MAX + 1, &is_new, NULL), ERR_LIMIT);
    free(blob);
    assert_int_equal(files_in(chunk_dir), 0);
}

/* ---- at the same time ---- */

enum { THREADS = 4, ROUNDS = 200, CONCURRENT_SIZE = 20000 };

struct putter {
    pthread_barrier_t *barrier;
    unsigned new_count;
    unsigned failed_count;
};

static struct digest round_digest(unsigned round)
{
    struct digest d = {{0xa3, 0x42, (uint8_t)round, (uint8_t)(round >> 8)}};
    return d;
}

static void *put_same_chunks(void *context)
{
    struct putter *p = context;
    uint8_t *blob = fake_blob(BLOB_PLAIN, CONCURRENT_SIZE, 'n');
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct digest d = round_digest(i);
        bool is_new;
        pthread_barrier_wait(p->barrier);
        if (local_put_chunk(store, &d, blob, CONCURRENT_SIZE, &is_new, NULL) != OK)
            p->failed_count++;
        else
            p->new_count += is_new;
        /* Whoever returns, with either answer, finds the chunk whole. */
        struct buffer out = BUFFER_INIT(1 << 20);
        if (local_get_chunk(store, &d, &out, NULL) != OK || out.size != CONCURRENT_SIZE ||
            memcmp(out.data, blob, out.size) != 0)
            p->failed_count++;
        buffer_deinit(&out);
    }
    free(blob);
    return NULL;
}

static void test_same_chunk_from_several_threads_is_new_once(void **state)
{
    (void)state;
    pthread_barrier_t barrier;
    pthread_t threads[THREADS];
    struct putter putters[THREADS];
    unsigned new_count = 0;
    assert_int_equal(pthread_barrier_init(&barrier, NULL, THREADS), 0);
    for (size_t i = 0; i < THREADS; i++) {
        putters[i] = (struct putter){.barrier = &barrier};
        assert_int_equal(pthread_create(&threads[i], NULL, put_same_chunks, &putters[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(putters[i].failed_count, 0);
        new_count += putters[i].new_count;
    }
    pthread_barrier_destroy(&barrier);
    assert_int_equal(new_count, ROUNDS);
    assert_int_equal(files_in(chunk_dir), ROUNDS); /* and no temporary file */
}

/* ---- no room ---- */

static bool limited_file_size(const char *path, int ready_fd)
{
    (void)path;
    (void)ready_fd;
    const struct rlimit limit = {.rlim_cur = 4096, .rlim_max = 4096};
    signal(SIGXFSZ, SIG_IGN);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
        return false;
    bool is_new;
    struct error err = {0};
    /* The first write() takes 4096 bytes, the next one none. */
    if (insert(BLOB_PLAIN, 10000, &is_new, &err) != ERR_IO || err.errnum != EFBIG || is_new ||
        !strstr(err.text, ".chunks/a342/") || files_in(chunk_dir) != 0)
        return false;
    return insert(BLOB_PLAIN, 4096, &is_new, &err) == OK && is_new && files_in(chunk_dir) == 1;
}

static void test_short_write_leaves_no_file(void **state)
{
    (void)state;
    assert_int_equal(wait_child(start_child(limited_file_size, dir, -1)), 0);
}

static bool fill_small_disk(const char *path, int ready_fd)
{
    (void)ready_fd;
    char mounted[PATH_MAX];
    snprintf(mounted, sizeof mounted, "%s/disk", path);
    /* A mount namespace of its own: the mount goes away with this process, whatever happens to it. */
    if (mkdir(mounted, 0755) != 0 || unshare(CLONE_NEWNS) != 0 ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", mounted, "tmpfs", 0, "size=1m,mode=0755") != 0)
        _exit(SKIPPED);
    struct store *s;
    if (mkdir(at(mounted, ".chunks"), 0750) != 0 || store_open(mounted, &writing, &s, NULL) != OK)
        return false;
    struct snapshot_id id = snapshot("x", 60);
    struct store_writer *w;
    if (store_begin(s, &id, &w, NULL) != OK)
        return false;
    uint8_t *blob = fake_blob(BLOB_PLAIN, 100000, 'n');
    struct error err = {0};
    enum status status = OK;
    unsigned stored = 0;
    while (status == OK && stored < 100) {
        struct digest d = round_digest(stored);
        bool is_new;
        status = put_chunk(w, &d, blob, 100000, &is_new, &err);
        stored += status == OK;
    }
    free(blob);
    char chunks[PATH_MAX + 32];
    snprintf(chunks, sizeof chunks, "%s/.chunks/a342", mounted);
    if (status != ERR_IO || err.errnum != ENOSPC || stored < 5 || files_in(chunks) != stored)
        return false;

    /* Nor does a full disk leave a blob, an index or a manifest. */
    for (char fill[4096] = {0};;) {
        int fd = open(at(mounted, "filler"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        ssize_t n = write(fd, fill, sizeof fill);
        close(fd);
        if (n < 0)
            break;
    }
    char snapshot_dir[PATH_MAX + 32];
    snprintf(snapshot_dir, sizeof snapshot_dir, "%s/host/x/1970-01-01T00:01:00Z", mounted);
    if (store_put_blob(w, "a.conf.blob", (const uint8_t *)"x", 1, &err) != ERR_IO || files_in(snapshot_dir) != 0)
        return false;
    struct store_index *index;
    struct digest csum;
    uint64_t size, count;
    if (store_index_begin(w, "a.mpxar.didx", &index, &err) != OK ||
        store_index_append(index, 1, &digest, false, &err) != OK ||
        store_index_finish(index, &csum, &size, &count, &err) != ERR_IO || files_in(snapshot_dir) != 0)
        return false;
    if (store_finish(w, (const uint8_t *)"x", 1, &err) != ERR_IO || err.errnum != ENOSPC ||
        files_in(at(mounted, "host")) != 0)
        return false;
    store_close(s);
    return true;
}

static void test_full_disk_leaves_no_file(void **state)
{
    (void)state;
    int code = wait_child(start_child(fill_small_disk, dir, -1));
    if (code == SKIPPED) {
        print_message("skipped: mounting a tmpfs needs root\n");
        skip();
    }
    assert_int_equal(code, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_there_is_new),
        TEST(test_missing_directory_is_made),
        TEST(test_dangling_link_is_replaced),
        TEST(test_link_to_a_chunk_counts_as_chunk),
        TEST(test_other_than_a_regular_file_is_an_error),
        TEST(test_same_size_is_a_duplicate_of_any_kind),
        TEST(test_size_zero_is_replaced),
        TEST(test_encrypted_never_replaces_unencrypted),
        TEST(test_encrypted_uncompressed_sizes_must_agree),
        TEST(test_encrypted_otherwise_keeps_what_is_there),
        TEST(test_unencrypted_keeps_the_smaller),
        TEST(test_replacing_writes_whatever_is_there),
        TEST(test_refuses_what_is_no_blob),
        TEST(test_same_chunk_from_several_threads_is_new_once),
        TEST(test_short_write_leaves_no_file),
        TEST(test_full_disk_leaves_no_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
