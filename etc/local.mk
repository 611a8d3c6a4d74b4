# Make fragment of etc (included by Makefile.am; paths are from the top).
phdata_DATA += etc/plugin-packages.yaml
EXTRA_DIST += etc/plugin-packages.yaml
