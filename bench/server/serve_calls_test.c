/* Every check of the specification's 14.2 that a session or an upgrade makes, with the status it has there, and what is
 * left on disk. */
#include "testing/testing.h"

#include "server/serve_for_test.h"

#define BASE_QUERY BACKUP_QUERY("demo", 1700000000)
#define NEXT_QUERY BACKUP_QUERY("demo", 1700000060)
#define BASE_DIR "host/demo/2023-11-14T22:13:20Z"
#define NEXT_DIR "host/demo/2023-11-14T22:14:20Z"
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

static struct made_chunk one, two;

static int setup(void **state)
{
    serve_setup(state);
    make_chunk("chunk one", 9, &one);
    make_chunk("chunk number two", 16, &two);
    return 0;
}

static int teardown(void **state)
{
    buffer_deinit(&one.blob);
    buffer_deinit(&two.blob);
    return serve_teardown(state);
}

static void expect(struct peer *p, const char *method, const char *path, int status)
{
    int real = status_of(p, method, path, NULL, NULL, 0);
    if (real != status)
        print_error("%s %s: %d %s\n", method, path, real, err.text);
    assert_int_equal(real, status);
}

static int upgrade_status_once(enum session_kind kind, const char *query, const char *auth)
{
    struct peer p;
    int status = open_as(&p, kind, query, auth);
    if (status == 101)
        peer_close(&p);
    return status;
}

/* Tries again while something is locked: the end of an earlier session may not have been seen yet. */
static int upgrade_status(enum session_kind kind, const char *query, const char *auth)
{
    int status = upgrade_status_once(kind, query, auth);
    for (int i = 0; i < 200 && status == 400 && strstr(err.text, "lock"); i++) {
        poll(NULL, 0, 20);
        status = upgrade_status_once(kind, query, auth);
    }
    return status;
}

static void stored_at(const char *digest, char out[100])
{
    snprintf(out, 100, ".chunks/%.4s/%s", digest, digest);
}

/* ---- upgrades: V17, V25 ---- */

static void test_upgrades_are_checked_in_order(void **state)
{
    (void)state;
    static const struct {
        const char *head;
        int status;
    } cases[] = {
        {"GET /api2/json/backup?" BASE_QUERY " HTTP/1.1\r\n", 401},
        {"GET /api2/json/backup?store=store1 HTTP/1.1\r\n" AUTHORIZATION, 400},
        {"GET /api2/json/backup?" BASE_QUERY "&x=1 HTTP/1.1\r\n" AUTHORIZATION, 400},
        {"GET /api2/json/backup?" BASE_QUERY "&store=store1 HTTP/1.1\r\n" AUTHORIZATION, 400},
        {"GET /api2/json/backup?backup-id=..&backup-time=1&backup-type=host&store=store1 HTTP/1.1\r\n" AUTHORIZATION,
         400},
        {"GET /api2/json/backup?backup-id=demo&backup-time=0&backup-type=host&store=store1 HTTP/1.1\r\n" AUTHORIZATION,
         400},
        {"GET /api2/json/backup?backup-id=demo&backup-time=1&backup-type=xx&store=store1 HTTP/1.1\r\n" AUTHORIZATION,
         400},
        {"GET /api2/json/backup?backup-id=demo&backup-time=1&backup-type=host&store=other HTTP/1.1\r\n" AUTHORIZATION,
         403},
        /* The schema comes before the permission, and that before the Upgrade header. */
        {"GET /api2/json/backup?store=other HTTP/1.1\r\n" AUTHORIZATION, 400},
        {"GET /api2/json/backup?" BASE_QUERY " HTTP/1.1\r\n" AUTHORIZATION, 400},
        {"GET /api2/json/backup?" BASE_QUERY " HTTP/1.1\r\nUpgrade: h2c\r\n" AUTHORIZATION, 400},
        {"GET /api2/json/backup?" BASE_QUERY " HTTP/1.1\r\nUpgrade: " WIRE_READER_PROTOCOL "\r\n" AUTHORIZATION, 400},
        {"GET /api2/json/backup?" BASE_QUERY " HTTP/1.1\r\nUpgrade: x, " WIRE_BACKUP_PROTOCOL "\r\n" AUTHORIZATION,
         400},
        {"GET /api2/json/backup?" BASE_QUERY " HTTP/1.0\r\nUpgrade: " WIRE_BACKUP_PROTOCOL "\r\n" AUTHORIZATION, 400},
        {"GET /api2/json/backup?" BASE_QUERY "&ns=a HTTP/1.1\r\n" AUTHORIZATION, 400},
        {"GET /api2/json/backup?" BASE_QUERY "&ns=a HTTP/1.1\r\nUpgrade: " WIRE_BACKUP_PROTOCOL "\r\n" AUTHORIZATION,
         404},
        {"POST /api2/json/backup?" BASE_QUERY " HTTP/1.1\r\nUpgrade: " WIRE_BACKUP_PROTOCOL "\r\n" AUTHORIZATION, 404},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[4096];
        snprintf(text, sizeof text, "%sHost: localhost\r\n\r\n", cases[i].head);
        int status = ask_once(text);
        if (status != cases[i].status)
            print_error("%s\n", cases[i].head);
        assert_int_equal(status, cases[i].status);
    }
    assert_false(is_stored("host"));
}

/* 67 */
static void test_namespaces(void **state)
{
    (void)state;
    char query[1024], ns[400] = "";
    assert_int_equal(upgrade_status(SESSION_BACKUP, BASE_QUERY "&ns=missing", TOKEN ":" SECRET), 404);
    assert_int_equal(upgrade_status(SESSION_BACKUP, BASE_QUERY "&ns=a%2Fb%2Fc%2Fd%2Fe%2Ff%2Fg%2Fh", TOKEN ":" SECRET),
                     400);
    assert_int_equal(upgrade_status(SESSION_BACKUP, BASE_QUERY "&ns=..%2Fx", TOKEN ":" SECRET), 400);
    memset(ns, 'n', 256);
    snprintf(query, sizeof query, BASE_QUERY "&ns=%s", ns);
    int longest = upgrade_status(SESSION_BACKUP, query, TOKEN ":" SECRET);
    assert_true(longest == 400 || longest == 404); /* the specification says 400 */
    memset(ns, 'n', 257);
    snprintf(query, sizeof query, BASE_QUERY "&ns=%s", ns);
    assert_int_equal(upgrade_status(SESSION_BACKUP, query, TOKEN ":" SECRET), 400);
    assert_int_equal(mkdir(stored("ns"), 0755), 0);
    assert_int_equal(mkdir(stored("ns/a"), 0755), 0);
    assert_int_equal(mkdir(stored("ns/a/ns"), 0755), 0);
    assert_int_equal(mkdir(stored("ns/a/ns/b"), 0755), 0);
    make_snapshot(BASE_QUERY "&ns=a%2Fb", "demo", 1700000000, "in a namespace");
    assert_true(is_stored("ns/a/ns/b/" BASE_DIR "/index.json.blob"));
    assert_false(is_stored("host/demo"));
}

/* 66 */
static void test_the_owner_rule(void **state)
{
    (void)state;
    struct peer p;
    make_snapshot(BASE_QUERY, "demo", 1700000000, "mine");
    /* The token's own group: its user may, another token of the user's and other users may not. */
    assert_int_equal(upgrade_status(SESSION_BACKUP, NEXT_QUERY, "bench@pbs!other:" SECRET), 400);
    assert_true(strstr(err.text, "owner") != NULL);
    assert_int_equal(upgrade_status(SESSION_BACKUP, NEXT_QUERY, "other@pbs!ci:" SECRET), 400);
    assert_int_equal(upgrade_status(SESSION_BACKUP, NEXT_QUERY, "some@pbs!read:" SECRET), 403);
    open_backup(&p, NEXT_QUERY);
    peer_close(&p);
    assert_true(goes_away(NEXT_DIR));
    assert_true(access_owns("bench@pbs", TOKEN));
    assert_false(access_owns(TOKEN, "bench@pbs"));
    /* Who may back up, but not read, reads its own. */
    assert_int_equal(upgrade_status(SESSION_READER, BASE_QUERY, "some@pbs!read:" SECRET), 101);
    assert_int_equal(upgrade_status(SESSION_READER, BASE_QUERY, "some@pbs!backup:" SECRET), 400);
    assert_int_equal(upgrade_status(SESSION_READER, BASE_QUERY, "some@pbs!nothing:" SECRET), 400);
    assert_int_equal(open_as(&p, SESSION_BACKUP, BACKUP_QUERY("other", 1700000000), "some@pbs!backup:" SECRET), 101);
    peer_close(&p);
}

/* 64, 65 */
static void test_one_backup_per_group_and_later_than_the_last(void **state)
{
    (void)state;
    struct peer p, other;
    make_snapshot(BASE_QUERY, "demo", 1700000000, "the base");
    open_backup(&p, NEXT_QUERY);
    assert_int_equal(upgrade_status_once(SESSION_BACKUP, BACKUP_QUERY("demo", 1700000070), TOKEN ":" SECRET), 400);
    assert_true(strstr(err.text, "lock") != NULL);
    open_backup(&other, BACKUP_QUERY("demo2", 1700000060));
    peer_close(&other);
    peer_close(&p);
    assert_true(goes_away(NEXT_DIR));
    assert_int_equal(upgrade_status(SESSION_BACKUP, BASE_QUERY, TOKEN ":" SECRET), 400);
    assert_true(strstr(err.text, "timestamp") != NULL);
    assert_int_equal(upgrade_status(SESSION_BACKUP, BACKUP_QUERY("demo", 1699999999), TOKEN ":" SECRET), 400);
    /* What is unfinished counts for nothing but its own second; the next backup removes it if nobody holds it. */
    assert_int_equal(mkdir(stored("host/demo/2023-11-14T22:30:00Z"), 0755), 0);
    assert_int_equal(upgrade_status(SESSION_BACKUP, BACKUP_QUERY("demo", 1700001000), TOKEN ":" SECRET), 400);
    assert_true(strstr(err.text, "there") != NULL);
    open_backup(&p, NEXT_QUERY);
    assert_says(&p, "GET", "/previous_backup_time", "{\"data\":1700000000}");
    assert_false(is_stored("host/demo/2023-11-14T22:30:00Z"));
    peer_close(&p);
    assert_true(goes_away(NEXT_DIR));
    assert_int_equal(upgrade_status(SESSION_BACKUP, BACKUP_QUERY("demo", 1700001001), TOKEN ":" SECRET), 101);
}

static void test_a_group_needs_an_owner_and_a_readable_base(void **state)
{
    (void)state;
    make_snapshot(BASE_QUERY, "demo", 1700000000, "the base");
    assert_int_equal(truncate(stored(BASE_DIR "/index.json.blob"), 20), 0);
    assert_int_equal(upgrade_status(SESSION_BACKUP, NEXT_QUERY, TOKEN ":" SECRET), 400);
    assert_int_equal(unlink(stored(BASE_DIR "/index.json.blob")), 0);
    assert_int_equal(unlink(stored("host/demo/owner")), 0);
    assert_int_equal(upgrade_status(SESSION_BACKUP, NEXT_QUERY, TOKEN ":" SECRET), 400);
    assert_true(strstr(err.text, "owner") != NULL);
    assert_true(is_stored(BASE_DIR));
}

/* ---- parameters: V1, V2, V3, V4, V20, V21 ---- */

static void test_schema_and_paths(void **state)
{
    (void)state;
    struct peer p;
    char long_name[400] = "/dynamic_index?archive-name=";
    open_backup(&p, BASE_QUERY);
    assert_says(&p, "GET", "/",
                "{\"data\":[{\"subdir\":\"blob\"},{\"subdir\":\"dynamic_chunk\"},{\"subdir\":\"dynamic_close\"},"
                "{\"subdir\":\"dynamic_index\"},{\"subdir\":\"finish\"},{\"subdir\":\"fixed_chunk\"},"
                "{\"subdir\":\"fixed_close\"},{\"subdir\":\"fixed_index\"},{\"subdir\":\"previous\"},"
                "{\"subdir\":\"previous_backup_time\"},{\"subdir\":\"speedtest\"}]}");
    static const struct {
        const char *method, *path;
        int status;
    } cases[] = {
        {"GET", "//previous_backup_time", 200},
        {"GET", "/previous_backup_time/", 200},
        {"GET", "/previous_backup_time?_dc=1", 200},
        {"GET", "/previous_backup_time?x=1", 400},
        {"POST", "/previous_backup_time", 404},
        {"PUT", "/previous", 404},
        {"GET", "/chunk?digest=" ZEROS, 404},
        {"GET", "/nothing", 404},
        {"GET", "/previous/x", 404},
        {"GET", "/.x", 400},
        {"GET", "/%2e%2e/x", 400},
        {"POST", "/dynamic_index", 400},
        {"POST", "/dynamic_index?archive-name=", 400},
        {"POST", "/dynamic_index?archive-name=x.fidx", 400},
        {"POST", "/dynamic_index?archive-name=x.blob", 400},
        {"POST", "/dynamic_index?archive-name=x", 400},
        {"POST", "/dynamic_index?archive-name=.didx", 400},
        {"POST", "/dynamic_index?archive-name=../x.didx", 400},
        {"POST", "/dynamic_index?archive-name=..%2fx.didx", 400},
        {"POST", "/dynamic_index?archive-name=a/b.didx", 400},
        {"POST", "/dynamic_index?archive-name=.x.didx", 400},
        {"POST", "/dynamic_index?archive-name=-x.didx", 400},
        {"POST", "/dynamic_index?archive-name=x%00.didx", 400},
        {"POST", "/dynamic_index?archive-name=a.didx&archive-name=b.didx", 400},
        {"POST", "/fixed_index?archive-name=x.didx&size=1", 400},
        {"POST", "/fixed_index?archive-name=x.fidx", 400},
        {"POST", "/fixed_index?archive-name=x.fidx&size=0", 400},
        {"POST", "/fixed_index?archive-name=x.fidx&size=1&reuse-csum=" ZEROS, 400},
        {"POST", "/blob?file-name=x.didx&encoded-size=12", 400},
        {"POST", "/blob?file-name=x.blob&encoded-size=11", 400},
        {"POST", "/blob?file-name=x.blob&encoded-size=16777261", 400},
        {"POST", "/blob?file-name=..%2Fx.blob&encoded-size=12", 400},
        {"GET", "/previous?archive-name=../owner", 400},
        {"GET", "/previous?archive-name=x.didx", 400},
        {"POST", "/dynamic_close?chunk-count=0&csum=" ZEROS "&size=1&wid=1", 400},
        {"POST", "/dynamic_chunk?digest=" ZEROS "&encoded-size=12&size=1&wid=1", 400},
        {"POST", "/dynamic_chunk?digest=" ZEROS "&encoded-size=16777261&size=1&wid=1", 400},
        {"POST", "/dynamic_chunk?digest=" ZEROS "&encoded-size=13&size=16777217&wid=1", 400},
        {"POST", "/dynamic_chunk?digest=" ZEROS "&encoded-size=13&size=0&wid=1", 400},
        {"POST", "/fixed_chunk?digest=" ZEROS "&encoded-size=13&size=4194305&wid=1", 400},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect(&p, cases[i].method, cases[i].path, cases[i].status);
    memset(long_name + strlen(long_name), 'x', 196);
    strcat(long_name, ".didx");
    expect(&p, "POST", long_name, 400);
    memmove(long_name + 29, long_name + 30, strlen(long_name + 30) + 1);
    expect(&p, "POST", long_name, 200);
    assert_int_equal(put_json(&p, "/dynamic_index", "{\"digest-list\":[],\"offset-list\":[],\"wid\":\"1\"}"), 400);
    assert_int_equal(put_json(&p, "/dynamic_index", "{\"digest-list\":[],\"offset-list\":[],\"wid\":1}"), 200);
    assert_int_equal(status_of(&p, "PUT", "/dynamic_index", "text/plain", "{}", 2), 400);
    /* Digests in upper case. */
    char upper[300];
    snprintf(upper, sizeof upper, "/dynamic_chunk?digest=A%s&encoded-size=13&size=1&wid=1", one.digest + 1);
    expect(&p, "POST", upper, 400);
    peer_close(&p);
    assert_true(goes_away("host/demo"));
}

static void test_bodies_with_parameters_are_bounded(void **state)
{
    (void)state;
    struct peer p;
    char *json = malloc(WIRE_PARAMETER_BODY_MAX + 10);
    assert_non_null(json);
    memset(json, ' ', WIRE_PARAMETER_BODY_MAX + 10);
    static const char text[] = "{\"digest-list\":[],\"offset-list\":[],\"wid\":1}";
    memcpy(json, text, strlen(text));
    open_backup(&p, BASE_QUERY);
    expect(&p, "POST", "/dynamic_index?archive-name=x.didx", 200);
    assert_int_equal(status_of(&p, "PUT", "/dynamic_index", WIRE_TYPE_JSON, json, WIRE_PARAMETER_BODY_MAX), 200);
    assert_int_equal(status_of(&p, "PUT", "/dynamic_index", WIRE_TYPE_JSON, json, WIRE_PARAMETER_BODY_MAX + 1), 400);
    expect(&p, "GET", "/previous_backup_time", 200); /* the connection stays usable */
    peer_close(&p);
    free(json);
}

/* 51 */
static void test_parameters_of_sessions_come_from_anywhere(void **state)
{
    (void)state;
    struct peer p;
    static const char json[] = "{\"archive-name\":\"b.didx\"}";
    open_backup(&p, BASE_QUERY);
    assert_int_equal(status_of(&p, "POST", "/dynamic_index", WIRE_TYPE_FORM, "archive-name=a.didx", 19), 200);
    assert_int_equal(status_of(&p, "POST", "/dynamic_index", WIRE_TYPE_JSON, json, strlen(json)), 200);
    assert_int_equal(status_of(&p, "POST", "/dynamic_index?archive-name=c.didx", WIRE_TYPE_JSON, NULL, 0), 400);
    assert_int_equal(upload_chunk(&p, "dynamic_chunk", 1, &one), 200);
    char form[400];
    snprintf(form, sizeof form, "wid=1&digest-list=%s&offset-list=0", one.digest);
    assert_int_equal(status_of(&p, "PUT", "/dynamic_index", WIRE_TYPE_FORM, form, strlen(form)), 200);
    char path[500];
    snprintf(path, sizeof path, "/dynamic_index?wid=1&digest-list=%s&offset-list=9", one.digest);
    assert_int_equal(status_of(&p, "PUT", path, NULL, NULL, 0), 200);
    peer_close(&p);
}

/* ---- writers: V5, V9, V10, V11, V13; 56 to 59 ---- */

static void test_wids(void **state)
{
    (void)state;
    struct peer p;
    open_backup(&p, BASE_QUERY);
    assert_says(&p, "POST", "/dynamic_index?archive-name=a.didx", "{\"data\":1}");
    assert_says(&p, "POST", "/fixed_index?archive-name=b.fidx&size=9", "{\"data\":2}");
    assert_true(is_stored(BASE_DIR "/a.tmp_didx"));
    assert_false(is_stored(BASE_DIR "/a.didx"));
    static const int wrong[] = {0, 257, 3, 2};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(upload_chunk(&p, "dynamic_chunk", wrong[i], &one), 400);
        assert_int_equal(append_one(&p, "/dynamic_index", wrong[i], one.digest, 0), 400);
    }
    assert_int_equal(upload_chunk(&p, "fixed_chunk", 1, &one), 400);
    expect(&p, "POST", "/dynamic_index?archive-name=a.didx", 400); /* V13 */
    expect(&p, "POST", "/fixed_index?archive-name=b.fidx&size=9", 400);
    /* The wid of an index that is closed is gone. */
    assert_int_equal(upload_chunk(&p, "dynamic_chunk", 1, &one), 200);
    assert_int_equal(append_one(&p, "/dynamic_index", 1, one.digest, 0), 200);
    char csum[DIGEST_TEXT_SIZE], path[300];
    const uint64_t ends[] = {9};
    index_csum(ends, (const char *const[]){one.digest}, 1, csum);
    for (char *c = csum; *c; c++)
        *c = *c >= 'a' && *c <= 'f' ? (char)(*c - 32) : *c; /* upper case is fine here */
    snprintf(path, sizeof path, "/dynamic_close?chunk-count=1&csum=%s&size=9&wid=1", csum);
    expect(&p, "POST", path, 200);
    assert_true(is_stored(BASE_DIR "/a.didx"));
    expect(&p, "POST", path, 400);
    assert_int_equal(append_one(&p, "/dynamic_index", 1, one.digest, 9), 400);
    assert_int_equal(upload_chunk(&p, "dynamic_chunk", 1, &one), 400);
    expect(&p, "POST", "/dynamic_index?archive-name=a.didx", 400);
    assert_says(&p, "POST", "/dynamic_index?archive-name=c.didx", "{\"data\":3}");
    peer_close(&p);
}

static void test_digests_of_other_sessions_are_unknown(void **state)
{
    (void)state;
    struct peer p, other;
    open_backup(&other, BACKUP_QUERY("other", 1700000000));
    expect(&other, "POST", "/dynamic_index?archive-name=a.didx", 200);
    assert_int_equal(upload_chunk(&other, "dynamic_chunk", 1, &one), 200);
    open_backup(&p, BASE_QUERY);
    expect(&p, "POST", "/dynamic_index?archive-name=a.didx", 200);
    assert_int_equal(append_one(&p, "/dynamic_index", 1, one.digest, 0), 400);
    assert_int_equal(append_one(&p, "/dynamic_index", 1, ZEROS, 0), 400);
    assert_int_equal(put_json(&p, "/dynamic_index", "{\"digest-list\":[],\"offset-list\":[1],\"wid\":1}"), 400);
    expect(&p, "POST", "/finish", 400);
    peer_close(&p);
    peer_close(&other);
}

static void test_a_failed_append_or_close_stops_the_backup(void **state)
{
    (void)state;
    struct peer p;
    char json[2048];
    manifest_json("demo", 1700000000, NULL, 0, NULL, json, sizeof json);
    open_backup(&p, BASE_QUERY);
    expect(&p, "POST", "/dynamic_index?archive-name=a.didx", 200);
    assert_int_equal(append_one(&p, "/dynamic_index", 1, ZEROS, 0), 400);
    assert_int_equal(upload_json(&p, json), 200);
    expect(&p, "POST", "/finish", 400);
    peer_close(&p);
    assert_true(goes_away("host/demo"));
}

/* 54, 55: V6, V7, V8 */
static void test_chunks_are_checked(void **state)
{
    (void)state;
    struct peer p;
    char path[300], name[100];
    uint8_t bytes[200];
    open_backup(&p, BASE_QUERY);
    expect(&p, "POST", "/dynamic_index?archive-name=a.didx", 200);
    /* Another digest. */
    struct made_chunk wrong = one;
    memcpy(wrong.digest, two.digest, sizeof wrong.digest);
    assert_int_equal(upload_chunk(&p, "dynamic_chunk", 1, &wrong), 400);
    stored_at(two.digest, name);
    assert_false(is_stored(name));
    /* Short and long bodies, without saying their length. */
    snprintf(path, sizeof path, "/dynamic_chunk?digest=%s&encoded-size=%zu&size=9&wid=1", one.digest,
             one.blob.size + 1);
    assert_int_equal(status_of(&p, "POST", path, WIRE_TYPE_BINARY, one.blob.data, one.blob.size), 400);
    snprintf(path, sizeof path, "/dynamic_chunk?digest=%s&encoded-size=%zu&size=9&wid=1", one.digest,
             one.blob.size - 1);
    assert_int_equal(status_of(&p, "POST", path, WIRE_TYPE_BINARY, one.blob.data, one.blob.size), 400);
    /* Magic. */
    memcpy(bytes, one.blob.data, one.blob.size);
    bytes[0] ^= 1;
    snprintf(path, sizeof path, "/dynamic_chunk?digest=%s&encoded-size=%zu&size=9&wid=1", one.digest, one.blob.size);
    assert_int_equal(status_of(&p, "POST", path, WIRE_TYPE_BINARY, bytes, one.blob.size), 400);
    stored_at(one.digest, name);
    assert_false(is_stored(name));
    /* A checksum that is wrong is put right. */
    memcpy(bytes, one.blob.data, one.blob.size);
    memset(bytes + 8, 0, 4);
    assert_int_equal(status_of(&p, "POST", path, WIRE_TYPE_BINARY, bytes, one.blob.size), 200);
    struct buffer file;
    read_stored(name, &file);
    assert_int_equal(file.size, one.blob.size);
    assert_memory_equal(file.data, one.blob.data, file.size);
    buffer_deinit(&file);
    /* Again: known already. */
    assert_int_equal(upload_chunk(&p, "dynamic_chunk", 1, &one), 200);
    peer_close(&p);
}

static void test_a_zstd_bomb_is_refused(void **state)
{
    (void)state;
    struct peer p;
    struct made_chunk bomb;
    char path[300];
    uint8_t *zeros = make_constant(1 << 24, 0);
    make_chunk(zeros, 1 << 24, &bomb);
    assert_true(bomb.blob.size < 10000);
    open_backup(&p, BASE_QUERY);
    expect(&p, "POST", "/dynamic_index?archive-name=a.didx", 200);
    snprintf(path, sizeof path, "/dynamic_chunk?digest=%s&encoded-size=%zu&size=100&wid=1", bomb.digest,
             bomb.blob.size);
    assert_int_equal(status_of(&p, "POST", path, WIRE_TYPE_BINARY, bomb.blob.data, bomb.blob.size), 400);
    assert_int_equal(upload_chunk(&p, "dynamic_chunk", 1, &bomb), 200); /* its real size */
    /* Cut, and with bytes behind it. */
    struct made_chunk cut = bomb;
    cut.blob.size -= 3;
    memset(cut.digest, 'a', 64);
    assert_int_equal(upload_chunk(&p, "dynamic_chunk", 1, &cut), 400);
    assert_int_equal(buffer_append(&bomb.blob, "xyz", 3, NULL), OK);
    assert_int_equal(upload_chunk(&p, "dynamic_chunk", 1, &bomb), 400);
    peer_close(&p);
    buffer_deinit(&bomb.blob);
    free(zeros);
}

static void test_encrypted_chunks_are_believed(void **state)
{
    (void)state;
    struct peer p;
    char path[300], name[100];
    uint8_t blob[44] = {0x7b, 0x67, 0x85, 0xbe, 0x22, 0x2d, 0x4c, 0xf0, 1, 2, 3, 4};
    open_backup(&p, BASE_QUERY);
    expect(&p, "POST", "/dynamic_index?archive-name=a.didx", 200);
    snprintf(path, sizeof path, "/dynamic_chunk?digest=%s&encoded-size=43&size=9&wid=1", two.digest);
    assert_int_equal(status_of(&p, "POST", path, WIRE_TYPE_BINARY, blob, 43), 400);
    snprintf(path, sizeof path, "/dynamic_chunk?digest=%s&encoded-size=44&size=9&wid=1", two.digest);
    assert_int_equal(status_of(&p, "POST", path, WIRE_TYPE_BINARY, blob, 44), 200);
    stored_at(two.digest, name);
    struct buffer file;
    read_stored(name, &file);
    assert_int_equal(file.size, 44);
    assert_int_equal(load_u32le(file.data + 8), 0); /* the checksum of nothing */
    buffer_deinit(&file);
    /* An encrypted one never takes the place of a clear one. */
    assert_int_equal(upload_chunk(&p, "dynamic_chunk", 1, &one), 200);
    snprintf(path, sizeof path, "/dynamic_chunk?digest=%s&encoded-size=44&size=9&wid=1", one.digest);
    assert_int_equal(status_of(&p, "POST", path, WIRE_TYPE_BINARY, blob, 44), 400);
    peer_close(&p);
}

/* ---- fixed indexes ---- */

static void test_fixed_indexes(void **state)
{
    (void)state;
    struct peer p;
    struct made_chunk full;
    uint8_t *zeros = make_constant(WIRE_FIXED_CHUNK_SIZE, 7);
    char path[400], csum[DIGEST_TEXT_SIZE], json[2048];
    make_chunk(zeros, WIRE_FIXED_CHUNK_SIZE, &full);
    free(zeros);
    open_backup(&p, BASE_QUERY);
    snprintf(path, sizeof path, "/fixed_index?archive-name=disk.img.fidx&size=%d", 2 * WIRE_FIXED_CHUNK_SIZE + 9);
    assert_says(&p, "POST", path, "{\"data\":1}");
    assert_int_equal(upload_chunk(&p, "fixed_chunk", 1, &full), 200);
    assert_int_equal(upload_chunk(&p, "fixed_chunk", 1, &one), 200);
    assert_int_equal(upload_chunk(&p, "fixed_chunk", 1, &two), 400); /* a second short one */
    /* Any order; the last one first. */
    assert_int_equal(append_one(&p, "/fixed_index", 1, one.digest, 2 * WIRE_FIXED_CHUNK_SIZE), 200);
    assert_int_equal(append_one(&p, "/fixed_index", 1, full.digest, WIRE_FIXED_CHUNK_SIZE), 200);
    assert_int_equal(append_one(&p, "/fixed_index", 1, full.digest, 0), 200);
    struct digest digests[3], real;
    assert_true(digest_parse(full.digest, 64, &digests[0]) && digest_parse(full.digest, 64, &digests[1]) &&
                digest_parse(one.digest, 64, &digests[2]));
    digest_of(digests, sizeof digests, &real);
    digest_text(&real, csum);
    snprintf(path, sizeof path, "/fixed_close?chunk-count=3&csum=%s&size=%d&wid=1", csum,
             2 * WIRE_FIXED_CHUNK_SIZE + 9);
    expect(&p, "POST", path, 200);
    manifest_json("demo", 1700000000, "disk.img.fidx", 2 * WIRE_FIXED_CHUNK_SIZE + 9, csum, json, sizeof json);
    assert_int_equal(upload_json(&p, json), 200);
    expect(&p, "POST", "/finish", 200);
    peer_close(&p);
    struct buffer file;
    read_stored(BASE_DIR "/disk.img.fidx", &file);
    struct fixed_index index;
    assert_int_equal(fixed_index_parse(file.data, file.size, "index", &index, &err), OK);
    assert_int_equal(index.count, 3);
    assert_memory_equal(index.digests, digests, sizeof digests);
    fixed_index_deinit(&index);
    buffer_deinit(&file);

    /* The next one begins as a copy of it. */
    open_backup(&p, NEXT_QUERY);
    snprintf(path, sizeof path, "/fixed_index?archive-name=disk.img.fidx&size=%d&reuse-csum=" ZEROS,
             2 * WIRE_FIXED_CHUNK_SIZE + 9);
    expect(&p, "POST", path, 400);
    snprintf(path, sizeof path, "/fixed_index?archive-name=disk.img.fidx&size=%d&reuse-csum=%s",
             2 * WIRE_FIXED_CHUNK_SIZE + 9, csum);
    expect(&p, "POST", path, 200);
    snprintf(path, sizeof path, "/fixed_close?chunk-count=0&csum=%s&size=%d&wid=1", csum,
             2 * WIRE_FIXED_CHUNK_SIZE + 9);
    expect(&p, "POST", path, 200);
    manifest_json("demo", 1700000060, "disk.img.fidx", 2 * WIRE_FIXED_CHUNK_SIZE + 9, csum, json, sizeof json);
    assert_int_equal(upload_json(&p, json), 200);
    expect(&p, "POST", "/finish", 200);
    peer_close(&p);
    buffer_deinit(&full.blob);
}

/* V13 */
static void test_every_slot_of_a_fixed_index_is_written_once(void **state)
{
    (void)state;
    struct made_chunk full;
    uint8_t *bytes = make_constant(WIRE_FIXED_CHUNK_SIZE, 7);
    make_chunk(bytes, WIRE_FIXED_CHUNK_SIZE, &full);
    free(bytes);
    for (int i = 0; i < 2; i++) {
        struct peer p;
        char path[400];
        open_backup(&p, BASE_QUERY);
        snprintf(path, sizeof path, "/fixed_index?archive-name=d.img.fidx&size=%d", 2 * WIRE_FIXED_CHUNK_SIZE);
        expect(&p, "POST", path, 200);
        assert_int_equal(upload_chunk(&p, "fixed_chunk", 1, &full), 200);
        assert_int_equal(append_one(&p, "/fixed_index", 1, full.digest, 0), 200);
        if (i == 0) {
            assert_int_equal(append_one(&p, "/fixed_index", 1, full.digest, 0), 200);
            assert_int_equal(append_one(&p, "/fixed_index", 1, full.digest, WIRE_FIXED_CHUNK_SIZE), 200);
        }
        snprintf(path, sizeof path, "/fixed_close?chunk-count=%d&csum=" ZEROS "&size=%d&wid=1", i == 0 ? 3 : 1,
                 2 * WIRE_FIXED_CHUNK_SIZE);
        expect(&p, "POST", path, 400);
        assert_true(strstr(err.text, i == 0 ? "twice" : "missing") != NULL);
        expect(&p, "POST", "/finish", 400);
        peer_close(&p);
        assert_true(goes_away("host/demo"));
    }
    struct peer p;
    char path[400];
    open_backup(&p, BASE_QUERY);
    snprintf(path, sizeof path, "/fixed_index?archive-name=d.img.fidx&size=%d", 2 * WIRE_FIXED_CHUNK_SIZE);
    expect(&p, "POST", path, 200);
    assert_int_equal(upload_chunk(&p, "fixed_chunk", 1, &full), 200);
    assert_int_equal(append_one(&p, "/fixed_index", 1, full.digest, 1), 400);
    assert_int_equal(append_one(&p, "/fixed_index", 1, full.digest, 2 * WIRE_FIXED_CHUNK_SIZE), 400);
    peer_close(&p);
    buffer_deinit(&full.blob);
}

/* ---- blobs and finish: V12 to V16; 60, 61, 63, 73 ---- */

static void test_blobs(void **state)
{
    (void)state;
    struct peer p;
    struct buffer blob, empty;
    char path[300];
    plain_blob("some configuration", 18, &blob);
    plain_blob("", 0, &empty);
    open_backup(&p, BASE_QUERY);
    snprintf(path, sizeof path, "/blob?encoded-size=%zu&file-name=a.conf.blob", blob.size);
    assert_int_equal(status_of(&p, "POST", path, WIRE_TYPE_BINARY, blob.data, blob.size - 1), 400);
    blob.data[8] ^= 1;
    assert_int_equal(upload_blob(&p, "a.conf.blob", &blob), 400);
    blob.data[8] ^= 1;
    blob.data[0] ^= 1;
    assert_int_equal(upload_blob(&p, "a.conf.blob", &blob), 400);
    blob.data[0] ^= 1;
    assert_false(is_stored(BASE_DIR "/a.conf.blob"));
    assert_int_equal(upload_blob(&p, "a.conf.blob", &blob), 200);
    assert_int_equal(upload_blob(&p, "a.conf.blob", &blob), 400); /* V13 */
    assert_int_equal(empty.size, 12);
    assert_int_equal(upload_blob(&p, "empty.blob", &empty), 200);
    struct buffer file;
    read_stored(BASE_DIR "/a.conf.blob", &file);
    assert_int_equal(file.size, blob.size);
    assert_memory_equal(file.data, blob.data, file.size);
    buffer_deinit(&file);
    peer_close(&p);
    buffer_deinit(&blob);
    buffer_deinit(&empty);
}

/* What a manifest says of a backup with one blob. */
static int finish_with(const char *json)
{
    struct peer p;
    struct buffer blob;
    plain_blob("some configuration", 18, &blob);
    open_backup(&p, BASE_QUERY);
    assert_int_equal(upload_blob(&p, "a.conf.blob", &blob), 200);
    int status = upload_json(&p, json);
    if (status == 200)
        status = post(&p, "/finish");
    peer_close(&p);
    if (status != 200)
        assert_true(goes_away("host/demo"));
    buffer_deinit(&blob);
    return status;
}

static void test_finish_wants_a_manifest_that_fits(void **state)
{
    (void)state;
    struct peer p;
    struct buffer blob;
    struct digest digest;
    char csum[DIGEST_TEXT_SIZE], json[2048];
    plain_blob("some configuration", 18, &blob);
    digest_of(blob.data, blob.size, &digest);
    digest_text(&digest, csum);
    open_backup(&p, BASE_QUERY);
    expect(&p, "POST", "/finish", 400); /* nothing at all */
    assert_int_equal(upload_blob(&p, "a.conf.blob", &blob), 200);
    expect(&p, "POST", "/finish", 400); /* no manifest */
    expect(&p, "POST", "/dynamic_index?archive-name=a.didx", 200);
    manifest_json("demo", 1700000000, "a.conf.blob", blob.size, csum, json, sizeof json);
    assert_int_equal(upload_json(&p, json), 200);
    expect(&p, "POST", "/finish", 400); /* a writer is open */
    peer_close(&p);
    assert_true(goes_away("host/demo"));

    assert_int_equal(finish_with("no JSON"), 400);
    assert_int_equal(finish_with("{}"), 400);
    manifest_json("other", 1700000000, "a.conf.blob", blob.size, csum, json, sizeof json);
    assert_int_equal(finish_with(json), 400);
    manifest_json("demo", 1700000001, "a.conf.blob", blob.size, csum, json, sizeof json);
    assert_int_equal(finish_with(json), 400);
    manifest_json("demo", 1700000000, "b.conf.blob", blob.size, csum, json, sizeof json);
    assert_int_equal(finish_with(json), 400);
    manifest_json("demo", 1700000000, NULL, 0, NULL, json, sizeof json);
    assert_int_equal(finish_with(json), 400);
    manifest_json("demo", 1700000000, "a.conf.blob", blob.size + 1, csum, json, sizeof json);
    assert_int_equal(finish_with(json), 400);
    manifest_json("demo", 1700000000, "a.conf.blob", blob.size, ZEROS, json, sizeof json);
    assert_int_equal(finish_with(json), 400);
    manifest_json("demo", 1700000000, "a.conf.blob", blob.size, csum, json, sizeof json);
    assert_int_equal(finish_with(json), 200);
    assert_true(is_stored(BASE_DIR "/index.json.blob"));
    buffer_deinit(&blob);
}

static void test_after_finish(void **state)
{
    (void)state;
    struct peer p;
    struct buffer blob;
    char json[2048];
    make_snapshot(BASE_QUERY, "demo", 1700000000, "the base");
    open_backup(&p, NEXT_QUERY);
    plain_blob("late", 4, &blob);
    manifest_json("demo", 1700000060, NULL, 0, NULL, json, sizeof json);
    assert_int_equal(upload_json(&p, json), 200);
    expect(&p, "POST", "/finish", 200);
    expect(&p, "POST", "/dynamic_index?archive-name=a.didx", 400);
    expect(&p, "POST", "/fixed_index?archive-name=a.fidx&size=1", 400);
    assert_int_equal(upload_chunk(&p, "dynamic_chunk", 1, &one), 400);
    assert_int_equal(append_one(&p, "/dynamic_index", 1, one.digest, 0), 400);
    expect(&p, "POST", "/dynamic_close?chunk-count=1&csum=" ZEROS "&size=1&wid=1", 400);
    expect(&p, "POST", "/finish", 400);
    assert_int_equal(upload_blob(&p, "late.blob", &blob), 400);
    expect(&p, "GET", "/previous?archive-name=root.pxar.didx", 400);
    expect(&p, "GET", "/previous?archive-name=index.json.blob", 200);
    assert_says(&p, "GET", "/previous_backup_time", "{\"data\":1700000000}");
    expect(&p, "POST", "/speedtest", 200);
    /* The group is free already. */
    assert_int_equal(upgrade_status_once(SESSION_BACKUP, BACKUP_QUERY("demo", 1700000070), TOKEN ":" SECRET), 101);
    assert_int_equal(upgrade_status_once(SESSION_READER, NEXT_QUERY, TOKEN ":" SECRET), 101);
    peer_close(&p);
    poll(NULL, 0, 50);
    assert_true(is_stored(NEXT_DIR "/index.json.blob"));
    buffer_deinit(&blob);
}

static void test_the_base_must_still_be_there(void **state)
{
    (void)state;
    struct peer p;
    char json[2048];
    make_snapshot(BASE_QUERY, "demo", 1700000000, "the base");
    open_backup(&p, NEXT_QUERY);
    manifest_json("demo", 1700000060, NULL, 0, NULL, json, sizeof json);
    assert_int_equal(upload_json(&p, json), 200);
    assert_int_equal(rename(stored(BASE_DIR), stored("elsewhere")), 0);
    expect(&p, "POST", "/finish", 400);
    assert_int_equal(rename(stored("elsewhere"), stored(BASE_DIR)), 0);
    assert_int_equal(unlink(stored(BASE_DIR "/index.json.blob")), 0);
    expect(&p, "POST", "/finish", 400);
    peer_close(&p);
    assert_true(goes_away(NEXT_DIR));
}

/* 62 */
static void test_lost_sessions_leave_nothing(void **state)
{
    (void)state;
    struct peer p;
    char name[100];
    open_backup(&p, BASE_QUERY);
    expect(&p, "POST", "/dynamic_index?archive-name=a.didx", 200);
    assert_int_equal(upload_chunk(&p, "dynamic_chunk", 1, &one), 200);
    assert_true(is_stored(BASE_DIR "/a.tmp_didx"));
    assert_true(is_stored("host/demo/owner"));
    peer_close(&p);
    assert_true(goes_away("host/demo"));
    stored_at(one.digest, name);
    assert_true(is_stored(name));
    make_snapshot(BASE_QUERY, "demo", 1700000000, "now whole");
    open_backup(&p, NEXT_QUERY);
    peer_close(&p);
    assert_true(goes_away(NEXT_DIR));
    assert_true(is_stored(BASE_DIR "/index.json.blob"));
    assert_true(is_stored("host/demo/owner"));
}

/* ---- previous: 68, 69 ---- */

static void test_previous(void **state)
{
    (void)state;
    struct peer p;
    make_snapshot(BASE_QUERY, "demo", 1700000000, "chunk one");
    open_backup(&p, NEXT_QUERY);
    assert_says(&p, "GET", "/previous_backup_time", "{\"data\":1700000000}");
    expect(&p, "GET", "/previous?archive-name=none.blob", 404);
    expect(&p, "GET", "/previous?archive-name=none.didx", 400);
    expect(&p, "GET", "/previous?archive-name=owner", 400);
    expect(&p, "POST", "/dynamic_index?archive-name=a.didx", 200);
    assert_int_equal(append_one(&p, "/dynamic_index", 1, one.digest, 0), 400);
    peer_close(&p);
    assert_true(goes_away(NEXT_DIR));
    open_backup(&p, NEXT_QUERY);
    expect(&p, "POST", "/dynamic_index?archive-name=a.didx", 200);
    /* Registered although nobody reads the body. */
    int32_t id = send_call(&p, "GET", "/previous?archive-name=root.pxar.didx", NULL, NULL);
    h2_client_cancel(p.h2, id);
    expect(&p, "GET", "/previous_backup_time", 0);
    struct answer a;
    next_answer(&p, &a);
    assert_int_equal(a.status, 200);
    buffer_deinit(&a.body);
    int status = append_one(&p, "/dynamic_index", 1, one.digest, 0);
    assert_true(status == 200 || status == 400); /* the request may never have been sent */
    expect(&p, "GET", "/previous?archive-name=root.pxar.didx", 200);
    assert_int_equal(append_one(&p, "/dynamic_index", 1, one.digest, status == 200 ? 9 : 0), 200);
    peer_close(&p);
}

static void spoil_manifest(const char *state)
{
    struct buffer file, text = BUFFER_INIT(1 << 20), blob;
    struct blob_context *context;
    read_stored(BASE_DIR "/index.json.blob", &file);
    assert_int_equal(blob_context_new(&context, NULL), OK);
    assert_int_equal(blob_open(context, file.data, file.size, 1 << 20, "manifest", &text, &err), OK);
    json_t *json = json_loadb((const char *)text.data, text.size, 0, NULL);
    json_t *verify = json_loads(state, 0, NULL);
    assert_non_null(verify);
    json_object_set_new(json_object_get(json, "unprotected"), "verify_state", verify);
    char *changed = json_dumps(json, 0);
    plain_blob(changed, strlen(changed), &blob);
    FILE *f = fopen(stored(BASE_DIR "/index.json.blob"), "we");
    assert_int_equal(fwrite(blob.data, 1, blob.size, f), blob.size);
    fclose(f);
    free(changed);
    json_decref(json);
    blob_context_free(context);
    buffer_deinit(&blob);
    buffer_deinit(&text);
    buffer_deinit(&file);
}

static void test_a_base_that_failed_its_verification_is_none(void **state)
{
    (void)state;
    struct peer p;
    make_snapshot(BASE_QUERY, "demo", 1700000000, "chunk one");
    spoil_manifest("{\"state\":\"failed\"}"); /* no upid: as if it were not there */
    open_backup(&p, NEXT_QUERY);
    assert_says(&p, "GET", "/previous_backup_time", "{\"data\":1700000000}");
    peer_close(&p);
    assert_true(goes_away(NEXT_DIR));
    spoil_manifest("{\"state\":\"failed\",\"upid\":\"UPID:host:00001234:00005678:00000001:65540000:verify:store1:"
                   "root@pam:\"}");
    open_backup(&p, NEXT_QUERY);
    assert_says(&p, "GET", "/previous_backup_time", "{\"data\":null}");
    expect(&p, "GET", "/previous?archive-name=root.pxar.didx", 400);
    peer_close(&p);
    assert_true(goes_away(NEXT_DIR));
    /* Nor does it keep older times from being used. */
    assert_int_equal(upgrade_status(SESSION_BACKUP, BACKUP_QUERY("demo", 1600000000), TOKEN ":" SECRET), 101);
}

/* ---- readers: V18, V19; 70, 71 ---- */

static void test_readers(void **state)
{
    (void)state;
    struct peer p;
    char path[300];
    struct answer a;
    make_snapshot(BASE_QUERY, "demo", 1700000000, "chunk one");
    make_snapshot(BACKUP_QUERY("other", 1700000000), "other", 1700000000, "chunk number two");
    assert_int_equal(upgrade_status(SESSION_READER, BASE_QUERY "&benchmark=true", TOKEN ":" SECRET), 400);
    assert_int_equal(upgrade_status(SESSION_READER, BACKUP_QUERY("none", 1), TOKEN ":" SECRET), 400);
    assert_int_equal(upgrade_status(SESSION_READER, BACKUP_QUERY("demo", 1), TOKEN ":" SECRET), 400);
    open_reader(&p, BASE_QUERY);
    assert_says(&p, "GET", "/",
                "{\"data\":[{\"subdir\":\"chunk\"},{\"subdir\":\"download\"},{\"subdir\":\"speedtest\"}]}");
    snprintf(path, sizeof path, "/chunk?digest=%s", one.digest);
    expect(&p, "GET", path, 401);
    expect(&p, "GET", "/download?file-name=root.pxar.didx", 200);
    call(&p, "GET", path, NULL, NULL, 0, &a);
    assert_int_equal(a.status, 200);
    assert_false(a.json);
    assert_int_equal(a.body.size, one.blob.size);
    assert_memory_equal(a.body.data, one.blob.data, a.body.size);
    buffer_deinit(&a.body);
    snprintf(path, sizeof path, "/chunk?digest=%s", two.digest);
    expect(&p, "GET", path, 401);
    expect(&p, "GET", "/download?file-name=none.didx", 400);
    expect(&p, "GET", "/download?file-name=none.blob", 404);
    expect(&p, "GET", "/download?file-name=owner", 400);
    expect(&p, "GET", "/download?file-name=..%2Fowner", 400);
    expect(&p, "GET", "/download", 400);
    expect(&p, "GET", "/previous_backup_time", 404);
    expect(&p, "POST", "/download?file-name=root.pxar.didx", 404);
    call(&p, "GET", "/speedtest", NULL, NULL, 0, &a);
    assert_int_equal(a.body.size, 1 << 20);
    for (size_t i = 0; i < a.body.size; i++)
        assert_int_equal(a.body.data[i], 0x41);
    buffer_deinit(&a.body);
    /* A chunk that is gone. */
    char name[100];
    stored_at(one.digest, name);
    assert_int_equal(unlink(stored(name)), 0);
    snprintf(path, sizeof path, "/chunk?digest=%s", one.digest);
    expect(&p, "GET", path, 400);
    peer_close(&p);
}

static void test_what_is_being_written_or_read_stays(void **state)
{
    (void)state;
    struct peer p, reader;
    open_backup(&p, BASE_QUERY);
    assert_int_equal(upgrade_status_once(SESSION_READER, BASE_QUERY, TOKEN ":" SECRET), 400);
    peer_close(&p);
    assert_true(goes_away("host/demo"));
    make_snapshot(BASE_QUERY, "demo", 1700000000, "chunk one");
    open_reader(&reader, BASE_QUERY);
    open_backup(&p, NEXT_QUERY); /* readers do not care about groups */
    assert_int_equal(ask_once("DELETE /api2/json/admin/datastore/store1/snapshots?backup-id=demo&"
                              "backup-time=1700000000&backup-type=host HTTP/1.1\r\nHost: x\r\n" AUTHORIZATION "\r\n"),
                     400);
    assert_true(is_stored(BASE_DIR "/index.json.blob"));
    peer_close(&p);
    peer_close(&reader);
}

static void test_benchmarks_leave_nothing(void **state)
{
    (void)state;
    struct peer p;
    uint8_t *bytes = make_constant(4 << 20, 1);
    assert_int_equal(upgrade_status(SESSION_BACKUP, BACKUP_QUERY("benchmark", 1), TOKEN ":" SECRET), 400);
    assert_int_equal(upgrade_status(SESSION_BACKUP, BASE_QUERY "&benchmark=true", TOKEN ":" SECRET), 400);
    open_backup(&p, BACKUP_QUERY("benchmark", 1) "&benchmark=true");
    for (int i = 0; i < 3; i++)
        assert_int_equal(status_of(&p, "POST", "/speedtest", WIRE_TYPE_FORM, bytes, 4 << 20), 200);
    peer_close(&p);
    assert_true(goes_away("host/benchmark"));
    /* Not even what is finished. */
    char json[2048];
    manifest_json("benchmark", 2, NULL, 0, NULL, json, sizeof json);
    open_backup(&p, BACKUP_QUERY("benchmark", 2) "&benchmark=true");
    assert_int_equal(upload_json(&p, json), 200);
    expect(&p, "POST", "/finish", 200);
    peer_close(&p);
    assert_true(goes_away("host/benchmark"));
    free(bytes);
}

/* 74 */
static void test_modes_and_names_on_disk(void **state)
{
    (void)state;
    struct stat st;
    char name[100];
    mode_t mask = umask(022);
    make_snapshot(BASE_QUERY, "demo", 1700000000, "chunk one");
    umask(mask);
    stored_at(one.digest, name);
    assert_int_equal(stat(stored(name), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(stat(stored(BASE_DIR), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_int_equal(stat(stored(BASE_DIR "/root.pxar.didx"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(stat(stored(".pxarbench/key.pem"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(stored(".pxarbench"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_true(is_stored(".lock"));
    assert_false(is_stored(BASE_DIR "/root.pxar.tmp_didx"));
}

/* V26, 78 */
static void test_broken_http2_ends_the_session(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"GET / HTTP/1.1\r\n\r\n0123456789", 28},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff", 33},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0\0\0\4\1\5\0\0\0\1\xff\xff\xff\xff", 46},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0\0\0\4\0\0\0\0\0\1"
         "abcd",
         46},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct peer p;
        uint8_t bytes[4096];
        open_backup(&p, BASE_QUERY);
        assert_true(is_stored(BASE_DIR));
        peer_write(&p, cases[i].bytes, cases[i].size);
        while (peer_read(&p, bytes, sizeof bytes) > 0)
            ;
        peer_close(&p);
        assert_true(goes_away("host/demo"));
    }
}

int main(void)
{
#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_upgrades_are_checked_in_order),
        TEST(test_namespaces),
        TEST(test_the_owner_rule),
        TEST(test_one_backup_per_group_and_later_than_the_last),
        TEST(test_a_group_needs_an_owner_and_a_readable_base),
        TEST(test_schema_and_paths),
        TEST(test_bodies_with_parameters_are_bounded),
        TEST(test_parameters_of_sessions_come_from_anywhere),
        TEST(test_wids),
        TEST(test_digests_of_other_sessions_are_unknown),
        TEST(test_a_failed_append_or_close_stops_the_backup),
        TEST(test_chunks_are_checked),
        TEST(test_a_zstd_bomb_is_refused),
        TEST(test_encrypted_chunks_are_believed),
        TEST(test_fixed_indexes),
        TEST(test_every_slot_of_a_fixed_index_is_written_once),
        TEST(test_blobs),
        TEST(test_finish_wants_a_manifest_that_fits),
        TEST(test_after_finish),
        TEST(test_the_base_must_still_be_there),
        TEST(test_lost_sessions_leave_nothing),
        TEST(test_previous),
        TEST(test_a_base_that_failed_its_verification_is_none),
        TEST(test_readers),
        TEST(test_what_is_being_written_or_read_stays),
        TEST(test_benchmarks_leave_nothing),
        TEST(test_modes_and_names_on_disk),
        TEST(test_broken_http2_ends_the_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
