/* The table of base/threads.h: threads of this process, with all signals blocked so that they go to the main thread. */
#ifndef PXB_FLOW_THREADS_H
#define PXB_FLOW_THREADS_H

#include "base/threads.h"

extern const struct threads flow_threads;

#endif
