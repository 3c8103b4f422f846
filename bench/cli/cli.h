/* What the subcommands share: options, numbers, output formats, exit codes.
 *
 * A command is `int cmd_NAME(int argc, char **argv)`; argv[0] is its own name ("snapshot"), the rest is as typed. It
 * returns an exit code. Results go to stdout by stdio, everything else through base/log.h. main() flushes stdout and
 * turns a failed write into exit 1, so a command need not check its last one.
 *
 * The usual shape:
 *
 *     static enum status run(int argc, char **argv, struct error *err)
 *     {
 *         static const struct option options[] = {{"average", required_argument, NULL, 'a'}, CLI_OPTIONS_END};
 *         cli_options_begin();
 *         for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;)
 *             switch (option) {
 *             case 'a': TRY(cli_parse_u64("--average", optarg, 1, 10, &average, err)); break;
 *             case CLI_HELP: return cli_help(help_text);
 *             default: return ERR_USAGE;
 *             }
 *         ... argv[optind] is the first argument that is no option; cli_arguments() checks their number ...
 *     }
 *     int cmd_x(int argc, char **argv)
 *     {
 *         struct error err = {0};
 *         return cli_exit_code(run(argc, argv, &err), &err);
 *     }
 *
 * Single-threaded. Source: bench/README.md, command line. */
#ifndef PXB_CLI_CLI_H
#define PXB_CLI_CLI_H

#include "base/io.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2 }; /* exit codes */

int cmd_analyze(int argc, char **argv);
int cmd_backup(int argc, char **argv);
int cmd_benchmark(int argc, char **argv);
int cmd_blob(int argc, char **argv);
int cmd_catalog(int argc, char **argv);
int cmd_chunk(int argc, char **argv);
int cmd_index(int argc, char **argv);
int cmd_key(int argc, char **argv);
int cmd_login(int argc, char **argv);
int cmd_pxar(int argc, char **argv);
int cmd_restore(int argc, char **argv);
int cmd_serve(int argc, char **argv);
int cmd_snapshot(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_version(int argc, char **argv);

/* ---- exit ---- */

/* OK and ERR_HELP from cli_help: CLI_DONE. ERR_USAGE: CLI_USAGE. Others: CLI_FAILED. Logs err's sentence on failure.
 */
int cli_exit_code(enum status status, const struct error *err);
/* Prints to stdout; returns ERR_HELP, which cli_exit_code takes as success. */
MUST_CHECK enum status cli_help(const char *text);

/* ---- options ---- */

enum { CLI_NO_MORE = -1, CLI_HELP = 1000, CLI_OUTPUT_FORMAT, CLI_BAD_OPTION, CLI_OPTION_FIRST };
#define CLI_OPTIONS_END                                                                                                \
    {"help", no_argument, NULL, CLI_HELP},                                                                             \
    {                                                                                                                  \
        NULL, 0, NULL, 0                                                                                               \
    }
/* For commands that have a result. */
#define CLI_FORMAT_OPTION                                                                                              \
    {                                                                                                                  \
        "output-format", required_argument, NULL, CLI_OUTPUT_FORMAT                                                    \
    }

void cli_options_begin(void);
/* The next option's `val` with optarg set; CLI_NO_MORE; CLI_BAD_OPTION: err says which (ERR_USAGE). There are no short
 * options but -h (CLI_HELP); `val` is anything but 'h' and below CLI_HELP, or CLI_OPTION_FIRST on. */
int cli_next_option(int argc, char **argv, const struct option *options, struct error *err);
/* ERR_USAGE unless argv has min..max arguments behind the options; `what` names them: "FILE", "SNAPSHOT ARCHIVE". */
MUST_CHECK enum status cli_arguments(int argc, char **argv, int min, int max, const char *what, struct error *err);

/* Decimal, whole text, within min..max; else ERR_USAGE naming `what` ("--threads"). */
MUST_CHECK enum status cli_parse_u64(const char *what, const char *text, uint64_t min, uint64_t max, uint64_t *out,
                                     struct error *err);
/* A finite decimal fraction within min..max; '.' whatever the locale. */
MUST_CHECK enum status cli_parse_double(const char *what, const char *text, double min, double max, double *out,
                                        struct error *err);
/* Index of `text` in the NULL-terminated `names`; else ERR_USAGE
 * "--x: value 'TEXT' is not defined in the enumeration (a, b)." */
MUST_CHECK enum status cli_parse_enum(const char *what, const char *text, const char *const *names, size_t *out,
                                      struct error *err);

/* ---- output ---- */

enum output_format { OUTPUT_TEXT, OUTPUT_JSON, OUTPUT_JSON_PRETTY };
MUST_CHECK enum status cli_parse_format(const char *text, enum output_format *out, struct error *err);
/* One JSON value and a newline on stdout, members in the order of insertion; JSON_PRETTY is indented by 2.
 * Takes the reference to `value`; NULL (a jansson allocation failed) is ERR_MEMORY. */
MUST_CHECK enum status cli_print_json(json_t *value, enum output_format format, struct error *err);
/* A JSON string of bytes that need not be UTF-8 or printable: what is not UTF-8 becomes U+FFFD. NULL: out of memory. */
json_t *cli_json_text(const char *text);
/* A count as JSON; counts beyond 2^63 - 1 (no counter gets there) are given as that. */
json_t *cli_json_count(uint64_t value);
/* Bytes to stdout; ERR_IO. */
struct sink cli_stdout_sink(void);
MUST_CHECK enum status cli_print(struct error *err, const char *format, ...) PRINTF_LIKE(2, 3);

/* ---- groups of commands ---- */

struct cli_command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary; /* one line of the group's help */
};
/* Runs the entry of the table (ended by a NULL name) that argv[1] names, with argv + 1. `--help`, `help [COMMAND...]`
 * and no command at all are handled here; `group` is the words before ("pxarbench pxar"). */
int cli_dispatch(const char *group, const struct cli_command *commands, int argc, char **argv);

#endif
