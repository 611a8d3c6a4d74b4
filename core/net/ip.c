/* ip: addresses as values.  See posthorn/net.h. */
#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>
#include <posthorn/net.h>

int ph_ip_parse(ph_str text, struct ph_ip *ip)
{
    char name[INET6_ADDRSTRLEN + 1];
    struct ph_ip got = { 0 };

    if (text.n >= 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
        text = ph_str_first(ph_str_from(text, 1), text.n - 2);
    int tagged = ph_str_starts_nocase(text, PH_STR("IPv6:"));
    if (tagged)
        text = ph_str_from(text, 5);
    if (text.n == 0 || text.n >= sizeof name || ph_str_find(text, 0) >= 0)
        return 0;
    memcpy(name, text.p, text.n);
    name[text.n] = 0;
    if (!tagged && inet_pton(AF_INET, name, got.bytes) == 1)
        got.family = 4;
    else if (inet_pton(AF_INET6, name, got.bytes) == 1)
        got.family = 6;
    else
        return 0;
    *ip = got;
    return 1;
}

ph_str ph_ip_format(struct ph_scope *s, const struct ph_ip *ip)
{
    char text[INET6_ADDRSTRLEN];

    if (ip->family == 0 || !inet_ntop(ip->family == 4 ? AF_INET : AF_INET6, ip->bytes, text, sizeof text))
        return PH_STR("");
    return ph_str_dup(s, ph_cstr(text));
}

int ph_ip_in_net(const struct ph_ip *ip, const struct ph_ip *net, unsigned bits)
{
    if (ip->family != net->family || ip->family == 0)
        return 0;
    unsigned whole = bits / 8, rest = bits % 8;

    if (whole && memcmp(ip->bytes, net->bytes, whole) != 0)
        return 0;
    return rest == 0 || ((ip->bytes[whole] ^ net->bytes[whole]) >> (8 - rest)) == 0;
}

int ph_ip_is_loopback(const struct ph_ip *ip)
{
    static const uint8_t one[16] = { [15] = 1 };

    return ip->family == 4 ? ip->bytes[0] == 127 : ip->family == 6 && memcmp(ip->bytes, one, sizeof one) == 0;
}

int ph_ip_is_among(const struct ph_ip *ip, const struct ph_ip *list, size_t n)
{
    for (size_t i = 0; ip->family && i < n; i++)
        if (ph_ip_in_net(ip, &list[i], ip->family == 4 ? 32 : 128))
            return 1;
    return 0;
}

int ph_net_parse(ph_str text, struct ph_ip *ip, unsigned *bits)
{
    ptrdiff_t slash = ph_str_rfind(text, '/');
    struct ph_ip got;
    uint64_t n;

    if (!ph_ip_parse(slash < 0 ? text : ph_str_first(text, (size_t)slash), &got))
        return 0;
    unsigned all = got.family == 4 ? 32 : 128;
    if (slash < 0)
        n = all;
    else if (!ph_str_u64(ph_str_from(text, (size_t)slash + 1), &n) || n > all)
        return 0;
    struct ph_ip masked = got;
    for (unsigned i = (unsigned)n; i < all; i++)
        masked.bytes[i / 8] = (uint8_t)(masked.bytes[i / 8] & ~(0x80 >> i % 8));
    *ip = masked;
    *bits = (unsigned)n;
    return memcmp(masked.bytes, got.bytes, sizeof got.bytes) == 0;
}

int ph_hostport_parse(ph_str text, ph_str *host, ph_str *port, int *literal)
{
    ph_str rest;

    if (ph_str_starts(text, PH_STR("inet:")))
        text = ph_str_from(text, 5);
    *port = PH_STR("");
    if (text.n && text.p[0] == '[') {
        ptrdiff_t end = ph_str_find(text, ']');

        if (end < 2)
            return 0;
        *host = ph_str_first(ph_str_from(text, 1), (size_t)end - 1);
        rest = ph_str_from(text, (size_t)end + 1);
        *literal = 1;
    } else {
        ptrdiff_t colon = ph_str_find(text, ':');

        *host = colon < 0 ? text : ph_str_first(text, (size_t)colon);
        rest = colon < 0 ? PH_STR("") : ph_str_from(text, (size_t)colon);
        *literal = 0;
        if (ph_str_rfind(text, ':') != colon)
            return 0;              /* an IPv6 address without its brackets */
    }
    if (rest.n) {
        if (rest.p[0] != ':' || rest.n < 2)
            return 0;
        *port = ph_str_from(rest, 1);
    }
    return host->n > 0;
}

unsigned ph_port_parse(ph_str text)
{
    char name[64], mem[2048];
    struct servent entry, *found = NULL;
    uint64_t n;

    if (ph_str_u64(text, &n))
        return n >= 1 && n <= 65535 ? (unsigned)n : 0;
    if (text.n == 0 || text.n >= sizeof name)
        return 0;
    memcpy(name, text.p, text.n);
    name[text.n] = 0;
    if (getservbyname_r(name, "tcp", &entry, mem, sizeof mem, &found) != 0 || !found)
        return 0;
    return ntohs((uint16_t)found->s_port);
}
