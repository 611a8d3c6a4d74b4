/* message: a queued message and its recipients as attributes of a frame: how
 * qmgr tells agents what to work on (they need not parse the file for it). */
#ifndef CORE_IPC_MESSAGE_H
#define CORE_IPC_MESSAGE_H

#include <posthorn/frame.h>
#include <posthorn/transport.h>

/* The members of a message but its recipients, with its descriptor when it has
 * one; before the first "rcpt" of the frame.  put: what m refers to must live until the frame is sent.  get: 0 and *m
 * on s (views into the frame, the descriptor closes with s); PH_PERM when
 * members are missing or absurd. */
void ph_message_put(struct ph_frame *f, const struct ph_message *m);
int ph_message_get(struct ph_scope *s, struct ph_frame *f, struct ph_message **m);

/* Recipients, in order.  get: 0, *list on s with views into the frame, *n its
 * length (may be 0); PH_PERM when one has no number. */
#define PH_DELIVERY_RCPTS 1000u        /* in one request: whoever makes requests keeps to it */
#define PH_DELIVERY_MAX   (4u << 20)   /* bytes of a request or its answer */
void ph_recipient_put(struct ph_frame *f, const struct ph_recipient *r);
int ph_recipients_get(struct ph_scope *s, const struct ph_frame *f,
                      struct ph_recipient **list, uint32_t *n);

/* One outcome of recipient `index`; a list of them (the members setup_us,
 * connected_us, done_us, conn_use do not travel).  get: 0, *list and *index on s
 * with views into the frame; PH_PERM when one has no number, an unknown status
 * or a code that does not fit it. */
void ph_outcome_put(struct ph_frame *f, uint32_t index, const struct ph_outcome *o);
int ph_outcomes_get(struct ph_scope *s, const struct ph_frame *f,
                    struct ph_outcome **list, uint32_t **index, uint32_t *n);

#endif
