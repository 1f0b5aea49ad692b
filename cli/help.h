/* Help and the manual page, both from the command table. */
#ifndef WEFT_CLI_HELP_H
#define WEFT_CLI_HELP_H

#include <stdio.h>

#include "cli/command.h"

void help_print(const struct command *cmd, FILE *out);
/* roff for man(1), section 1. */
void help_print_man(FILE *out);

#endif
