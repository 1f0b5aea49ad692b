/* Versions of what the nodes of a cluster say to each other and keep in common.
 *
 * One number counts all of it: entries of the log, frames, rows of a checkpoint.
 *
 *   3   the first with a gate; entries of versions 1 and 2 are still read from old logs
 *   4   an entry may hold no request: all that it does is raise the version; quotas of namespaces
 *       are judged (registry/quota.h), and a request may say that they are not asked
 *
 * A program reads every version from its oldest to its newest, and says so in HELLO. The cluster
 * has one version: the highest of any entry that was committed. It is state like any other, so all
 * replicas have the same at the same index, and checkpoints and backups carry it. The rules:
 *
 *   1. A leader writes entries of the cluster's version and of no newer one, so that the oldest
 *      program in the cluster reads all of them.
 *   2. It writes one entry of a newer version, which raises the cluster's, when every member of the
 *      configuration, standbys too, has been connected for a while and has said that it reads it
 *      (registry/node_version.c). Nobody has to finish an upgrade by hand.
 *   3. A version never goes back. A program that does not read the cluster's version does not open
 *      the data (version_fits), is not added to the cluster, and no member connects to it.
 *   4. Until the entry of rule 2 is committed any node may go back to the program before. An entry
 *      that somebody cannot read is not sent to it: whoever went back meanwhile is as if cut off
 *      from that leader, never made to guess.
 *   5. Frames have the highest version that both ends read, agreed on in HELLO, for each connection
 *      alone. HELLO and REFUSE are outside of it: they are read by every program, so that a refusal
 *      can say why.
 *   6. Whoever wants something that came with version N asks for it only when the cluster's version
 *      is N or higher.
 *
 * A program that reads N alone cannot follow one that reads N - 1 alone: a release drops a version
 * no sooner than one release after it wrote the next.
 *
 * Pure.
 */
#ifndef WEFT_REGISTRY_RAFT_VERSION_H
#define WEFT_REGISTRY_RAFT_VERSION_H

#include "base/core/err.h"
#include "base/core/slice.h"

#define VERSION_OLDEST 3 /* of a cluster that this program can be part of */
#define VERSION_NEWEST 4
#define VERSION_EMPTY_ENTRIES 4
#define VERSION_QUOTAS 4

/* What a program reads; of the versions above, or fewer of them. {0, 0}: not known. */
struct versions {
    unsigned oldest, newest;
};

/* {0, 0} becomes all that this program reads. */
struct versions versions_or_all(struct versions v);
/* ERR_INVALID: no part of what this program reads. */
bool versions_check(struct versions v, struct err *err);

/* May who reads these take part in a cluster of this version (0: nothing was written yet)?
 * ERR_UNSUPPORTED; who: for the message, "this program", "node n2". */
bool version_fits(struct versions reads, unsigned version, struct slice who, struct err *err);
/* The version in which two speak with each other; 0 and err: there is none. */
unsigned version_agree(struct versions a, struct versions b, struct err *err);
/* To what the leader may raise the version: the highest that all of them read; `now` when that is
 * not higher, when somebody is not known, or when it would leave one behind that no longer reads as
 * old a version. */
unsigned version_target(unsigned now, const struct versions *all, size_t n);

/* Of the bytes of an entry (registry/command.h); 0: it has none. */
unsigned version_of_entry(struct slice entry);
#define VERSION_ENTRY_MAGIC 0x54464557u /* "WEFT", u32, then version u16 */

#endif
