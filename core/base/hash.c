/* hash: SipHash-2-4 (Aumasson, Bernstein: "SipHash: a fast short-input PRF"). */
#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <posthorn/error.h>
#include "core/base/hash.h"

static uint64_t rotl(uint64_t x, int b) { return (x << b) | (x >> (64 - b)); }

static void sip_round(uint64_t v[4])
{
    v[0] += v[1]; v[1] = rotl(v[1], 13) ^ v[0]; v[0] = rotl(v[0], 32);
    v[2] += v[3]; v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3]; v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1]; v[1] = rotl(v[1], 17) ^ v[2]; v[2] = rotl(v[2], 32);
}

static uint64_t load64(const unsigned char *p, size_t n)
{
    uint64_t v = 0;

    for (size_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << (8 * i);
    return v;
}

uint64_t ph_siphash(const unsigned char key[16], ph_str s)
{
    const unsigned char *p = (const unsigned char *)(s.n ? s.p : "");
    uint64_t k0 = load64(key, 8), k1 = load64(key + 8, 8);
    uint64_t v[4] = { k0 ^ 0x736f6d6570736575u, k1 ^ 0x646f72616e646f6du,
                      k0 ^ 0x6c7967656e657261u, k1 ^ 0x7465646279746573u };
    size_t whole = s.n & ~(size_t)7;

    for (size_t at = 0; at <= whole; at += 8) {
        uint64_t m = at < whole ? load64(p + at, 8)
                                : load64(p + at, s.n - whole) | (uint64_t)s.n << 56;

        v[3] ^= m;
        sip_round(v);
        sip_round(v);
        v[0] ^= m;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static unsigned char process_key[16];
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void make_key(void)
{
    if (getrandom(process_key, sizeof process_key, 0) != (ssize_t)sizeof process_key)
        ph_die("no random numbers");
}

uint64_t ph_hash_keyed(ph_str s)
{
    pthread_once(&key_once, make_key);
    return ph_siphash(process_key, s);
}
