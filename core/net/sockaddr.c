/* sockaddr: see sockaddr.h. */
#include <netinet/in.h>
#include <string.h>
#include "core/net/sockaddr.h"

socklen_t ph_sockaddr_from_ip(struct sockaddr_storage *sa, const struct ph_ip *ip, unsigned port)
{
    memset(sa, 0, sizeof *sa);
    if (ip->family == 4) {
        struct sockaddr_in *in = (struct sockaddr_in *)(void *)sa;

        in->sin_family = AF_INET;
        in->sin_port = htons((uint16_t)port);
        memcpy(&in->sin_addr, ip->bytes, 4);
        return sizeof *in;
    }
    struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)(void *)sa;

    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons((uint16_t)port);
    memcpy(&in6->sin6_addr, ip->bytes, 16);
    return sizeof *in6;
}

int ph_sockaddr_to_ip(const struct sockaddr *sa, struct ph_ip *ip, unsigned *port)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
    struct ph_ip got = { 0 };
    unsigned p;

    if (sa->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)sa;

        got.family = 4;
        memcpy(got.bytes, &in->sin_addr, 4);
        p = ntohs(in->sin_port);
    } else if (sa->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)sa;
        const uint8_t *b = (const uint8_t *)&in6->sin6_addr;

        got.family = memcmp(b, mapped, sizeof mapped) == 0 ? 4 : 6;
        memcpy(got.bytes, got.family == 4 ? b + 12 : b, got.family == 4 ? 4 : 16);
        p = ntohs(in6->sin6_port);
    } else {
        return 0;
    }
    *ip = got;
    if (port)
        *port = p;
    return 1;
}
