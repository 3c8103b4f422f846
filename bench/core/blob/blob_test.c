#include "testing/testing.h"

#include "blob/blob.h"

#include <openssl/sha.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

static const char *const plain_hello = "42ab3807be8370a12d3b08af68656c6c6f20776f726c640a";
static const char *const zstd_64a = "31b958426fb6a37f42517a5428b52ffd20404500001061610100930016";
static const char *const encrypted_hello = "7b6785be222d4cf0e1ca9204a0a1a2a3a4a5a6a7a8a9aaabacadaeafa9d9a977a4acd6f1"
                                           "9ac6494e9fd8f95142c64fd077edba19b1f27bbb";
static const char *const encrypted_64a = "e6591bbf0bbfd80b3d5e176fa0a1a2a3a4a5a6a7a8a9aaabacadaeaff06b9aba23347340b34b"
                                         "eb7d6b7a9e2c02160c41388d8876c38e7ed0ec141e9094";

static struct blob_context *context;
static struct buffer raw = {.limit = BLOB_RAW_SIZE_MAX};
static struct buffer sealed = {.limit = BLOB_RAW_SIZE_MAX + BLOB_HEADER_SIZE};
static struct error err;

static int setup(void **state)
{
    (void)state;
    return blob_context_new(&context, NULL) == OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    blob_context_free(context);
    blob_context_free(NULL);
    buffer_deinit(&raw);
    buffer_deinit(&sealed);
    return 0;
}

/* An exact allocation: the sanitizer sees reads behind its end. */
static uint8_t *from_hex(const char *hex, size_t *size)
{
    *size = strlen(hex) / 2;
    uint8_t *data = malloc(*size);
    assert_non_null(data);
    assert_true(hex_decode(hex, 2 * *size, data, *size));
    return data;
}

static enum status open_hex(const char *hex, size_t raw_size_max)
{
    size_t size;
    uint8_t *data = from_hex(hex, &size);
    enum status status = blob_open(context, data, size, raw_size_max, "x.blob", &raw, &err);
    free(data);
    return status;
}

static void seal(const void *data, size_t size)
{
    struct slice slice = {.data = data, .size = size};
    assert_int_equal(blob_seal(context, &slice, 1, &sealed, &err), OK);
}

static enum blob_kind kind_of_sealed(void)
{
    enum blob_kind kind = BLOB_ENCRYPTED;
    assert_int_equal(blob_kind_of(sealed.data, sealed.size, "sealed", &kind, &err), OK);
    return kind;
}

static void assert_opens_to(const void *data, size_t size)
{
    assert_int_equal(blob_open(context, sealed.data, sealed.size, size, "sealed", &raw, &err), OK);
    assert_int_equal(raw.size, size);
    if (size > 0)
        assert_memory_equal(raw.data, data, size);
}

/* A compressed blob around frames made by hand; its crc is right. */
static void wrap_frames(const void *frames, size_t size)
{
    static const uint8_t magic[8] = {0x31, 0xb9, 0x58, 0x42, 0x6f, 0xb6, 0xa3, 0x7f};
    buffer_clear(&sealed);
    assert_int_equal(buffer_append(&sealed, magic, sizeof magic, &err), OK);
    assert_int_equal(buffer_append_u32le(&sealed, (uint32_t)crc32_z(0, frames, size), &err), OK);
    assert_int_equal(buffer_append(&sealed, frames, size, &err), OK);
}

static void test_magics_are_digests_of_their_texts(void **state)
{
    (void)state;
    static const char *const texts[] = {
        [BLOB_PLAIN] = "Proxmox Backup uncompressed blob v1.0",
        [BLOB_ZSTD] = "Proxmox Backup zstd compressed blob v1.0",
        [BLOB_ENCRYPTED] = "Proxmox Backup encrypted blob v1.0",
        [BLOB_ENCRYPTED_ZSTD] = "Proxmox Backup zstd compressed encrypted blob v1.0",
    };
    for (unsigned k = 0; k < 4; k++) {
        uint8_t digest[SHA256_DIGEST_LENGTH];
        SHA256((const uint8_t *)texts[k], strlen(texts[k]), digest);
        enum blob_kind kind = (enum blob_kind)(3 - k);
        assert_int_equal(blob_kind_of(digest, sizeof digest, "x", &kind, &err), OK);
        assert_int_equal(kind, k);
    }
}

static void test_plain_example(void **state)
{
    (void)state;
    seal("hello world\n", 12);
    assert_true(hex_equals(plain_hello, sealed.data, sealed.size));
    assert_int_equal(open_hex(plain_hello, 12), OK);
    assert_int_equal(raw.size, 12);
    assert_memory_equal(raw.data, "hello world\n", 12);
    assert_string_equal(sha256_hex(raw.data, raw.size),
                        "a948904f2f0f479b8f8197694b30184b0d2ed1c1cd2a1ec0fb85d299a192a447");
}

static void test_compressed_example(void **state)
{
    (void)state;
    char as[64];
    memset(as, 'a', sizeof as);
    assert_int_equal(open_hex(zstd_64a, 64), OK);
    assert_int_equal(raw.size, 64);
    assert_memory_equal(raw.data, as, 64);
    assert_string_equal(sha256_hex(raw.data, raw.size),
                        "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb");
    seal(as, sizeof as);
    assert_int_equal(kind_of_sealed(), BLOB_ZSTD);
    assert_opens_to(as, sizeof as);
}

static void test_encrypted_examples_are_refused_by_name(void **state)
{
    (void)state;
    assert_int_equal(open_hex(encrypted_hello, 100), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "x.blob"));
    assert_non_null(strstr(err.text, "encrypted"));
    assert_int_equal(open_hex(encrypted_64a, 100), ERR_UNSUPPORTED);

    /* The crc is checked first; it does not cover iv and tag. */
    size_t size;
    uint8_t *data = from_hex(encrypted_hello, &size);
    for (size_t i = 12; i < size; i++) {
        data[i] ^= 4;
        assert_int_equal(blob_open(context, data, size, 100, "x", &raw, &err), i < 44 ? ERR_UNSUPPORTED : ERR_MISMATCH);
        data[i] ^= 4;
    }
    for (size_t cut = 12; cut < 44; cut++)
        assert_int_equal(blob_open(context, data, cut, 100, "x", &raw, &err), ERR_FORMAT);
    free(data);
}

static void test_crc_is_checked_without_a_key(void **state)
{
    (void)state;
    static const struct {
        const char *hex;
        enum blob_kind kind;
    } cases[] = {{plain_hello, BLOB_PLAIN},
                 {zstd_64a, BLOB_ZSTD},
                 {encrypted_hello, BLOB_ENCRYPTED},
                 {encrypted_64a, BLOB_ENCRYPTED_ZSTD}};
    for (size_t i = 0; i < 4; i++) {
        size_t size;
        enum blob_kind kind;
        uint8_t *data = from_hex(cases[i].hex, &size);
        size_t header_size = i < 2 ? BLOB_HEADER_SIZE : BLOB_ENCRYPTED_HEADER_SIZE;
        assert_int_equal(blob_check(data, size, "x", &kind, NULL), OK);
        assert_int_equal(kind, cases[i].kind);
        assert_int_equal(blob_is_encrypted(kind), i >= 2);
        for (size_t at = BLOB_CRC_OFFSET; at < size; at++) {
            bool covered = at < BLOB_HEADER_SIZE || at >= header_size; /* iv and tag are not */
            data[at] ^= 0x10;
            assert_int_equal(blob_check(data, size, "x", &kind, NULL), covered ? ERR_MISMATCH : OK);
            data[at] ^= 0x10;
        }
        for (size_t cut = 0; cut < header_size; cut++)
            assert_int_equal(blob_check(data, cut, "x", &kind, NULL), ERR_FORMAT);
        data[0] ^= 1;
        assert_int_equal(blob_check(data, size, "x", &kind, NULL), ERR_NOT_ARCHIVE);
        free(data);
    }
}

static void test_kind_follows_what_is_shorter(void **state)
{
    (void)state;
    uint8_t *random = make_splitmix64(300000, 1);
    uint8_t *zeros = make_constant(4 << 20, 0);
    for (size_t size = 0; size < 70; size++) {
        seal(random, size);
        assert_int_equal(kind_of_sealed(), BLOB_PLAIN);
        assert_int_equal(sealed.size, 12 + size);
        assert_opens_to(random, size);
        seal(zeros, size);
        assert_true(sealed.size <= 12 + size);
        assert_int_equal(kind_of_sealed(), sealed.size < 12 + size ? BLOB_ZSTD : BLOB_PLAIN);
        assert_opens_to(zeros, size);
    }
    seal(random, 4096);
    assert_int_equal(kind_of_sealed(), BLOB_PLAIN);
    assert_opens_to(random, 4096);
    seal(random, 300000);
    assert_int_equal(kind_of_sealed(), BLOB_PLAIN);
    assert_int_equal(sealed.size, 300012);
    assert_opens_to(random, 300000);
    seal(zeros, 4 << 20);
    assert_int_equal(kind_of_sealed(), BLOB_ZSTD);
    assert_true(sealed.size < 2000);
    assert_opens_to(zeros, 4 << 20);
    free(random);
    free(zeros);
}

/* Data just at the edge: mostly random with a compressible end of every length. */
static void test_compressed_is_always_strictly_shorter(void **state)
{
    (void)state;
    bool seen[2] = {false, false};
    for (size_t tail = 0; tail < 80; tail++) {
        uint8_t *data = make_splitmix64(2000, tail);
        memset(data + 2000 - tail, 0, tail);
        seal(data, 2000);
        enum blob_kind kind = kind_of_sealed();
        seen[kind] = true;
        assert_true(kind == BLOB_PLAIN ? sealed.size == 2012 : sealed.size < 2012);
        assert_opens_to(data, 2000);
        free(data);
    }
    assert_true(seen[BLOB_PLAIN] && seen[BLOB_ZSTD]);
}

static void test_slicing_does_not_matter(void **state)
{
    (void)state;
    enum { SIZE = 700000 };
    uint8_t *data = make_splitmix64(SIZE, 4);
    for (size_t i = 0; i < SIZE; i++)
        data[i] &= 0x1f;
    seal(data, SIZE);
    assert_int_equal(kind_of_sealed(), BLOB_ZSTD);
    struct buffer whole = BUFFER_INIT(SIZE);
    assert_int_equal(buffer_append(&whole, sealed.data, sealed.size, &err), OK);
    static const size_t parts[] = {16, 1000, 131072, 262144, 700000};
    for (size_t p = 0; p < sizeof parts / sizeof parts[0]; p++) {
        size_t count = 0;
        struct slice *slices = calloc(SIZE / parts[p] + 3, sizeof *slices);
        assert_non_null(slices);
        slices[count++] = (struct slice){0};
        for (size_t at = 0; at < SIZE; at += parts[p])
            slices[count++] = (struct slice){.data = data + at, .size = SIZE - at < parts[p] ? SIZE - at : parts[p]};
        if (p % 2)
            slices[count++] = (struct slice){0};
        assert_int_equal(blob_seal(context, slices, count, &sealed, &err), OK);
        assert_int_equal(sealed.size, whole.size);
        assert_memory_equal(sealed.data, whole.data, whole.size);
        free(slices);
    }
    buffer_deinit(&whole);
    free(data);
}

static void test_empty_data(void **state)
{
    (void)state;
    assert_int_equal(blob_seal(context, NULL, 0, &sealed, &err), OK);
    assert_int_equal(sealed.size, 12);
    assert_int_equal(kind_of_sealed(), BLOB_PLAIN);
    assert_opens_to("", 0);
}

static void test_context_is_usable_after_every_failure(void **state)
{
    (void)state;
    uint8_t *zeros = make_constant(100000, 0);
    seal(zeros, 100000);
    assert_int_equal(blob_open(context, sealed.data, sealed.size - 1, 100000, "x", &raw, &err), ERR_MISMATCH);
    assert_int_equal(blob_open(context, sealed.data, sealed.size, 500, "x", &raw, &err), ERR_LIMIT);
    assert_opens_to(zeros, 100000);
    /* A compression given up half-way leaves nothing behind either. */
    uint8_t *random = make_splitmix64(400000, 3);
    seal(random, 400000);
    seal(zeros, 100000);
    assert_opens_to(zeros, 100000);
    free(random);
    free(zeros);
}

static void test_every_flipped_bit_is_found(void **state)
{
    (void)state;
    static const char *const examples[] = {plain_hello, zstd_64a};
    for (size_t e = 0; e < 2; e++) {
        size_t size;
        uint8_t *data = from_hex(examples[e], &size);
        for (size_t bit = 0; bit < 8 * size; bit++) {
            data[bit / 8] ^= (uint8_t)(1 << bit % 8);
            enum status status = blob_open(context, data, size, 1000, "x", &raw, &err);
            assert_int_equal(status, bit < 64 ? ERR_NOT_ARCHIVE : ERR_MISMATCH);
            assert_int_equal(raw.size, 0);
            data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        }
        free(data);
    }
}

static void test_truncation_at_every_byte_is_found(void **state)
{
    (void)state;
    static const char *const examples[] = {plain_hello, zstd_64a, encrypted_hello, encrypted_64a};
    for (size_t e = 0; e < 4; e++) {
        size_t size;
        uint8_t *whole = from_hex(examples[e], &size);
        for (size_t cut = 0; cut < size; cut++) {
            uint8_t *data = malloc(cut ? cut : 1);
            assert_non_null(data);
            memcpy(data, whole, cut);
            assert_int_equal(blob_open(context, data, cut, 1000, "x", &raw, &err),
                             cut < (e < 2 ? 12 : 44) ? ERR_FORMAT : ERR_MISMATCH);
            free(data);
        }
        free(whole);
    }
}

/* The crc is right, the frame is not. */
static void test_frame_must_be_complete_and_alone(void **state)
{
    (void)state;
    uint8_t *data = make_splitmix64(300000, 4);
    for (size_t i = 0; i < 300000; i++)
        data[i] &= 3;
    size_t capacity = ZSTD_compressBound(300000);
    uint8_t *frame = malloc(capacity + 100);
    assert_non_null(frame);
    size_t size = ZSTD_compress(frame, capacity, data, 300000, 1);
    assert_false(ZSTD_isError(size));

    wrap_frames(frame, size);
    assert_opens_to(data, 300000);
    for (size_t cut = 0; cut < size; cut += cut < 50 || cut + 50 > size ? 1 : 997) {
        wrap_frames(frame, cut);
        assert_int_equal(blob_open(context, sealed.data, sealed.size, 1 << 20, "x", &raw, &err), ERR_FORMAT);
        assert_int_equal(raw.size, 0);
    }
    for (size_t extra = 1; extra < 20; extra++) {
        memset(frame + size, 0, extra);
        wrap_frames(frame, size + extra);
        assert_int_equal(blob_open(context, sealed.data, sealed.size, 1 << 20, "x", &raw, &err), ERR_FORMAT);
    }
    free(frame);
    free(data);
}

static void test_frames_of_every_make_are_read(void **state)
{
    (void)state;
    enum { SIZE = 200000 };
    uint8_t *data = make_splitmix64(SIZE, 8);
    for (size_t i = 0; i < SIZE; i++)
        data[i] &= 7;
    size_t capacity = 3 * ZSTD_compressBound(SIZE);
    uint8_t *frames = malloc(capacity);
    ZSTD_CCtx *z = ZSTD_createCCtx();
    assert_true(frames && z);
    for (int content_size = 0; content_size < 2; content_size++)
        for (int checksum = 0; checksum < 2; checksum++)
            for (int level = 1; level <= 19; level += 9) {
                ZSTD_CCtx_setParameter(z, ZSTD_c_contentSizeFlag, content_size);
                ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, checksum);
                ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, level);
                /* Three frames, the middle one empty, with a skippable one between. */
                static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 'a', 'b', 'c'};
                size_t size = ZSTD_compress2(z, frames, capacity, data, SIZE / 3);
                memcpy(frames + size, skippable, sizeof skippable);
                size += sizeof skippable;
                size += ZSTD_compress2(z, frames + size, capacity - size, NULL, 0);
                size += ZSTD_compress2(z, frames + size, capacity - size, data + SIZE / 3, SIZE - SIZE / 3);
                wrap_frames(frames, size);
                assert_opens_to(data, SIZE);
                assert_int_equal(blob_open(context, sealed.data, sealed.size, SIZE - 1, "x", &raw, &err), ERR_LIMIT);
            }
    ZSTD_freeCCtx(z);
    free(frames);
    free(data);
}

static void test_size_is_bounded(void **state)
{
    (void)state;
    assert_int_equal(open_hex(plain_hello, 11), ERR_LIMIT);
    assert_non_null(strstr(err.text, "x.blob"));
    assert_int_equal(open_hex(plain_hello, 12), OK);
    for (size_t limit = 0; limit < 64; limit++)
        assert_int_equal(open_hex(zstd_64a, limit), ERR_LIMIT);
    assert_int_equal(open_hex(zstd_64a, 64), OK);
    assert_int_equal(open_hex(zstd_64a, SIZE_MAX), OK);
}

/* 128 MiB of zeros in a few kilobytes: never more memory than is allowed. */
static void test_bomb_is_bounded(void **state)
{
    (void)state;
    size_t size = (size_t)128 << 20;
    uint8_t *zeros = calloc(1, size);
    assert_non_null(zeros);
    seal(zeros, size);
    assert_true(sealed.size < 20000);
    struct buffer small = BUFFER_INIT(CHUNK_RAW_SIZE_MAX);
    assert_int_equal(blob_open(context, sealed.data, sealed.size, CHUNK_RAW_SIZE_MAX, "x", &small, &err), ERR_LIMIT);
    assert_int_equal(small.size, 0);
    assert_true(small.capacity <= CHUNK_RAW_SIZE_MAX);
    struct digest digest;
    digest_of(zeros, 1000, &digest);
    assert_int_equal(blob_open_chunk(context, NULL, sealed.data, sealed.size, &digest, 1000, "x", &small, &err),
                     ERR_LIMIT);
    buffer_deinit(&small);

    /* A claim of a size is not believed: the frame says 64 MiB and holds one byte. */
    static const uint8_t claim[] = {0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 4, 9, 0, 0, 'x'};
    wrap_frames(claim, sizeof claim);
    small = BUFFER_INIT(BLOB_RAW_SIZE_MAX);
    assert_int_equal(blob_open(context, sealed.data, sealed.size, BLOB_RAW_SIZE_MAX, "x", &small, &err), ERR_FORMAT);
    assert_true(small.capacity <= 1 << 20);
    buffer_deinit(&small);

    struct slice slices[] = {{.data = zeros, .size = size}, {.data = zeros, .size = 1}};
    assert_int_equal(blob_seal(context, slices, 2, &sealed, &err), ERR_LIMIT);
    assert_non_null(strstr(err.text, "data of a blob is larger than 134217728 bytes"));
    assert_int_equal(blob_seal(context, slices, 1, &sealed, &err), OK);
    slices[1].size = SIZE_MAX;
    assert_int_equal(blob_seal(context, slices, 2, &sealed, &err), ERR_LIMIT);
    free(zeros);
}

static void test_full_size_chunk_fits_a_buffer_of_that_limit(void **state)
{
    (void)state;
    uint8_t *zeros = make_constant(CHUNK_RAW_SIZE_MAX, 0);
    struct digest digest;
    digest_of(zeros, CHUNK_RAW_SIZE_MAX, &digest);
    seal(zeros, CHUNK_RAW_SIZE_MAX);
    struct buffer exact = BUFFER_INIT(CHUNK_RAW_SIZE_MAX);
    assert_int_equal(
        blob_open_chunk(context, NULL, sealed.data, sealed.size, &digest, CHUNK_RAW_SIZE_MAX, "x", &exact, &err), OK);
    assert_int_equal(exact.size, CHUNK_RAW_SIZE_MAX);
    buffer_deinit(&exact);
    free(zeros);
}

static void test_chunk_must_have_its_digest_and_length(void **state)
{
    (void)state;
    size_t size;
    static const char *const examples[] = {plain_hello, zstd_64a};
    static const size_t raw_sizes[] = {12, 64};
    for (size_t e = 0; e < 2; e++) {
        uint8_t *data = from_hex(examples[e], &size);
        uint64_t raw_size = raw_sizes[e];
        struct digest digest;
        assert_int_equal(open_hex(examples[e], 100), OK);
        digest_of(raw.data, raw.size, &digest);
        assert_int_equal(blob_open_chunk(context, NULL, data, size, &digest, raw_size, "c", &raw, &err), OK);
        assert_int_equal(raw.size, raw_size);
        for (uint64_t wrong = 0; wrong < 100; wrong++) {
            if (wrong == raw_size)
                continue;
            assert_int_equal(blob_open_chunk(context, NULL, data, size, &digest, wrong, "c", &raw, &err), ERR_MISMATCH);
            assert_int_equal(raw.size, 0);
        }
        assert_non_null(strstr(err.text, e ? "64" : "12"));
        assert_non_null(strstr(err.text, "99"));
        char text[DIGEST_TEXT_SIZE];
        digest.bytes[0] ^= 1;
        assert_int_equal(blob_open_chunk(context, NULL, data, size, &digest, raw_size, "c", &raw, &err), ERR_MISMATCH);
        assert_non_null(strstr(err.text, digest_text(&digest, text)));
        digest.bytes[0] ^= 1;
        assert_non_null(strstr(err.text, digest_text(&digest, text)));
        assert_int_equal(blob_open_chunk(context, NULL, data, size, &digest, CHUNK_RAW_SIZE_MAX + 1, "c", &raw, &err),
                         ERR_LIMIT);
        free(data);
    }
}

static void test_other_data_is_not_a_blob(void **state)
{
    (void)state;
    enum blob_kind kind;
    uint8_t zeros[100] = {0};
    assert_int_equal(blob_kind_of(zeros, sizeof zeros, "some/file", &kind, &err), ERR_NOT_ARCHIVE);
    assert_non_null(strstr(err.text, "some/file"));
    assert_int_equal(blob_kind_of(zeros, 11, "some/file", &kind, &err), ERR_FORMAT);
    assert_int_equal(blob_kind_of(NULL, 0, "some/file", &kind, &err), ERR_FORMAT);
}

/* ---- encrypted ---- */

static struct crypt_config *example_key(void)
{
    static struct crypt_config config;
    uint8_t key[CRYPT_KEY_SIZE];
    for (unsigned i = 0; i < sizeof key; i++)
        key[i] = (uint8_t)i;
    assert_int_equal(crypt_config_init(&config, key, NULL), OK);
    return &config;
}

static struct crypt_config *other_key(void)
{
    static struct crypt_config config;
    uint8_t key[CRYPT_KEY_SIZE] = {1};
    assert_int_equal(crypt_config_init(&config, key, NULL), OK);
    return &config;
}

static const uint8_t example_iv[CRYPT_IV_SIZE] = {0xa0, 0xa1, 0xa2, 0xa3, 0xa4, 0xa5, 0xa6, 0xa7,
                                                  0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};

static enum status open_keyed(const struct crypt_config *key, size_t raw_size_max)
{
    return blob_open_keyed(context, key, sealed.data, sealed.size, raw_size_max, "x.blob", &raw, &err);
}

static void seal_encrypted(const void *data, size_t size)
{
    struct slice slice = {.data = data, .size = size};
    assert_int_equal(blob_seal_encrypted(context, example_key(), example_iv, &slice, 1, &sealed, &err), OK);
}

static void take_hex(const char *hex)
{
    size_t size;
    uint8_t *data = from_hex(hex, &size);
    buffer_clear(&sealed);
    assert_int_equal(buffer_append(&sealed, data, size, &err), OK);
    free(data);
}

static void test_encrypted_example(void **state)
{
    (void)state;
    seal_encrypted("hello world\n", 12);
    assert_true(hex_equals(encrypted_hello, sealed.data, sealed.size));
    assert_int_equal(open_keyed(example_key(), 12), OK);
    assert_int_equal(raw.size, 12);
    assert_memory_equal(raw.data, "hello world\n", 12);
    /* However it is sliced. */
    for (size_t cut = 0; cut <= 12; cut++) {
        const uint8_t *text = (const uint8_t *)"hello world\n";
        const struct slice slices[] = {{.data = text, .size = cut}, {.data = text + cut, .size = 12 - cut}};
        assert_int_equal(blob_seal_encrypted(context, example_key(), example_iv, slices, 2, &sealed, &err), OK);
        assert_true(hex_equals(encrypted_hello, sealed.data, sealed.size));
    }
}

static void test_encrypted_compressed_example(void **state)
{
    (void)state;
    uint8_t *text = make_constant(64, 'a');
    take_hex(encrypted_64a);
    assert_int_equal(open_keyed(example_key(), 64), OK);
    assert_int_equal(raw.size, 64);
    assert_memory_equal(raw.data, text, 64);
    assert_int_equal(open_keyed(example_key(), 63), ERR_LIMIT);
    seal_encrypted(text, 64);
    assert_int_equal(kind_of_sealed(), BLOB_ENCRYPTED_ZSTD);
    assert_true(sealed.size < 44 + 64);
    assert_int_equal(open_keyed(example_key(), 64), OK);
    assert_memory_equal(raw.data, text, 64);
    free(text);
}

static void test_encrypted_sizes(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 2, 4096, 1 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t *noise = make_splitmix64(sizes[i] + 1, i);
        seal_encrypted(noise, sizes[i]);
        assert_int_equal(kind_of_sealed(), BLOB_ENCRYPTED);
        assert_int_equal(sealed.size, 44 + sizes[i]);
        assert_int_equal(open_keyed(example_key(), sizes[i]), OK);
        assert_int_equal(raw.size, sizes[i]);
        if (sizes[i] > 0)
            assert_memory_equal(raw.data, noise, sizes[i]);
        if (sizes[i] > 0)
            assert_int_equal(open_keyed(example_key(), sizes[i] - 1), ERR_LIMIT);
        free(noise);
    }
}

static void test_encrypted_needs_its_key(void **state)
{
    (void)state;
    seal_encrypted("hello world\n", 12);
    assert_int_equal(open_keyed(NULL, 12), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.text, "x.blob: is encrypted"));
    assert_int_equal(open_keyed(other_key(), 12), ERR_MISMATCH);
    assert_string_equal(err.text, "x.blob: cannot be decrypted: another key, or damaged");
    assert_int_equal(raw.size, 0);
    uint8_t *text = make_constant(64, 'a');
    seal_encrypted(text, 64);
    assert_int_equal(open_keyed(other_key(), 64), ERR_MISMATCH);
    assert_int_equal(raw.size, 0);
    free(text);
}

static void test_with_a_key_nothing_unencrypted_is_taken(void **state)
{
    (void)state;
    uint8_t *text = make_constant(64, 'a');
    seal("hello world\n", 12);
    assert_int_equal(open_keyed(example_key(), 12), ERR_MISMATCH);
    assert_string_equal(err.text, "x.blob: is not encrypted, but must be");
    seal(text, 64);
    assert_int_equal(kind_of_sealed(), BLOB_ZSTD);
    assert_int_equal(open_keyed(example_key(), 64), ERR_MISMATCH);
    assert_int_equal(raw.size, 0);
    free(text);
}

/* A bit of the ciphertext fails the crc; one of IV or tag passes it, and fails decryption. */
static void test_flipped_bits_of_an_encrypted_blob(void **state)
{
    (void)state;
    for (size_t bit = 8 * 8; bit < 8 * 56; bit++) {
        take_hex(encrypted_hello);
        sealed.data[bit / 8] ^= (uint8_t)(1U << bit % 8);
        assert_int_equal(open_keyed(example_key(), 12), ERR_MISMATCH);
        bool covered = bit < 8 * 12 || bit >= 8 * 44;
        assert_non_null(strstr(err.text, covered ? "crc is" : "cannot be decrypted"));
    }
}

static void test_encrypted_chunks_have_keyed_digests(void **state)
{
    (void)state;
    struct digest keyed, plain;
    seal_encrypted("hello world\n", 12);
    crypt_digest_of(example_key(), "hello world\n", 12, &keyed);
    digest_of("hello world\n", 12, &plain);
    assert_int_equal(blob_open_chunk(context, example_key(), sealed.data, sealed.size, &keyed, 12, "c", &raw, &err),
                     OK);
    assert_int_equal(blob_open_chunk(context, example_key(), sealed.data, sealed.size, &plain, 12, "c", &raw, &err),
                     ERR_MISMATCH);
    assert_int_equal(blob_open_chunk(context, example_key(), sealed.data, sealed.size, &keyed, 13, "c", &raw, &err),
                     ERR_MISMATCH);
    assert_int_equal(blob_open_chunk(context, NULL, sealed.data, sealed.size, &plain, 12, "c", &raw, &err),
                     ERR_UNSUPPORTED);
    seal("hello world\n", 12);
    assert_int_equal(blob_open_chunk(context, example_key(), sealed.data, sealed.size, &keyed, 12, "c", &raw, &err),
                     ERR_MISMATCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_magics_are_digests_of_their_texts),
        cmocka_unit_test(test_plain_example),
        cmocka_unit_test(test_compressed_example),
        cmocka_unit_test(test_encrypted_examples_are_refused_by_name),
        cmocka_unit_test(test_crc_is_checked_without_a_key),
        cmocka_unit_test(test_kind_follows_what_is_shorter),
        cmocka_unit_test(test_compressed_is_always_strictly_shorter),
        cmocka_unit_test(test_slicing_does_not_matter),
        cmocka_unit_test(test_empty_data),
        cmocka_unit_test(test_context_is_usable_after_every_failure),
        cmocka_unit_test(test_every_flipped_bit_is_found),
        cmocka_unit_test(test_truncation_at_every_byte_is_found),
        cmocka_unit_test(test_frame_must_be_complete_and_alone),
        cmocka_unit_test(test_frames_of_every_make_are_read),
        cmocka_unit_test(test_size_is_bounded),
        cmocka_unit_test(test_bomb_is_bounded),
        cmocka_unit_test(test_full_size_chunk_fits_a_buffer_of_that_limit),
        cmocka_unit_test(test_chunk_must_have_its_digest_and_length),
        cmocka_unit_test(test_other_data_is_not_a_blob),
        cmocka_unit_test(test_encrypted_example),
        cmocka_unit_test(test_encrypted_compressed_example),
        cmocka_unit_test(test_encrypted_sizes),
        cmocka_unit_test(test_encrypted_needs_its_key),
        cmocka_unit_test(test_with_a_key_nothing_unencrypted_is_taken),
        cmocka_unit_test(test_flipped_bits_of_an_encrypted_blob),
        cmocka_unit_test(test_encrypted_chunks_have_keyed_digests),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
