noinst_LTLIBRARIES += core/queue/libqueue.la
core_queue_libqueue_la_SOURCES = core/queue/queue.h core/queue/id.h core/queue/record.h \
	core/queue/store.h core/queue/id.c core/queue/record.c core/queue/envelope.c core/queue/message.c \
	core/queue/dirs.c core/queue/open.c core/queue/slot.c core/queue/lease.c core/queue/store.c core/queue/portion.c core/queue/recover.c core/queue/walk.h core/queue/walk.c core/queue/glance.c core/queue/note.h core/queue/note.c core/queue/remove.c \
	core/queue/hub.h core/queue/hub.c core/queue/facts.h core/queue/facts.c core/queue/intake.c

check_PROGRAMS += t/unit/queueid.t t/unit/record.t t/unit/note.t t/unit/queue.t t/unit/lease.t
t_unit_queueid_t_SOURCES = t/unit/queueid.c
t_unit_queueid_t_LDADD = core/libposthorn.la
t_unit_record_t_SOURCES = t/unit/record.c
t_unit_record_t_LDADD = core/libposthorn.la
t_unit_note_t_SOURCES = t/unit/note.c
t_unit_note_t_LDADD = core/libposthorn.la
t_unit_queue_t_SOURCES = t/unit/queue.c t/unit/queue_world.h t/lib/queue_pair.h
t_unit_queue_t_LDADD = core/libposthorn.la
t_unit_lease_t_SOURCES = t/unit/lease.c t/unit/queue_world.h t/lib/queue_pair.h
t_unit_lease_t_LDADD = core/libposthorn.la
