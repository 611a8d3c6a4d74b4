/* cleanup: what the parts of the cleanup service share.
 *
 * A message passes through as it comes: headers one at a time (bounded by
 * header_size_limit) or, where their addresses may change, some at a time, then the
 * body in the pieces that arrive.  Nothing is kept but the envelope; ph_intake holds
 * or writes the content. */
#ifndef CLEANUP_H
#define CLEANUP_H

#include <posthorn/address_map.h>
#include <posthorn/buf.h>
#include <posthorn/frame.h>
#include <posthorn/intake.h>
#include <posthorn/lookup.h>
#include <posthorn/map.h>
#include <posthorn/message.h>
#include <posthorn/param.h>

#define CLEANUP_ROWS 35

/* Where an address stands: the words of *_classes. */
#define CLASS_ENVELOPE_SENDER    1u
#define CLASS_ENVELOPE_RECIPIENT 2u
#define CLASS_HEADER_SENDER      4u
#define CLASS_HEADER_RECIPIENT   8u
#define CLASS_ALL               15u

struct mapping {
    struct ph_address_map *map;    /* NULL: not configured, and classes are 0 */
    uint32_t classes;              /* CLASS_* of the addresses it is for */
};

struct cleanup_params {
    ph_str myhostname, myorigin, empty_recipient, always_bcc, drop_headers, undisclosed, from_format, end_action, double_bounce;
    ph_str sender_bcc_maps, recipient_bcc_maps, canonical_maps, sender_canonical_maps, recipient_canonical_maps, virtual_alias_maps;
    ph_str canonical_classes, sender_canonical_classes, recipient_canonical_classes;
    ph_str masquerade_domains, masquerade_classes, masquerade_exceptions;
    int64_t message_limit, header_limit, hop_limit, duplicate_limit, alias_results, alias_depth, alias_bytes, header_tokens;
    ph_str utf8_classes;
    int32_t add_missing, original, replace_stray, detect_8bit, utf8;
    /* not read, made of what is */
    ph_str *dropped;               /* drop_headers, each */
    size_t dropped_count;
    ph_str *utf8_from;             /* smtputf8_autodetect_classes, each */
    size_t utf8_count;
    int32_t rewrites_remote;       /* remote_header_rewrite_domain is set */
    struct ph_address_rules *rules;
    struct mapping canonical[3];   /* in the order in which they are applied */
    uint32_t masqueraded, mapped;  /* CLASS_* that masquerading, and that anything of these is for */
    ph_str *masquerade;            /* masquerade_domains, each */
    size_t masquerade_count;
    struct ph_match *exceptions;
    struct ph_address_map *aliases, *sender_bcc, *recipient_bcc;   /* NULL: none */
    struct ph_expand_limits limits;
};

extern const struct ph_param cleanup_rows[CLEANUP_ROWS];

/* setup.c: 0, PH_CONF, PH_TEMP. */
int cleanup_setup(struct ph_conf *c, struct ph_scope *s, struct cleanup_params *p);

/* Why a message is refused at its end; the first one noted wins by order. */
enum cleanup_error { CLEAN_OK, CLEAN_WRITE, CLEAN_CONTENT, CLEAN_RECIPIENTS, CLEAN_HOPS, CLEAN_SIZE, CLEAN_ALIAS, CLEAN_DEFER };

enum cleanup_part { IN_HEADERS, IN_BODY };

/* Headers that were seen. */
#define SAW_MESSAGE_ID 1u
#define SAW_DATE       2u
#define SAW_FROM       4u
#define SAW_TO         8u
#define SAW_RESENT    16u
#define SAW_RESENT_ID 32u
#define SAW_RESENT_DATE 64u
#define SAW_RESENT_FROM 128u

struct message {
    struct ph_scope *scope, *step; /* step: until the request that is under way is done */
    const struct cleanup_params *p;
    struct ph_intake *intake;      /* NULL: op=map, and recipients go into the answer */
    struct ph_frame *answer;
    size_t answer_bytes;
    ph_str id, sender, full_name;
    int32_t local;                 /* rewrite context */
    int32_t auto_bcc;              /* the client allows automatic copies */
    int32_t maps;                  /* and that addresses are mapped */
    int32_t dry;                   /* nothing will be delivered: sendmail -bv, probes */
    int32_t rewrites;              /* addresses in headers are rewritten */
    int32_t detect_utf8;           /* UTF-8 in addresses or headers asks for SMTPUTF8 */
    /* content */
    enum cleanup_part part;
    struct ph_buf line, header;    /* the line being gathered; the header being gathered */
    int32_t line_cut, header_cut;  /* the rest of it is dropped */
    int32_t carried_cr;            /* the last piece ended in a CR */
    uint32_t saw;
    struct held *held, **held_last;/* headers that are kept back (rewrite.c), what they take and hold */
    struct ph_scope *held_scope;
    size_t held_bytes, held_addresses;
    int64_t hops;
    ph_str message_id, resent_id;
    uint32_t facts;
    struct ph_map *seen;           /* recipients, for duplicate elimination */
    enum cleanup_error error;
    ph_str reason;                 /* words for CLEAN_DEFER, CLEAN_CONTENT */
};

/* Note an error; one that is already noted and graver stays. */
void cleanup_fail(struct message *m, enum cleanup_error e, const char *reason);
/* Something could not be looked up (ph_error): log it when it is the first, and the
 * message will be refused for now.  0, or PH_CANCEL. */
int cleanup_refuse(struct message *m, int rc);
/* The same for an expansion that went beyond a limit. */
int cleanup_refuse_alias(struct message *m);

/* content.c: n bytes of content with CRLF line ends.  0, or PH_CANCEL; other
 * failures are noted in m->error and the rest is passed over. */
int cleanup_content(struct message *m, ph_str bytes) PH_YIELDS;
/* No line that follows continues the last header: it was not the sender's. */
int cleanup_content_apart(struct message *m) PH_YIELDS;
/* The content is complete: closes the headers if no body came. */
int cleanup_content_end(struct message *m) PH_YIELDS;

/* headers.c: one header (all its lines with CRLF) that is complete. */
int cleanup_header(struct message *m, ph_str raw) PH_YIELDS;
/* All headers are there: log message-id, add what is missing. */
int cleanup_header_end(struct message *m) PH_YIELDS;
/* 1 when the line starts like a header: name, optional blanks, colon. */
int cleanup_is_header(ph_str line, ph_str *name);

/* rewrite.c: a header into the queue, now or, with others, by cleanup_put_held: with
 * other addresses where m->rewrites.  0, or an answer of the intake. */
int cleanup_put_header(struct message *m, ph_str raw, ph_str name) PH_YIELDS;
int cleanup_put_held(struct message *m) PH_YIELDS;

/* mapping.c: canonical maps and masquerading of an address in standard form that stands
 * where `class` says (one CLASS_*): in place, on s.  0, PH_TEMP, PH_CANCEL. */
int cleanup_map(const struct cleanup_params *p, struct ph_scope *s, uint32_t class, ph_str *address) PH_YIELDS;

/* envelope.c */
int cleanup_sender(struct message *m, ph_str sender) PH_YIELDS;
int cleanup_recipient(struct message *m, ph_str address, ph_str original, ph_str orcpt, ph_str notify) PH_YIELDS;
/* An alias of which a message that comes again from the queue says that it was expanded. */
int cleanup_expanded(struct message *m, ph_str address, ph_str original, ph_str orcpt, ph_str notify);
/* Not empty: this recipient in place of all that were given. */
int cleanup_redirect(struct message *m, ph_str address) PH_YIELDS;
/* The copies of sender_bcc_maps and always_bcc, where the client allows them. */
int cleanup_copies(struct message *m) PH_YIELDS;
int cleanup_envelope_end(struct message *m) PH_YIELDS;

/* probe.c: op=map for a message without an intake: 0 and *answer, or PH_CANCEL. */
int cleanup_probe(struct message *m, const struct ph_frame *in, struct ph_frame **answer) PH_YIELDS;
int cleanup_probe_put(struct message *m, ph_str to, ph_str original, ph_str notify);

/* headers.c: with detect_utf8: the text may ask for SMTPUTF8. */
void cleanup_detect(struct message *m, ph_str text);

/* service.c: what an SMTP client hears, by m->error. */
ph_str cleanup_reply(struct message *m);

#endif
