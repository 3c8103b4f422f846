/* What a list of patterns costs for each entry of a tree. `--tiny`: milliseconds, so that it runs in every test run. */
#include "tree/pattern.h"

#include "base/clock.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const directories[] = {"drivers/net/ethernet/intel", "fs", "Documentation/devicetree/bindings",
                                          "node_modules/left/lib", "arch/x86/kernel/cpu"};
static const char *const endings[] = {".c", ".h", ".o", ".rst", ".tmp"};

static int measure(const char *name, const char *const *texts, size_t count, unsigned entries)
{
    struct error err = {0};
    struct pattern_list *l;
    enum status s = pattern_list_new(&l, &err);
    for (size_t i = 0; s == OK && i < count; i++)
        s = pattern_list_add(l, texts[i], strlen(texts[i]), PATTERN_EXCLUDE, false, &err);
    if (s != OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    uint64_t elapsed_ns = 0;
    unsigned excluded = 0;
    for (unsigned i = 0; i < entries;) {
        enum { BATCH = 256 };
        static char paths[BATCH][128];
        static size_t sizes[BATCH];
        for (size_t k = 0; k < BATCH; k++, i++)
            sizes[k] = (size_t)snprintf(paths[k], sizeof paths[k], "/home/user/linux/%s/file%u%s", directories[i % 5],
                                        i, endings[i / 5 % 5]);
        uint64_t begin_ns = clock_monotonic_ns();
        for (size_t k = 0; k < BATCH; k++)
            excluded += pattern_list_match(l, paths[k], sizes[k], DT_REG) == PATTERN_EXCLUDE;
        elapsed_ns += clock_monotonic_ns() - begin_ns;
    }
    printf("%-10s %7.1f ns per entry and pattern, %u of %u excluded\n", name,
           (double)elapsed_ns / (double)entries / (double)count, excluded, entries);
    pattern_list_free(l);
    return 0;
}

int main(int argc, char **argv)
{
    bool tiny = argc > 1 && strcmp(argv[1], "--tiny") == 0;
    unsigned entries = tiny ? 1 << 10 : 1 << 20;
    static const char *const literal[] = {"lost+found", "/proc", "/var/cache/apt", ".git", "core"};
    static const char *const ending[] = {"*.o", "*.pyc", "*~", "**/*.swp", "*.tmp"};
    static const char *const name[] = {"#*#", "file[0-9]*7.?", "*.s[a-w][a-z]", ".*.un~?", "a*b*c*"};
    static const char *const path[] = {"/home/*/.cache/**", "node_modules/**/*.rst", "**/build/**/x*", "/home/**/f*9.h",
                                       "x86/*/cpu/*8.c"};
    int failed = measure("literal", literal, 5, entries);
    failed |= measure("ending", ending, 5, entries);
    failed |= measure("name", name, 5, entries);
    failed |= measure("path", path, 5, entries);
    return failed;
}
