# `pip install WHEEL` on the board itself, from files: it has no network.
set -e
uname -a
python3 -m venv /opt/edgedst
/opt/edgedst/bin/python -m pip install --no-index --find-links /host/wheels --quiet 'edgedst[export,study,profile]'
/opt/edgedst/bin/edgedst devices --here
rm -rf /host/wheels
