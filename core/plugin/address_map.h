/* address_map: what its two files share. */
#ifndef CORE_PLUGIN_ADDRESS_MAP_H
#define CORE_PLUGIN_ADDRESS_MAP_H

#include <posthorn/address_map.h>
#include <posthorn/lookup.h>
#include <posthorn/net.h>

struct ph_address_rules {
    struct ph_scope *scope;
    struct ph_conf *conf;
    ph_str origin, delimiters, propagate;
    int32_t append_domain;
    struct ph_match *local;        /* set with the first map, as the next two are */
    struct ph_ip *own;
    size_t own_count;
};

struct ph_address_map {
    struct ph_address_rules *rules;
    struct ph_maps *maps;
    const char *what;              /* the parameter */
    int32_t keeps_ext;
};

/* One look-up: PH_FOUND, the first `wanted` results in standard form and how many there
 * are (when more than wanted, *list begins with one at least); PH_NONE, PH_TEMP, PH_CANCEL.  On s. */
int ph_address_map_results(struct ph_address_map *m, struct ph_scope *s, ph_str address, size_t wanted, ph_str **list,
                           size_t *n) PH_YIELDS;
/* 1 when both are one key to the tables. */
int ph_address_same(struct ph_scope *s, ph_str a, ph_str b);

#endif
