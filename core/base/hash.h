/* hash: SipHash-2-4, keyed once per process, so that peers cannot choose collisions. */
#ifndef CORE_BASE_HASH_H
#define CORE_BASE_HASH_H

#include <posthorn/str.h>

uint64_t ph_hash_keyed(ph_str s);
/* With a given key of 16 bytes (for the published test vectors). */
uint64_t ph_siphash(const unsigned char key[16], ph_str s);

#endif
