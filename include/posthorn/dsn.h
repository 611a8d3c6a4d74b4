/* posthorn/dsn.h: enhanced status codes, RFC 3463.  Pure. */
#ifndef POSTHORN_DSN_H
#define POSTHORN_DSN_H

#include <posthorn/scope.h>

PH_BEGIN

/* "4.7.1 text": 1, *code = "4.7.1", *text what follows its blanks; 0: no code
 * in front (class 2, 4, 5; up to three digits each). */
int ph_dsn_parse(ph_str s, ph_str *code, ph_str *text);
/* The code that says the same of the address of a sender (1) or of a recipient (0),
 * RFC 3463 3.2: x.1.N has numbers of its own for each; of what is no address (-1) it
 * is x.0.0.  Others stay.  A view, or on s. */
ph_str ph_dsn_of_address(struct ph_scope *s, ph_str code, int sender);
/* The class digit '2', '4', '5', or 0. */
char ph_dsn_class(ph_str code);
/* NOTIFY of a recipient, RFC 3461 4.1: which notices its sender wants.  Absent:
 * FAILURE and DELAY; NEVER, and what is no word of it: 0. */
#define PH_NOTIFY_FAILURE 1u
#define PH_NOTIFY_DELAY   2u
#define PH_NOTIFY_SUCCESS 4u
uint32_t ph_notify_flags(ph_str notify);
/* What members of an alias have of its NOTIFY, once it is reported as expanded: not
 * SUCCESS (then perhaps NEVER).  On s. */
ph_str ph_notify_rest(struct ph_scope *s, ph_str notify);
/* What notices and ORCPT call such an address: "utf-8" (RFC 6533), or "rfc822" when it is
 * ASCII, or other bytes. */
const char *ph_dsn_address_type(ph_str address);
/* An SMTP reply line "250-8BITMIME", "550 5.1.1 no": 1 and the parts; 0 bad.
 * *more is 1 for '-'. */
int ph_reply_parse(ph_str line, unsigned *code, int *more, ph_str *text);

/* xtext, RFC 3461 4: decode 1 or 0 (bad); encode never fails. */
int ph_xtext_decode(struct ph_scope *s, ph_str in, ph_str *out);
ph_str ph_xtext_encode(struct ph_scope *s, ph_str in);

PH_END
#endif
