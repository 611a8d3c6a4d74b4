/* scan.h: where in 64 bytes a byte stands, as one bit each.
 *
 * Content is looked at for line ends, dots and stray bytes several times on its way:
 * 64 bytes at a time cost a fifth of a search per line. */
#ifndef CORE_BASE_SCAN_H
#define CORE_BASE_SCAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define PH_SCAN_BYTES 64u

/* Up to 64 bytes; what stands behind the last one `known` hides. */
struct ph_scan {
#ifdef __SSE2__
    __m128i a, b, c, d;
#else
    uint64_t part[8];
#endif
    uint64_t known;                /* the bits of bytes that are there */
};

#ifdef __SSE2__
static inline void ph_scan_whole(struct ph_scan *s, const char *p)
{
    const __m128i *from = (const __m128i *)(const void *)p;

    s->a = _mm_loadu_si128(from);
    s->b = _mm_loadu_si128(from + 1);
    s->c = _mm_loadu_si128(from + 2);
    s->d = _mm_loadu_si128(from + 3);
    s->known = ~UINT64_C(0);
}

static inline uint64_t ph_scan_gather(__m128i a, __m128i b, __m128i c, __m128i d)
{
    uint32_t low = (uint32_t)_mm_movemask_epi8(a) | (uint32_t)_mm_movemask_epi8(b) << 16;
    uint32_t high = (uint32_t)_mm_movemask_epi8(c) | (uint32_t)_mm_movemask_epi8(d) << 16;

    return low | (uint64_t)high << 32;
}

/* The bytes that are c. */
static inline uint64_t ph_scan_find(const struct ph_scan *s, char c)
{
    __m128i want = _mm_set1_epi8(c);

    return ph_scan_gather(_mm_cmpeq_epi8(s->a, want), _mm_cmpeq_epi8(s->b, want), _mm_cmpeq_epi8(s->c, want),
                          _mm_cmpeq_epi8(s->d, want)) & s->known;
}

/* The bytes above 127. */
static inline uint64_t ph_scan_8bit(const struct ph_scan *s)
{
    return ph_scan_gather(s->a, s->b, s->c, s->d) & s->known;
}
#else
static inline void ph_scan_whole(struct ph_scan *s, const char *p)
{
    memcpy(s->part, p, PH_SCAN_BYTES);
    s->known = ~UINT64_C(0);
}

/* Bit 7 of each byte of w, the first byte lowest, as 8 bits. */
static inline uint64_t ph_scan_gather(uint64_t w)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w);
#endif
    return (w >> 7 & UINT64_C(0x0101010101010101)) * UINT64_C(0x0102040810204080) >> 56;
}

static inline uint64_t ph_scan_find(const struct ph_scan *s, char c)
{
    const uint64_t low = UINT64_C(0x7f7f7f7f7f7f7f7f), want = (unsigned char)c * UINT64_C(0x0101010101010101);
    uint64_t bits = 0;

    for (int i = 0; i < 8; i++) {
        uint64_t x = s->part[i] ^ want;

        bits |= ph_scan_gather(~(((x & low) + low) | x)) << 8 * i;
    }
    return bits & s->known;
}

static inline uint64_t ph_scan_8bit(const struct ph_scan *s)
{
    uint64_t bits = 0;

    for (int i = 0; i < 8; i++)
        bits |= ph_scan_gather(s->part[i]) << 8 * i;
    return bits & s->known;
}
#endif

/* The first n bytes at p, at most 64. */
static inline void ph_scan_load(struct ph_scan *s, const char *p, size_t n)
{
    char end[PH_SCAN_BYTES] = { 0 };

    if (n >= PH_SCAN_BYTES) {
        ph_scan_whole(s, p);
        return;
    }
    memcpy(end, p, n);
    ph_scan_whole(s, end);
    s->known = (UINT64_C(1) << n) - 1;
}

/* Numbers of the lowest and the highest bit; there must be one. */
static inline unsigned ph_scan_first(uint64_t bits) { return (unsigned)__builtin_ctzll(bits); }
static inline unsigned ph_scan_last(uint64_t bits) { return 63u - (unsigned)__builtin_clzll(bits); }

#endif
