#include "testing/testing.h"

#include "blob/crypt.h"

#include <openssl/sha.h>
#include <string.h>

static uint8_t key[CRYPT_KEY_SIZE]; /* 00..1f */
static struct crypt_config config;
static struct error err;

static int setup(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)i;
    return crypt_config_init(&config, key, NULL) == OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    crypt_config_deinit(&config);
    return 0;
}

static void test_id_key_and_fingerprint_examples(void **state)
{
    (void)state;
    char text[FINGERPRINT_TEXT_SIZE], brief[FINGERPRINT_SHORT_SIZE];
    assert_true(hex_equals("7c2c013efd07f3b25717a485263343cd4d292a4b65c200bb3b18ea227abe225c", config.id_key,
                           sizeof config.id_key));
    assert_string_equal(fingerprint_text(config.fingerprint, text),
                        "0e:ab:d4:46:0b:6e:b9:ca:34:50:23:de:e2:b7:78:c7:90:e5:4a:16:83:b9:65:9c:0a:57:ae:19:90:90:15:"
                        "9b");
    assert_string_equal(fingerprint_short(config.fingerprint, brief), "0e:ab:d4:46:0b:6e:b9:ca");
}

static void test_fingerprint_input_is_the_digest_of_its_text(void **state)
{
    (void)state;
    /* SHA-256(SHA-256(text) || id key) */
    static const char text[] = "Proxmox Backup Encryption Key Fingerprint";
    uint8_t input[SHA256_DIGEST_LENGTH];
    SHA256((const uint8_t *)text, strlen(text), input);
    struct digest computed;
    crypt_digest_of(&config, input, sizeof input, &computed);
    assert_memory_equal(computed.bytes, config.fingerprint, FINGERPRINT_SIZE);
}

static void test_fingerprint_text_is_read_back_and_nothing_else(void **state)
{
    (void)state;
    char text[FINGERPRINT_TEXT_SIZE + 1] = "";
    uint8_t parsed[FINGERPRINT_SIZE];
    fingerprint_text(config.fingerprint, text);
    assert_true(fingerprint_parse(text, parsed));
    assert_memory_equal(parsed, config.fingerprint, sizeof parsed);
    for (size_t i = 0; text[i]; i++) {
        char kept = text[i];
        text[i] = 'g';
        assert_false(fingerprint_parse(text, parsed));
        text[i] = kept;
    }
    text[FINGERPRINT_TEXT_SIZE - 1] = ':';
    assert_false(fingerprint_parse(text, parsed));
    assert_false(fingerprint_parse("", parsed));
    assert_false(fingerprint_parse("0e:ab:d4:46:0b:6e:b9:ca", parsed));
}

static void test_keyed_digest_example(void **state)
{
    (void)state;
    struct digest keyed, plain, by_parts;
    crypt_digest_of(&config, "hello world\n", 12, &keyed);
    assert_true(hex_equals("b5228c8b6e258d7e8600315b7d767c3df431a68a19248f80b1c33c38c5d587a3", keyed.bytes, 32));
    crypt_digest_of(NULL, "hello world\n", 12, &plain);
    assert_true(hex_equals("a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447", plain.bytes, 32));

    struct digest_state *s;
    assert_int_equal(digest_new(&s, NULL), OK);
    digest_begin(s);
    digest_update(s, "hello ", 6);
    digest_update(s, "world\n", 6);
    crypt_digest_finish(&config, s, &by_parts);
    assert_true(digest_equal(&by_parts, &keyed));
    digest_begin(s);
    digest_update(s, "hello world\n", 12);
    crypt_digest_finish(NULL, s, &by_parts);
    assert_true(digest_equal(&by_parts, &plain));
    digest_free(s);
}

static void test_signature_is_hmac_under_the_id_key(void **state)
{
    (void)state;
    /* The key of the specification's manifest example is scrypt("test", no salt). */
    uint8_t derived[CRYPT_KEY_SIZE];
    assert_int_equal(crypt_scrypt("test", 4, NULL, 0, 65536, 8, 1, (uint64_t)1025 << 20, derived, &err), OK);
    assert_true(hex_equals("28cdb1a3bef39396c3860e00d448fe7a0efd8244486ab6feb30457681d31597e", derived, 32));
    struct crypt_config of_example;
    assert_int_equal(crypt_config_init(&of_example, derived, &err), OK);
    static const char text[] =
        "{\"backup-id\":\"elsa\",\"backup-time\":1593179765,\"backup-type\":\"host\",\"files\":[{\"crypt-mode\":"
        "\"encrypt\",\"csum\":\"0101010101010101010101010101010101010101010101010101010101010101\",\"filename\":"
        "\"test1.img.fidx\",\"size\":200},{\"crypt-mode\":\"none\",\"csum\":"
        "\"0202020202020202020202020202020202020202020202020202020202020202\",\"filename\":\"abc.blob\",\"size\":200}]"
        "}";
    struct digest signature, other;
    assert_int_equal(crypt_sign(&of_example, text, strlen(text), &signature, &err), OK);
    assert_true(hex_equals("d7b446fb7db081662081d4b40fedd858a1d6307a5aff4ecff7d5bf4fd35679e9", signature.bytes, 32));
    other = signature;
    assert_true(crypt_signature_equal(&signature, &other));
    other.bytes[31] ^= 1;
    assert_false(crypt_signature_equal(&signature, &other));
    crypt_config_deinit(&of_example);
}

static void test_nothing_is_left_of_a_config(void **state)
{
    (void)state;
    struct crypt_config c, zeros;
    memset(&zeros, 0, sizeof zeros);
    assert_int_equal(crypt_config_init(&c, key, &err), OK);
    crypt_config_deinit(&c);
    assert_memory_equal(&c, &zeros, sizeof c);
    crypt_config_deinit(&c);
}

static const uint8_t iv[CRYPT_IV_SIZE] = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
                                          0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};

static void test_cipher_gives_the_example_however_it_is_sliced(void **state)
{
    (void)state;
    struct crypt_cipher *cipher;
    assert_int_equal(crypt_cipher_new(&cipher, &err), OK);
    for (size_t cut = 0; cut <= 12; cut++) {
        const uint8_t *text = (const uint8_t *)"hello world\n";
        const struct slice slices[] = {{.data = text, .size = cut}, {.data = text + cut, .size = 12 - cut}};
        uint8_t sealed[12], tag[CRYPT_TAG_SIZE], opened[12];
        assert_int_equal(crypt_seal(cipher, key, iv, slices, 2, sealed, tag, &err), OK);
        assert_true(hex_equals("a9d9a977a4acd6f19ac6494e9fd8f951", tag, sizeof tag));
        assert_true(hex_equals("42c64fd077edba19b1f27bbb", sealed, sizeof sealed));
        assert_int_equal(crypt_open(cipher, key, iv, tag, sealed, 12, opened, &err), OK);
        assert_memory_equal(opened, text, 12);
        assert_int_equal(crypt_open(cipher, key, iv, tag, sealed, 12, sealed, &err), OK); /* in place */
        assert_memory_equal(sealed, text, 12);
    }
    crypt_cipher_free(cipher);
    crypt_cipher_free(NULL);
}

static void test_any_changed_bit_is_refused_and_nothing_handed_on(void **state)
{
    (void)state;
    struct crypt_cipher *cipher;
    assert_int_equal(crypt_cipher_new(&cipher, &err), OK);
    const struct slice slice = {.data = (const uint8_t *)"hello world\n", .size = 12};
    /* iv, tag, ciphertext, key */
    uint8_t all[CRYPT_IV_SIZE + CRYPT_TAG_SIZE + 12 + CRYPT_KEY_SIZE], opened[12], zeros[12] = {0};
    memcpy(all, iv, sizeof iv);
    memcpy(all + 44, key, sizeof key);
    assert_int_equal(crypt_seal(cipher, key, iv, &slice, 1, all + 32, all + 16, &err), OK);
    for (size_t bit = 0; bit < 8 * sizeof all; bit++) {
        all[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(crypt_open(cipher, all + 44, all, all + 16, all + 32, 12, opened, &err), ERR_MISMATCH);
        assert_memory_equal(opened, zeros, 12);
        all[bit / 8] ^= (uint8_t)(1U << bit % 8);
    }
    assert_int_equal(crypt_open(cipher, all + 44, all, all + 16, all + 32, 12, opened, &err), OK);
    crypt_cipher_free(cipher);
}

static void test_no_data_has_a_tag_as_well(void **state)
{
    (void)state;
    struct crypt_cipher *cipher;
    uint8_t tag[CRYPT_TAG_SIZE], nothing[1];
    assert_int_equal(crypt_cipher_new(&cipher, &err), OK);
    assert_int_equal(crypt_seal(cipher, key, iv, NULL, 0, nothing, tag, &err), OK);
    assert_int_equal(crypt_open(cipher, key, iv, tag, NULL, 0, NULL, &err), OK);
    tag[0] ^= 1;
    assert_int_equal(crypt_open(cipher, key, iv, tag, NULL, 0, NULL, &err), ERR_MISMATCH);
    crypt_cipher_free(cipher);
}

static void test_derived_keys_of_the_examples(void **state)
{
    (void)state;
    uint8_t salt[32], out[CRYPT_KEY_SIZE];
    for (unsigned i = 0; i < sizeof salt; i++)
        salt[i] = (uint8_t)(0x20 + i);
    assert_int_equal(crypt_pbkdf2("12345", 5, salt, sizeof salt, 65535, out, &err), OK);
    assert_true(hex_equals("f35f5f4f9d246f8d2d2c4468c4a3a2031000993931cf7fa449b3fa324ee9650e", out, sizeof out));
    assert_int_equal(crypt_scrypt("12345", 5, salt, sizeof salt, 65536, 8, 1, (uint64_t)1025 << 20, out, &err), OK);
    assert_true(hex_equals("ed52460d6a43535cd1934ce53ff0ddc871ab5153dffc1578b321ab96bcd544ec", out, sizeof out));
}

static void test_parameters_that_openssl_refuses(void **state)
{
    (void)state;
    uint8_t out[CRYPT_KEY_SIZE], zeros[CRYPT_KEY_SIZE] = {0};
    assert_int_equal(crypt_scrypt("12345", 5, key, 32, 3, 8, 1, 1 << 20, out, &err), ERR_UNSUPPORTED);
    assert_memory_equal(out, zeros, sizeof out);
    assert_int_equal(crypt_scrypt("12345", 5, key, 32, 65536, 8, 1, 1 << 20, out, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "SCRYPT"));
    assert_int_equal(crypt_pbkdf2("12345", 5, key, 32, 0, out, &err), ERR_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_id_key_and_fingerprint_examples),
        cmocka_unit_test(test_fingerprint_input_is_the_digest_of_its_text),
        cmocka_unit_test(test_fingerprint_text_is_read_back_and_nothing_else),
        cmocka_unit_test(test_keyed_digest_example),
        cmocka_unit_test(test_signature_is_hmac_under_the_id_key),
        cmocka_unit_test(test_nothing_is_left_of_a_config),
        cmocka_unit_test(test_cipher_gives_the_example_however_it_is_sliced),
        cmocka_unit_test(test_any_changed_bit_is_refused_and_nothing_handed_on),
        cmocka_unit_test(test_no_data_has_a_tag_as_well),
        cmocka_unit_test(test_derived_keys_of_the_examples),
        cmocka_unit_test(test_parameters_that_openssl_refuses),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
