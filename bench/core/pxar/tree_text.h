/* Builds an archive from a text manifest (schema "pxar-vector-tree/1"): fixtures need neither a file system nor
 * root. Contents are generated piece by piece, never held whole. No system calls.
 *
 *   {"schema": "pxar-vector-tree/1", "name": ..., "comment": ..., "from_filesystem": bool, "prelude_b64": ...,
 *    "root": {"mode": "0755", "uid": 0, "gid": 0, "mtime": [1700000000, 0], "entries": [
 *       {"name": "f", "type": "file", "mode": "0644", ..., "content": {"kind": "splitmix64", "seed": 1, "size": 9}},
 *       {"name_b64": "/w==", "type": "hardlink", "target": "f"}]}}
 *
 * Entry: name, type (file dir symlink hardlink fifo socket chardev blockdev); but for hardlinks mode (permissions,
 *   octal), uid, gid, mtime [seconds, nanoseconds] and optionally flags, xattrs [{name, value_b64}], acl {users, groups
 *   [{id, perm}], group_obj, default {user_obj, group_obj, other, mask}, default_users, default_groups}, fcaps_b64,
 *   quota_project_id.
 * By type: dir: entries, in any order. file: content, and optionally payload_pad_before, bytes of no file that go in
 *   front of its payload header. symlink, hardlink: target. devices: major, minor.
 * Content kinds: empty, b64 (data), repeat (pattern_b64, size), splitmix64 (seed, size). */
#ifndef PXB_PXAR_TREE_TEXT_H
#define PXB_PXAR_TREE_TEXT_H

#include "base/io.h"

/* `name` is what the manifest is called in errors. ERR_FORMAT: the manifest is wrong, with its JSON path; unknown keys
 * are wrong too. Sinks may have received part of the archive then. */
MUST_CHECK enum status tree_text_encode(const char *json, size_t size, const char *name, struct sink metadata,
                                        struct sink payload, struct error *err);
/* One unified archive. What version 1 cannot hold is checked and left out: prelude_b64, payload_pad_before. */
MUST_CHECK enum status tree_text_encode_unified(const char *json, size_t size, const char *name, struct sink archive,
                                                struct error *err);

#endif
