#include "wire/http_body.h"

enum { LINE_MAX_SIZE = 256, TRAILER_MAX = 16 << 10, CHUNK_DIGITS_MAX = 15 };

/*   SIZE -> EXTENSION -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
 *                                \-> TRAILER <-> TRAILER_LF -> END_LF         (behind the chunk of size 0) */
enum { SIZE, EXTENSION, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER_START, TRAILER, TRAILER_LF, END_LF };

enum status http_body_init(struct http_body *b, const struct http_head *head, uint64_t size_max, struct error *err)
{
    *b = (struct http_body){.framing = http_head_framing(head), .size_max = size_max};
    if (b->framing == HTTP_BODY_NONE)
        b->complete = true;
    if (b->framing == HTTP_BODY_SIZED) {
        b->left = head->length;
        if (b->left > size_max)
            return fail(err, ERR_LIMIT, "a body of %llu bytes, at most %llu are accepted", (unsigned long long)b->left,
                        (unsigned long long)size_max);
    }
    return OK;
}

/* Data of known remaining length, or up to the end. */
static enum status take(struct http_body *b, const uint8_t *data, size_t size, size_t *out_used, const uint8_t **piece,
                        size_t *piece_size, struct error *err)
{
    if (b->framing != HTTP_BODY_UNTIL_EOF && size > b->left)
        size = (size_t)b->left;
    if (size > b->size_max - b->size)
        return fail(err, ERR_LIMIT, "the body is longer than the accepted %llu bytes", (unsigned long long)b->size_max);
    b->size += size;
    if (b->framing != HTTP_BODY_UNTIL_EOF)
        b->left -= size;
    *out_used += size;
    *piece = data;
    *piece_size = size;
    return OK;
}

static int digit_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static enum status bad_chunk(struct error *err)
{
    return fail(err, ERR_FORMAT, "a chunked body that is not well-formed");
}

/* One byte of what is between the chunks' data. */
static enum status step(struct http_body *b, uint8_t c, struct error *err)
{
    switch (b->state) {
    case SIZE: {
        int digit = digit_value(c);
        if (digit >= 0) {
            if (++b->digits > CHUNK_DIGITS_MAX)
                return bad_chunk(err);
            b->left = b->left << 4 | (unsigned)digit;
            return OK;
        }
        if (b->digits == 0 || (c != '\r' && c != ';'))
            return bad_chunk(err);
        b->state = c == '\r' ? SIZE_LF : EXTENSION;
        return OK;
    }
    case EXTENSION:
        if (c == '\r')
            b->state = SIZE_LF;
        else if (c < ' ' || ++b->line_size > LINE_MAX_SIZE)
            return bad_chunk(err);
        return OK;
    case SIZE_LF:
        if (c != '\n')
            return bad_chunk(err);
        if (b->left > b->size_max - b->size)
            return fail(err, ERR_LIMIT, "the body is longer than the accepted %llu bytes",
                        (unsigned long long)b->size_max);
        b->state = b->left > 0 ? DATA : TRAILER_START;
        return OK;
    case DATA_CR:
        if (c != '\r')
            return bad_chunk(err);
        b->state = DATA_LF;
        return OK;
    case DATA_LF:
        if (c != '\n')
            return bad_chunk(err);
        b->state = SIZE;
        b->digits = 0;
        b->line_size = 0;
        return OK;
    case TRAILER_START:
        if (c == '\r') {
            b->state = END_LF;
            return OK;
        }
        b->state = TRAILER;
        return step(b, c, err);
    case TRAILER:
        if (c == '\r')
            b->state = TRAILER_LF;
        else if ((c < ' ' && c != '\t') || ++b->trailer_size > TRAILER_MAX)
            return bad_chunk(err);
        return OK;
    case TRAILER_LF:
        if (c != '\n')
            return bad_chunk(err);
        b->state = TRAILER_START;
        return OK;
    case END_LF:
        if (c != '\n')
            return bad_chunk(err);
        b->complete = true;
        return OK;
    default: return bad_chunk(err);
    }
}

enum status http_body_feed(struct http_body *b, const void *data, size_t size, size_t *out_used,
                           const uint8_t **out_piece, size_t *out_piece_size, struct error *err)
{
    const uint8_t *bytes = data;
    *out_used = 0;
    *out_piece = bytes;
    *out_piece_size = 0;
    if (b->framing == HTTP_BODY_CHUNKED) {
        while (*out_used < size && !b->complete && b->state != DATA)
            TRY(step(b, bytes[(*out_used)++], err));
        if (b->state == DATA && *out_used < size) {
            TRY(take(b, bytes + *out_used, size - *out_used, out_used, out_piece, out_piece_size, err));
            if (b->left == 0)
                b->state = DATA_CR;
        }
        return OK;
    }
    if (!b->complete && size > 0)
        TRY(take(b, bytes, size, out_used, out_piece, out_piece_size, err));
    if (b->framing == HTTP_BODY_SIZED && b->left == 0)
        b->complete = true;
    return OK;
}

enum status http_body_end(struct http_body *b, struct error *err)
{
    if (b->framing == HTTP_BODY_UNTIL_EOF)
        b->complete = true;
    if (!b->complete)
        return fail(err, ERR_NETWORK, "the connection ended within the body, after %llu bytes of it",
                    (unsigned long long)b->size);
    return OK;
}
