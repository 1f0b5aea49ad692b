/* Raft's configuration: who belongs to the cluster, in which role. libraft carries an address as
 * text; ours holds the name too, so that the configuration alone says who is who:
 *
 *   n4=10.0.0.4:7444
 */
#ifndef WEFT_REGISTRY_RAFT_CONF_H
#define WEFT_REGISTRY_RAFT_CONF_H

#include <raft.h>

#include "registry/raft/peers.h"

#define CONF_TEXT (PEER_NAME_BYTES_MAX + ENV_ADDR_TEXT)

/* NUL-terminated in dst. */
const char *conf_member_format(const struct peer_member *m, char dst[CONF_TEXT]);
/* An address without a name is named after the id. */
bool conf_member_parse(uint64_t id, const char *text, struct peer_member *ret, struct err *err);

/* to is initialised, or closed before. */
void conf_copy(const struct raft_configuration *from, struct raft_configuration *to);
bool conf_equal(const struct raft_configuration *a, const struct raft_configuration *b);
const struct raft_server *conf_find(const struct raft_configuration *c, uint64_t id);
/* libraft leaves the padding of what it encodes as the heap had it: it must not go to the disk and
 * to the peers. */
void conf_entry_seal(void *entry, size_t n);
/* The payload of a RAFT_CHANGE entry, as raft_configuration_encode makes it. ERR_INVALID. */
bool conf_entry_decode(struct slice bytes, struct raft_configuration *ret, struct err *err);

#endif
