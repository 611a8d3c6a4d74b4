/* posthorn/message.h: a queued message as a delivery agent sees it: a
 * read-only descriptor and extents.  Never a path. */
#ifndef POSTHORN_MESSAGE_H
#define POSTHORN_MESSAGE_H

#include <posthorn/stream.h>

PH_BEGIN

/* Facts computed once at reception. */
#define PH_FACT_8BIT          1u   /* a byte above 127 in headers or body */
#define PH_FACT_UTF8_HEADER   2u   /* valid UTF-8 beyond ASCII in a header */
#define PH_FACT_LEADING_DOT   4u   /* some line starts with '.' */
#define PH_FACT_NUL           8u
#define PH_FACT_BARE_CR      16u
#define PH_FACT_BARE_LF      32u   /* never both this and wire-ready */
#define PH_FACT_NO_FINAL_EOL 64u   /* the last line had no line end (one was added) */
#define PH_FACT_SMTPUTF8    128u   /* SMTPUTF8 was requested */
#define PH_FACT_BODY_8BIT   256u   /* BODY=8BITMIME was said or deduced */
#define PH_FACT_BODY_7BIT   512u   /* BODY=7BIT was said */

/* State of one recipient.  The byte in the file decides; any other value reads
 * as pending. */
#define PH_STATE_PENDING   'P'
#define PH_STATE_DELIVERED 'D'
#define PH_STATE_FAILED    'F'     /* a notice is owed */
#define PH_STATE_TOLD      'T'     /* failed, and the notice is on disk (or none was due) */

/* What a message's trace_flags ask for: words separated by blanks or commas;
 * unknown words mean nothing. */
#define PH_TRACE_VERIFY 1u         /* "verify": nothing is delivered, the sender is told what would be (sendmail -bv) */
#define PH_TRACE_RECORD 2u         /* "record": delivered, and the sender is told how it went (sendmail -v) */
#define PH_TRACE_PROBE  4u         /* "probe": nothing is delivered, the verify service is told */
/* Those of which nothing may be delivered. */
#define PH_TRACE_DRY (PH_TRACE_VERIFY | PH_TRACE_PROBE)
uint32_t ph_trace_flags(ph_str words);

struct ph_message_rcpt {
    ph_str address;                /* internal form */
    ph_str original;               /* before aliasing; empty: the same */
    ph_str dsn_orcpt, dsn_notify;  /* "rfc822;x", "SUCCESS,FAILURE" or empty */
    uint32_t state;                /* PH_STATE_* */
    uint32_t expanded;             /* 1: an alias whose members are recipients, too: nothing is delivered to it,
                                      its sender is told that it was expanded */
};

struct ph_message {
    int32_t fd;                    /* read-only */
    uint32_t facts;                /* PH_FACT_* */
    uint64_t header_offset, header_bytes;  /* headers with CRLF, without the empty line */
    uint64_t body_offset, body_bytes;      /* body with CRLF; the empty line stands between */
    uint64_t longest_line;         /* bytes without CRLF */
    ph_str queue_id;
    ph_str sender;                 /* internal form; empty: the null sender */
    ph_str envelope_id, dsn_ret;   /* ENVID (decoded), "FULL", "HDRS" or empty */
    int64_t arrival_us;            /* wall clock */
    ph_str client_name, client_address, client_port, client_helo, client_protocol;
    ph_str sasl_method, sasl_username, sasl_sender;
    ph_str full_name, rewrite_context;
    ph_str trace_flags;
    const struct ph_message_rcpt *rcpt;    /* all, in the order of their index */
    uint32_t rcpt_count;
    uint32_t warned;               /* 1: the delay warning was sent */
    const void *host;              /* core's */
};

/* A message from the descriptor that qmgr sent (it stays the caller's and must
 * outlive *m); reads and parses its record, content is read later.  `id`: its
 * name as qmgr said it, the file's own is not believed (empty: the file's own, for
 * files requeued into maildrop).  0 and *m on s; PH_PERM: not a message of ours,
 * or damaged; PH_TEMP.  Yields. */
int ph_message_open(struct ph_scope *s, int fd, ph_str id, struct ph_message **m) PH_YIELDS;

/* Bytes of headers, the empty line and body: what SIZE= counts. */
uint64_t ph_message_bytes(const struct ph_message *m);
/* pread within the content (offset 0 = first header byte): bytes read, 0 at
 * the end, PH_TEMP.  Goes to the disk pool only when large. */
int64_t ph_message_read(const struct ph_message *m, uint64_t offset, void *p, size_t n) PH_YIELDS;

PH_END
#endif
