/* A manifest from hostile bytes: whatever parses can be written, and what is written parses to the same. */
#include "index/manifest.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err = {0};
    struct manifest first;
    if (manifest_parse(data, size, "fuzz", &first, &err) != OK)
        return 0;
    struct buffer text = BUFFER_INIT(0);
    struct buffer again_text = BUFFER_INIT(0);
    struct manifest again;
    ASSERT(manifest_write(&first, &text, &err) == OK);
    ASSERT(manifest_parse(text.data, text.size, "written", &again, &err) == OK);
    ASSERT(manifest_write(&again, &again_text, &err) == OK);
    ASSERT(again_text.size == text.size && memcmp(again_text.data, text.data, text.size) == 0);
    for (size_t i = 0; i < first.file_count; i++)
        ASSERT(manifest_find(&again, first.files[i].filename));
    ASSERT(manifest_set_upload_stats(&again, 1, 2, 3, 4, &err) == OK);
    manifest_deinit(&first);
    manifest_deinit(&again);
    buffer_deinit(&text);
    buffer_deinit(&again_text);
    return 0;
}
