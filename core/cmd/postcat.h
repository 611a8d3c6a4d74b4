/* core/cmd/postcat.h: what the files of postcat share. */
#ifndef CORE_CMD_POSTCAT_H
#define CORE_CMD_POSTCAT_H

#include "core/cmd/queue_client.h"

struct postcat {
    struct ph_scope *scope;
    struct ph_conf *conf;
    const char *dir;
    char **names;
    int count, by_id, verbose;
    int envelope, header, body;    /* which parts */
    int file_order, show_offset, show_type, show_file;
    uint64_t skip;                 /* what begins before this offset is not shown */
};

/* Show one file, under that name: a message of the queue or one in maildrop.
 * What is neither, and what is damaged, is told in a warning; the damaged one is
 * shown as far as it can be read. */
void postcat_show(const struct postcat *p, const char *name, int fd) PH_YIELDS;

/* ---- between postcat_show.c and postcat_maildrop.c ---- */

/* What a line of the output is, by the letters of the old queue file format,
 * which -d shows as numbers. */
#define TYPE_SIZE    'C'
#define TYPE_TIME    'T'
#define TYPE_ATTR    'A'
#define TYPE_NAME    'F'
#define TYPE_SENDER  'S'
#define TYPE_ORIG    'O'
#define TYPE_RCPT    'R'
#define TYPE_DONE    'D'
#define TYPE_CONTENT 'M'
#define TYPE_TEXT    'N'
#define TYPE_EXTRACT 'X'
#define TYPE_END     'E'

struct shower {
    const struct postcat *p;
    const char *name;
    int in_line;                   /* of the content: its line has begun */
    int cr;                        /* a CR is held back */
};

/* "label: value", its control bytes as '?'. */
void show_line(struct shower *o, int type, uint64_t offset, const char *label, ph_str value);
void show_attr(struct shower *o, uint64_t offset, const char *name, ph_str value);
void show_time(struct shower *o, uint64_t offset, const char *label, int64_t seconds);
/* "*** TEXT NAME ***", in the envelope's output only. */
void show_marker(struct shower *o, int type, uint64_t offset, const char *text);
/* Content that stands at that offset, with the line ends of this system; finish
 * after the last piece. */
void show_content(struct shower *o, uint64_t offset, ph_str bytes);
void show_content_end(struct shower *o);
/* A file of maildrop, whose bytes these are. */
void show_maildrop(struct shower *o, ph_str file);

#endif
