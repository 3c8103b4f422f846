#include "flow/archive.h"

#include "chunk/chunker.h"
#include "flow/exclude_text.h"
#include "tree/listing.h"

#include <sys/resource.h>
#include <unistd.h>

const char *const detection_mode_names[] = {
    [MODE_LEGACY] = "legacy", [MODE_DATA] = "data", [MODE_METADATA] = "metadata", NULL};
const char *const reuse_profile_names[] = {
    [PROFILE_TIGHT] = "tight", [PROFILE_UPSTREAM] = "upstream", [PROFILE_STORED] = "stored", NULL};
const char *const compare_rule_names[] = {
    [COMPARE_STRICT] = "strict", [COMPARE_UPSTREAM] = "upstream", [COMPARE_CONTENT] = "content", NULL};

/* Few descriptors allow few threads; the result does not depend on their number. */
static unsigned affordable_threads(unsigned wanted)
{
    enum { DESCRIPTORS_BASE = 32, DESCRIPTORS_PER_THREAD = 3 };
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return wanted;
    rlim_t spare = limit.rlim_cur > DESCRIPTORS_BASE ? limit.rlim_cur - DESCRIPTORS_BASE : 0;
    rlim_t affordable = spare / DESCRIPTORS_PER_THREAD;
    return affordable < 1 ? 1 : affordable < wanted ? (unsigned)affordable : wanted;
}

static enum status check_stored(const struct archive_options *o, struct error *err)
{
    if (o->absorb_below > ABSORB_BELOW_MAX)
        return fail(err, ERR_USAGE, "chunks to absorb are smaller than at most %d bytes", ABSORB_BELOW_MAX);
    if (o->max_instances > MAX_INSTANCES_MAX)
        return fail(err, ERR_USAGE, "a chunk is listed at most %d times", MAX_INSTANCES_MAX);
    return OK;
}

uint64_t absorb_below_default(uint64_t chunk_average)
{
    return chunk_average / 16;
}

enum status archive_options_prepare(const struct archive_options *given, struct archive_options *out, struct error *err)
{
    struct archive_options o = *given;
    if (o.threads > THREADS_MAX)
        return fail(err, ERR_USAGE, "at most %d threads, not %u", THREADS_MAX, o.threads);
    if (o.cache_limit > CACHE_LIMIT_MAX)
        return fail(err, ERR_USAGE, "the cache limit is at most %d entries", CACHE_LIMIT_MAX);
    if (o.threshold_ppm > PPM_ONE)
        return fail(err, ERR_USAGE, "the padding threshold is a share from 0 to 1");
    TRY(check_stored(&o, err));
    if (o.threads == 0) {
        long processors = sysconf(_SC_NPROCESSORS_ONLN);
        o.threads = processors < 1 ? 1 : processors > THREADS_MAX ? THREADS_MAX : (unsigned)processors;
    }
    o.threads = affordable_threads(o.threads);
    if (o.chunk_average == 0)
        o.chunk_average = CHUNKER_AVERAGE_DEFAULT;
    if (o.cache_limit == 0)
        o.cache_limit = CACHE_LIMIT_DEFAULT;
    if (!o.has_absorb_below)
        o.absorb_below = absorb_below_default(o.chunk_average);
    o.has_absorb_below = true;
    if (o.max_instances == 0)
        o.max_instances = MAX_INSTANCES_DEFAULT;
    if (o.walk.entries_max == 0)
        o.walk.entries_max = LISTING_ENTRIES_MAX_DEFAULT;
    if (o.mode != MODE_LEGACY) {
        struct buffer prelude = BUFFER_INIT(EXCLUDE_TEXT_SIZE_MAX);
        enum status status = exclude_prelude(o.walk.patterns, &prelude, err);
        buffer_deinit(&prelude);
        TRY(status);
    }
    struct chunker probe;
    TRY(chunker_init(&probe, (size_t)o.chunk_average, err));
    *out = o;
    return OK;
}
