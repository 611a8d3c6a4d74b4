/* showq.h: what the files of this plugin share. */
#ifndef SHOWQ_H
#define SHOWQ_H

#include <posthorn/client.h>
#include <posthorn/frame.h>
#include <posthorn/map.h>
#include <posthorn/param.h>
#include <posthorn/service.h>

struct showq_params {
    int64_t duplicate_limit;
};

struct showq {
    struct showq_params p;
    int queue_dir;                     /* queue_directory, or -1 */
};

/* One message, as frames to the client. */
struct entry {
    ph_str queue, id, sender;
    int64_t arrival_s;
    uint64_t size;
    int expired;
};

/* Start a frame with what stands before the recipients. */
struct ph_frame *entry_frame(struct ph_scope *s, const struct entry *e, int part);
void entry_rcpt(struct ph_frame *f, ph_str original, ph_str address, const char *log_class, ph_str reason);

/* Files of maildrop: whole ones, in directory order.  0, or negative: the
 * client is gone. */
int list_maildrop(struct showq *v, struct ph_stream *client) PH_YIELDS;

#endif
