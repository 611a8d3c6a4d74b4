/* posthorn/submission.h: a message of our own (a notice, a transcript) enters
 * the queue through cleanup, like any other mail. */
#ifndef POSTHORN_SUBMISSION_H
#define POSTHORN_SUBMISSION_H

#include <posthorn/stream.h>

PH_BEGIN

/* receive_override_options of a service that receives: 0, *flags is what is left of
 * cleanup's work (its flags), and *unknown is 0 when unknown recipients are not its
 * business; PH_CONF for a word that is none of its. */
int ph_receive_overrides(ph_str list, const char **flags, int *unknown);

struct ph_submission {
    struct ph_stream *io;          /* NULL: begin did not connect; else close it after finish, or to give up */
    ph_str id;                     /* queue id of the new message */
};

/* A queue id for a message from `sender` (empty: the null sender).  flags: those
 * of cleanup, "bounce map" or with "filter" too; utf8: 1 for an SMTPUTF8 message.
 * 0 and *n on s; PH_TEMP, PH_CONF (no cleanup here), PH_CANCEL.  Yields. */
int ph_submission_begin(struct ph_scope *s, ph_str sender, const char *flags, int utf8, struct ph_submission *n) PH_YIELDS;
/* The whole of it, headers first, lines with CRLF, to one recipient (notify: his
 * NOTIFY, or empty).  0: a crash can no longer lose it; PH_TEMP, PH_PERM (cleanup
 * will not have it: too large), PH_CANCEL: it never existed.  Yields. */
int ph_submission_finish(struct ph_submission *n, struct ph_scope *s, ph_str to, const char *notify, ph_str content) PH_YIELDS;

PH_END
#endif
