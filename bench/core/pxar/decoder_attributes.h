/* Collects the attribute items of one member after the other (pxar.md 4, 5.5 to 5.8): they come in any order between
 * ENTRY and the item that ends the member; single ones at most once. Memory is kept from member to member.
 * Pure. Not thread-safe. */
#ifndef PXB_PXAR_DECODER_ATTRIBUTES_H
#define PXB_PXAR_DECODER_ATTRIBUTES_H

#include "pxar/item.h"

enum acl_slot { ACL_USERS, ACL_GROUPS, ACL_DEFAULT_USERS, ACL_DEFAULT_GROUPS, ACL_SLOTS };

struct decoder_attributes {
    struct attribute_extras extras;
    size_t xattr_capacity;
    size_t acl_capacity[ACL_SLOTS];
    struct buffer xattr_bytes; /* contents of the XATTR items, one behind the other */
    struct buffer fcaps;
    bool any;
};

void decoder_attributes_init(struct decoder_attributes *a);
void decoder_attributes_deinit(struct decoder_attributes *a); /* accepts {0} */
/* The next member. */
void decoder_attributes_reset(struct decoder_attributes *a);

bool item_is_attribute(uint64_t type);
/* `type` is an attribute's and the content's size within its bounds. ERR_FORMAT: a sentence without the place. */
MUST_CHECK enum status decoder_attributes_add(struct decoder_attributes *a, uint64_t type, const uint8_t *content,
                                              size_t size, struct error *err);
/* After the last one; borrowed until the next reset, NULL when there was none. */
struct attribute_extras *decoder_attributes_finish(struct decoder_attributes *a);

#endif
