/* address_domain: for paths and header lists alike. */
#ifndef CORE_MAIL_ADDRESS_DOMAIN_H
#define CORE_MAIL_ADDRESS_DOMAIN_H

#include <posthorn/str.h>

/* Whether the domain of an address in internal form (if any) can be written
 * down: a local part can be quoted, a domain cannot. */
int ph_address_domain_fits(ph_str internal);
/* The same of a domain alone; an empty one fits. */
int ph_domain_fits(ph_str domain);

#endif
