/* Any bytes as a key file: what is read is written and read again with the same result. */
#include "blob/key_file.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct key_file f, again;
    struct error err;
    if (key_file_parse(data, size, "input", &f, &err) != OK)
        return 0;
    struct buffer text = BUFFER_INIT(4 * KEY_FILE_SIZE_MAX);
    ASSERT(key_file_write(&f, KEY_FILE_PRETTY, &text, &err) == OK);
    ASSERT(key_file_parse(text.data, text.size, "again", &again, &err) == OK);
    ASSERT(f.kdf == again.kdf && f.data_size == again.data_size && memcmp(f.data, again.data, f.data_size) == 0);
    ASSERT(f.n == again.n && f.r == again.r && f.p == again.p && f.iterations == again.iterations);
    ASSERT(f.salt_size == again.salt_size && memcmp(f.salt, again.salt, f.salt_size) == 0);
    key_file_deinit(&f);
    key_file_deinit(&again);
    buffer_deinit(&text);
    return 0;
}
