noinst_LTLIBRARIES += core/queue/libqueue.la
core_queue_libqueue_la_SOURCES = core/queue/queue.h core/queue/id.h core/queue/record.h \
	core/queue/store.h core/queue/id.c core/queue/record.c core/queue/envelope.c core/queue/message.c \
	core/queue/dirs.c core/queue/open.c core/queue/slot.c core/queue/lease.c core/queue/store.c core/queue/recover.c core/queue/walk.c \
	core/queue/hub.h core/queue/hub.c core/queue/facts.h core/queue/facts.c core/queue/intake.c
