/* submission: see posthorn/submission.h. */
#include <posthorn/client.h>
#include <posthorn/error.h>
#include <posthorn/submission.h>

#define PIECE 16384u

int ph_receive_overrides(ph_str list, const char **flags, int *unknown)
{
    static const char *const left[4] = { "filter bcc map", "bcc map", "filter", "" };
    int no_maps = 0, no_checks = 0;

    *unknown = 1;
    for (ph_str word; (word = ph_str_list(&list)).n; )
        if (ph_str_eq(word, PH_STR("no_unknown_recipient_checks")))
            *unknown = 0;
        else if (ph_str_eq(word, PH_STR("no_address_mappings")))
            no_maps = 1;
        else if (ph_str_eq(word, PH_STR("no_header_body_checks")))
            no_checks = 1;
        else if (!ph_str_eq(word, PH_STR("no_milters")))
            return ph_fail(PH_CONF, "receive_override_options: unknown option \"%.*s\"", PH_FMT(word));
    *flags = left[no_maps * 2 + no_checks];
    return 0;
}

/* Read an answer: 0 and *f when it says ok. */
static int answer(struct ph_stream *io, struct ph_scope *s, struct ph_frame **f)
{
    int rc = ph_frame_recv(io, s, 0, f);

    if (rc < 0)
        return rc == PH_CANCEL ? rc : ph_fail(PH_TEMP, "lost connection with cleanup");
    if (!ph_str_eq(ph_frame_value(*f, "status"), PH_STR("ok"))) {
        ph_str why = ph_frame_value(*f, "reason");

        if (!why.n)
            why = ph_frame_value(*f, "reply");
        return ph_fail(ph_str_eq(ph_frame_value(*f, "status"), PH_STR("perm")) ? PH_PERM : PH_TEMP, "cleanup: %.*s", PH_FMT(why));
    }
    return 0;
}

int ph_submission_begin(struct ph_scope *s, ph_str sender, const char *flags, int utf8, struct ph_submission *n)
{
    struct ph_frame *f = ph_frame_new(s), *reply;
    int rc;

    n->io = NULL;
    if ((rc = ph_service_dial(s, "cleanup", &n->io)) < 0)
        return rc;
    ph_frame_cstr(f, "op", "begin");
    ph_frame_cstr(f, "who", "notice");
    ph_frame_cstr(f, "origin", sender.n ? "notify" : "bounce");
    ph_frame_cstr(f, "context", "local");
    ph_frame_cstr(f, "flags", flags);
    ph_frame_str(f, "sender", sender);
    ph_frame_u64(f, "smtputf8", utf8 != 0);
    if ((rc = ph_frame_send(n->io, f)) < 0 || (rc = ph_stream_flush(n->io)) < 0 ||
        (rc = answer(n->io, s, &reply)) < 0)
        return rc;
    n->id = ph_frame_value(reply, "queue_id");
    return n->id.n ? 0 : ph_fail(PH_TEMP, "cleanup gave no queue id");
}

static int send_content(struct ph_submission *n, struct ph_scope *s, ph_str content)
{
    int rc = 0;

    for (size_t at = 0; rc >= 0 && at < content.n; ) {
        ph_str piece = ph_str_first(ph_str_from(content, at), PIECE);
        struct ph_frame *f = ph_frame_new(s);

        ph_frame_cstr(f, "op", "content");
        ph_frame_u64(f, "bytes", piece.n);
        if ((rc = ph_frame_send(n->io, f)) >= 0)
            rc = ph_stream_str(n->io, piece);
        at += piece.n;
    }
    return rc;
}

int ph_submission_finish(struct ph_submission *n, struct ph_scope *s, ph_str to, const char *notify, ph_str content)
{
    struct ph_frame *rcpt = ph_frame_new(s), *end = ph_frame_new(s), *reply;
    int rc;

    ph_frame_cstr(rcpt, "op", "rcpt");
    ph_frame_str(rcpt, "address", to);
    if (*notify)
        ph_frame_cstr(rcpt, "dsn_notify", notify);
    ph_frame_cstr(end, "op", "end");
    ph_frame_u64(end, "facts", 0);
    if ((rc = ph_frame_send(n->io, rcpt)) < 0 || (rc = send_content(n, s, content)) < 0 ||
        (rc = ph_frame_send(n->io, end)) < 0 || (rc = ph_stream_flush(n->io)) < 0)
        return rc;
    return answer(n->io, s, &reply);
}
