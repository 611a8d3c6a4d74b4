/* crc32c: see crc32c.h. */
#include <pthread.h>
#include <string.h>
#include "core/base/crc32c.h"

static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void make_table(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;

        for (int k = 0; k < 8; k++)
            c = c & 1 ? (c >> 1) ^ 0x82f63b78u : c >> 1;
        table[0][i] = c;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int t = 1; t < 8; t++)
            table[t][i] = (table[t - 1][i] >> 8) ^ table[0][table[t - 1][i] & 0xff];
}

uint32_t ph_crc32c_table(uint32_t crc, const void *data, size_t n)
{
    const unsigned char *p = data;
    uint32_t c = ~crc;

    pthread_once(&table_once, make_table);
    for (; n >= 8; p += 8, n -= 8) {
        uint32_t lo = c ^ ((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);

        c = table[7][lo & 0xff] ^ table[6][lo >> 8 & 0xff] ^ table[5][lo >> 16 & 0xff] ^ table[4][lo >> 24] ^
            table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
    }
    while (n--)
        c = (c >> 8) ^ table[0][(c ^ *p++) & 0xff];
    return ~c;
}

#if defined(__x86_64__)
/* One instruction waits for the one before, but three may run side by side: three
 * blocks at once, joined by what LANE zeros behind a register make of it. */
#define LANE 1024u
static uint32_t behind[4][256];
static pthread_once_t behind_once = PTHREAD_ONCE_INIT;

static uint32_t join(uint32_t c)
{
    return behind[0][c & 0xff] ^ behind[1][c >> 8 & 0xff] ^ behind[2][c >> 16 & 0xff] ^ behind[3][c >> 24];
}

static void make_behind(void)
{
    static const char zeros[LANE];

    for (unsigned bit = 0; bit < 32; bit++)
        behind[bit / 8][1u << bit % 8] = ~ph_crc32c_table(~(1u << bit), zeros, LANE);
    for (unsigned k = 0; k < 4; k++)
        for (unsigned i = 1; i < 256; i++)
            behind[k][i] = behind[k][i & (i - 1)] ^ behind[k][i & -i];
}

static inline uint64_t word_at(const unsigned char *p)
{
    uint64_t word;

    memcpy(&word, p, 8);
    return word;
}

__attribute__((target("sse4.2")))
static uint32_t crc_sse(uint32_t crc, const void *data, size_t n)
{
    const unsigned char *p = data;
    uint64_t c = ~crc;

    if (n >= 3 * LANE)
        pthread_once(&behind_once, make_behind);
    for (; n >= 3 * LANE; p += 3 * LANE, n -= 3 * LANE) {
        uint64_t second = 0, third = 0;

        for (size_t i = 0; i < LANE; i += 8) {
            c = __builtin_ia32_crc32di(c, word_at(p + i));
            second = __builtin_ia32_crc32di(second, word_at(p + LANE + i));
            third = __builtin_ia32_crc32di(third, word_at(p + 2 * LANE + i));
        }
        c = join(join((uint32_t)c) ^ (uint32_t)second) ^ (uint32_t)third;
    }
    for (; n >= 8; p += 8, n -= 8)
        c = __builtin_ia32_crc32di(c, word_at(p));
    uint32_t r = (uint32_t)c;
    while (n--)
        r = __builtin_ia32_crc32qi(r, *p++);
    return ~r;
}

uint32_t ph_crc32c(uint32_t crc, const void *p, size_t n)
{
    return __builtin_cpu_supports("sse4.2") ? crc_sse(crc, p, n) : ph_crc32c_table(crc, p, n);
}
#else
uint32_t ph_crc32c(uint32_t crc, const void *p, size_t n)
{
    return ph_crc32c_table(crc, p, n);
}
#endif
