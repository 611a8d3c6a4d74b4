/* pipe: delivery to a command.  Reference: pipe(8).
 *
 * pipe.c     one request: command, outcome     attr.c  the arguments of the service
 * argv.c     macros of the command line        content.c  the message as the command reads it
 * attr.c's parser, argv.c and content.c are pure. */
#ifndef TRANSPORT_PIPE_H
#define TRANSPORT_PIPE_H

#include <posthorn/buf.h>
#include <posthorn/lookup.h>
#include <posthorn/spawn.h>
#include <posthorn/transport.h>

#define PIPE_BLANK       1u        /* B: an empty line at the end */
#define PIPE_DELIVERED   2u        /* D: Delivered-To, and loops are found by it */
#define PIPE_FROM        4u        /* F: From_ line */
#define PIPE_ORIGINAL    8u        /* O: X-Original-To */
#define PIPE_RETURN     16u        /* R: Return-Path */
#define PIPE_FINAL      32u        /* X: this is the final delivery */
#define PIPE_LOW_DOMAIN 64u        /* h */
#define PIPE_LOW_LOCAL 128u        /* u */
#define PIPE_QUOTE     256u        /* q: local parts quoted in whole addresses */
#define PIPE_DOT       512u        /* .: lines that begin with a dot get another */
#define PIPE_GREATER  1024u        /* >: lines that begin with "From " get a '>' */

/* What the service's arguments say. */
struct pipe_attr {
    uint32_t flags;
    uint32_t has_size;
    uint64_t size;                 /* of the largest message */
    ph_str user;                   /* "user[:group]" */
    const char *directory, *chroot;/* absolute, or NULL */
    ph_str eol, null_sender;
    const char *const *argv;       /* with macros; NULL-terminated */
    uint32_t argc;
};

/* 0 and *a on s; PH_CONF with what is wrong. */
int pipe_attr_parse(struct ph_scope *s, const char *const *args, struct pipe_attr *a);

/* The command line for the recipients first .. first+count-1 of d: 0 and *argv on
 * s (NULL-terminated) with its size in bytes; PH_CONF: an unknown macro. */
int pipe_argv_expand(struct ph_scope *s, const struct pipe_attr *a, ph_str delimiters, const struct ph_delivery *d,
                     uint32_t first, uint32_t count, const char ***argv, size_t *bytes);

/* The sender as it is shown: null_sender when empty. */
ph_str pipe_sender(const struct pipe_attr *a, const struct ph_delivery *d);
/* From_ line and headers that are put in front, for a recipient. */
void pipe_prefix(struct ph_scope *s, const struct pipe_attr *a, const struct ph_delivery *d, const struct ph_recipient *r,
                 int64_t now_s, struct ph_buf *out);

/* Content in wire form (CRLF) to what the command reads, in any pieces. */
struct pipe_content {
    uint32_t flags;
    uint32_t in_line;              /* 0: the next byte begins a line */
    ph_str eol;
};
/* Append what is settled of in to out; returns the bytes used.  The rest (at most
 * 5 bytes) comes again before what follows.  last: nothing follows. */
size_t pipe_content_feed(struct pipe_content *c, ph_str in, int last, struct ph_buf *out);

struct pipe_params {
    int64_t command_time_limit, message_limit;
    ph_str delimiters, queue_directory, status_filter;
};

struct pipe_agent {
    struct pipe_params p;
    struct pipe_attr attr;
    struct ph_identity who;
    int64_t time_limit_s;
    struct ph_maps *filter;
    const char *const *env;
};

/* attr.c: read parameters and arguments; 0, PH_CONF, PH_TEMP. */
int pipe_open(struct ph_transport *t);
#define PIPE_ROWS 3u
extern const struct ph_param pipe_rows[PIPE_ROWS];

#endif
