#include "testing/testing.h"

#include "blob/key_file.h"

#include <stdio.h>
#include <string.h>

#define TIMES "\"created\":\"2024-01-02T03:04:05+01:00\",\"modified\":\"2024-01-02T03:04:06Z\""
#define SALT_DATA "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
#define SALT "\"salt\":\"" SALT_DATA "\""
#define FINGERPRINT "0e:ab:d4:46:0b:6e:b9:ca:34:50:23:de:e2:b7:78:c7:90:e5:4a:16:83:b9:65:9c:0a:57:ae:19:90:90:15:9b"
#define PBKDF2_DATA "AAECAwQFBgcICQoLDA0OD0gyvnSNYJD1uTyAG3olbohmVHhcWMn1zD5d2ldn/JEy4bwrXFfwSpGKlST5pXJdrw=="
#define SCRYPT_DATA "AAECAwQFBgcICQoLDA0OD2zyXl7LSN5qQi7pCm4gZ187FTLIX1kZ4HAWrzBHkzK8BX8c1MqiDuljkdHW2bvFqQ=="
#define PLAIN_DATA "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

static const char pbkdf2_file[] = "{\"kdf\":{\"PBKDF2\":{\"iter\":65535," SALT "}}," TIMES ",\"data\":\"" PBKDF2_DATA
                                  "\",\"fingerprint\":\"" FINGERPRINT "\",\"hint\":\"a note\"}";
static const char scrypt_file[] =
    "{\"kdf\":{\"Scrypt\":{\"n\":65536,\"r\":8,\"p\":1," SALT "}}," TIMES ",\"data\":\"" SCRYPT_DATA "\"}";
static const char plain_file[] = "{\"kdf\":null," TIMES ",\"data\":\"" PLAIN_DATA "\"}";

static uint8_t key[CRYPT_KEY_SIZE];
static const uint8_t zeros[CRYPT_KEY_SIZE];
static struct error err;

static int setup(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)i;
    return 0;
}

static enum status parse(const char *text, struct key_file *out)
{
    return key_file_parse((const uint8_t *)text, strlen(text), "k", out, &err);
}

static enum status unwrap_text(const char *text, const char *passphrase, uint8_t out[CRYPT_KEY_SIZE])
{
    struct key_file f;
    assert_int_equal(parse(text, &f), OK);
    enum status status = key_file_unwrap(&f, passphrase, "k", out, &err);
    key_file_deinit(&f);
    return status;
}

static void test_examples_unwrap(void **state)
{
    (void)state;
    uint8_t out[CRYPT_KEY_SIZE];
    assert_int_equal(unwrap_text(pbkdf2_file, "12345", out), OK);
    assert_memory_equal(out, key, sizeof out);
    assert_int_equal(unwrap_text(scrypt_file, "12345", out), OK);
    assert_memory_equal(out, key, sizeof out);
    assert_int_equal(unwrap_text(plain_file, NULL, out), OK);
    assert_memory_equal(out, key, sizeof out);
}

static void test_members_are_read(void **state)
{
    (void)state;
    struct key_file f;
    assert_int_equal(parse(pbkdf2_file, &f), OK);
    assert_int_equal(f.kdf, KEY_KDF_PBKDF2);
    assert_int_equal(f.iterations, 65535);
    assert_int_equal(f.salt_size, 32);
    assert_string_equal(f.created, "2024-01-02T03:04:05+01:00");
    assert_string_equal(f.modified, "2024-01-02T03:04:06Z");
    assert_string_equal(f.hint, "a note");
    assert_true(f.has_fingerprint);
    key_file_deinit(&f);
    struct key_file empty;
    memset(&empty, 0, sizeof empty);
    assert_memory_equal(&f, &empty, sizeof f); /* zeroed */
    key_file_deinit(&f);
}

static void test_wrong_passphrases(void **state)
{
    (void)state;
    uint8_t out[CRYPT_KEY_SIZE];
    memset(out, 1, sizeof out);
    assert_int_equal(unwrap_text(pbkdf2_file, "12346", out), ERR_MISMATCH);
    assert_string_equal(err.text, "k: wrong passphrase, or the file is damaged");
    assert_memory_equal(out, zeros, sizeof out);
    assert_int_equal(unwrap_text(pbkdf2_file, "1234", out), ERR_USAGE);
    assert_non_null(strstr(err.text, "shorter than 5 bytes"));
    assert_int_equal(unwrap_text(scrypt_file, "", out), ERR_USAGE);
    assert_int_equal(unwrap_text(pbkdf2_file, NULL, out), ERR_NOT_FOUND);
}

static void test_wrong_fingerprint(void **state)
{
    (void)state;
    char text[sizeof pbkdf2_file];
    uint8_t out[CRYPT_KEY_SIZE];
    memcpy(text, pbkdf2_file, sizeof text);
    *(strstr(text, "0e:ab") + 1) = 'f';
    assert_int_equal(unwrap_text(text, "12345", out), ERR_MISMATCH);
    assert_non_null(strstr(err.text, "the key's fingerprint is 0e:ab:d4"));
    assert_memory_equal(out, zeros, sizeof out);
}

static void check_round_trip(enum key_kdf kdf, const char *passphrase)
{
    uint8_t entropy[KEY_ENTROPY_SIZE], out[CRYPT_KEY_SIZE];
    struct key_file f = {.created = "2024-01-02T03:04:05Z", .modified = "2024-01-02T03:04:05Z"}, again;
    struct buffer text = BUFFER_INIT(2 * KEY_FILE_SIZE_MAX);
    memset(entropy, 7, sizeof entropy);
    f.hint = strdup("f\xc3\xbcr mich");
    assert_int_equal(key_file_wrap(&f, key, kdf, passphrase, entropy, &err), OK);
    assert_int_equal(key_file_write(&f, KEY_FILE_PRETTY, &text, &err), OK);
    assert_int_equal(key_file_parse(text.data, text.size, "again", &again, &err), OK);
    assert_int_equal(again.kdf, kdf);
    assert_string_equal(again.hint, f.hint);
    assert_true(again.has_fingerprint);
    if (kdf == KEY_KDF_SCRYPT)
        assert_true(again.n == 65536 && again.r == 8 && again.p == 1);
    if (kdf == KEY_KDF_PBKDF2)
        assert_int_equal(again.iterations, 65535);
    assert_int_equal(key_file_unwrap(&again, passphrase, "again", out, &err), OK);
    assert_memory_equal(out, key, sizeof out);
    key_file_deinit(&f);
    key_file_deinit(&again);
    buffer_deinit(&text);
}

static void test_what_is_written_is_read_back(void **state)
{
    (void)state;
    check_round_trip(KEY_KDF_NONE, NULL);
    check_round_trip(KEY_KDF_PBKDF2, "passphrase");
    check_round_trip(KEY_KDF_SCRYPT, "passphrase");
}

static void test_wrapping_gives_the_examples(void **state)
{
    (void)state;
    uint8_t entropy[KEY_ENTROPY_SIZE];
    for (unsigned i = 0; i < KEY_ENTROPY_SIZE; i++)
        entropy[i] = (uint8_t)(i < KEY_SALT_SIZE ? 0x20 + i : i - KEY_SALT_SIZE);
    static const struct {
        enum key_kdf kdf;
        const char *data;
    } cases[] = {{KEY_KDF_PBKDF2, PBKDF2_DATA}, {KEY_KDF_SCRYPT, SCRYPT_DATA}};
    for (size_t i = 0; i < 2; i++) {
        struct key_file f = {.created = "2024-01-02T03:04:05Z", .modified = "2024-01-02T03:04:05Z"};
        struct buffer text = BUFFER_INIT(2 * KEY_FILE_SIZE_MAX);
        assert_int_equal(key_file_wrap(&f, key, cases[i].kdf, "12345", entropy, &err), OK);
        assert_int_equal(key_file_write(&f, KEY_FILE_PRETTY, &text, &err), OK);
        assert_int_equal(buffer_append_u8(&text, 0, &err), OK);
        assert_non_null(strstr((const char *)text.data, cases[i].data));
        assert_non_null(strstr((const char *)text.data, SALT_DATA));
        assert_non_null(strstr((const char *)text.data, FINGERPRINT));
        key_file_deinit(&f);
        buffer_deinit(&text);
    }
}

static void test_short_passphrases_wrap_nothing(void **state)
{
    (void)state;
    uint8_t entropy[KEY_ENTROPY_SIZE] = {0};
    struct key_file f = {0};
    assert_int_equal(key_file_wrap(&f, key, KEY_KDF_SCRYPT, "1234", entropy, &err), ERR_USAGE);
    assert_int_equal(key_file_wrap(&f, key, KEY_KDF_PBKDF2, NULL, entropy, &err), ERR_NOT_FOUND);
    key_file_deinit(&f);
}

static void test_rejects(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum status status;
        const char *says;
    } cases[] = {
        {"", ERR_FORMAT, "not JSON"},
        {"[]", ERR_FORMAT, "not a JSON object"},
        {"{" TIMES ",\"data\":\"" PLAIN_DATA "\"}", ERR_FORMAT, "member kdf is missing"},
        {"{\"kdf\":null,\"kdf\":null}", ERR_FORMAT, "not JSON"},
        {"{\"kdf\":\"Scrypt\"," TIMES ",\"data\":\"" PLAIN_DATA "\"}", ERR_FORMAT, "member kdf is neither"},
        {"{\"kdf\":{}," TIMES ",\"data\":\"" PLAIN_DATA "\"}", ERR_FORMAT, "member kdf is neither"},
        {"{\"kdf\":{\"PBKDF2\":{\"iter\":1," SALT "},\"Scrypt\":{}}," TIMES "}", ERR_FORMAT, "member kdf is neither"},
        {"{\"kdf\":{\"PBKDF2\":{\"iter\":1}}," TIMES "}", ERR_FORMAT, "member salt is missing"},
        {"{\"kdf\":{\"PBKDF2\":{\"iter\":1,\"salt\":\"AAA\"}}," TIMES "}", ERR_FORMAT, "member salt is no base64"},
        {"{\"kdf\":{\"PBKDF2\":{\"iter\":1,\"salt\":\"AA AA\"}}," TIMES "}", ERR_FORMAT, "member salt is no base64"},
        {"{\"kdf\":{\"PBKDF2\":{\"iter\":1,\"salt\":\"A===\"}}," TIMES "}", ERR_FORMAT, "member salt is no base64"},
        {"{\"kdf\":{\"PBKDF2\":{\"iter\":0," SALT "}}," TIMES "}", ERR_FORMAT, "member iter is no whole number"},
        {"{\"kdf\":{\"PBKDF2\":{\"iter\":10000001," SALT "}}," TIMES "}", ERR_LIMIT, "member iter is 10000001"},
        {"{\"kdf\":{\"Scrypt\":{\"n\":65535,\"r\":8,\"p\":1," SALT "}}," TIMES "}", ERR_FORMAT, "no power of two"},
        {"{\"kdf\":{\"Scrypt\":{\"n\":1,\"r\":8,\"p\":1," SALT "}}," TIMES "}", ERR_FORMAT, "no power of two"},
        {"{\"kdf\":{\"Scrypt\":{\"n\":1048576,\"r\":8,\"p\":1," SALT "}}," TIMES ",\"data\":\"" PLAIN_DATA "\"}",
         ERR_FORMAT, "member data has 32 bytes"},
        {"{\"kdf\":{\"Scrypt\":{\"n\":1048576,\"r\":9,\"p\":1," SALT "}}," TIMES "}", ERR_LIMIT, "costs too much"},
        {"{\"kdf\":{\"Scrypt\":{\"n\":65536,\"r\":8,\"p\":33," SALT "}}," TIMES "}", ERR_LIMIT, "costs too much"},
        {"{\"kdf\":{\"Scrypt\":{\"n\":1099511627776,\"r\":8,\"p\":1," SALT "}}," TIMES "}", ERR_LIMIT, "member n is"},
        {"{\"kdf\":{\"Scrypt\":{\"n\":16777216,\"r\":32768,\"p\":32768," SALT "}}," TIMES "}", ERR_LIMIT, "costs too"},
        {"{\"kdf\":null,\"modified\":\"2024-01-02T03:04:06Z\"}", ERR_FORMAT, "member created is missing"},
        {"{\"kdf\":null,\"created\":\"yesterday\"}", ERR_FORMAT, "member created is no time"},
        {"{\"kdf\":null," TIMES "}", ERR_FORMAT, "member data is missing"},
        {"{\"kdf\":null," TIMES ",\"data\":5}", ERR_FORMAT, "member data is no base64"},
        {"{\"kdf\":null," TIMES ",\"data\":\"AAAA\"}", ERR_FORMAT, "member data has 3 bytes, not 32"},
        {"{\"kdf\":null," TIMES ",\"data\":\"" PBKDF2_DATA "\"}", ERR_FORMAT, "member data has 64 bytes, not 32"},
        {"{\"kdf\":null," TIMES ",\"data\":\"" PLAIN_DATA "\",\"fingerprint\":\"0e\"}", ERR_FORMAT, "member fingerpr"},
        {"{\"kdf\":null," TIMES ",\"data\":\"" PLAIN_DATA "\",\"hint\":5}", ERR_FORMAT, "member hint"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct key_file f;
        assert_int_equal(parse(cases[i].text, &f), cases[i].status);
        if (!strstr(err.text, cases[i].says))
            assert_string_equal(err.text, cases[i].says);
        assert_null(strstr(err.text, "AAEC")); /* the key is quoted nowhere */
        key_file_deinit(&f);
    }
    struct key_file f;
    uint8_t *large = make_constant(KEY_FILE_SIZE_MAX + 1, ' ');
    assert_int_equal(key_file_parse(large, KEY_FILE_SIZE_MAX + 1, "k", &f, &err), ERR_LIMIT);
    free(large);
}

static void test_syntax_errors_do_not_quote_the_text(void **state)
{
    (void)state;
    struct key_file f;
    assert_int_equal(parse("{\"data\": \"" PLAIN_DATA "\" \"" PLAIN_DATA "\"}", &f), ERR_FORMAT);
    assert_null(strstr(err.text, "AAEC"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_examples_unwrap),
        cmocka_unit_test(test_members_are_read),
        cmocka_unit_test(test_wrong_passphrases),
        cmocka_unit_test(test_wrong_fingerprint),
        cmocka_unit_test(test_what_is_written_is_read_back),
        cmocka_unit_test(test_wrapping_gives_the_examples),
        cmocka_unit_test(test_short_passphrases_wrap_nothing),
        cmocka_unit_test(test_rejects),
        cmocka_unit_test(test_syntax_errors_do_not_quote_the_text),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
