noinst_LTLIBRARIES += core/queue/libqueue.la
core_queue_libqueue_la_SOURCES = core/queue/queue.h core/queue/id.h
