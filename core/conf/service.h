/* core/conf/service.h: reading one service of master.yaml. */
#ifndef CORE_CONF_SERVICE_H
#define CORE_CONF_SERVICE_H

#include "core/conf/master.h"
#include "core/conf/yaml.h"

struct ph_master_reading {
    struct ph_scope *scope;
    struct ph_conf *conf;          /* for $name in listen; or NULL */
};

/* Fill *d from a node and check it alone: 0, or PH_CONF. */
int ph_service_read(const struct ph_master_reading *r, const struct ph_yaml *n, struct ph_service_def *d);
/* service_args.c: one key each (settings, args, raw_arguments), member being what it fills. */
int ph_service_read_settings(const struct ph_master_reading *r, const struct ph_yaml *n, struct ph_service_def *d, void *member);
int ph_service_read_args(const struct ph_master_reading *r, const struct ph_yaml *n, struct ph_service_def *d, void *member);
int ph_service_read_raw(const struct ph_master_reading *r, const struct ph_yaml *n, struct ph_service_def *d, void *member);
/* 1 when it has a listener of that kind (PH_LISTEN_*). */
int ph_service_has_listener(const struct ph_service_def *d, uint32_t kind);

#endif
