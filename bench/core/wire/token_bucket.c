#include "wire/token_bucket.h"

__extension__ typedef unsigned __int128 wide;

/* Billionths of a byte. */
static wide consumed_at(const struct token_bucket *b, uint64_t now_ns)
{
    wide consumed = (wide)b->consumed_whole * TOKEN_BUCKET_PIECE + b->consumed_rest;
    uint64_t elapsed_ns = now_ns > b->last_ns ? now_ns - b->last_ns : 0;
    wide drained = (wide)b->rate * elapsed_ns;
    return consumed > drained ? consumed - drained : 0;
}

static uint64_t pause_ns(const struct token_bucket *b, wide consumed)
{
    wide burst = (wide)b->burst * TOKEN_BUCKET_PIECE;
    if (consumed <= burst)
        return 0;
    wide pause = (consumed - burst + b->rate - 1) / b->rate;
    return pause > UINT64_MAX ? UINT64_MAX : (uint64_t)pause;
}

void token_bucket_init(struct token_bucket *b, uint64_t rate, uint64_t burst, uint64_t now_ns)
{
    burst = burst ? burst : rate;
    *b = (struct token_bucket){.rate = rate, .burst = burst, .last_ns = now_ns, .consumed_whole = burst};
}

uint64_t token_bucket_pass(struct token_bucket *b, uint64_t size, uint64_t now_ns)
{
    if (b->rate == 0)
        return 0;
    wide consumed = consumed_at(b, now_ns) + (wide)size * TOKEN_BUCKET_PIECE;
    wide whole = consumed / TOKEN_BUCKET_PIECE;
    b->consumed_whole = whole > UINT64_MAX ? UINT64_MAX : (uint64_t)whole;
    b->consumed_rest = (uint64_t)(consumed % TOKEN_BUCKET_PIECE);
    if (now_ns > b->last_ns)
        b->last_ns = now_ns;
    return pause_ns(b, consumed);
}

uint64_t token_bucket_wait(const struct token_bucket *b, uint64_t now_ns)
{
    return b->rate == 0 ? 0 : pause_ns(b, consumed_at(b, now_ns));
}
