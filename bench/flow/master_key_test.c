#include "testing/testing.h"

#include "flow/master_key.h"

#include <limits.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char *dir;
static struct error err;
static struct loaded_key *key;

static const char *at(const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, PATH_MAX, "%s/%s", dir, name);
    return path;
}

static int setup(void **state)
{
    (void)state;
    dir = temp_dir_make();
    if (key_create(at("key"), KEY_KDF_NONE, NULL, &err) != OK || key_load(at("key"), &key, &err) != OK)
        return -1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    loaded_key_free(key);
    temp_dir_remove(dir);
    return 0;
}

static EVP_PKEY *make_pair(unsigned bits, const char *path)
{
    EVP_PKEY *pair = EVP_RSA_gen(bits);
    FILE *f = fopen(path, "we");
    assert_true(pair && f);
    assert_int_equal(PEM_write_PUBKEY(f, pair), 1);
    assert_int_equal(fclose(f), 0);
    return pair;
}

static void test_the_owner_of_the_master_key_gets_the_key(void **state)
{
    (void)state;
    EVP_PKEY *pair = make_pair(3072, at("3072.pem"));
    struct buffer wrapped = BUFFER_INIT(1 << 20);
    assert_int_equal(master_key_wrap(key, at("3072.pem"), &wrapped, &err), OK);
    assert_int_equal(wrapped.size, 384);

    uint8_t text[384];
    size_t size = sizeof text;
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pair, NULL);
    assert_int_equal(EVP_PKEY_decrypt_init(context), 1);
    assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PADDING), 1);
    assert_int_equal(EVP_PKEY_decrypt(context, text, &size, wrapped.data, wrapped.size), 1);
    struct key_file f, original;
    uint8_t out[CRYPT_KEY_SIZE];
    assert_int_equal(key_file_parse(text, size, "unwrapped", &f, &err), OK);
    assert_int_equal(f.kdf, KEY_KDF_NONE);
    assert_int_equal(key_file_unwrap(&f, NULL, "unwrapped", out, &err), OK);
    assert_memory_equal(out, loaded_key_config(key)->key, sizeof out);
    assert_int_equal(key_describe(at("key"), &original, &err), OK);
    assert_string_equal(f.created, original.created);
    assert_int_equal(size, 255);
    key_file_deinit(&f);
    key_file_deinit(&original);
    EVP_PKEY_CTX_free(context);
    EVP_PKEY_free(pair);
    buffer_deinit(&wrapped);
}

static void test_small_keys_are_refused(void **state)
{
    (void)state;
    EVP_PKEY *pair = make_pair(2048, at("2048.pem"));
    struct buffer wrapped = BUFFER_INIT(1 << 20);
    enum status status = master_key_wrap(key, at("2048.pem"), &wrapped, &err);
    assert_int_equal(status, ERR_LIMIT);
    assert_non_null(strstr(err.text, "2048 bits is too small"));
    EVP_PKEY_free(pair);
    buffer_deinit(&wrapped);
}

static void test_what_is_no_public_key(void **state)
{
    (void)state;
    struct buffer wrapped = BUFFER_INIT(1 << 20);
    assert_int_equal(master_key_wrap(key, at("missing"), &wrapped, &err), ERR_IO);
    assert_int_equal(master_key_wrap(key, at("key"), &wrapped, &err), ERR_FORMAT);
    assert_int_equal(master_key_wrap(key, "/dev/null", &wrapped, &err), ERR_FORMAT);
    assert_int_equal(master_key_wrap(key, "/dev/zero", &wrapped, &err), ERR_LIMIT);
    EVP_PKEY *curve = EVP_EC_gen("P-256");
    FILE *f = fopen(at("ec.pem"), "we");
    assert_true(curve && f);
    assert_int_equal(PEM_write_PUBKEY(f, curve), 1);
    assert_int_equal(fclose(f), 0);
    EVP_PKEY_free(curve);
    assert_int_equal(master_key_wrap(key, at("ec.pem"), &wrapped, &err), ERR_FORMAT);
    assert_non_null(strstr(err.text, "is no RSA public key"));
    buffer_deinit(&wrapped);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_owner_of_the_master_key_gets_the_key),
        cmocka_unit_test(test_small_keys_are_refused),
        cmocka_unit_test(test_what_is_no_public_key),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
