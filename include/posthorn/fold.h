/* posthorn/fold.h: how keys of tables are folded, when they are built and when they
 * are looked up. */
#ifndef POSTHORN_FOLD_H
#define POSTHORN_FOLD_H

#include <posthorn/scope.h>

PH_BEGIN

/* Unicode case folding of UTF-8 (a sharp s becomes two letters); of bytes that are
 * not UTF-8 the ASCII letters only.  On s.  Does not yield. */
ph_str ph_key_fold(struct ph_scope *s, ph_str key);

PH_END
#endif
