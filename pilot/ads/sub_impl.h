/* Inside of a subscription. sub.c: life and deviations; sub_ask.c: what is asked for; sub_list.c:
 * what there is; sub_make.c: responses; sub_answer.c: ACK, NACK, who has what. */
#ifndef WEFT_PILOT_ADS_SUB_IMPL_H
#define WEFT_PILOT_ADS_SUB_IMPL_H

#include "pilot/ads/sub.h"

static inline bool sub_version_eq(struct xds_version a, struct xds_version b)
{
    return a.hash == b.hash && a.revision == b.revision;
}

static inline bool sub_version_none(struct xds_version v)
{
    return !v.revision && !v.hash;
}

/* SotW LDS and CDS: every response lists all (S7). */
bool sub_is_full(const struct ads_sub *sub);
bool sub_is_waiting(const struct ads_sub *sub);
bool sub_covers_nothing(const struct ads_sub *sub);
/* Is the name still behind what was sent, so that it comes by itself? */
bool sub_is_ahead(const struct ads_sub *sub, struct slice name);
/* A first answer is due, be it empty. */
bool sub_owes_answer(const struct ads_sub *sub);
/* The name is to be answered, whatever the client holds. */
void sub_ask(struct ads_sub *sub, struct slice name);
/* The revision of now as a `since`, which is never 0. */
reg_rev sub_now(const struct ads_sub *sub);
void sub_reported_clear(struct ads_sub *sub);

/* Deviations: pointers stay valid until the next put, drop or filter. */

struct ads_dev *sub_dev_find(const struct ads_sub *sub, struct slice name);
/* The deviation of this name; a new one with kind HAS and version zero if there is none. */
struct ads_dev *sub_dev_put(struct ads_sub *sub, struct slice name);
void sub_dev_drop(struct ads_sub *sub, struct ads_dev *d);
/* Releases what a deviation refers to; it is then out of the vector already. */
void sub_dev_fini(struct ads_sub *sub, struct ads_dev *d);
void sub_dev_since(struct ads_dev *d, reg_rev since);
/* Another kind, without the error of the old one. */
void sub_dev_forget(struct ads_sub *sub, struct ads_dev *d, uint8_t kind);
/* enum ads_due of one. */
unsigned sub_dev_due(const struct ads_dev *d);
bool sub_any_suspect(const struct ads_sub *sub);
bool sub_keep_covered(struct ads_sub *sub, struct ads_dev *d);
/* Drops those that `keep` does not want, in one pass. */
void sub_devs_filter(struct ads_sub *sub, bool (*keep)(struct ads_sub *sub, struct ads_dev *d));
/* Frees the memory of a batch that is over. */
void sub_devs_trim(struct ads_sub *sub);

#endif
