/* posthorn/str.h: ph_str, a view of bytes (pointer, length), passed by value.
 * Never NUL-terminated by promise; may hold any byte.  A view owns nothing:
 * it lives as long as what it looks at.  No call here allocates or yields. */
#ifndef POSTHORN_STR_H
#define POSTHORN_STR_H

#include <stdarg.h>
#include <posthorn/abi.h>

PH_BEGIN

typedef struct ph_str {
    const char *p;
    size_t n;
} ph_str;

/* A view of a literal, for initialisers and arguments. */
#define PH_STR_INIT(lit) { "" lit, sizeof(lit) - 1 }
#ifdef __cplusplus
#define PH_STR(lit) (ph_str PH_STR_INIT(lit))
#else
#define PH_STR(lit) ((ph_str)PH_STR_INIT(lit))
#endif

/* For "%.*s" in ph_log and ph_fail: printf("%.*s", PH_FMT(s)).  s is evaluated
 * twice: where it costs something and is said often, keep it first. */
#define PH_FMT(s) ph_fmt_length((s).n), ph_fmt_bytes((s).p)
static inline int ph_fmt_length(size_t n) { return (int)(n > 0x7fffffff ? 0x7fffffff : n); }
static inline const char *ph_fmt_bytes(const char *p) { return p ? p : ""; }

/* View of a NUL-terminated string; NULL gives the empty view. */
ph_str ph_cstr(const char *s);

/* 1 when equal, else 0; _nocase folds ASCII letters only. */
int ph_str_eq(ph_str a, ph_str b);
int ph_str_eq_nocase(ph_str a, ph_str b);
/* <0, 0, >0 in byte order, shorter first on a common prefix. */
int ph_str_cmp(ph_str a, ph_str b);
/* 1 when s starts (ends) with the given bytes. */
int ph_str_starts(ph_str s, ph_str prefix);
int ph_str_starts_nocase(ph_str s, ph_str prefix);
int ph_str_ends(ph_str s, ph_str suffix);
int ph_str_ends_nocase(ph_str s, ph_str suffix);

/* Index of the first (last) byte c, or -1. */
ptrdiff_t ph_str_find(ph_str s, char c);
ptrdiff_t ph_str_rfind(ph_str s, char c);
/* Index of the first occurrence of needle, or -1; an empty needle is at 0. */
ptrdiff_t ph_str_search(ph_str s, ph_str needle);

/* Sub-views; positions past the end are clamped to the end. */
ph_str ph_str_from(ph_str s, size_t start);
ph_str ph_str_first(ph_str s, size_t n);
/* Without leading and trailing blanks (SP HT CR LF VT FF). */
ph_str ph_str_trim(ph_str s);

/* Cut at the first c: returns what stands before it and leaves in *s what
 * stands after it.  Without c: returns all, *s becomes empty (p != NULL only
 * if it was). */
ph_str ph_str_cut(ph_str *s, char c);
/* Skip blanks, take bytes up to the next blank, leave the rest in *s with its
 * leading blanks skipped.  Empty when there is no word. */
ph_str ph_str_word(ph_str *s);
/* Like ph_str_word, the separators being the bytes of `seps` (NUL-terminated). */
ph_str ph_str_token(ph_str *s, const char *seps);
/* A token of a list separated by comma and blanks, where {...} is one token
 * (braces are kept).  Empty when the list is at its end. */
ph_str ph_str_list(ph_str *s);

/* What vsnprintf does, at most size bytes with the NUL: the length that all of it
 * has, or negative.  Not the same speed: this is for what is said often. */
int ph_vformat(char *to, size_t size, const char *fmt, va_list ap) PH_PRINTF(3, 0);

/* Whole view as a decimal number.  1 and *v set, or 0: empty, a byte that is
 * no digit, or out of range.  _i64 takes one leading '-'. */
int ph_str_u64(ph_str s, uint64_t *v);
int ph_str_i64(ph_str s, int64_t *v);

/* 64-bit hash of the bytes, the same in every process (not keyed). */
uint64_t ph_str_hash(ph_str s);

/* ASCII only, locale-free. */
char ph_lower(char c);
char ph_upper(char c);
int ph_is_alpha(char c);
int ph_is_digit(char c);
int ph_is_alnum(char c);
int ph_is_space(char c);      /* SP HT CR LF VT FF */
int ph_is_print(char c);      /* 0x20..0x7e */

/* 1 when the bytes are valid UTF-8 (RFC 3629: no surrogates, no overlongs). */
int ph_str_is_utf8(ph_str s);
/* 1 when every byte is below 0x80. */
int ph_str_is_ascii(ph_str s);
/* Make n bytes fit to be shown: a control byte, and one that is not of a valid UTF-8
 * character, becomes "?". */
void ph_make_shown(char *p, size_t n);

PH_END
#endif
