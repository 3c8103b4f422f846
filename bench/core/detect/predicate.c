#include "detect/predicate.h"

#include <sys/stat.h>

enum file_reason predicate_compare(const struct attributes *now, uint64_t size, const struct archive_entry *old,
                                   enum compare_rule rule)
{
    if (!old)
        return FILE_NEW;
    if (old->kind == ENTRY_HARDLINK)
        return FILE_HARDLINK;
    if (old->kind != ENTRY_FILE || !S_ISREG((mode_t)now->stat.mode))
        return FILE_TYPE;
    if (old->size != size)
        return FILE_SIZE;
    if (rule == COMPARE_CONTENT) {
        bool same = old->attributes.stat.mtime_secs == now->stat.mtime_secs &&
                    old->attributes.stat.mtime_nanos == now->stat.mtime_nanos;
        return same ? FILE_UNCHANGED : FILE_MTIME;
    }
    switch (attributes_compare(&old->attributes, now, rule == COMPARE_STRICT)) {
    case ATTRIBUTE_EQUAL: return FILE_UNCHANGED;
    case ATTRIBUTE_TYPE: return FILE_TYPE;
    case ATTRIBUTE_MTIME: return FILE_MTIME;
    case ATTRIBUTE_MODE: return FILE_MODE;
    case ATTRIBUTE_OWNER: return FILE_OWNER;
    case ATTRIBUTE_FLAGS: return FILE_FLAGS;
    case ATTRIBUTE_XATTR: return FILE_XATTR;
    case ATTRIBUTE_XATTR_VALUE: return FILE_XATTR_VALUE;
    case ATTRIBUTE_ACL: return FILE_ACL;
    case ATTRIBUTE_FCAPS: return FILE_FCAPS;
    case ATTRIBUTE_PROJECT_ID: return FILE_PROJECT_ID;
    }
    return FILE_TYPE;
}

enum file_reason offset_guard_accept(struct offset_guard *g, uint64_t payload_offset, uint64_t size,
                                     uint64_t stream_size, uint64_t *out_start, uint64_t *out_end)
{
    if (payload_offset < g->behind)
        return FILE_NON_MONOTONE;
    if (payload_offset < ITEM_HEADER_SIZE || payload_offset > stream_size ||
        stream_size - payload_offset < ITEM_HEADER_SIZE || size > stream_size - payload_offset - ITEM_HEADER_SIZE)
        return FILE_OUT_OF_RANGE;
    *out_start = payload_offset;
    *out_end = payload_offset + ITEM_HEADER_SIZE + size;
    g->behind = *out_end;
    return FILE_UNCHANGED;
}
