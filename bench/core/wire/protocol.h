/* Numbers and words of the backup server's protocol that several places use.
 * Source: bench/spec/protocol.md 0, 7. */
#ifndef PXB_WIRE_PROTOCOL_H
#define PXB_WIRE_PROTOCOL_H

enum {
    WIRE_PORT_DEFAULT = 8007,
    WIRE_CHUNK_RAW_MAX = 16777216,
    WIRE_CHUNK_ENCODED_MIN = 13,
    WIRE_CHUNK_ENCODED_MAX = 16777260,
    WIRE_BLOB_ENCODED_MIN = 12,
    WIRE_BLOB_ENCODED_MAX = 16777260,
    WIRE_FIXED_CHUNK_SIZE = 4194304,
    WIRE_WID_MAX = 256,
    WIRE_TARGET_MAX = 3072,              /* HTTP/1.1: path and query, without the '?' */
    WIRE_PARAMETER_BODY_MAX_OLD = 65535, /* servers before April 2025 */
    WIRE_PARAMETER_BODY_MAX = 524287,    /* servers since */
    WIRE_PATH_MAX = 4096,                /* HTTP/2: what our client sends at most */
    WIRE_JSON_REPLY_MAX = 1 << 20,
    WIRE_ERROR_TEXT_MAX = 64 << 10,
    WIRE_APPEND_ENTRIES = 64, /* entries of one append */
    WIRE_APPEND_ENTRIES_MAX = 512,
    WIRE_TICKET_LIFETIME_S = 7200,
    WIRE_WINDOW_SIZE = 33554432,       /* HTTP/2 windows, stream and connection */
    WIRE_WINDOW_SIZE_MAX = 2147483646, /* what the original client announces */
    WIRE_FRAME_SIZE_MAX = 4194304,
    WIRE_STREAMS_MAX = 200, /* requests at a time that our server takes */
    WIRE_HEADER_LIST_MAX = 16384,
};

#define WIRE_BACKUP_PROTOCOL "proxmox-backup-protocol-v1"
#define WIRE_READER_PROTOCOL "proxmox-backup-reader-protocol-v1"
#define WIRE_USER_AGENT "proxmox-backup-client/1.0"
#define WIRE_AUTHORITY "localhost:8007" /* of every HTTP/2 request: servers ignore it, nghttp2 wants it */
#define WIRE_TYPE_FORM "application/x-www-form-urlencoded"
#define WIRE_TYPE_JSON "application/json"
#define WIRE_TYPE_JSON_REPLY "application/json;charset=UTF-8"
#define WIRE_TYPE_BINARY "application/octet-stream"
#define WIRE_AUTH_ID_DEFAULT "root@pam"
#define WIRE_HOST_DEFAULT "localhost"

#endif
