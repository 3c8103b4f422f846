#include "cli/cli.h"

#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int cli_exit_code(enum status status, const struct error *err)
{
    if (status == OK || status == ERR_HELP)
        return CLI_DONE;
    log_error("%s", err->text);
    return status == ERR_USAGE ? CLI_USAGE : CLI_FAILED;
}

enum status cli_help(const char *text)
{
    fputs(text, stdout); /* main() looks at the stream's error flag */
    return ERR_HELP;
}

/* ---- options ---- */

void cli_options_begin(void)
{
    optind = 0; /* glibc: start over, also its own state */
    opterr = 0; /* the sentences are ours */
}

/* getopt_long has told in `optopt` what it stumbled over: 0 for a long option that it does not know, the `val` of a
 * long one that it does, else a letter. */
static int bad_option(char **argv, const struct option *options, bool lacks_value, struct error *err)
{
    const char *word = argv[optind - 1];
    bool known = false;
    for (const struct option *o = options; o->name; o++)
        known |= optopt == o->val;
    if (lacks_value)
        fail(err, ERR_USAGE, "%s: option '%s' needs a value", argv[0], word);
    else if (known && strncmp(word, "--", 2) == 0 && strchr(word, '='))
        fail(err, ERR_USAGE, "%s: option '%.*s' takes no value", argv[0], (int)strcspn(word, "="), word);
    else if (optopt == 0)
        fail(err, ERR_USAGE, "%s: unknown option '%s'; see --help", argv[0], word);
    else
        fail(err, ERR_USAGE, "%s: unknown option '-%c'; see --help", argv[0], optopt);
    return CLI_BAD_OPTION;
}

int cli_next_option(int argc, char **argv, const struct option *options, struct error *err)
{
    int found = getopt_long(argc, argv, ":h", options, NULL);
    if (found == ':' || found == '?')
        return bad_option(argv, options, found == ':', err);
    return found == 'h' ? CLI_HELP : found;
}

enum status cli_arguments(int argc, char **argv, int min, int max, const char *what, struct error *err)
{
    int count = argc - optind;
    if (count < min)
        return fail(err, ERR_USAGE, "%s: %s expected, %d argument%s given", argv[0], what, count,
                    count == 1 ? "" : "s");
    if (count > max)
        return fail(err, ERR_USAGE, "%s: unexpected argument '%s' (expected: %s)", argv[0], argv[optind + max],
                    *what ? what : "none");
    return OK;
}

enum status cli_parse_u64(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out,
                          struct error *err)
{
    if (!*text || strspn(text, "0123456789") != strlen(text))
        return fail(err, ERR_USAGE, "%s: '%s' is not a whole number", what, text);
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    if (errno != 0 || value > max)
        return fail(err, ERR_USAGE, "%s: value must have a maximum value of %" PRIu64 " (got %s)", what, max, text);
    if (value < min)
        return fail(err, ERR_USAGE, "%s: value must have a minimum value of %" PRIu64 " (got %s)", what, min, text);
    *out = value;
    return OK;
}

enum status cli_parse_double(const char *what, const char *text, double min, double max, double *out, struct error *err)
{
    /* strtod also knows hexadecimal, "inf" and "nan"; the program never sets a locale, so the point is '.'. */
    char *end = NULL;
    double value = strtod(text, &end);
    if (!*text || strspn(text, "0123456789.eE+-") != strlen(text) || *end || !isfinite(value))
        return fail(err, ERR_USAGE, "%s: '%s' is not a number", what, text);
    if (value < min || value > max)
        return fail(err, ERR_USAGE, "%s: value must be between %g and %g (got %s)", what, min, max, text);
    *out = value;
    return OK;
}

enum status cli_parse_enum(const char *what, const char *text, const char *const *names, size_t *out, struct error *err)
{
    char all[256] = "";
    for (size_t i = 0; names[i]; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return OK;
        }
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", i ? ", " : "", names[i]);
    }
    return fail(err, ERR_USAGE, "%s: value '%s' is not defined in the enumeration (%s).", what, text, all);
}

/* ---- output ---- */

enum status cli_parse_format(const char *text, enum output_format *out, struct error *err)
{
    static const char *const names[] = {"text", "json", "json-pretty", NULL};
    size_t index;
    TRY(cli_parse_enum("--output-format", text, names, &index, err));
    *out = (enum output_format)index;
    return OK;
}

enum status cli_print_json(json_t *value, enum output_format format, struct error *err)
{
    if (!value)
        return fail(err, ERR_MEMORY, "out of memory for the JSON result");
    size_t flags =
        JSON_ENCODE_ANY | (format == OUTPUT_JSON_PRETTY ? JSON_INDENT(2) : JSON_COMPACT) | JSON_REAL_PRECISION(15);
    int result = json_dumpf(value, stdout, flags);
    json_decref(value);
    if (result != 0 || putc('\n', stdout) == EOF || fflush(stdout) != 0)
        return fail(err, ERR_IO, "write standard output");
    return OK;
}

/* Length of the UTF-8 sequence at `p` (NUL-terminated), 0 if it is none. Jansson refuses what RFC 3629 refuses, so
 * surrogates and overlong forms count as none. */
static size_t utf8_length(const unsigned char *p)
{
    if (p[0] < 0x80)
        return 1;
    size_t length = p[0] >= 0xc2 && p[0] <= 0xdf ? 2 : (p[0] & 0xf0) == 0xe0 ? 3 : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : 0;
    for (size_t i = 1; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return length;
}

json_t *cli_json_text(const char *text)
{
    /* Every byte becomes at most the three of U+FFFD. */
    size_t size = strlen(text);
    char *clean = malloc(size * 3 + 1);
    if (!clean)
        return NULL;
    size_t used = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p;) {
        size_t length = utf8_length(p);
        if (length) {
            memcpy(clean + used, p, length);
            used += length;
            p += length;
        } else {
            memcpy(clean + used, "\xef\xbf\xbd", 3);
            used += 3;
            p++;
        }
    }
    json_t *result = json_stringn(clean, used);
    free(clean);
    return result;
}

json_t *cli_json_count(uint64_t value)
{
    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static enum status stdout_write(void *context, const uint8_t *data, size_t size, struct error *err)
{
    (void)context;
    if (size && fwrite(data, 1, size, stdout) != size)
        return fail(err, ERR_IO, "write standard output");
    return OK;
}

struct sink cli_stdout_sink(void)
{
    return (struct sink){.write = stdout_write};
}

enum status cli_print(struct error *err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int length = vprintf(format, args);
    va_end(args);
    if (length < 0)
        return fail(err, ERR_IO, "write standard output");
    return OK;
}

/* ---- groups of commands ---- */

static int group_help(const char *group, const struct cli_command *commands)
{
    printf("Usage: %s COMMAND [ARGUMENT...]\n\nCommands:\n", group);
    for (const struct cli_command *c = commands; c->name; c++)
        printf("  %-10s %s\n", c->name, c->summary);
    printf("\n'%s COMMAND --help' tells more about one of them.\n", group);
    if (!strchr(group, ' ')) /* the program itself */
        puts("\nBefore COMMAND:\n"
             "  --quiet    errors only\n"
             "  --verbose  every decision of change detection\n"
             "  --version  print the version");
    return CLI_DONE;
}

static const struct cli_command *find_command(const struct cli_command *commands, const char *name)
{
    for (const struct cli_command *c = commands; c->name; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

int cli_dispatch(const char *group, const struct cli_command *commands, int argc, char **argv)
{
    if (argc < 2) {
        log_error("%s: no command given; see '%s --help'", group, group);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || (strcmp(argv[1], "help") == 0 && argc == 2))
        return group_help(group, commands);

    bool help = strcmp(argv[1], "help") == 0;
    const char *name = argv[help ? 2 : 1];
    const struct cli_command *command = find_command(commands, name);
    if (!command) {
        log_error("%s: unknown %s '%s'; see '%s --help'", group, name[0] == '-' ? "option" : "command", name, group);
        return CLI_USAGE;
    }
    if (!help)
        return command->run(argc - 1, argv + 1);

    /* "help pxar create" is "pxar create --help": a group below hands the rest on in the same way. */
    char flag[] = "--help";
    char *words[8] = {0};
    int count = 0;
    for (int i = 2; i < argc && count < 6; i++)
        words[count++] = argv[i];
    words[count++] = flag;
    return command->run(count, words);
}
