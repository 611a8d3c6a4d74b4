noinst_LTLIBRARIES += core/mail/libmail.la
core_mail_libmail_la_SOURCES = core/mail/maildrop.c

check_PROGRAMS += t/unit/maildrop.t
t_unit_maildrop_t_SOURCES = t/unit/maildrop.c
t_unit_maildrop_t_LDADD = core/libposthorn.la
