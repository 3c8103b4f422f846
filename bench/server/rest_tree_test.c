/* Files handed out as stored and decoded, directories of archives listed, members handed out, alone and packed. */
#include "testing/testing.h"

#include "flow/threads.h"
#include "server/rest_for_test.h"

#include <archive.h>
#include <archive_entry.h>
#include <locale.h>

#define IN_ROOT SNAPSHOT_T1 "&archive-name=root.mpxar.didx&filepath="

/* ---- base64 ---- */

/* "&filepath=" of a path, for queries. */
static const char *file_path(const char *path)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static char out[1024];
    size_t size = strlen(path);
    const uint8_t *p = (const uint8_t *)path;
    char *to = out + snprintf(out, sizeof out, "&filepath=");
    for (size_t i = 0; i < size; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16;
        v |= i + 1 < size ? (uint32_t)p[i + 1] << 8 : 0;
        v |= i + 2 < size ? (uint32_t)p[i + 2] : 0;
        char group[] = {digits[v >> 18], digits[v >> 12 & 63], digits[v >> 6 & 63], digits[v & 63]};
        size_t used = size - i < 3 ? size - i + 1 : 4;
        for (size_t k = 0; k < 4; k++)
            to += k < used && group[k] != '+' && group[k] != '/' ? sprintf(to, "%c", group[k])
                  : k < used                                     ? sprintf(to, "%%%02X", (unsigned)group[k])
                                                                 : sprintf(to, "%%3D");
    }
    return out;
}

static const char *query(const char *archive_name, const char *path, const char *more)
{
    static char out[2048];
    snprintf(out, sizeof out, SNAPSHOT_T1 "%s%s%s%s", archive_name ? "&archive-name=" : "",
             archive_name ? archive_name : "", file_path(path), more);
    return out;
}

/* ---- whole files ---- */

static void assert_same_as_file(struct rest_answer answer, size_t piece, const char *name)
{
    struct buffer found, wanted;
    assert_int_equal(answer.status, 200);
    assert_string_equal(answer.content_type, WIRE_TYPE_BINARY);
    assert_true(drain(&answer, piece, &found));
    read_back(name, &wanted);
    assert_int_equal(found.size, wanted.size);
    assert_memory_equal(found.data, wanted.data, wanted.size);
    buffer_deinit(&found);
    buffer_deinit(&wanted);
    rest_answer_deinit(&answer);
}

static void test_downloads_files_as_they_are_stored(void **state)
{
    (void)state;
    static const char *const names[] = {"index.json.blob", "root.mpxar.didx", "disk.img.fidx", "app.conf.blob"};
    for (size_t i = 0; i < 4; i++) {
        char asked[256], path[256];
        snprintf(asked, sizeof asked, SNAPSHOT_T1 "&file-name=%s", names[i]);
        snprintf(path, sizeof path, "store/host/one/" T1_NAME "/%s", names[i]);
        struct rest_answer answer = ask("GET", STORE_PATH "download", asked);
        assert_true(answer.has_size);
        assert_same_as_file(answer, 100, path);
    }
    assert_status(ask("GET", STORE_PATH "download", SNAPSHOT_T1 "&file-name=none.didx"), 400);
    assert_status(
        ask("GET", STORE_PATH "download", "backup-type=host&backup-id=one&backup-time=7&file-name=index.json.blob"),
        400);
}

static void test_a_download_survives_the_snapshot_and_notices_a_cut(void **state)
{
    (void)state;
    make_snapshot("short", T1, 1);
    const char *const asked = "backup-type=host&backup-id=short&backup-time=1700000000&file-name=root.mpxar.didx";
    struct buffer found;
    struct rest_answer answer = ask("GET", STORE_PATH "download", asked);
    assert_int_equal(truncate(at("store/host/short/" T1_NAME "/root.mpxar.didx"), 4000), 0);
    assert_false(drain(&answer, 1000, &found));
    assert_int_equal(found.size, 4000);
    buffer_deinit(&found);
    rest_answer_deinit(&answer);
    answer = ask("GET", STORE_PATH "download", asked);
    assert_status(ask("DELETE", STORE_PATH "snapshots", "backup-type=host&backup-id=short&backup-time=1700000000"),
                  200);
    assert_true(drain(&answer, 1000, &found));
    assert_int_equal(found.size, 4000);
    buffer_deinit(&found);
    rest_answer_deinit(&answer);
}

static void test_decodes_images_blobs_and_streams(void **state)
{
    (void)state;
    assert_same_as_file(ask("GET", STORE_PATH "download-decoded", SNAPSHOT_T1 "&file-name=disk.img.fidx"), 1 << 20,
                        "disk");
    assert_same_as_file(ask("GET", STORE_PATH "download-decoded", SNAPSHOT_T1 "&file-name=app.conf.blob"), 1, "conf");
    /* A payload stream: its marker, then the first file behind its header. */
    struct rest_answer answer = ask("GET", STORE_PATH "download-decoded", SNAPSHOT_T1 "&file-name=root.ppxar.didx");
    struct buffer stream;
    assert_true(answer.has_size);
    assert_true(drain(&answer, 7777, &stream));
    assert_memory_equal(stream.data + 32, "hello\n", 6);
    buffer_deinit(&stream);
    rest_answer_deinit(&answer);
    answer = ask("GET", STORE_PATH "download-decoded", SNAPSHOT_T1 "&file-name=index.json.blob");
    assert_true(drain(&answer, 100, &stream));
    assert_int_equal(stream.data[0], '{');
    buffer_deinit(&stream);
    rest_answer_deinit(&answer);
    assert_status(ask("GET", STORE_PATH "download-decoded", SNAPSHOT_T1 "&file-name=none.didx"), 400);
    assert_status(ask("GET", STORE_PATH "download-decoded", SNAPSHOT_T1 "&file-name=none.blob"), 400);
}

static void test_what_is_encrypted_is_not_decoded(void **state)
{
    (void)state;
    struct crypt_config key;
    const uint8_t bytes[CRYPT_KEY_SIZE] = {1};
    assert_int_equal(crypt_config_init(&key, bytes, NULL), OK);
    const struct store_options options = {.sync = SYNC_NONE, .key = &key};
    struct store *plain = store;
    assert_int_equal(store_open(at("store"), &options, &store, &err), OK);
    const struct backup_source source = {.name = "root", .path = at("tree"), .kind = SOURCE_TREE};
    const struct backup_options backup = {
        .archive = {.mode = MODE_DATA, .threads = 1},
        .snapshot = {.type = "host", .id = "secret", .time = T1},
        .crypt_mode = CRYPT_ENCRYPT,
        .sources = &source,
        .source_count = 1,
    };
    struct backup_result result;
    if (backup_run(store, &backup, &result, &err) != OK)
        assert_string_equal(err.text, "");
    backup_result_deinit(&result);
    store_close(store);
    store = plain;
    crypt_config_deinit(&key);
#define SECRET "backup-type=host&backup-id=secret&backup-time=1700000000"
    assert_error(ask("GET", STORE_PATH "download-decoded", SECRET "&file-name=root.mpxar.didx"), 400, "encrypted");
    assert_error(ask("GET", STORE_PATH "catalog", SECRET "&archive-name=root.mpxar.didx&filepath=root"), 400,
                 "encrypted");
    assert_error(ask("GET", STORE_PATH "pxar-file-download", SECRET "&archive-name=root.mpxar.didx&filepath=L2E%3D"),
                 400, "encrypted");
    assert_status(ask("GET", STORE_PATH "download", SECRET "&file-name=root.mpxar.didx"), 200);
    json_t *snapshots = data_of(ask("GET", STORE_PATH "snapshots", "backup-id=secret"));
    const json_t *first = json_array_get(snapshots, 0);
    assert_int_equal(strlen(text_of(first, "fingerprint")), 95);
    assert_string_equal(
        text_of(element_with(json_object_get(first, "files"), "filename", "root.mpxar.didx"), "crypt-mode"), "encrypt");
    json_decref(snapshots);
}

/* ---- catalogs ---- */

/* "type name", sorted by name, each on a line of its own. */
static int compare_lines(const void *a, const void *b)
{
    return strcmp(*(char *const *)a + 2, *(char *const *)b + 2);
}

static void assert_listing(struct rest_answer answer, const char *wanted)
{
    char *lines[64];
    char found[4096] = "";
    json_t *entries = data_of(answer);
    size_t count = json_array_size(entries);
    assert_true(count <= 64);
    for (size_t i = 0; i < count; i++) {
        const json_t *e = json_array_get(entries, i);
        const char *type = text_of(e, "type");
        bool is_file = strcmp(type, "f") == 0;
        assert_int_equal(json_is_true(json_object_get(e, "leaf")), strcmp(type, "d") != 0);
        assert_int_equal(json_object_get(e, "size") != NULL, is_file);
        assert_int_equal(json_object_get(e, "mtime") != NULL, is_file);
        assert_true(asprintf(&lines[i], "%s %s", type, text_of(e, "text")) > 0);
    }
    qsort(lines, count, sizeof *lines, compare_lines);
    for (size_t i = 0; i < count; i++) {
        strcat(strcat(found, lines[i]), "\n");
        free(lines[i]);
    }
    assert_string_equal(found, wanted);
    json_decref(entries);
}

#define LISTING_ROOT "f a\nf big\nd d\n"
/* "\xff\xfe" has two bytes that are no text. */
#define LISTING_D                                                                                                      \
    "f big\nd deep\nd empty\nh hard\nf one\np pipe\nl soft\nh two\nf z\nf \xc3\xbc\nf \xef\xbf\xbd\xef\xbf\xbd\n"

static void test_directories_of_split_and_unified_archives(void **state)
{
    (void)state;
    static const char *const names[] = {"root.mpxar.didx", "root.ppxar.didx", "root.pxar.didx", "old.pxar.didx"};
    for (size_t i = 0; i < 4; i++) {
        assert_listing(ask("GET", STORE_PATH "catalog", query(names[i], "/", "")), LISTING_ROOT);
        assert_listing(ask("GET", STORE_PATH "catalog", query(names[i], "", "")), LISTING_ROOT);
        assert_listing(ask("GET", STORE_PATH "catalog", query(names[i], "/d", "")), LISTING_D);
        assert_listing(ask("GET", STORE_PATH "catalog", query(names[i], "//d//deep/", "")), "f x\n");
        assert_listing(ask("GET", STORE_PATH "catalog", query(names[i], "d/empty", "")), "");
        assert_status(ask("GET", STORE_PATH "catalog", query(names[i], "/d/big", "")), 400);
        assert_status(ask("GET", STORE_PATH "catalog", query(names[i], "/none", "")), 400);
        assert_status(ask("GET", STORE_PATH "catalog", query(names[i], "/d/../d", "")), 400);
    }
    assert_listing(ask("GET", STORE_PATH "catalog", SNAPSHOT_T1 "&archive-name=root.mpxar.didx&filepath=root"),
                   LISTING_ROOT);
    assert_listing(ask("GET", STORE_PATH "catalog", SNAPSHOT_T1 "&archive-name=root.mpxar.didx&filepath=%2F"),
                   LISTING_ROOT);
    assert_status(ask("GET", STORE_PATH "catalog", query("none.mpxar.didx", "/", "")), 400);
    assert_status(ask("GET", STORE_PATH "catalog", query("disk.img.fidx", "/", "")), 400);
    assert_status(ask("GET", STORE_PATH "catalog", query("app.conf.blob", "/", "")), 400);
    assert_status(ask("GET", STORE_PATH "catalog", query("..%2Froot.mpxar.didx", "/", "")), 400);
}

static void test_the_stored_catalog_lists_unified_archives(void **state)
{
    (void)state;
    assert_listing(ask("GET", STORE_PATH "catalog", SNAPSHOT_T1 "&filepath=root"), "d old.pxar.didx\n");
    assert_listing(ask("GET", STORE_PATH "catalog", SNAPSHOT_T1 "&filepath=%2F"), "d old.pxar.didx\n");
    assert_listing(ask("GET", STORE_PATH "catalog", query(NULL, "/old.pxar.didx", "")), LISTING_ROOT);
    assert_listing(ask("GET", STORE_PATH "catalog", query(NULL, "old.pxar.didx/d/", "")), LISTING_D);
    assert_listing(ask("GET", STORE_PATH "catalog", query(NULL, "old.pxar.didx/d/empty", "")), "");
    assert_status(ask("GET", STORE_PATH "catalog", query(NULL, "/old.pxar.didx/d/big", "")), 400);
    assert_status(ask("GET", STORE_PATH "catalog", query(NULL, "/old.pxar.didx/none", "")), 400);
    assert_status(ask("GET", STORE_PATH "catalog", query(NULL, "/old.pxar.did", "")), 400);
    /* Without a catalog there is nothing to list. */
    assert_status(
        ask("GET", STORE_PATH "catalog", "backup-type=host&backup-id=two&backup-time=1700000000&filepath=root"), 400);
}

static void test_entries_name_the_path_that_lists_them(void **state)
{
    (void)state;
    json_t *entries = data_of(ask("GET", STORE_PATH "catalog", query("root.mpxar.didx", "/d", "")));
    const json_t *deep = element_with(entries, "text", "deep");
    assert_string_equal(text_of(deep, "filepath"), "L2QvZGVlcA=="); /* /d/deep */
    const json_t *big = element_with(entries, "text", "big");
    assert_int_equal(number_of(big, "size"), BIG_SIZE - 1);
    struct stat st;
    assert_int_equal(stat(at("tree/d/big"), &st), 0);
    assert_int_equal(number_of(big, "mtime"), st.st_mtime);
    json_decref(entries);
    entries = data_of(ask("GET", STORE_PATH "catalog", query(NULL, "/old.pxar.didx/d", "")));
    deep = element_with(entries, "text", "deep");
    assert_string_equal(text_of(deep, "filepath"), "L29sZC5weGFyLmRpZHgvZC9kZWVw");
    json_decref(entries);
}

static void test_a_path_is_base64_of_a_path(void **state)
{
    (void)state;
    static const char *const bad[] = {"%2", "L2E", "L2E=%20", "-_-_", "L2EA", "roo"}; /* "L2EA": with NUL */
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char asked[256];
        snprintf(asked, sizeof asked, IN_ROOT "%s", bad[i]);
        assert_status(ask("GET", STORE_PATH "catalog", asked), 400);
        assert_status(ask("GET", STORE_PATH "pxar-file-download", asked), 400);
    }
}

/* ---- members ---- */

static void test_files_out_of_archives(void **state)
{
    (void)state;
    static const char *const names[] = {"root.mpxar.didx", "root.pxar.didx", "old.pxar.didx"};
    static const struct {
        const char *path, *file;
    } files[] = {
        {"/a", "tree/a"},           {"big", "tree/big"},      {"/d/big", "tree/d/big"},           {"/d/z", "tree/d/z"},
        {"/d/hard", "tree/d/hard"}, {"/d/two", "tree/d/two"}, {"/d/\xff\xfe", "tree/d/\xff\xfe"},
    };
    for (size_t i = 0; i < 3; i++) {
        for (size_t k = 0; k < sizeof files / sizeof *files; k++) {
            struct rest_answer answer = ask("GET", STORE_PATH "pxar-file-download", query(names[i], files[k].path, ""));
            assert_true(answer.has_size);
            assert_same_as_file(answer, 5000, files[k].file);
        }
        assert_status(ask("GET", STORE_PATH "pxar-file-download", query(names[i], "/d/soft", "")), 400);
        assert_status(ask("GET", STORE_PATH "pxar-file-download", query(names[i], "/d/pipe", "")), 400);
        assert_status(ask("GET", STORE_PATH "pxar-file-download", query(names[i], "/d/none", "")), 400);
        assert_status(ask("GET", STORE_PATH "pxar-file-download", query(names[i], "/a/none", "")), 400);
        assert_status(ask("GET", STORE_PATH "pxar-file-download", query(names[i], "/../a", "")), 400);
    }
    assert_same_as_file(ask("GET", STORE_PATH "pxar-file-download", query(NULL, "root.mpxar.didx/d/big", "")), 5000,
                        "tree/d/big");
    assert_same_as_file(ask("GET", STORE_PATH "pxar-file-download", query(NULL, "/old.pxar.didx/a", "")), 1, "tree/a");
    assert_status(ask("GET", STORE_PATH "pxar-file-download", query(NULL, "/", "")), 400);
    assert_status(ask("GET", STORE_PATH "pxar-file-download", query(NULL, "/disk.img.fidx/a", "")), 400);
    assert_status(ask("GET", STORE_PATH "pxar-file-download", query(NULL, "/owner/a", "")), 400);
}

/* Every chunk that holds bytes of the big files: away, then back. */
static void rename_chunks(bool away)
{
    char command[PATH_MAX + 200];
    if (away)
        snprintf(command, sizeof command, "find %s -type f -size +50k -exec mv {} {}.away \\;", at("store/.chunks"));
    else
        snprintf(command, sizeof command, "find %s -name '*.away' -exec sh -c 'mv \"$0\" \"${0%%.away}\"' {} \\;",
                 at("store/.chunks"));
    assert_int_equal(system(command), 0);
}

static void test_a_missing_chunk_ends_the_source_with_an_error(void **state)
{
    (void)state;
    static const char *const more[] = {"", "&tar=1"};
    struct buffer found;
    rename_chunks(true);
    struct rest_answer answer = ask("GET", STORE_PATH "pxar-file-download", query("root.mpxar.didx", "/d/big", ""));
    assert_int_equal(answer.status, 200);
    assert_false(drain(&answer, 4096, &found));
    assert_true(found.size < BIG_SIZE - 1);
    buffer_deinit(&found);
    rest_answer_deinit(&answer);
    for (size_t i = 0; i < 2; i++) {
        answer = ask("GET", STORE_PATH "pxar-file-download", query("root.mpxar.didx", "/d", more[i]));
        assert_int_equal(answer.status, 200);
        assert_false(drain(&answer, 4096, &found));
        buffer_deinit(&found);
        rest_answer_deinit(&answer);
    }
    answer = ask("GET", STORE_PATH "download-decoded", SNAPSHOT_T1 "&file-name=disk.img.fidx");
    assert_false(drain(&answer, 4096, &found));
    buffer_deinit(&found);
    rest_answer_deinit(&answer);
    rename_chunks(false);
}

/* ---- packed directories ---- */

/* What libarchive reads of packed bytes: "path type mode contents", in the order in which it comes. */
static void unpack(const struct buffer *packed, char *out, size_t out_size)
{
    locale_t utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    locale_t before = uselocale(utf8);
    struct archive *a = archive_read_new();
    assert_non_null(a);
    archive_read_support_format_all(a);
    archive_read_support_filter_zstd(a);
    assert_int_equal(archive_read_open_memory(a, packed->data, packed->size), ARCHIVE_OK);
    out[0] = '\0';
    for (struct archive_entry *e; archive_read_next_header(a, &e) == ARCHIVE_OK;) {
        size_t used = strlen(out);
        unsigned type = archive_entry_filetype(e) >> 12;
        const char *link = archive_entry_symlink(e) ? archive_entry_symlink(e) : archive_entry_hardlink(e);
        used += (size_t)snprintf(out + used, out_size - used, "%s %o %o ", archive_entry_pathname(e), type,
                                 archive_entry_perm(e));
        if (link)
            used += (size_t)snprintf(out + used, out_size - used, "-> %s", link);
        CLEANUP(buffer_deinit) struct buffer contents = BUFFER_INIT(1 << 24);
        char part[4096];
        for (la_ssize_t got; (got = archive_read_data(a, part, sizeof part)) != 0;) {
            assert_true(got > 0);
            assert_int_equal(buffer_append(&contents, part, (size_t)got, NULL), OK);
        }
        if (contents.size > 100)
            snprintf(out + used, out_size - used, "%zu %.8s\n", contents.size,
                     sha256_hex(contents.data, contents.size));
        else
            snprintf(out + used, out_size - used, "%.*s\n", (int)contents.size, (const char *)contents.data);
    }
    assert_int_equal(archive_errno(a), 0);
    archive_read_free(a);
    uselocale(before);
    freelocale(utf8);
}

static void packed_directory(const char *archive_name, const char *path, const char *more, size_t piece,
                             struct buffer *out)
{
    struct rest_answer answer = ask("GET", STORE_PATH "pxar-file-download", query(archive_name, path, more));
    assert_int_equal(answer.status, 200);
    assert_false(answer.has_size);
    assert_string_equal(answer.content_type, WIRE_TYPE_BINARY);
    if (!drain(&answer, piece, out))
        assert_string_equal(err.text, "");
    rest_answer_deinit(&answer);
}

static const char *big_line(size_t skip)
{
    static char line[64];
    uint8_t *big = make_splitmix64(BIG_SIZE, 7);
    snprintf(line, sizeof line, "%zu %.8s", BIG_SIZE - skip, sha256_hex(big + skip, BIG_SIZE - skip));
    free(big);
    return line;
}

/* 4 directory, 10 file, 12 symlink, 1 fifo (octal). */
static void wanted_d(char *out, size_t size, bool is_tar)
{
    snprintf(out, size,
             "d/ 4 711 \n"
             "d/big 10 644 %s\n"
             "d/deep/ 4 755 \n"
             "d/deep/x 10 755 x\n"
             "d/empty/ 4 700 \n"
             "d/hard 10 644 hello\n\n"
             "d/one 10 644 two names\n"
             "%s"
             "d/soft 12 777 -> ../a\n"
             "%s"
             "d/z 10 644 \n"
             "d/\xc3\xbc 10 644 umlaut\n"
             "d/\xff\xfe 10 644 no text\n",
             big_line(1), is_tar ? "d/pipe 1 600 \n" : "",
             is_tar ? "d/two 0 644 -> d/one\n" : "d/two 10 644 two names\n");
}

static void test_a_directory_as_zip_and_as_tar(void **state)
{
    (void)state;
    static const char *const names[] = {"root.mpxar.didx", "old.pxar.didx"};
    static const size_t pieces[] = {1 << 16, 1000, 1};
    char found[8192], wanted[8192];
    for (int is_tar = 0; is_tar < 2; is_tar++)
        for (size_t i = 0; i < 2; i++) {
            struct buffer first;
            for (size_t k = 0; k < 3; k++) {
                struct buffer packed;
                packed_directory(names[i], "/d", is_tar ? "&tar=true" : "", pieces[k], &packed);
                if (k == 0) {
                    unpack(&packed, found, sizeof found);
                    wanted_d(wanted, sizeof wanted, is_tar);
                    assert_string_equal(found, wanted);
                    first = packed;
                    continue;
                }
                assert_int_equal(packed.size, first.size);
                assert_memory_equal(packed.data, first.data, first.size);
                buffer_deinit(&packed);
            }
            buffer_deinit(&first);
        }
}

static void test_below_the_root_paths_begin_with_their_names(void **state)
{
    (void)state;
    char found[8192], wanted[256];
    struct buffer packed;
    packed_directory("root.mpxar.didx", "/", "&tar=1", 4096, &packed);
    unpack(&packed, found, sizeof found);
    buffer_deinit(&packed);
    snprintf(wanted, sizeof wanted, "a 10 644 hello\n\nbig 10 644 %s\nd/ 4 711 \n", big_line(0));
    assert_memory_equal(found, wanted, strlen(wanted));
    assert_non_null(strstr(found, "d/hard 0 644 -> a\n"));
    packed_directory("root.mpxar.didx", "/d/deep", "", 4096, &packed);
    unpack(&packed, found, sizeof found);
    buffer_deinit(&packed);
    assert_string_equal(found, "deep/ 4 755 \ndeep/x 10 755 x\n");
    packed_directory("root.mpxar.didx", "/d/empty", "&tar=0", 4096, &packed);
    unpack(&packed, found, sizeof found);
    buffer_deinit(&packed);
    assert_string_equal(found, "empty/ 4 700 \n");
}

/* A client that goes away in the middle. */
static void test_a_source_may_be_given_up(void **state)
{
    (void)state;
    static const char *const more[] = {"", "&tar=1"};
    for (size_t i = 0; i < 2; i++) {
        uint8_t part[100];
        size_t size = 0;
        struct rest_answer answer = ask("GET", STORE_PATH "pxar-file-download", query("root.mpxar.didx", "/", more[i]));
        assert_int_equal(answer.source.read(answer.source.context, part, sizeof part, &size, &err), OK);
        assert_true(size > 0);
        rest_answer_deinit(&answer);
        answer = ask("GET", STORE_PATH "pxar-file-download", query("root.mpxar.didx", "/", more[i]));
        rest_answer_deinit(&answer);
    }
}

/* ---- many at a time ---- */

struct asker {
    struct thread *thread;
    unsigned number;
    unsigned answered;
};

/* No assertions: those jump out of the test, and this is not its thread. */
static void ask_everything(void *argument)
{
    static const char *const paths[] = {"catalog", "pxar-file-download", "pxar-file-download", "snapshots", "groups"};
    static const char *const more[] = {"&archive-name=root.mpxar.didx&filepath=L2Q%3D",
                                       "&archive-name=root.mpxar.didx&filepath=L2Q%3D",
                                       "&archive-name=old.pxar.didx&filepath=L2Q%3D&tar=1"};
    struct asker *a = argument;
    for (unsigned i = 0; i < 5; i++) {
        unsigned k = (i + a->number) % 5;
        char asked[512];
        uint8_t part[4096];
        struct error problem;
        const char *const components[] = {"admin", "datastore", "store1", paths[k]};
        snprintf(asked, sizeof asked, "%s%s", k < 3 ? SNAPSHOT_T1 : "", k < 3 ? more[k] : "");
        const struct rest_question question = {
            .method = "GET", .components = components, .component_count = 4, .query = asked, .caller = &administrator};
        struct rest_answer answer;
        rest_api_answer(api, &question, &answer);
        enum status status = answer.status == 200 ? OK : ERR_REFUSED;
        for (size_t size = 1; status == OK && answer.source.read && size > 0;)
            status = answer.source.read(answer.source.context, part, sizeof part, &size, &problem);
        rest_answer_deinit(&answer);
        a->answered += status == OK;
    }
}

static void test_questions_from_many_threads(void **state)
{
    (void)state;
    struct asker askers[8] = {0};
    for (unsigned i = 0; i < 8; i++) {
        askers[i].number = i;
        assert_int_equal(flow_threads.start("asker", ask_everything, &askers[i], &askers[i].thread, &err), OK);
    }
    for (unsigned i = 0; i < 8; i++)
        flow_threads.join(askers[i].thread);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(askers[i].answered, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_downloads_files_as_they_are_stored),
        cmocka_unit_test(test_a_download_survives_the_snapshot_and_notices_a_cut),
        cmocka_unit_test(test_decodes_images_blobs_and_streams),
        cmocka_unit_test(test_what_is_encrypted_is_not_decoded),
        cmocka_unit_test(test_directories_of_split_and_unified_archives),
        cmocka_unit_test(test_the_stored_catalog_lists_unified_archives),
        cmocka_unit_test(test_entries_name_the_path_that_lists_them),
        cmocka_unit_test(test_a_path_is_base64_of_a_path),
        cmocka_unit_test(test_files_out_of_archives),
        cmocka_unit_test(test_a_missing_chunk_ends_the_source_with_an_error),
        cmocka_unit_test(test_a_directory_as_zip_and_as_tar),
        cmocka_unit_test(test_below_the_root_paths_begin_with_their_names),
        cmocka_unit_test(test_a_source_may_be_given_up),
        cmocka_unit_test(test_questions_from_many_threads),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
