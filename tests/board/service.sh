# A bundle as a service, as its README says: installed at the first boot, and at the next it starts by itself, keeps its rate, is
# killed and comes back, and calls stop() at its end. Boot it twice:
#
#     for boot in 1 2; do KEEP=1 INIT=systemd tools/virtual_board.sh run tests/board/service.sh; done
set -e
unit=edgedst-actor
told() { journalctl -u $unit -o cat --no-pager; }

if ! systemctl is-enabled --quiet $unit 2>/dev/null; then
    rm -rf * /opt/edgedst-actor && edgedst init robot
    edgedst train --env robot.py --steps 400 --no-progress
    edgedst export --bundle kit
    sed -i 's/^def stop():$/&\n    print("at rest", flush=True)/' kit/robot.py
    mv kit /opt/edgedst-actor && cd /opt/edgedst-actor && sha256sum --quiet -c SHA256SUMS
    python3 -m venv --system-site-packages venv # what requirements.txt asks for is on this disk already
    echo /opt/edgedst/lib/python3*/site-packages >"$(echo venv/lib/python3*/site-packages)/edgedst.pth"
    venv/bin/python run_actor.py actor.onnx --golden golden.csv
    venv/bin/python control_loop.py actor.onnx --golden golden.csv --rate 50 --steps 100
    chmod -R a+rX /opt/edgedst-actor /opt/edgedst
    systemctl enable /opt/edgedst-actor/edgedst-actor.service
    echo "installed"
    exit
fi
for _ in $(seq 120); do [ "$(systemctl is-active $unit)" = active ] && break || sleep 1; done
echo "after boot: $(systemctl is-active $unit)"
sleep 45
told | grep missed
before=$(systemctl show -p MainPID --value $unit)
kill -9 "$before"
for _ in $(seq 60); do sleep 1; [ "$(systemctl is-active $unit)" = active ] && break; done
after=$(systemctl show -p MainPID --value $unit)
echo "killed $before, back as $after: $(systemctl is-active $unit), restarts $(systemctl show -p NRestarts --value $unit)"
[ "$after" != "$before" ] && [ "$after" != 0 ]
systemd-analyze security $unit.service | tail -1
sleep 25
systemctl stop $unit
systemctl disable $unit
told | tail -12
rests=$(told | grep -c '^at rest' || true)
echo "stop() was called $rests times" # by systemd after the kill; at the end by the loop, and by systemd once more
[ "$rests" -ge 3 ]
rm -rf /opt/edgedst-actor
