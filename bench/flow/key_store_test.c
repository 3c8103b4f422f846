#include "testing/testing.h"

#include "flow/key_store.h"
#include "flow/protected.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

static char *dir;
static struct error err;

static int clear(void **state)
{
    (void)state;
    unsetenv(KEY_PASSPHRASE_NAME);
    unsetenv(KEY_NEW_PASSPHRASE_NAME);
    dir = temp_dir_make();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    temp_dir_remove(dir);
    return 0;
}

static const char *at(const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, PATH_MAX, "%s/%s", dir, name);
    return path;
}

static void fingerprint_of(const char *path, char out[FINGERPRINT_TEXT_SIZE])
{
    struct loaded_key *k;
    if (key_load(path, &k, &err) != OK)
        assert_string_equal(err.text, "");
    fingerprint_text(loaded_key_config(k)->fingerprint, out);
    loaded_key_free(k);
}

static void check_mode(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_create_load_and_describe(void **state)
{
    (void)state;
    char one[FINGERPRINT_TEXT_SIZE], other[FINGERPRINT_TEXT_SIZE];
    mode_t mask = umask(0);
    assert_int_equal(key_create(at("a"), KEY_KDF_NONE, NULL, &err), OK);
    umask(0777);
    assert_int_equal(key_create(at("b"), KEY_KDF_NONE, "a note", &err), OK);
    umask(mask);
    check_mode(at("a"));
    check_mode(at("b"));
    fingerprint_of(at("a"), one);
    fingerprint_of(at("b"), other);
    assert_string_not_equal(one, other);

    struct key_file f;
    static const uint8_t zeros[KEY_WRAPPED_SIZE];
    assert_int_equal(key_describe(at("b"), &f, &err), OK);
    assert_int_equal(f.kdf, KEY_KDF_NONE);
    assert_string_equal(f.hint, "a note");
    assert_string_equal(f.created, f.modified);
    assert_int_equal(strlen(f.created), 25);
    assert_memory_equal(f.data, zeros, sizeof f.data); /* the key is not told */
    key_file_deinit(&f);
}

static void test_create_never_overwrites(void **state)
{
    (void)state;
    char before[FINGERPRINT_TEXT_SIZE], after[FINGERPRINT_TEXT_SIZE];
    assert_int_equal(key_create(at("a"), KEY_KDF_NONE, NULL, &err), OK);
    fingerprint_of(at("a"), before);
    assert_int_equal(key_create(at("a"), KEY_KDF_NONE, NULL, &err), ERR_IO);
    assert_int_equal(err.errnum, EEXIST);
    fingerprint_of(at("a"), after);
    assert_string_equal(before, after);
    assert_int_equal(symlink("nowhere", at("link")), 0);
    assert_int_equal(key_create(at("link"), KEY_KDF_NONE, NULL, &err), ERR_IO);
    assert_int_equal(access(at("nowhere"), F_OK), -1);
    assert_int_equal(key_create(at("no/such"), KEY_KDF_NONE, NULL, &err), ERR_IO);
}

static void test_passphrases(void **state)
{
    (void)state;
    struct loaded_key *k;
    char before[FINGERPRINT_TEXT_SIZE], after[FINGERPRINT_TEXT_SIZE];
    assert_int_equal(key_create(at("p"), KEY_KDF_PBKDF2, NULL, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "set PBS_ENCRYPTION_PASSWORD"));
    setenv(KEY_PASSPHRASE_NAME, "1234", 1);
    assert_int_equal(key_create(at("p"), KEY_KDF_PBKDF2, NULL, &err), ERR_USAGE);
    assert_int_equal(access(at("p"), F_OK), -1); /* nothing is left */
    setenv(KEY_PASSPHRASE_NAME, "passphrase", 1);
    assert_int_equal(key_create(at("p"), KEY_KDF_PBKDF2, "old", &err), OK);
    fingerprint_of(at("p"), before);
    setenv(KEY_PASSPHRASE_NAME, "another", 1);
    assert_int_equal(key_load(at("p"), &k, &err), ERR_MISMATCH);
    assert_non_null(strstr(err.text, "wrong passphrase"));
    unsetenv(KEY_PASSPHRASE_NAME);
    assert_int_equal(key_load(at("p"), &k, &err), ERR_NOT_FOUND);

    setenv(KEY_PASSPHRASE_NAME, "passphrase", 1);
    assert_int_equal(key_change_passphrase(at("p"), KEY_KDF_SCRYPT, NULL, &err), ERR_NOT_FOUND);
    assert_non_null(strstr(err.text, "set PBS_NEW_ENCRYPTION_PASSWORD"));
    setenv(KEY_NEW_PASSPHRASE_NAME, "new one", 1);
    assert_int_equal(key_change_passphrase(at("p"), KEY_KDF_SCRYPT, NULL, &err), OK);
    check_mode(at("p"));
    assert_int_equal(key_load(at("p"), &k, &err), ERR_MISMATCH);
    setenv(KEY_PASSPHRASE_NAME, "new one", 1);
    fingerprint_of(at("p"), after);
    assert_string_equal(before, after);
    struct key_file f;
    assert_int_equal(key_describe(at("p"), &f, &err), OK);
    assert_int_equal(f.kdf, KEY_KDF_SCRYPT);
    assert_string_equal(f.hint, "old");
    key_file_deinit(&f);

    assert_int_equal(key_change_passphrase(at("p"), KEY_KDF_NONE, "none now", &err), OK);
    unsetenv(KEY_PASSPHRASE_NAME);
    fingerprint_of(at("p"), after);
    assert_string_equal(before, after);
}

static void test_descriptor(void **state)
{
    (void)state;
    char wanted[FINGERPRINT_TEXT_SIZE], found[FINGERPRINT_TEXT_SIZE];
    struct loaded_key *k;
    assert_int_equal(key_create(at("a"), KEY_KDF_NONE, NULL, &err), OK);
    fingerprint_of(at("a"), wanted);
    int fd = open(at("a"), O_RDONLY);
    assert_int_equal(key_load_fd(fd, &k, &err), OK);
    fingerprint_text(loaded_key_config(k)->fingerprint, found);
    assert_string_equal(found, wanted);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    loaded_key_free(k);
    loaded_key_free(NULL);
    assert_null(loaded_key_config(NULL));
    assert_int_equal(key_load_fd(fd, &k, &err), ERR_IO);
    assert_non_null(strstr(err.text, "file descriptor"));
}

static void test_what_is_no_key_file(void **state)
{
    (void)state;
    struct loaded_key *k;
    assert_int_equal(key_load(at("missing"), &k, &err), ERR_IO);
    assert_int_equal(key_load(dir, &k, &err), ERR_IO);
    assert_int_equal(key_load("/dev/zero", &k, &err), ERR_LIMIT);
    assert_int_equal(key_load("/dev/null", &k, &err), ERR_FORMAT);
}

/* ---- what stays in memory ---- */

/* Kept inverted, so that it is not found itself. */
struct wanted {
    size_t size;
    uint8_t inverted[64];
};

static void want(struct wanted *w, const void *data, size_t size)
{
    assert_true(size <= sizeof w->inverted);
    w->size = size;
    for (size_t i = 0; i < size; i++)
        w->inverted[i] = (uint8_t)(((const uint8_t *)data)[i] ^ 0xff);
}

static bool is_at(const uint8_t *p, const struct wanted *w)
{
    for (size_t i = 0; i < w->size; i++)
        if (p[i] + w->inverted[i] != 0xff)
            return false;
    return true;
}

/* In everything writable but the stack, where dead frames lie that nobody owns. */
static size_t count_in_memory(const struct wanted *w)
{
    size_t found = 0;
    assert_int_equal(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0); /* else only root may look */
    FILE *maps = fopen("/proc/self/maps", "r");
    int memory = open("/proc/self/mem", O_RDONLY);
    assert_true(maps && memory >= 0);
    enum { PART = 1 << 20 };
    uint8_t *part = malloc(PART);
    assert_non_null(part);
    char line[1024];
    while (fgets(line, sizeof line, maps)) {
        unsigned long begin, end;
        char access[8];
        if (sscanf(line, "%lx-%lx %7s", &begin, &end, access) != 3 || access[1] != 'w' || strstr(line, "[stack]"))
            continue;
        for (unsigned long at_ = begin; at_ < end; at_ += PART - w->size + 1) {
            size_t size = end - at_ < PART ? end - at_ : PART;
            ssize_t got = pread(memory, part, size, (off_t)at_);
            for (ssize_t i = 0; i + (ssize_t)w->size <= got; i++) {
                const uint8_t *original = (const uint8_t *)(at_ + (unsigned long)i); /* NOLINT */
                bool is_copy = original >= part && original < part + PART;
                found += !is_copy && is_at(part + i, w);
            }
            memset(part, 0, PART);
        }
    }
    free(part);
    fclose(maps);
    close(memory);
    return found;
}

static void test_no_copy_of_a_key_stays_behind(void **state)
{
    (void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    print_message("memory under a sanitizer is too large to look through\n");
    skip();
#endif
    struct wanted raw, text;
    struct loaded_key *k;
    setenv(KEY_PASSPHRASE_NAME, "passphrase", 1);
    for (int kdf = KEY_KDF_NONE; kdf <= KEY_KDF_PBKDF2; kdf++) {
        const char *path = at(key_kdf_names[kdf]);
        char base64[64];
        assert_int_equal(key_create(path, (enum key_kdf)kdf, NULL, &err), OK);
        assert_int_equal(key_load(path, &k, &err), OK);
        want(&raw, loaded_key_config(k)->key, CRYPT_KEY_SIZE);
        /* Base64 is the form in which JSON has it. Not its begin: free() writes over the begin of a block. */
        int size = EVP_EncodeBlock((uint8_t *)base64, loaded_key_config(k)->key, CRYPT_KEY_SIZE);
        want(&text, base64 + 20, (size_t)size - 22);
        memset(base64, 0, sizeof base64);
        assert_int_equal(count_in_memory(&raw), 1); /* the search finds what is there */
        assert_int_equal(count_in_memory(&text), 0);
        loaded_key_free(k);
        assert_int_equal(count_in_memory(&raw), 0);
    }
    char *copy = malloc(text.size);
    assert_non_null(copy);
    for (size_t i = 0; i < text.size; i++)
        copy[i] = (char)(text.inverted[i] ^ 0xff);
    assert_int_equal(count_in_memory(&text), 1);
    free(copy);
}

static void test_a_key_forbids_core_dumps(void **state)
{
    (void)state;
    struct loaded_key *k;
    assert_int_equal(key_create(at("a"), KEY_KDF_NONE, NULL, &err), OK);
    assert_int_equal(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0), 0);
    assert_int_equal(key_load(at("a"), &k, &err), OK);
    assert_int_equal(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0);
    loaded_key_free(k);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_create_load_and_describe, clear, teardown),
        cmocka_unit_test_setup_teardown(test_create_never_overwrites, clear, teardown),
        cmocka_unit_test_setup_teardown(test_passphrases, clear, teardown),
        cmocka_unit_test_setup_teardown(test_descriptor, clear, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_key_file, clear, teardown),
        cmocka_unit_test_setup_teardown(test_no_copy_of_a_key_stays_behind, clear, teardown),
        cmocka_unit_test_setup_teardown(test_a_key_forbids_core_dumps, clear, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
