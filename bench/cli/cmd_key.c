/* pxarbench key: files with encryption keys. */
#include "cli/cli.h"
#include "flow/key_store.h"

static const char create_help[] =
    "Usage: pxarbench key create FILE [OPTION...]\n"
    "\n"
    "Makes a random encryption key and stores it in the new FILE, which only its owner can read. Whoever loses it "
    "cannot\n"
    "read what was encrypted with it.\n"
    "\n"
    "  --kdf KDF    scrypt (default) or pbkdf2: the key is wrapped with the passphrase in PBS_ENCRYPTION_PASSWORD, or\n"
    "               PBS_ENCRYPTION_PASSWORD_FD, _FILE, _CMD; at least 5 bytes. none: the key is stored as it is\n"
    "  --hint TEXT  a note on the passphrase, stored readable\n";

static const char change_help[] =
    "Usage: pxarbench key change-passphrase FILE [OPTION...]\n"
    "\n"
    "Wraps the key in FILE with another passphrase: the one in PBS_NEW_ENCRYPTION_PASSWORD, or _FD, _FILE, _CMD "
    "behind\n"
    "that name. The old one, if there is one, is taken from PBS_ENCRYPTION_PASSWORD. The key stays the same.\n"
    "\n"
    "  --kdf KDF    scrypt (default), pbkdf2, or none: the key is stored as it is\n"
    "  --hint TEXT  a note on the passphrase, stored readable (default: the old one stays)\n";

static const char show_help[] = "Usage: pxarbench key show FILE [OPTION...]\n"
                                "\n"
                                "Shows what FILE says of its key: how it is wrapped, fingerprint, times, hint; not the "
                                "key. The fingerprint is the\n"
                                "file's word, which is checked whenever the key is used.\n"
                                "\n"
                                "  --output-format FORMAT  text, json or json-pretty (default text)\n";

struct arguments {
    enum key_kdf kdf;
    const char *hint;
};

/* Both commands that write take the same. */
static enum status take_options(int argc, char **argv, const char *help, struct arguments *a, struct error *err)
{
    enum { KDF = CLI_OPTION_FIRST, HINT };
    static const struct option options[] = {
        {"kdf", required_argument, NULL, KDF}, {"hint", required_argument, NULL, HINT}, CLI_OPTIONS_END};
    size_t kdf = KEY_KDF_SCRYPT;
    *a = (struct arguments){0};
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;)
        switch (option) {
        case KDF: TRY(cli_parse_enum("--kdf", optarg, key_kdf_names, &kdf, err)); break;
        case HINT: a->hint = optarg; break;
        case CLI_HELP: return cli_help(help);
        default: return ERR_USAGE;
        }
    a->kdf = (enum key_kdf)kdf;
    return cli_arguments(argc, argv, 1, 1, "FILE", err);
}

static enum status create(int argc, char **argv, struct error *err)
{
    struct arguments a;
    TRY(take_options(argc, argv, create_help, &a, err));
    return key_create(argv[optind], a.kdf, a.hint, err);
}

static enum status change(int argc, char **argv, struct error *err)
{
    struct arguments a;
    TRY(take_options(argc, argv, change_help, &a, err));
    return key_change_passphrase(argv[optind], a.kdf, a.hint, err);
}

static enum status show_text(const struct key_file *f, const char *path, const char *fingerprint, struct error *err)
{
    TRY(cli_print(err, "path         %s\nkdf          %s\ncreated      %s\nmodified     %s\n", path,
                  key_kdf_names[f->kdf], f->created, f->modified));
    if (fingerprint)
        TRY(cli_print(err, "fingerprint  %s\n", fingerprint));
    return f->hint ? cli_print(err, "hint         %s\n", f->hint) : OK;
}

static enum status show(int argc, char **argv, struct error *err)
{
    static const struct option options[] = {CLI_FORMAT_OPTION, CLI_OPTIONS_END};
    enum output_format format = OUTPUT_TEXT;
    cli_options_begin();
    for (int option; (option = cli_next_option(argc, argv, options, err)) != CLI_NO_MORE;)
        switch (option) {
        case CLI_OUTPUT_FORMAT: TRY(cli_parse_format(optarg, &format, err)); break;
        case CLI_HELP: return cli_help(show_help);
        default: return ERR_USAGE;
        }
    TRY(cli_arguments(argc, argv, 1, 1, "FILE", err));
    const char *path = argv[optind];
    CLEANUP(key_file_deinit) struct key_file f = {0};
    TRY(key_describe(path, &f, err));
    char text[FINGERPRINT_TEXT_SIZE];
    const char *fingerprint = f.has_fingerprint ? fingerprint_text(f.fingerprint, text) : NULL;
    if (format == OUTPUT_TEXT)
        return show_text(&f, path, fingerprint, err);
    /* Members that are NULL with '*' are left out. */
    json_t *json = json_pack("{s:o, s:s, s:s, s:s, s:s*, s:o*}", "path", cli_json_text(path), "kdf",
                             key_kdf_names[f.kdf], "created", f.created, "modified", f.modified, "fingerprint",
                             fingerprint, "hint", f.hint ? cli_json_text(f.hint) : NULL);
    return cli_print_json(json, format, err);
}

static int cmd_create(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(create(argc, argv, &err), &err);
}

static int cmd_show(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(show(argc, argv, &err), &err);
}

static int cmd_change(int argc, char **argv)
{
    struct error err = {0};
    return cli_exit_code(change(argc, argv, &err), &err);
}

int cmd_key(int argc, char **argv)
{
    static const struct cli_command commands[] = {
        {"create", cmd_create, "a new key in a new file"},
        {"show", cmd_show, "what a key file says of its key"},
        {"change-passphrase", cmd_change, "wrap the key with another passphrase"},
        {0},
    };
    return cli_dispatch("pxarbench key", commands, argc, argv);
}
