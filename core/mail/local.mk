noinst_LTLIBRARIES += core/mail/libmail.la
core_mail_libmail_la_SOURCES = core/mail/maildrop.c core/mail/address.c core/mail/address_list.c core/mail/address_value.c core/mail/alias.c core/mail/address_domain.h core/mail/header.c \
	core/mail/date.c core/mail/dsn.c core/mail/wire.c

check_PROGRAMS += t/unit/maildrop.t
t_unit_maildrop_t_SOURCES = t/unit/maildrop.c
t_unit_maildrop_t_LDADD = core/libposthorn.la

check_PROGRAMS += t/unit/mail.t
t_unit_mail_t_SOURCES = t/unit/mail.c
t_unit_mail_t_LDADD = core/libposthorn.la
check_PROGRAMS += t/unit/wire.t
t_unit_wire_t_SOURCES = t/unit/wire.c
t_unit_wire_t_LDADD = core/libposthorn.la
