/* Our client's backups, verifications and restores against our server, over real sockets. */
#include "testing/testing.h"

#include "server/serve_for_test.h"

#include "flow/backup.h"
#include "flow/backup_for_test.h"
#include "flow/restore.h"
#include "net/account.h"
#include "net/session.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>

enum { FILES = 40, BIG_SIZE = 900000, T1 = 1700000000, AVERAGE = 64 << 10 };

static struct account *account;
static struct crypt_config key;

static void connect_account(unsigned patience_s)
{
    struct account_options options = {
        .secret = SECRET, .fingerprint = serve_fingerprint(serve), .stall_timeout_ms = 1000 * patience_s};
    assert_int_equal(repository_make(TOKEN, "127.0.0.1", serve_port(serve), "store1", &options.repository, &err), OK);
    if (account_new(&options, &account, &err) != OK)
        assert_string_equal(err.text, "");
}

static int setup(void **state)
{
    const uint8_t bytes[CRYPT_KEY_SIZE] = {7};
    serve_setup(state);
    connect_account(10);
    assert_int_equal(crypt_config_init(&key, bytes, NULL), OK);
    work = temp_dir_make();
    assert_int_equal(mkdir(at("tree"), 0750), 0);
    uint8_t *big = make_splitmix64(BIG_SIZE, 7);
    for (unsigned i = 0; i < FILES; i++) {
        char name[64];
        snprintf(name, sizeof name, "tree/file%u", i);
        put(name, big + 1000 * i, 500 * i * (i % 5));
    }
    put("tree/big", big, BIG_SIZE);
    put("conf", "hello", 5);
    put("disk", big, BIG_SIZE);
    assert_int_equal(truncate(at("disk"), (20 << 20) + 77), 0); /* mostly holes */
    free(big);
    return 0;
}

static int teardown(void **state)
{
    account_free(account);
    account = NULL;
    serve_teardown(state);
    temp_dir_remove(work);
    return 0;
}

/* ---- runs ---- */

static struct store *open_remote(const struct crypt_config *with)
{
    static struct store_remote remote;
    remote = (struct store_remote){account, &flow_threads};
    struct store *store;
    assert_int_equal(
        store_open("127.0.0.1:0:store1", &(struct store_options){.key = with, .remote = &remote}, &store, &err), OK);
    return store;
}

static struct store *open_local(const struct crypt_config *with)
{
    struct store *store;
    const struct store_options options = {.sync = SYNC_NONE, .key = with};
    if (store_open(stored(""), &options, &store, &err) != OK)
        assert_string_equal(err.text, "");
    return store;
}

struct run {
    enum detection_mode mode;
    enum crypt_mode crypt_mode;
    int64_t time;
    bool tree_only;
    bool local;
    bool dry;
    uint64_t average;   /* 0: AVERAGE */
    size_t entries_max; /* 0: as many as usual */
    /* Comes out. */
    struct archive_stats tree, disk;
    struct net_stats net;
    uint64_t duration_ns;
};

static enum status try_backup(struct run *run)
{
    const struct backup_source sources[] = {
        {.name = "root", .path = at("tree"), .kind = SOURCE_TREE},
        {.name = "disk", .path = at("disk"), .kind = SOURCE_IMAGE},
        {.name = "app", .path = at("conf"), .kind = SOURCE_BLOB, .extension = "conf"},
    };
    struct backup_options options = {.archive = {.mode = run->mode,
                                                 .chunk_average = run->average ? run->average : AVERAGE,
                                                 .threshold_ppm = 100000,
                                                 .threads = 2,
                                                 .walk = {.entries_max = run->entries_max}},
                                     .snapshot = snapshot_at(run->time),
                                     .crypt_mode = run->crypt_mode,
                                     .sources = sources,
                                     .source_count = run->tree_only ? 1 : 3,
                                     .dry_run = run->dry};
    if (run->local)
        snprintf(options.snapshot.id, sizeof options.snapshot.id, "local");
    const struct crypt_config *with = run->crypt_mode == CRYPT_NONE ? NULL : &key;
    struct store *store = run->local ? open_local(with) : open_remote(with);
    struct backup_result result = {0};
    err = (struct error){0};
    enum status status = backup_run(store, &options, &result, &err);
    if (result.archives) {
        run->tree = result.archives[0];
        if (!run->tree_only)
            run->disk = result.archives[1];
    }
    run->duration_ns = result.duration_ns;
    store_net_stats(store, &run->net);
    backup_result_deinit(&result);
    store_close(store);
    return status;
}

static struct run backup(enum detection_mode mode, enum crypt_mode crypt_mode, int64_t time)
{
    struct run run = {.mode = mode, .crypt_mode = crypt_mode, .time = time};
    if (try_backup(&run) != OK)
        assert_string_equal(err.text, "");
    return run;
}

static enum status restore(const struct crypt_config *with, int64_t time, const char *archive, const char *target)
{
    struct store *store = open_remote(with);
    struct restore_stats stats;
    struct restore_options options = {0};
    const struct snapshot_id id = snapshot_at(time);
    err = (struct error){0};
    enum status status = restore_snapshot(store, &id, archive, target, &options, &stats, &err);
    store_close(store);
    return status;
}

static void expect_restored(const struct crypt_config *with, int64_t time)
{
    static unsigned turn;
    char target[64], name[160];
    snprintf(target, sizeof target, "out%u", turn++);
    if (restore(with, time, "root.pxar", at(target)) != OK)
        assert_string_equal(err.text, "");
    DIR *dir = opendir(at("tree"));
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        char source[300];
        snprintf(source, sizeof source, "tree/%.100s", entry->d_name);
        snprintf(name, sizeof name, "%.40s/%.100s", target, entry->d_name);
        expect_same(source, name);
    }
    closedir(dir);
    snprintf(name, sizeof name, "%.40s.img", target);
    if (restore(with, time, "disk.img", at(name)) != OK)
        assert_string_equal(err.text, "");
    expect_same("disk", name);
    snprintf(name, sizeof name, "%.40s.conf", target);
    if (restore(with, time, "app.conf", at(name)) != OK)
        assert_string_equal(err.text, "");
    expect_same("conf", name);
}

/* ---- verification ---- */

static enum status verify(struct store *store, int64_t time, struct seen *out)
{
    err = (struct error){0};
    return verify_at(store, time, out, &err);
}

static void expect_verified(const struct crypt_config *with, int64_t time)
{
    struct seen seen;
    for (int remote = 0; remote < 2; remote++) {
        if (verify(remote ? open_remote(with) : open_local(with), time, &seen) != OK)
            assert_string_equal(err.text, "");
        assert_string_equal(seen.first, "");
    }
}

/* ---- good servers ---- */

static void same_stream(const struct stream_stats *a, const struct stream_stats *b)
{
    assert_memory_equal(&a->csum, &b->csum, sizeof a->csum);
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->chunks, b->chunks);
    assert_int_equal(a->known_chunks, b->known_chunks);
    assert_int_equal(a->injected_chunks, b->injected_chunks);
    assert_int_equal(a->new_chunks, b->new_chunks);
    assert_int_equal(a->compressed_bytes, b->compressed_bytes);
}

static void test_streams_are_those_of_a_directory(void **state)
{
    (void)state;
    static const enum detection_mode modes[] = {MODE_LEGACY, MODE_DATA, MODE_METADATA, MODE_METADATA};
    int64_t time = T1;
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++, time += 10) {
        struct run remote = backup(modes[i], CRYPT_NONE, time);
        struct run local = {.mode = modes[i], .time = time, .local = true};
        assert_int_equal(try_backup(&local), OK);
        same_stream(&remote.tree.metadata, &local.tree.metadata);
        same_stream(&remote.tree.payload, &local.tree.payload);
        same_stream(&remote.tree.stream, &local.tree.stream);
        same_stream(&remote.disk.stream, &local.disk.stream);
        assert_int_equal(remote.tree.reference, local.tree.reference);
        assert_int_equal(remote.tree.reused_files, local.tree.reused_files);
        expect_verified(NULL, time);
        expect_restored(NULL, time);
    }
}

static void test_a_changed_tree(void **state)
{
    (void)state;
    backup(MODE_METADATA, CRYPT_NONE, T1);
    put("tree/file7", "changed", 7);
    put("tree/added", "added", 5);
    assert_int_equal(unlink(at("tree/file3")), 0);
    struct run run = backup(MODE_METADATA, CRYPT_NONE, T1 + 1);
    assert_int_equal(run.tree.reference, REFERENCE_USED);
    assert_int_equal(run.tree.reencoded_files, 2);
    expect_verified(NULL, T1 + 1);
    expect_restored(NULL, T1 + 1);
}

static void test_with_a_key(void **state)
{
    (void)state;
    static const enum crypt_mode modes[] = {CRYPT_SIGN_ONLY, CRYPT_ENCRYPT};
    for (size_t i = 0; i < 2; i++) {
        int64_t time = T1 + 100 * (int64_t)i;
        backup(MODE_METADATA, modes[i], time);
        struct run run = backup(MODE_METADATA, modes[i], time + 1);
        if (run.tree.reference != REFERENCE_USED)
            assert_string_equal(run.tree.reference_detail, "");
        assert_true(run.tree.payload.injected_chunks > 0);
        expect_verified(&key, time + 1);
        expect_restored(&key, time + 1);
    }
    assert_int_equal(restore(NULL, T1 + 101, "root.pxar", at("nothing")), ERR_UNSUPPORTED);
}

static void test_lists_and_forgets(void **state)
{
    (void)state;
    struct run run = {.mode = MODE_DATA, .time = T1, .tree_only = true};
    for (int i = 0; i < 3; i++, run.time++)
        assert_int_equal(try_backup(&run), OK);
    struct store *store = open_remote(NULL);
    struct snapshot_list list;
    const struct snapshot_id first = snapshot_at(T1), missing = snapshot_at(T1 - 1);
    assert_int_equal(store_list(store, "", NULL, &list, &err), OK);
    assert_int_equal(list.count, 3);
    assert_int_equal(list.items[2].time, T1 + 2);
    snapshot_list_deinit(&list);
    assert_int_equal(store_forget(store, &first, &err), OK);
    assert_int_not_equal(store_forget(store, &missing, &err), OK);
    const struct snapshot_id group = {.type = "host", .id = "me"};
    assert_int_equal(store_list(store, "", &group, &list, &err), OK);
    assert_int_equal(list.count, 2);
    snapshot_list_deinit(&list);
    struct store_reader *r;
    if (store_reader_open(store, &first, &r, &err) != ERR_NOT_FOUND)
        assert_string_equal(err.text, "");
    store_close(store);
}

/* Says what the server would say, and leaves nothing. */
static void test_a_dry_run_asks_the_server(void **state)
{
    (void)state;
    struct run run = {.mode = MODE_DATA, .time = T1 + 5, .dry = true};
    if (try_backup(&run) != OK)
        assert_string_equal(err.text, "");
    assert_true(goes_away("host/me"));
    backup(MODE_DATA, CRYPT_NONE, T1 + 5);
    assert_int_equal(try_backup(&run), ERR_EXISTS);
    serve_set_faults(serve, &(struct faults){.error_call = {.name = "backup", .k = 1}});
    run.time++;
    assert_int_equal(try_backup(&run), ERR_REFUSED);
}

/* ---- round trips ---- */

static struct run timed(uint32_t delay_us, int64_t time)
{
    const struct faults faults = {.delay_in_us = delay_us / 2, .delay_out_us = delay_us / 2};
    serve_set_faults(serve, &faults);
    struct run best = {.duration_ns = UINT64_MAX};
    for (int i = 0; i < 3; i++) {
        struct run run = {.mode = MODE_METADATA, .time = time + i, .tree_only = true};
        if (try_backup(&run) != OK)
            assert_string_equal(err.text, "");
        assert_int_equal(run.tree.reference, REFERENCE_USED);
        if (run.duration_ns < best.duration_ns)
            best = run;
    }
    return best;
}

/* An unchanged tree over 60 ms: what the link adds, in round trips. */
static void test_few_round_trips(void **state)
{
    (void)state;
    enum { RTT_US = 60000 };
    struct run first = {.mode = MODE_METADATA, .time = T1, .tree_only = true};
    assert_int_equal(try_backup(&first), OK);
    struct run near = timed(0, T1 + 10), far = timed(RTT_US, T1 + 20);
    double added = ((double)far.duration_ns - (double)near.duration_ns) / (RTT_US * 1e3);
    print_message("%.2f round trips by the clock, %llu counted over %llu connections, %llu requests\n", added,
                  (unsigned long long)far.net.round_trips, (unsigned long long)far.net.connections,
                  (unsigned long long)far.net.requests);
    assert_true(added <= 15);
    assert_int_equal(far.net.connections, 2);
}

/* ---- bad servers ---- */

/* The backup fails with `status`, or with ERR_NETWORK; nothing is left of it, and the next one succeeds. */
static void expect_failed_backup(const struct faults *faults, enum detection_mode mode, int64_t time, const char *word)
{
    char name[64];
    struct run run = {.mode = mode, .time = time};
    serve_set_faults(serve, faults);
    assert_int_not_equal(try_backup(&run), OK);
    if (strlen(err.text) < 20 || (word && !strstr(err.text, word)))
        assert_string_equal(err.text, word ? word : "");
    const struct snapshot_id id = snapshot_at(time);
    char text[SNAPSHOT_TEXT_SIZE];
    snprintf(name, sizeof name, "%s", snapshot_id_text(&id, text));
    assert_true(goes_away(name));
    serve_set_faults(serve, &(struct faults){0});
    run.time = time + 1;
    if (try_backup(&run) != OK)
        assert_string_equal(err.text, "");
}

static void test_every_call_refused(void **state)
{
    (void)state;
    static const char *const calls[] = {"previous_backup_time",
                                        "POST dynamic_index",
                                        "PUT dynamic_index",
                                        "dynamic_chunk",
                                        "dynamic_close",
                                        "POST fixed_index",
                                        "PUT fixed_index",
                                        "fixed_chunk",
                                        "fixed_close",
                                        "blob",
                                        "finish"};
    int64_t time = T1;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        for (int early = 0; early < 2; early++, time += 10) {
            struct faults faults = {.error_call.k = 1, .error_early = early > 0};
            snprintf(faults.error_call.name, sizeof faults.error_call.name, "%s", calls[i]);
            uint8_t *fresh = make_splitmix64(300000, (uint64_t)time); /* something to upload */
            put("tree/big", fresh, 300000);
            put("disk", fresh, 300000);
            free(fresh);
            expect_failed_backup(&faults, MODE_DATA, time, "status 400");
        }
    }
}

static void test_connection_cut_at_calls(void **state)
{
    (void)state;
    static const char *const calls[] = {"backup",        "previous_backup_time", "POST dynamic_index",
                                        "dynamic_chunk", "PUT dynamic_index",    "dynamic_close",
                                        "blob"};
    int64_t time = T1;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++, time += 10) {
        struct faults faults = {.cut_call.k = 1, .cut_when = (enum cut_when)(i % 4)};
        snprintf(faults.cut_call.name, sizeof faults.cut_call.name, "%s", calls[i]);
        uint8_t *fresh = make_splitmix64(300000, (uint64_t)time);
        put("tree/big", fresh, 300000);
        free(fresh);
        expect_failed_backup(&faults, MODE_DATA, time, NULL);
    }
}

/* What the server says of the previous snapshot is checked; the backup goes on without. */
static void test_lies_about_the_previous_snapshot(void **state)
{
    (void)state;
    static const char *const calls[] = {"previous", "chunk", "download"};
    static const enum lie lies[] = {LIE_FLIP, LIE_CUT, LIE_GROW, LIE_SWAP, LIE_ENDLESS};
    int64_t time = T1;
    backup(MODE_METADATA, CRYPT_NONE, time++);
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (size_t k = 0; k < sizeof lies / sizeof *lies; k++) {
            struct faults faults = {.lie = lies[k]};
            snprintf(faults.lie_call.name, sizeof faults.lie_call.name, "%s", calls[i]);
            serve_set_faults(serve, &faults);
            struct run run = {.mode = MODE_METADATA, .time = time};
            if (try_backup(&run) != OK)
                assert_string_equal(err.text, "");
            if (i < 2 && !(i == 0 && lies[k] == LIE_SWAP))
                assert_int_not_equal(run.tree.reference, REFERENCE_USED);
            if (i == 2) /* nobody reads what lets the chunks out */
                assert_int_equal(run.tree.reference, REFERENCE_USED);
            serve_set_faults(serve, &(struct faults){0});
            expect_verified(NULL, time++);
        }
}

static void test_lies_in_restores(void **state)
{
    (void)state;
    static const char *const calls[] = {"download", "chunk"};
    static const enum lie lies[] = {LIE_FLIP, LIE_CUT, LIE_GROW, LIE_SWAP, LIE_ENDLESS};
    backup(MODE_DATA, CRYPT_NONE, T1);
    unsigned n = 0;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (size_t k = 0; k < sizeof lies / sizeof *lies; k++) {
            if (i == 0 && lies[k] == LIE_SWAP)
                continue;
            struct faults faults = {.lie = lies[k]};
            char target[32];
            snprintf(faults.lie_call.name, sizeof faults.lie_call.name, "%s", calls[i]);
            serve_set_faults(serve, &faults);
            snprintf(target, sizeof target, "lies%u", n++);
            assert_int_not_equal(restore(NULL, T1, "root.pxar", at(target)), OK);
            assert_true(strlen(err.text) > 20);
            struct seen seen;
            (void)verify(open_remote(NULL), T1, &seen);
            assert_true(seen.problem_count > 0 || err.status != OK);
        }
    serve_set_faults(serve, &(struct faults){0});
    expect_restored(NULL, T1);
}

static void test_a_chunk_that_is_missing(void **state)
{
    (void)state;
    struct faults faults = {.drop_chunk = 2};
    serve_set_faults(serve, &faults);
    backup(MODE_DATA, CRYPT_NONE, T1);
    serve_set_faults(serve, &(struct faults){0});
    struct seen seen;
    assert_int_equal(verify(open_remote(NULL), T1, &seen), OK);
    assert_true(seen.problem_count >= 1);
}

static void test_tight_servers(void **state)
{
    (void)state;
    static const struct faults tight[] = {
        {.streams_max = 1, .stream_window = 65535, .connection_window = 65535, .frame_size_max = 16384},
        {.read_rate = 8 << 20},
        {.rate_in = 16 << 20, .rate_out = 16 << 20, .delay_in_us = 2000, .delay_out_us = 2000},
        {.split_101 = true, .settings_late_ms = 50},
        {.join_101 = true, .release_lock_at_end = true},
    };
    int64_t time = T1;
    for (size_t i = 0; i < sizeof tight / sizeof *tight; i++) {
        serve_set_faults(serve, &tight[i]);
        backup(MODE_METADATA, CRYPT_NONE, time++);
        struct run run = backup(MODE_METADATA, CRYPT_NONE, time++); /* at once: the lock is tried again */
        assert_int_equal(run.tree.reference, REFERENCE_USED);
        expect_restored(NULL, time - 1);
    }
}

/* ---- a failure of our own: an alarm ends who waits for the server all the same ---- */

enum { ALARM_S = 100, PATIENCE_S = 1000 };

static void delay_calls(const char *name, unsigned k)
{
    struct faults faults = {.delay_call.k = k, .delay_call_ms = 1000 * PATIENCE_S};
    snprintf(faults.delay_call.name, sizeof faults.delay_call.name, "%s", name);
    serve_set_faults(serve, &faults);
    account_free(account);
    connect_account(PATIENCE_S);
    alarm(ALARM_S);
}

static void fill(const char *name, unsigned files)
{
    assert_int_equal(mkdir(at(name), 0750), 0);
    for (unsigned i = 0; i < files; i++) {
        char file[64];
        snprintf(file, sizeof file, "%s/%u", name, i);
        put(file, "", 0);
    }
}

/* As much as may be on its way without a single answer: those who store it wait when the run fails. */
static void test_a_run_that_failed_here_does_not_wait(void **state)
{
    (void)state;
    enum { SIZE = 104 << 20, ENTRIES = 4000 }; /* store/remote.h, flow/upload.h */
    uint8_t *data = make_splitmix64(SIZE, 3);
    put("tree/a", data, SIZE);
    free(data);
    fill("tree/b", 3000); /* takes a while */
    fill("tree/z", ENTRIES);
    struct run run = {.mode = MODE_DATA, .time = T1, .tree_only = true, .average = 1 << 20, .entries_max = ENTRIES};
    delay_calls("dynamic_chunk", 0);
    assert_int_equal(try_backup(&run), ERR_LIMIT);
    alarm(0);
}

static void test_a_restore_that_failed_here_does_not_wait(void **state)
{
    (void)state;
    const struct rlimit small = {.rlim_cur = BIG_SIZE / 3, .rlim_max = RLIM_INFINITY};
    const struct rlimit none = {.rlim_cur = RLIM_INFINITY, .rlim_max = RLIM_INFINITY};
    backup(MODE_DATA, CRYPT_NONE, T1);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    delay_calls("chunk", 8);
    enum status status = restore(NULL, T1, "root.pxar", at("out"));
    alarm(0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    assert_int_equal(status, ERR_IO);
    if (!strstr(err.text, "File too large"))
        assert_string_equal(err.text, "");
}

static void test_one_backup_of_a_group_at_a_time(void **state)
{
    (void)state;
    struct store *store = open_remote(NULL);
    struct store_writer *w, *other;
    const struct snapshot_id id = snapshot_at(T1), later = snapshot_at(T1 + 1);
    assert_int_equal(store_begin(store, &id, &w, &err), OK);
    assert_int_equal(store_begin(store, &later, &other, &err), ERR_LOCKED);
    store_abort(w);
    assert_true(goes_away("host/me"));
    backup(MODE_DATA, CRYPT_NONE, T1 + 2);
    assert_int_equal(store_begin(store, &id, &other, &err), ERR_EXISTS);
    store_close(store);
}

#define SERVE_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    log_set_level(LOG_ERROR);
    const struct CMUnitTest tests[] = {
        SERVE_TEST(test_streams_are_those_of_a_directory),
        SERVE_TEST(test_a_changed_tree),
        SERVE_TEST(test_with_a_key),
        SERVE_TEST(test_lists_and_forgets),
        SERVE_TEST(test_a_dry_run_asks_the_server),
        SERVE_TEST(test_few_round_trips),
        SERVE_TEST(test_every_call_refused),
        SERVE_TEST(test_connection_cut_at_calls),
        SERVE_TEST(test_lies_about_the_previous_snapshot),
        SERVE_TEST(test_lies_in_restores),
        SERVE_TEST(test_a_chunk_that_is_missing),
        SERVE_TEST(test_tight_servers),
        SERVE_TEST(test_a_run_that_failed_here_does_not_wait),
        SERVE_TEST(test_a_restore_that_failed_here_does_not_wait),
        SERVE_TEST(test_one_backup_of_a_group_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
