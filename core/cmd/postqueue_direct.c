/* postqueue without showq: root may look at the queue directory itself.  Reasons
 * are bounce's to read and are not shown. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <posthorn/error.h>
#include "core/cmd/postqueue.h"
#include "core/cmd/queue_client.h"
#include "core/queue/queue.h"

static int become_owner(struct ph_scope *s, struct ph_conf *c)
{
    ph_str dir = ph_conf_value(c, s, "queue_directory");
    int fd = open(ph_cstr_dup(s, dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return ph_fail_errno(PH_TEMP, errno, "%.*s", PH_FMT(dir));
    ph_defer_close(s, fd);
    return ph_queue_become_owner(fd);
}

static void put(struct listing *l, struct ph_qmsg *m)
{
    PH_SCOPED(s, NULL);
    struct ph_frame *f = ph_frame_new(s);

    ph_frame_cstr(f, "queue_name", m->place == PH_PLACE_SLOT ? "incoming" : ph_place_name(m->place));
    ph_frame_cstr(f, "queue_id", m->id);
    ph_frame_i64(f, "time", m->message.arrival_us / 1000000);
    ph_frame_u64(f, "size", ph_message_bytes(&m->message));
    ph_frame_u64(f, "forced_expire", m->expired);
    ph_frame_str(f, "sender", m->message.sender);
    for (uint32_t i = 0; i < m->rcpt_count; i++) {
        const struct ph_message_rcpt *r = ph_qmsg_rcpt(m, i);

        if (ph_qmsg_state(m, i) != PH_STATE_PENDING && ph_qmsg_state(m, i) != PH_STATE_FAILED)
            continue;
        if (r->expanded)
            continue;
        ph_frame_str(f, "original_recipient", r->original.n ? r->original : r->address);
        ph_frame_str(f, "recipient", r->address);
        ph_frame_cstr(f, "log_class", "");
        ph_frame_cstr(f, "reason", "");
    }
    ph_listing_frame(l, f);
}

static int list_place(struct ph_queue *q, unsigned place, struct listing *l)
{
    PH_SCOPED(s, NULL);
    struct ph_walk *w = ph_walk_new(s, q, place);
    struct ph_qmsg *m;
    int rc;

    while ((rc = ph_walk_next(w, &m)) == PH_FOUND) {
        m->recovered = 0;              /* an agent may still read it */
        if ((rc = ph_queue_load(q, m)) == PH_PERM || rc == PH_NONE)
            continue;
        if (rc == 0 && m->pending + m->failed > 0)
            put(l, m);
        ph_queue_forget(q, m);
    }
    return rc < 0 ? rc : 0;
}

int postqueue_direct(struct ph_scope *s, struct ph_conf *c, struct listing *l)
{
    static const unsigned order[] = { PH_PLACE_ACTIVE, PH_PLACE_SLOT, PH_PLACE_INCOMING, PH_PLACE_DEFERRED,
                                      PH_PLACE_HOLD };
    struct ph_queue *q;
    int rc = become_owner(s, c);

    if (rc == 0)
        rc = ph_queue_open_read(s, c, &q);
    if (rc == 0)
        postqueue_maildrop(s, c, l);
    for (size_t i = 0; i < sizeof order / sizeof *order && rc == 0; i++)
        rc = list_place(q, order[i], l);
    if (rc == 0)
        ph_listing_end(l);
    return rc;
}
