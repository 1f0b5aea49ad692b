/* -f: files, folders and standard input into a manifest. */
#ifndef WEFT_CLI_FILES_H
#define WEFT_CLI_FILES_H

#include "cli/context.h"
#include "cli/manifest.h"

/* Everything that the -f flags name, in their order; folders by name, .yaml, .yml and .json only.
 * false and err. m is to be zeroed, and finished by the caller also on failure. */
bool files_load(struct cli *c, struct manifest *m, struct err *err);

#endif
