/* What the tests of the plain calls share: a datastore with snapshots in it, and questions asked of it. Include
 * testing/testing.h first.
 *
 *   host/one   T1  root.mpxar, root.ppxar   old.pxar, catalog   disk.img   app.conf      owned by root@pam
 *              T2  the same
 *   host/two   T1  root.mpxar, root.ppxar                                                owned by bench@pbs!ci */
#ifndef PXB_SERVER_REST_FOR_TEST_H
#define PXB_SERVER_REST_FOR_TEST_H

#include "server/rest.h"

#include "base/log.h"
#include "flow/backup.h"
#include "wire/protocol.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { T1 = 1700000000, T2 = 1700000060, BIG_SIZE = 700000 };
#define T1_NAME "2023-11-14T22:13:20Z"
#define T2_NAME "2023-11-14T22:14:20Z"
#define SNAPSHOT_T1 "backup-type=host&backup-id=one&backup-time=1700000000"
#define SNAPSHOT_T2 "backup-type=host&backup-id=one&backup-time=1700000060"
#define STORE_PATH "admin/datastore/store1/"

static char *dir;
static struct store *store;
static struct rest_api *api;
static struct budget bodies;
static struct error err;
static const struct caller administrator UNUSED = {"root@pam", PRIVILEGE_ALL};

/* "DIR/NAME" in one of 8 static buffers. */
UNUSED static const char *at(const char *name)
{
    static char paths[8][PATH_MAX];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    snprintf(path, PATH_MAX, "%s/%s", dir, name);
    return path;
}

UNUSED static void put(const char *name, const void *data, size_t size)
{
    FILE *f = fopen(at(name), "we");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

UNUSED static bool exists(const char *name)
{
    struct stat st;
    return lstat(at(name), &st) == 0;
}

UNUSED static void read_back(const char *name, struct buffer *out)
{
    *out = BUFFER_INIT(1 << 24);
    assert_int_equal(buffer_reserve(out, 1 << 24, NULL), OK);
    FILE *f = fopen(at(name), "re");
    assert_non_null(f);
    out->size = fread(out->data, 1, 1 << 24, f);
    fclose(f);
}

/* Something of everything below `tree`. */
static void make_tree(void)
{
    assert_int_equal(mkdir(at("tree"), 0755), 0);
    assert_int_equal(mkdir(at("tree/d"), 0711), 0);
    assert_int_equal(mkdir(at("tree/d/deep"), 0755), 0);
    assert_int_equal(mkdir(at("tree/d/empty"), 0700), 0);
    uint8_t *big = make_splitmix64(BIG_SIZE, 7);
    put("tree/a", "hello\n", 6);
    put("tree/big", big, BIG_SIZE);
    put("tree/d/big", big + 1, BIG_SIZE - 1);
    put("tree/d/deep/x", "x", 1);
    put("tree/d/one", "two names", 9);
    put("tree/d/z", "", 0);
    put("tree/d/\xc3\xbc", "umlaut", 6);
    put("tree/d/\xff\xfe", "no text", 7);
    free(big);
    assert_int_equal(chmod(at("tree/d/deep/x"), 0755), 0);
    assert_int_equal(link(at("tree/d/one"), at("tree/d/two")), 0); /* both inside of d */
    assert_int_equal(link(at("tree/a"), at("tree/d/hard")), 0);    /* the first name is outside */
    assert_int_equal(symlink("../a", at("tree/d/soft")), 0);
    assert_int_equal(mkfifo(at("tree/d/pipe"), 0600), 0);
}

static void make_snapshot(const char *id, int64_t time, size_t source_count)
{
    const struct backup_source sources[] = {
        {.name = "root", .path = at("tree"), .kind = SOURCE_TREE, .has_mode = true, .mode = MODE_DATA},
        {.name = "old", .path = at("tree"), .kind = SOURCE_TREE, .has_mode = true, .mode = MODE_LEGACY},
        {.name = "disk", .path = at("disk"), .kind = SOURCE_IMAGE},
        {.name = "app", .path = at("conf"), .kind = SOURCE_BLOB, .extension = "conf"},
    };
    struct backup_options options = {
        .archive = {.mode = MODE_DATA, .chunk_average = 64 << 10, .threads = 1},
        .snapshot = {.type = "host", .time = time},
        .sources = sources,
        .source_count = source_count,
    };
    snprintf(options.snapshot.id, sizeof options.snapshot.id, "%s", id);
    struct backup_result result;
    if (backup_run(store, &options, &result, &err) != OK)
        assert_string_equal(err.text, "");
    backup_result_deinit(&result);
}

UNUSED static int set_up(void **state)
{
    (void)state;
    log_set_level(LOG_WARNING);
    umask(022);
    dir = temp_dir_make();
    assert_int_equal(mkdir(at("store"), 0755), 0);
    assert_int_equal(mkdir(at("store/.chunks"), 0750), 0);
    make_tree();
    uint8_t *disk = make_splitmix64(5 << 20, 9);
    put("disk", disk, 5 << 20);
    free(disk);
    put("conf", "a=b\n", 4);
    const struct store_options options = {.sync = SYNC_NONE, .create = true};
    if (store_open(at("store"), &options, &store, &err) != OK)
        assert_string_equal(err.text, "");
    make_snapshot("one", T1, 4);
    make_snapshot("one", T2, 4);
    make_snapshot("two", T1, 1);
    put("store/host/two/owner", "bench@pbs!ci\n", 13);
    budget_init(&bodies, 1 << 20);
    const struct rest_api_options api_options = {.store = store,
                                                 .store_name = "store1",
                                                 .parameter_body_max = WIRE_PARAMETER_BODY_MAX,
                                                 .bodies = &bodies,
                                                 .directory = at("store")};
    assert_int_equal(rest_api_new(&api_options, &api, &err), OK);
    return 0;
}

UNUSED static int tear_down(void **state)
{
    (void)state;
    rest_api_free(api);
    store_close(store);
    temp_dir_remove(dir);
    return 0;
}

/* ---- questions ---- */

enum { COMPONENTS_MAX = 16 };

struct asked {
    struct caller caller;
    const char *content_type;
    const void *body;
    size_t body_size;
};

/* `path` in plain text: what a target's components are behind "api2/json". */
UNUSED static struct rest_answer ask_as(const struct asked *how, const char *method, const char *path,
                                        const char *query)
{
    char text[512];
    const char *components[COMPONENTS_MAX];
    struct rest_question q = {
        .method = method,
        .components = components,
        .query = query,
        .content_type = how->content_type,
        .body = how->body,
        .body_size = how->body_size,
        .caller = how->caller.auth_id[0] ? &how->caller : NULL,
    };
    snprintf(text, sizeof text, "%s", path);
    for (char *rest = NULL, *part = strtok_r(text, "/", &rest); part; part = strtok_r(NULL, "/", &rest)) {
        assert_true(q.component_count < COMPONENTS_MAX);
        components[q.component_count++] = part;
    }
    struct rest_answer answer;
    rest_api_answer(api, &q, &answer);
    return answer;
}

UNUSED static struct rest_answer ask(const char *method, const char *path, const char *query)
{
    return ask_as(&(struct asked){.caller = administrator}, method, path, query);
}

/* The answer's bytes, read in pieces of `piece`. False: the source failed. */
UNUSED static bool drain(struct rest_answer *answer, size_t piece, struct buffer *out)
{
    *out = BUFFER_INIT(1 << 24);
    if (!answer->source.read)
        return buffer_append(out, answer->body.data, answer->body.size, NULL) == OK;
    uint8_t *part = malloc(piece);
    assert_non_null(part);
    enum status status;
    for (;;) {
        size_t size = 0;
        status = answer->source.read(answer->source.context, part, piece, &size, &err);
        if (status != OK || size == 0)
            break;
        assert_true(size <= piece);
        assert_int_equal(buffer_append(out, part, size, NULL), OK);
    }
    free(part);
    if (status == OK && answer->has_size)
        assert_int_equal(out->size, answer->size);
    return status == OK;
}

UNUSED static void assert_status(struct rest_answer answer, int status)
{
    struct buffer text;
    if (answer.status != status) {
        assert_true(drain(&answer, 4096, &text));
        print_error("%.*s\n", (int)text.size, (const char *)text.data);
        buffer_deinit(&text);
    }
    assert_int_equal(answer.status, status);
    rest_answer_deinit(&answer);
}

/* Of an error: its text contains this. */
UNUSED static void assert_error(struct rest_answer answer, int status, const char *word)
{
    char text[ERROR_TEXT_MAX + 1];
    assert_null(answer.source.read);
    snprintf(text, sizeof text, "%.*s", (int)answer.body.size, answer.body.data ? (char *)answer.body.data : "");
    if (answer.status != status || !strstr(text, word))
        print_error("%d, '%s'\n", answer.status, text);
    assert_int_equal(answer.status, status);
    assert_non_null(strstr(text, word));
    rest_answer_deinit(&answer);
}

/* The value of "data"; the caller decrefs. */
UNUSED static json_t *data_of(struct rest_answer answer)
{
    json_error_t problem;
    if (answer.status != 200)
        assert_status(answer, 200);
    assert_string_equal(answer.content_type, WIRE_TYPE_JSON_REPLY);
    assert_null(answer.source.read);
    json_t *whole = json_loadb((const char *)answer.body.data, answer.body.size, JSON_REJECT_DUPLICATES, &problem);
    assert_non_null(whole);
    json_t *data = json_object_get(whole, "data");
    assert_non_null(data);
    json_incref(data);
    json_decref(whole);
    rest_answer_deinit(&answer);
    return data;
}

UNUSED static void assert_data(struct rest_answer answer, const char *json)
{
    json_t *data = data_of(answer);
    json_t *wanted = json_loads(json, JSON_DECODE_ANY, NULL);
    assert_non_null(wanted);
    if (!json_equal(data, wanted)) {
        char *text = json_dumps(data, JSON_ENCODE_ANY);
        assert_string_equal(text, json);
    }
    json_decref(wanted);
    json_decref(data);
}

UNUSED static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

UNUSED static int64_t number_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

/* The element of a list with this member; NULL. */
UNUSED static const json_t *element_with(const json_t *list, const char *name, const char *value)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *element = json_array_get(list, i);
        const char *found = text_of(element, name);
        if (found && strcmp(found, value) == 0)
            return element;
    }
    return NULL;
}

#endif
