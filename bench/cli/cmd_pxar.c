#include "cli/cmd_pxar.h"

#include "cli/cli.h"

int cmd_pxar(int argc, char **argv)
{
    static const struct cli_command commands[] = {
        {"create", pxar_create_command, "pack a directory into an archive"},
        {"extract", pxar_extract_command, "unpack an archive"},
        {"list", pxar_list_command, "print the paths of an archive, or of a part of it"},
        {"dump", pxar_dump_command, "print every entry with all it has, as JSON lines"},
        {"lookup", pxar_lookup_command, "find entries by path, without reading the rest"},
        {"diff", pxar_diff_command, "what differs between two archives"},
        {"encode", pxar_encode_command, "build an archive from a description in JSON"},
        {NULL, NULL, NULL},
    };
    return cli_dispatch("pxarbench pxar", commands, argc, argv);
}
