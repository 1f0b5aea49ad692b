#include "base/core/hash.h"

#include <string.h>
#include <sys/auxv.h>
#include <xxhash.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>
#endif

uint64_t hash_bytes(struct slice s)
{
    return XXH3_64bits(s.p, s.n);
}

uint64_t hash_bytes_seed(struct slice s, uint64_t seed)
{
    return XXH3_64bits_withSeed(s.p, s.n, seed);
}

/* The finaliser of SplitMix64 (Steele, Lea, Flood 2014). */
uint64_t hash_u64(uint64_t v)
{
    v += 0x9E3779B97F4A7C15u;
    v = (v ^ (v >> 30)) * 0xBF58476D1CE4E5B9u;
    v = (v ^ (v >> 27)) * 0x94D049BB133111EBu;
    return v ^ (v >> 31);
}

/* SipHash-1-3 (Aumasson, Bernstein 2012; one compression and three finishing rounds) */

static uint64_t rotl(uint64_t v, unsigned bits)
{
    return v << bits | v >> (64 - bits);
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

static uint64_t load_le(const char *p, size_t n)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)(unsigned char)p[i] << (8 * i);
    return v;
}

uint64_t hash_keyed(const struct hash_key *key, struct slice s)
{
    uint64_t v[4] = {key->k0 ^ 0x736F6D6570736575u, key->k1 ^ 0x646F72616E646F6Du,
                     key->k0 ^ 0x6C7967656E657261u, key->k1 ^ 0x7465646279746573u};
    size_t whole = s.n & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        uint64_t word = load_le(s.p + i, 8);
        v[3] ^= word;
        sip_round(v);
        v[0] ^= word;
    }
    uint64_t last = (uint64_t)s.n << 56 | load_le(s.p + whole, s.n - whole);
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xFF;
    for (int i = 0; i < 3; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The process's secret: 16 random bytes that the kernel gave at exec. The simulator replaces it, so
 * that a run is a function of its seed. */
static struct {
    struct hash_key fixed;
    bool is_fixed;
    uint64_t count;
} process;

void hash_key_fix(struct hash_key key)
{
    process.fixed = key;
    process.is_fixed = true;
    __atomic_store_n(&process.count, 0, __ATOMIC_RELAXED);
}

struct hash_key hash_key_new(void)
{
    struct hash_key secret = process.fixed;
    const void *random = (const void *)(uintptr_t)getauxval(AT_RANDOM);
    if (!process.is_fixed && random)
        memcpy(&secret, random, sizeof(secret));
    uint64_t n = __atomic_add_fetch(&process.count, 1, __ATOMIC_RELAXED);
    char text[9] = {0};
    memcpy(text, &n, sizeof(n));
    struct hash_key key = {.k0 = hash_keyed(&secret, slice_mem(text, sizeof(text)))};
    text[8] = 1;
    key.k1 = hash_keyed(&secret, slice_mem(text, sizeof(text)));
    return key;
}

/* CRC-32C (RFC 3720 §12.1), polynomial 0x1EDC6F41 reflected. */

#define CRC_STEP(c) (((c) >> 1) ^ (0x82F63B78u & (0u - ((c)&1u))))
#define CRC_NIBBLE(c) CRC_STEP(CRC_STEP(CRC_STEP(CRC_STEP((uint32_t)(c)))))
static const uint32_t crc_nibbles[16] = {
    CRC_NIBBLE(0),  CRC_NIBBLE(1),  CRC_NIBBLE(2),  CRC_NIBBLE(3),  CRC_NIBBLE(4),  CRC_NIBBLE(5),
    CRC_NIBBLE(6),  CRC_NIBBLE(7),  CRC_NIBBLE(8),  CRC_NIBBLE(9),  CRC_NIBBLE(10), CRC_NIBBLE(11),
    CRC_NIBBLE(12), CRC_NIBBLE(13), CRC_NIBBLE(14), CRC_NIBBLE(15),
};

uint32_t crc32c_portable(uint32_t crc, const void *p, size_t n)
{
    const unsigned char *bytes = p;
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= bytes[i];
        crc = (crc >> 4) ^ crc_nibbles[crc & 15];
        crc = (crc >> 4) ^ crc_nibbles[crc & 15];
    }
    return ~crc;
}

#if defined(__x86_64__)
#define CRC_LANE_BYTES 128
/* x^(8 * 256 - 33) and x^(8 * 128 - 33) mod P, reflected: what moves a lane's value over two lanes
 * and over one. The product of two reflected values is one bit short, and crc32 of eight bytes
 * multiplies by x^32: hence 33. */
#define CRC_TWO_LANES 0xB9E02B86u
#define CRC_ONE_LANE 0x0D3B6092u

__attribute__((target("sse4.2,pclmul"))) static uint64_t crc_moved(uint64_t crc, uint32_t by)
{
    __m128i product =
        _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc), _mm_cvtsi32_si128((int)by), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product));
}

static uint64_t word_at(const unsigned char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof(word));
    return word;
}

/* The instruction takes one operand a cycle and gives its result after three: three lanes at a
 * time keep it busy. */
__attribute__((target("sse4.2,pclmul"))) static uint32_t crc32c_sse42(uint32_t crc, const void *p,
                                                                      size_t n)
{
    const unsigned char *bytes = p;
    uint64_t c = (uint32_t)~crc;
    for (; n >= (size_t)3 * CRC_LANE_BYTES; n -= (size_t)3 * CRC_LANE_BYTES) {
        uint64_t second = 0, third = 0;
        for (size_t i = 0; i < CRC_LANE_BYTES; i += 8) {
            c = _mm_crc32_u64(c, word_at(bytes + i));
            second = _mm_crc32_u64(second, word_at(bytes + CRC_LANE_BYTES + i));
            third = _mm_crc32_u64(third, word_at(bytes + 2 * CRC_LANE_BYTES + i));
        }
        c = crc_moved(c, CRC_TWO_LANES) ^ crc_moved(second, CRC_ONE_LANE) ^ third;
        bytes += (size_t)3 * CRC_LANE_BYTES;
    }
    for (; n >= 8; n -= 8, bytes += 8)
        c = _mm_crc32_u64(c, word_at(bytes));
    for (; n > 0; n--, bytes++)
        c = _mm_crc32_u8((uint32_t)c, *bytes);
    return ~(uint32_t)c;
}

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    if (__builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"))
        return crc32c_sse42(crc, p, n);
    return crc32c_portable(crc, p, n);
}
#else
uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
    return crc32c_portable(crc, p, n);
}
#endif

void uuid_encode(char dst[UUID_BYTES], const uint8_t random[16])
{
    static const char digits[] = "0123456789abcdef";
    char *p = dst;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = digits[random[i] >> 4];
        *p++ = digits[random[i] & 15];
    }
    dst[14] = '4';
    dst[19] = digits[8 | (random[8] >> 4 & 3)];
}
