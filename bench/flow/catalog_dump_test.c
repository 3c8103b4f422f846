/* Lines of catalogs and archives out of a store, whichever of them a snapshot has. */
#include "testing/testing.h"

#include "blob/blob.h"
#include "flow/catalog_dump.h"
#include "pxar/catalog.h"
#include "pxar/tree_text.h"
#include "store/test_store.h"

enum { CHUNK_SIZE = 1000 };

static char *dir;
static struct store *store;
static struct snapshot_id id;
static struct store_writer *writer;
static struct manifest manifest;

static int setup(void **state)
{
    (void)state;
    dir = small_store_dir();
    store = open_store_at(dir);
    id = snapshot("x", 60);
    writer = begin(store, &id);
    return manifest_init(&manifest, id.type, id.id, id.time, NULL) == OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    store_abort(writer);
    manifest_deinit(&manifest);
    store_close(store);
    temp_dir_remove(dir);
    return 0;
}

static enum status keep(void *context, const uint8_t *data, size_t size, struct error *err)
{
    return buffer_append(context, data, size, err);
}

static struct sink sink_into(struct buffer *b)
{
    return (struct sink){.write = keep, .context = b};
}

static void seal(const uint8_t *data, size_t size, struct buffer *out)
{
    struct blob_context *context;
    struct slice slice = {.data = data, .size = size};
    assert_int_equal(blob_context_new(&context, NULL), OK);
    assert_int_equal(blob_seal(context, &slice, 1, out, NULL), OK);
    blob_context_free(context);
}

/* Stores `stream` as chunks and index; takes its memory. */
static void put_stream(const char *name, const char *mode, struct buffer *stream)
{
    CLEANUP(buffer_deinit) struct buffer sealed = BUFFER_INIT(1 << 20);
    struct store_index *index;
    struct digest digest;
    uint64_t size, count;
    assert_int_equal(store_index_begin(writer, name, &index, NULL), OK);
    for (size_t at = 0; at < stream->size; at += CHUNK_SIZE) {
        size_t part = stream->size - at < CHUNK_SIZE ? stream->size - at : CHUNK_SIZE;
        bool is_new;
        digest_of(stream->data + at, part, &digest);
        seal(stream->data + at, part, &sealed);
        assert_int_equal(
            store_put_chunk(writer, &(struct store_chunk){.digest = &digest, .blob = &sealed}, &is_new, NULL), OK);
        assert_int_equal(store_index_append(index, at + part, &digest, false, NULL), OK);
    }
    assert_int_equal(store_index_finish(index, &digest, &size, &count, NULL), OK);
    assert_int_equal(manifest_add(&manifest, name, mode, size, &digest, NULL), OK);
    buffer_deinit(stream);
}

static const char tree[] =
    "{\"schema\":\"pxar-vector-tree/1\",\"name\":\"t\",\"comment\":\"\",\"from_filesystem\":false,\"root\":{"
    "\"mode\":\"0755\",\"uid\":0,\"gid\":0,\"mtime\":[1700000000,0],\"entries\":["
    "{\"name\":\"d\",\"type\":\"dir\",\"mode\":\"0755\",\"uid\":0,\"gid\":0,\"mtime\":[0,0],\"entries\":["
    "{\"name\":\"p\",\"type\":\"fifo\",\"mode\":\"0644\",\"uid\":0,\"gid\":0,\"mtime\":[5,0]}]},"
    "{\"name\":\"f\",\"type\":\"file\",\"mode\":\"0644\",\"uid\":0,\"gid\":0,\"mtime\":[-1,5],"
    "\"content\":{\"kind\":\"splitmix64\",\"seed\":1,\"size\":300000}},"
    "{\"name\":\"h\",\"type\":\"hardlink\",\"target\":\"f\"},"
    "{\"name\":\"l\",\"type\":\"symlink\",\"target\":\"f\",\"mode\":\"0777\",\"uid\":0,\"gid\":0,\"mtime\":[0,0]}]}}";
#define TREE_LINES(name)                                                                                               \
    "d \"./" name "\"\n"                                                                                               \
    "d \"./" name "/d\"\n"                                                                                             \
    "p \"./" name "/d/p\"\n"                                                                                           \
    "f \"./" name "/f\" 300000 1969-12-31T23:59:59Z\n"                                                                 \
    "h \"./" name "/h\"\n"                                                                                             \
    "l \"./" name "/l\"\n"

static void put_split(const char *metadata_name, const char *payload_name, const char *mode)
{
    struct buffer metadata = BUFFER_INIT(0), payload = BUFFER_INIT(0);
    assert_int_equal(tree_text_encode(tree, strlen(tree), "t", sink_into(&metadata), sink_into(&payload), NULL), OK);
    put_stream(payload_name, mode, &payload);
    put_stream(metadata_name, mode, &metadata);
}

static void put_unified(const char *name)
{
    struct buffer archive = BUFFER_INIT(0);
    assert_int_equal(tree_text_encode_unified(tree, strlen(tree), "t", sink_into(&archive), NULL), OK);
    put_stream(name, "none", &archive);
}

/* A catalog of two archives with an empty directory each: what it says is not what the archives hold. */
static void put_catalog(const char *first, const char *second)
{
    struct catalog_writer *w;
    struct buffer catalog = BUFFER_INIT(0);
    const char *const names[] = {first, second};
    assert_int_equal(catalog_writer_new(sink_into(&catalog), &w, NULL), OK);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(catalog_directory_begin(w, names[i], strlen(names[i]), NULL), OK);
        assert_int_equal(catalog_directory_begin(w, "dir", 3, NULL), OK);
        assert_int_equal(catalog_directory_end(w, NULL), OK);
        assert_int_equal(catalog_directory_end(w, NULL), OK);
    }
    assert_int_equal(catalog_finish(w, NULL), OK);
    catalog_writer_free(w);
    put_stream("catalog.pcat1.didx", "none", &catalog);
}

static void put_conf(void)
{
    CLEANUP(buffer_deinit) struct buffer sealed = BUFFER_INIT(1 << 20);
    struct digest digest;
    seal((const uint8_t *)"x", 1, &sealed);
    digest_of(sealed.data, sealed.size, &digest);
    assert_int_equal(store_put_blob(writer, "x.conf.blob", sealed.data, sealed.size, NULL), OK);
    assert_int_equal(manifest_add(&manifest, "x.conf.blob", "none", sealed.size, &digest, NULL), OK);
}

static void finish(void)
{
    CLEANUP(buffer_deinit) struct buffer text = BUFFER_INIT(1 << 20);
    CLEANUP(buffer_deinit) struct buffer sealed = BUFFER_INIT(1 << 20);
    assert_int_equal(manifest_write(&manifest, &text, NULL), OK);
    seal(text.data, text.size, &sealed);
    assert_int_equal(store_finish(writer, sealed.data, sealed.size, NULL), OK);
    writer = NULL;
}

static void assert_dump(const char *archive, const char *wanted)
{
    CLEANUP(buffer_deinit) struct buffer lines = BUFFER_INIT(0);
    struct error err = {0};
    if (catalog_dump(store, &id, archive, sink_into(&lines), &err) != OK)
        assert_string_equal(err.text, "");
    assert_int_equal(buffer_append_u8(&lines, '\0', NULL), OK);
    assert_string_equal((const char *)lines.data, wanted);
}

static void assert_refused(const char *archive, enum status status, const char *part)
{
    CLEANUP(buffer_deinit) struct buffer lines = BUFFER_INIT(0);
    struct error err = {0};
    assert_int_equal(catalog_dump(store, &id, archive, sink_into(&lines), &err), status);
    if (!strstr(err.text, part))
        assert_string_equal(err.text, part);
    assert_int_equal(lines.size, 0);
}

static void test_archives_without_catalog_sorted(void **state)
{
    (void)state;
    put_split("b.mpxar.didx", "b.ppxar.didx", "none");
    put_unified("c.pxar.didx");
    put_split("a.mpxar.didx", "a.ppxar.didx", "none");
    put_conf();
    finish();
    assert_dump(NULL, TREE_LINES("a.mpxar.didx") TREE_LINES("b.mpxar.didx") TREE_LINES("c.pxar.didx"));
    assert_dump("b.pxar", TREE_LINES("b.mpxar.didx"));
    assert_dump("b.ppxar.didx", TREE_LINES("b.mpxar.didx"));
    assert_dump("c.pxar", TREE_LINES("c.pxar.didx"));
    assert_refused("d.pxar", ERR_NOT_FOUND, "archive not found in manifest");
    assert_refused("catalog.pcat1", ERR_NOT_FOUND, "archive not found in manifest");
    assert_refused("x.conf", ERR_USAGE, "x.conf.blob is not an archive");
}

static void test_catalog_is_taken_when_there_is_one(void **state)
{
    (void)state;
    put_unified("a.pxar.didx");
    put_unified("a.pxar.didxx.pxar.didx"); /* begins like the other one */
    put_unified("z.pxar.didx");            /* forgotten by the catalog */
    put_catalog("a.pxar.didx", "a.pxar.didxx.pxar.didx");
    finish();
    assert_dump(NULL, "d \"./a.pxar.didx\"\nd \"./a.pxar.didx/dir\"\n"
                      "d \"./a.pxar.didxx.pxar.didx\"\nd \"./a.pxar.didxx.pxar.didx/dir\"\n");
    assert_dump("catalog.pcat1", "d \"./a.pxar.didx\"\nd \"./a.pxar.didx/dir\"\n"
                                 "d \"./a.pxar.didxx.pxar.didx\"\nd \"./a.pxar.didxx.pxar.didx/dir\"\n");
    assert_dump("a.pxar", "d \"./a.pxar.didx\"\nd \"./a.pxar.didx/dir\"\n");
    assert_dump("a.pxar.didxx.pxar", "d \"./a.pxar.didxx.pxar.didx\"\nd \"./a.pxar.didxx.pxar.didx/dir\"\n");
    assert_refused("z.pxar", ERR_NOT_FOUND, "z.pxar.didx is not in catalog.pcat1.didx");
}

static void test_contents_are_not_fetched(void **state)
{
    (void)state;
    put_split("a.mpxar.didx", "a.ppxar.didx", "none");
    struct buffer archive = BUFFER_INIT(0);
    assert_int_equal(tree_text_encode_unified(tree, strlen(tree), "t", sink_into(&archive), NULL), OK);
    struct digest middle; /* a chunk with nothing but content */
    digest_of(archive.data + 150 * CHUNK_SIZE, CHUNK_SIZE, &middle);
    put_stream("c.pxar.didx", "none", &archive);
    finish();
    char name[CHUNK_NAME_SIZE], path[128];
    chunk_name(&middle, name);
    snprintf(path, sizeof path, ".chunks/%s", name);
    assert_int_equal(unlink(at(dir, path)), 0);
    assert_dump(NULL, TREE_LINES("a.mpxar.didx") TREE_LINES("c.pxar.didx"));
}

static void test_nothing_to_list(void **state)
{
    (void)state;
    put_conf();
    finish();
    assert_refused(NULL, ERR_NOT_FOUND, "neither a catalog nor an archive");
    id.time = 61;
    assert_refused(NULL, ERR_NOT_FOUND, "no such snapshot");
}

static void test_encrypted_archives_are_refused_by_name(void **state)
{
    (void)state;
    put_split("a.mpxar.didx", "a.ppxar.didx", "encrypt");
    finish();
    assert_refused(NULL, ERR_UNSUPPORTED, "a.mpxar.didx: is encrypted");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_archives_without_catalog_sorted),
        TEST(test_catalog_is_taken_when_there_is_one),
        TEST(test_contents_are_not_fetched),
        TEST(test_nothing_to_list),
        TEST(test_encrypted_archives_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
