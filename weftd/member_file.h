/* DATA/member: who this node is in a cluster that it joined, as it was told. Written before the
 * cluster is asked, so that a node that dies at any point comes back as the same member.
 *
 *   MEMBER_ASKING   it has drawn its id and may or may not have been added
 *   MEMBER_ADDED    it was: cluster and members are known; it holds nothing yet
 *   MEMBER_BEGAN    its log holds something: without it the node must not come back as this id
 *
 * A line of JSON and one with its CRC.
 */
#ifndef WEFT_WEFTD_MEMBER_FILE_H
#define WEFT_WEFTD_MEMBER_FILE_H

#include <jansson.h>

#include "base/env/env.h"
#include "registry/node.h"

enum member_state { MEMBER_ASKING, MEMBER_ADDED, MEMBER_BEGAN };

struct member_file {
    enum member_state state;
    struct reg_member self;
    uint64_t cluster; /* 0: not known yet */
    struct reg_member members[REG_NODES_MAX + 1];
    size_t member_count; /* self is one of them, once it is added */
};

void member_file_format(const struct member_file *f, struct buf *out);
/* ERR_CORRUPT. */
bool member_file_parse(struct slice text, struct member_file *ret, struct err *err);
/* dir: the data directory. ERR_NOT_FOUND: there is none. */
bool member_file_load(struct env *env, const char *dir, struct member_file *ret, struct err *err);
/* Makes dir, not its parents. */
bool member_file_store(struct env *env, const char *dir, const struct member_file *f,
                       struct err *err);

/* {"id":…,"name":…,"address":…}, as the API says it too. ERR_INVALID. */
bool member_parse(const json_t *o, struct reg_member *ret, struct err *err);

#endif
