/* Fast random numbers for balancing and request ids: one generator a worker, seeded from
 * env_random. Not for secrets.
 *
 *   struct rng rng = {.s = seed};
 *   uint64_t r = rng_below(&rng, total);
 */
#ifndef WEFT_PROXY_RNG_H
#define WEFT_PROXY_RNG_H

#include <stdint.h>

struct rng {
    uint64_t s;
};

/* SplitMix64 (Steele, Lea, Flood 2014). */
static inline uint64_t rng_next(struct rng *r)
{
    uint64_t z = (r->s += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform in [0, below) but for a bias of below / 2^64; below > 0. */
static inline uint64_t rng_below(struct rng *r, uint64_t below)
{
    return (uint64_t)(((unsigned __int128)rng_next(r) * below) >> 64);
}

#endif
