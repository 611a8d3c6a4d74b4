/* posthorn/header.h: message headers, RFC 5322 2.2.  Pure. */
#ifndef POSTHORN_HEADER_H
#define POSTHORN_HEADER_H

#include <posthorn/scope.h>

PH_BEGIN

/* One logical header inside a block of CRLF or LF lines. */
struct ph_header {
    ph_str name;               /* as written, without blanks before the colon */
    ph_str value;              /* as written, folding included, leading blank and final line end not */
    ph_str raw;                /* all of it with its line end(s) */
};

/* Next header of the block: 1; 0 at its end or at the empty line; PH_PERM when
 * the line is no header (*at stays at its start).  Start with *at = 0. */
int ph_header_next(ph_str block, size_t *at, struct ph_header *h);
/* First header of that name (any case): 1, or 0. */
int ph_header_find(ph_str block, ph_str name, struct ph_header *h);
/* Value with folding removed (line ends dropped). */
ph_str ph_header_unfold(struct ph_scope *s, ph_str value);
/* What the addresses of a header are, by its name (From, Resent-To ...): those of
 * senders, of recipients, or 0: it has none that are rewritten. */
#define PH_HEADER_SENDER    1u
#define PH_HEADER_RECIPIENT 2u
uint32_t ph_header_addresses(ph_str name);

PH_END
#endif
