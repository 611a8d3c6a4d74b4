/* posthorn/address.h: mail addresses, RFC 5321 4.1.2 and RFC 5322 3.4.
 *
 * Internal form: local@domain, the local part without quoting ("john doe@x");
 * external form: quoted where RFC 5321 wants it ("\"john doe\"@x").  Pure. */
#ifndef POSTHORN_ADDRESS_H
#define POSTHORN_ADDRESS_H

#include <posthorn/buf.h>

PH_BEGIN

/* Parse an SMTP path argument: "<a@b> SIZE=1", "<>", "<@r:a@b>" (route is
 * dropped), and unless `strict` also "a@b" and extra blanks.  1: *address in
 * internal form on s (empty for <>), *rest what follows; 0: bad syntax. */
int ph_address_parse_path(struct ph_scope *s, ph_str text, int strict,
                          ph_str *address, ph_str *rest);
/* Internal to external form; unchanged when no quoting is needed. */
ph_str ph_address_external(struct ph_scope *s, ph_str internal);
/* External to internal form; 1, or 0 for bad quoting. */
int ph_address_internal(struct ph_scope *s, ph_str external, ph_str *internal);
/* The same of a text that is known to be in external form: quotes and backslashes
 * are undone, nothing is checked. */
ph_str ph_address_bare(struct ph_scope *s, ph_str external);
/* Split at the last '@'.  domain is empty when there is none. */
void ph_address_split(ph_str internal, ph_str *local, ph_str *domain);
/* Split the local part at the first delimiter byte of the set (not at its
 * start; owner-x, x-request and postmaster, mailer-daemon, double-bounce are
 * not split): *user, *ext without the delimiter, *delimiter 0 when none. */
void ph_address_extension(ph_str local, ph_str delimiters, ph_str *user, ph_str *ext, char *delimiter);
/* Header addresses, RFC 5322: each mailbox in turn, comments and phrases
 * skipped, groups opened.  Start with *at = 0; 1 and *address (internal form
 * on s), 0 at the end, PH_PERM for a syntax error (position in *at). */
int ph_address_next(struct ph_scope *s, ph_str header_value, size_t *at, ph_str *address);
/* The same, and where it stands: bytes [*from, *to) of the value are the address
 * without its phrase, angle brackets, route, and the comments around it; another
 * one in external form may take their place. */
int ph_address_next_at(struct ph_scope *s, ph_str header_value, size_t *at, ph_str *address,
                       size_t *from, size_t *to);
/* The same in external form: what was quoted still is, so that an operator in
 * quotes stays one (the form in which rewrite is asked). */
int ph_address_next_external(struct ph_scope *s, ph_str header_value, size_t *at, ph_str *address,
                             size_t *from, size_t *to);
/* How far a text was read; begin with zeros.  What comes next begins at to ? from : at. */
struct ph_address_walk {
    size_t at;                     /* bytes that were read */
    size_t from, to;               /* words among them that are still to be given; to 0: there are none */
};
/* The next address of what people write into tables and command lines, in external
 * form: 1.  Side by side they are several, too ("a@x b@y", "<a@x> b@y"), where in a
 * header they would be none.  0: there is none; PH_PERM: a syntax error, which ends it.
 * On s is the address alone; the time for all of them is that of the text's length. */
int ph_address_written(struct ph_scope *s, ph_str value, struct ph_address_walk *w, ph_str *address);
/* The internal form of such an address: 1, or 0: without its quotes another domain would be
 * read out of it. */
int ph_address_plain(struct ph_scope *s, ph_str external, ph_str *internal);
/* All of them: 0, *list and *n on s; PH_PERM: the list is of what stands before the error. */
int ph_address_all(struct ph_scope *s, ph_str value, ph_str **list, size_t *n);
/* Where the first of such addresses ends: at blanks and comments between two words that
 * are not joined by "." or "@"; text.n: there is but one. */
size_t ph_address_word(ph_str text);

/* Behind the quoted string, comment or literal of a value that begins at `at` (with " ( or [);
 * the end of the value when it does not end. */
size_t ph_address_behind(ph_str value, size_t at);
/* One address of a header's value, and what is to take its place. */
struct ph_address_place {
    ph_str address, external;      /* internal form; external form, what was quoted is */
    size_t from, to;               /* bytes of the value, as of ph_address_next_at */
    ph_str other;                  /* internal form; empty: it stays */
};
/* All addresses of a value but empty ones and words without dots between them ("John
 * Doe", which no address is): 0, *list and *n on s.  1: there were more than `tokens`
 * tokens (words, quoted strings, comments, specials); the list is of what stands before.
 * PH_PERM: bad syntax. */
int ph_address_places(struct ph_scope *s, ph_str value, size_t tokens, struct ph_address_place **list, size_t *n);
/* The value with the others in external form in their places, every other byte as it
 * was, appended to out: 1; 0: nothing is another, and nothing was appended. */
int ph_address_replace(ph_str value, const struct ph_address_place *list, size_t n, struct ph_scope *s, struct ph_buf *out);

/* 1 when it is a valid host name (RFC 1123 labels, 255 bytes), resp. domain
 * literal [1.2.3.4] or [IPv6:...]. */
int ph_hostname_valid(ph_str name);
int ph_domain_literal_valid(ph_str name);

PH_END
#endif
