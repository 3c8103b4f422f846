/* The lines of a comparison (diff.h): which fields of two entries differ, with both values. Pure but for the sink.
 * Not thread-safe. */
#ifndef PXB_PXAR_DIFF_FIELDS_H
#define PXB_PXAR_DIFF_FIELDS_H

#include "base/buffer.h"
#include "pxar/decoder.h"
#include "pxar/diff.h"

enum { DIFF_DIGEST_SIZE = 32 };

struct diff_lines {
    struct diff_options options;
    struct sink out;
    struct buffer lines;     /* not written yet */
    struct buffer values[2]; /* of the field being compared, as JSON */
};

void diff_lines_init(struct diff_lines *l, const struct diff_options *options, struct sink out);
void diff_lines_deinit(struct diff_lines *l); /* accepts {0} */
MUST_CHECK enum status diff_lines_flush(struct diff_lines *l, struct error *err);

MUST_CHECK enum status diff_only_in(struct diff_lines *l, bool in_b, const struct archive_entry *entry,
                                    struct error *err);
/* Everything but contents. *out_differ is set when there is a difference, else left as it is. */
MUST_CHECK enum status diff_fields(struct diff_lines *l, const struct archive_entry *a, const struct archive_entry *b,
                                   bool *out_differ, struct error *err);
MUST_CHECK enum status diff_contents(struct diff_lines *l, const char *path, const uint8_t a[DIFF_DIGEST_SIZE],
                                     const uint8_t b[DIFF_DIGEST_SIZE], bool *out_differ, struct error *err);
/* NULL: an archive without one. */
MUST_CHECK enum status diff_preludes(struct diff_lines *l, const uint8_t *a, size_t a_size, const uint8_t *b,
                                     size_t b_size, bool *out_differ, struct error *err);

#endif
