/* probe: op=map: what becomes of an envelope, without a message.
 *
 * Request, one frame:
 *   op=map
 *   flags     as of begin: "map" addresses are mapped, "bcc" there are copies; both for new mail
 *   sender    empty: the null sender
 *   address   once for each recipient
 * Answer, one frame:
 *   status=ok    sender, as it would be queued; then for each recipient that would be
 *                queued, in that order: recipient, original (what X-Original-To: would
 *                say), notify (NEVER for a copy, else empty)
 *   status=temp  reply: what an SMTP client would hear; reason: why
 *
 * Addresses are in internal form.  It goes the way of begin, rcpt and end, and leaves
 * nothing behind: it may be asked twice, so ph_service_call("cleanup", ...) will do. */
#include <posthorn/error.h>
#include "cleanup.h"

/* Recipients of the request, each by itself, and then the copies. */
static int map_all(struct message *m, const struct ph_frame *in)
{
    ph_str name, value;
    size_t at = 0;
    int rc = cleanup_sender(m, ph_frame_value(in, "sender"));

    while (rc == 0 && m->error == CLEAN_OK && ph_frame_next(in, &at, &name, &value))
        if (ph_str_eq(name, PH_STR("address"))) {
            rc = cleanup_recipient(m, value, value, PH_STR(""), PH_STR(""));
            ph_scope_reset(m->step);
        }
    if (rc == 0 && m->error == CLEAN_OK)
        rc = cleanup_copies(m);
    return rc < 0 ? cleanup_refuse(m, rc) : 0;
}

int cleanup_probe_put(struct message *m, ph_str to, ph_str original, ph_str notify)
{
    m->answer_bytes += to.n + original.n + notify.n + 64;
    if (m->answer_bytes > PH_FRAME_MAX / 2)
        return ph_fail(PH_TEMP, "more recipients than one answer holds");
    ph_frame_str(m->answer, "recipient", ph_str_dup(m->scope, to));
    ph_frame_str(m->answer, "original", ph_str_dup(m->scope, original));
    ph_frame_str(m->answer, "notify", ph_str_dup(m->scope, notify));
    return 0;
}

int cleanup_probe(struct message *m, const struct ph_frame *in, struct ph_frame **answer)
{
    m->answer = ph_frame_new(m->scope);
    ph_frame_cstr(m->answer, "status", "ok");
    int rc = map_all(m, in);

    if (rc < 0)
        return rc;
    if (m->error != CLEAN_OK) {
        m->answer = ph_frame_new(m->scope);
        ph_frame_cstr(m->answer, "status", "temp");
        ph_frame_str(m->answer, "reply", cleanup_reply(m));
        ph_frame_str(m->answer, "reason", m->reason);
    } else {
        ph_frame_str(m->answer, "sender", m->sender);
    }
    *answer = m->answer;
    return 0;
}
