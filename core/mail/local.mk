noinst_LTLIBRARIES += core/mail/libmail.la
core_mail_libmail_la_SOURCES =
