/* core/cmd/sendmail.h: what the files of sendmail share. */
#ifndef CORE_CMD_SENDMAIL_H
#define CORE_CMD_SENDMAIL_H

#include "core/cmd/submit.h"

struct sendmail {
    struct ph_scope *scope;
    struct ph_conf *conf;
    int mode;                      /* m deliver, s SMTP, p list, i aliases, q flush, d daemon, v verify, h nothing */
    int from_headers;              /* -t */
    int dots;                      /* a line with one dot ends the message (no -i) */
    const char *queue_site, *queue_id;  /* -qR, -qI */
    const char *alias_table;       /* -oA */
    struct ph_maildrop envelope;   /* filled by the options */
    struct ph_maildrop_rcpt *rcpt; /* of the envelope */
    uint32_t rcpt_room;
    ph_str notify;                 /* -N, for each recipient */
};

/* Options and recipients of the command line; fatal for bad ones. */
void sendmail_options(struct sendmail *m, int argc, char **argv);
/* One more recipient, internal form. */
void sendmail_add_rcpt(struct sendmail *m, ph_str address);
/* All addresses of a text as in a To: header; what is no address is taken as it
 * stands (and will bounce).  How many they were. */
uint32_t sendmail_add_rcpts(struct sendmail *m, ph_str text);
/* The message on stdin to postdrop: 0, or fatal. */
int sendmail_deliver(struct sendmail *m);
/* -bs: SMTP on stdin and stdout. */
int sendmail_smtp(struct sendmail *m);

#endif
