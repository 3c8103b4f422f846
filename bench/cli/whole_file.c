#include "cli/whole_file.h"

#include "cli/files.h"

enum { READ_SIZE = 1 << 16 };

enum status whole_file_read(const char *path, size_t size_max, struct buffer *out, struct error *err)
{
    CLEANUP(input_file_close) struct input_file file = {0};
    buffer_clear(out);
    TRY(input_file_open(path, &file, err));
    struct source source = input_file_source(&file);
    for (;;) {
        size_t got;
        TRY(buffer_reserve(out, READ_SIZE, err));
        TRY(source.read(source.context, out->data + out->size, READ_SIZE, &got, err));
        if (got == 0)
            return OK;
        out->size += got;
        if (out->size > size_max)
            return fail(err, ERR_LIMIT, "%s: is larger than the %zu bytes that are allowed", path, size_max);
    }
}
