/* The commands of the `pxar` group, one file each. They return exit codes as commands do (cli.h). */
#ifndef PXB_CLI_CMD_PXAR_H
#define PXB_CLI_CMD_PXAR_H

int pxar_create_command(int argc, char **argv);
int pxar_extract_command(int argc, char **argv);
int pxar_list_command(int argc, char **argv);
int pxar_dump_command(int argc, char **argv);
int pxar_lookup_command(int argc, char **argv);
int pxar_diff_command(int argc, char **argv);
int pxar_encode_command(int argc, char **argv);

#endif
