/* internal: between the files of core/plugin. */
#ifndef CORE_PLUGIN_INTERNAL_H
#define CORE_PLUGIN_INTERNAL_H

#include <posthorn/plugin.h>
#include <posthorn/table.h>

struct manifest {
    uint32_t kind;
    int32_t masked;
    uint32_t exec, is;             /* PH_PURE ..., 0: not said; of a table PH_TABLE_PATTERN ... */
    ph_str name, object, package;
    ph_str needs, uses;            /* words of service.h, transport.h */
    ph_str *provides;              /* restriction names of a policy */
    size_t provides_count;
    const char *file;
};

/* 0 and *m on s; PH_CONF with file:line:column. */
int ph_manifest_parse(struct ph_scope *s, const char *file, ph_str text, struct manifest *m);

/* A copy of it on s, without the text that it was read from. */
void ph_manifest_keep(struct ph_scope *s, const struct manifest *from, struct manifest *m);

/* Every component of an absolute path: owned by root or by us, writable by no
 * one else; the last one a regular file.  0, or PH_CONF naming the component. */
int ph_path_check(const char *path);

/* Load an object and take its descriptor.  object NULL: preloaded only.  0; PH_CONF
 * with the cause as the dynamic loader says it. */
int ph_object_load(const char *stem, const char *object, const struct ph_plugin **raw);
/* 0; PH_CONF when the object needs a symbol of the private node or is no ELF file. */
int ph_elf_check(const char *path);
/* Check a raw descriptor and copy it: 0 and *desc; PH_CONF. */
int ph_plugin_negotiate(const char *file, uint32_t kind, ph_str name, const struct ph_plugin *raw,
                        const struct ph_plugin **desc);

/* why.c: tell what a table answered.  q->value: what was found. */
struct ph_why_sink;
struct table_question {
    const struct ph_table *t;
    const char *what;
    ph_str table, key, value;
    int answer;
};
void ph_why_asked(struct ph_why_sink *w, const struct table_question *q);
/* What a list answered: by the item at that line of that file (0: it stands in the
 * parameter itself); value: why it could not. */
struct list_answer {
    const char *what, *file;
    ph_str item, name, address;
    uint32_t line;
    int answer;
};
void ph_why_matched(struct ph_why_sink *w, const struct list_answer *a);

#endif
