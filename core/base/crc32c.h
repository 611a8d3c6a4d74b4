/* crc32c: Castagnoli CRC (RFC 3720 B.4), hardware where there is some. */
#ifndef CORE_BASE_CRC32C_H
#define CORE_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continue crc (0 at the start) over n bytes. */
uint32_t ph_crc32c(uint32_t crc, const void *p, size_t n);
/* The portable one, for the test that both agree. */
uint32_t ph_crc32c_table(uint32_t crc, const void *p, size_t n);

#endif
