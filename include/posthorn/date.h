/* posthorn/date.h: dates of mail. */
#ifndef POSTHORN_DATE_H
#define POSTHORN_DATE_H

#include <posthorn/scope.h>

PH_BEGIN

/* RFC 5322 3.3: "Tue, 24 Nov 2026 13:00:00 +0100 (CET)", local time; the zone
 * name only when with_name != 0.  seconds: wall clock since 1970. */
ph_str ph_date_format(struct ph_scope *s, int64_t seconds, int with_name);

PH_END
#endif
