/* batch: recipients on their way from the file to the scheduler: read, resolved,
 * handed over.  A small message is one batch; one of very many recipients is read
 * on when the scheduler says so. */
#include "core/sched/qmgr_priv.h"

void ph_batch_reserve(struct mail *mail, uint32_t n)
{
    ph_sched_reserve(mail->q->sched, mail->reserved, n);
    mail->reserved = n;
}

static void put(struct batch *b, struct ph_portion *p, uint32_t i)
{
    b->which[b->n] = i;
    b->rcpt[b->n] = &p->rcpt[i - p->first];
    b->portion[b->n++] = p;
    p->users++;
}

/* The pending ones of a portion. */
static void put_portion(struct batch *b, const struct ph_qmsg *m, struct ph_portion *p)
{
    for (uint32_t i = p->first; i < p->first + p->n && b->n < b->room; i++)
        if (ph_qmsg_state(m, i) == PH_STATE_PENDING)
            put(b, p, i);
    ph_portion_drop(p, 1);
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

int ph_batch_read(struct mail *mail, uint32_t max)
{
    struct ph_qmsg *m = mail->m;
    struct ph_scope *s = ph_scope_new(mail->q->scope);
    struct batch *b = ph_new(s, struct batch);
    struct ph_portion *p;
    int rc = 0;

    b->scope = s;
    b->room = m->whole ? m->rcpt_count : least(max ? max : 1, m->rcpt_count);
    b->which = ph_alloc_array(s, b->room, sizeof *b->which);
    b->rcpt = ph_alloc_array(s, b->room, sizeof *b->rcpt);
    b->portion = ph_alloc_array(s, b->room, sizeof *b->portion);
    b->route = ph_alloc_array(s, b->room, sizeof *b->route);
    while (b->n < b->room &&
           (rc = ph_queue_portion(mail->q->queue, m, &mail->at, least(b->room - b->n, PORTION_MAX), &p)) == 0)
        put_portion(b, m, p);
    mail->batch = b;
    mail->unread = rc < 0 || rc == PH_NONE || mail->at.index >= m->rcpt_count ? 0 :
                   mail->unread > b->n ? mail->unread - b->n : 1;
    mail->damaged = rc == PH_PERM;
    return rc == PH_NONE ? 0 : rc;
}

void ph_batch_end(struct mail *mail)
{
    ph_scope_free(mail->batch->scope);
    mail->batch = NULL;
}

void ph_batch_shipped(struct mail *mail, const uint32_t *rcpt, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        ph_portion_drop(ph_qmsg_portion(mail->m, rcpt[i]), 1);
}
