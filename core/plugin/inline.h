/* inline.h: services in this process: opened as their workers would open them, and
 * served over memory streams to whoever dials their name here. */
#ifndef CORE_PLUGIN_INLINE_H
#define CORE_PLUGIN_INLINE_H

#include <posthorn/service.h>
#include "core/conf/master.h"

/* Fill v and open it; d, conf and name outlive s.  0; PH_CONF, PH_TEMP. */
int ph_service_open(struct ph_scope *s, const struct ph_service_def *d, struct ph_conf *conf, const char *name,
                    const struct ph_service_plugin *ops, struct ph_service *v) PH_YIELDS;
/* The service of that row with its settings on top of base: 0 and *v on s; PH_CONF,
 * PH_TEMP.  What it logs is logged under its name. */
int ph_inline_open(struct ph_scope *s, struct ph_conf *base, const struct ph_service_def *d, struct ph_service **v) PH_YIELDS;
/* From now on who dials `name` in this process talks to a task of that service. */
void ph_inline_serve(const char *name, struct ph_group *tasks, struct ph_service *v);

#endif
