/* `weftd init`: makes the CA of a new cluster and a certificate for each of its first nodes, or
 * renews those. */
#ifndef WEFT_WEFTD_INIT_H
#define WEFT_WEFTD_INIT_H

/* argv[0] is "init". Returns the exit status; ends the process on wrong flags (args.h). */
int weftd_init_run(int argc, char **argv);

#endif
