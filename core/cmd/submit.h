/* core/cmd/submit.h: giving a message to postdrop, for sendmail. */
#ifndef CORE_CMD_SUBMIT_H
#define CORE_CMD_SUBMIT_H

#include <sys/types.h>
#include <posthorn/maildrop.h>
#include "core/conf/conf.h"

struct submit {
    struct ph_scope *scope;
    pid_t pid;
    int to, from;                  /* pipes of postdrop, or -1 */
    int broken;                    /* postdrop reads no more; its answer says why */
    struct ph_buf chunk;
    ph_str id;                     /* after submit_end: its name in maildrop */
};

/* Start postdrop and write the envelope: 0; PH_TEMP, PH_PERM with text. */
int submit_begin(struct submit *u, struct ph_scope *s, struct ph_conf *c, const struct ph_maildrop *m);
void submit_content(struct submit *u, ph_str bytes);
/* The message is whole: 0 when it is stored, else a status of sysexits.h with
 * ph_error() saying why. */
int submit_end(struct submit *u);
/* It never existed. */
void submit_cancel(struct submit *u);

#endif
