/* NAME.EXT:PATH, the arguments of `backup`. Source: bench/spec/change-detection.md 2, bench/spec/datastore.md 8.1. */
#ifndef PXB_CLI_BACKUP_SOURCES_H
#define PXB_CLI_BACKUP_SOURCES_H

#include "flow/backup.h"

struct backup_sources {
    struct backup_source items[BACKUP_SOURCES_MAX];
    char *names[BACKUP_SOURCES_MAX]; /* owned; the items borrow them */
    size_t count;
};

/* `text` is borrowed. ERR_USAGE: not of that form, named twice, too many. */
MUST_CHECK enum status backup_sources_add(struct backup_sources *s, const char *text, struct error *err);
void backup_sources_deinit(struct backup_sources *s); /* accepts {0} */

#endif
