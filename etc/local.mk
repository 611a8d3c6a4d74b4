# Make fragment of etc (included by Makefile.am; paths are from the top).
# The stock configuration is installed where there is none; a copy stands with
# the other data always, to compare with.
STOCK = etc/main.cf etc/master.yaml etc/aliases
phdata_DATA += etc/plugin-packages.yaml $(STOCK)
EXTRA_DIST += etc/plugin-packages.yaml $(STOCK)

install-data-hook: install-configuration
install-configuration:
	$(MKDIR_P) $(DESTDIR)$(phconfdir)
	for file in $(STOCK); do \
	  test -e $(DESTDIR)$(phconfdir)/$${file#etc/} || $(INSTALL_DATA) $(srcdir)/$$file $(DESTDIR)$(phconfdir) || exit 1; done
.PHONY: install-configuration
