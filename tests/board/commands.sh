# What a reader of README.md and of every bringup.md types, on the board, from the installed wheel: each line there that
# begins with `edgedst`. Options that shorten a command are put after what is typed, and every command is shown as it ran.
# The commands for a robot.py come last: until then the newest run is a simulator's. Left out: `make`, which needs a network,
# films, which need OpenGL, and what needs TensorBoard or Optuna, which are not on the disk.
set -e
cd "$(mktemp -d)"

typed() { # FILES: their commands, without comments
    sed -n 's/^    \(\.venv\/bin\/\)\{0,1\}\(edgedst [^#]*[^# ]\) *\(#.*\)\{0,1\}$/\2/p' "$@"
}

newest() { sed -n '$p' runs/order | sed 's/^/runs\//'; }

run() { # COMMAND
    echo "\$ $1"
    code=0
    timeout -s INT 1200 sh -c "$1" >output 2>&1 </dev/null || code=$?
    tail -3 output | cut -c1-200 | sed 's/^/    /'
    [ $code = "${2:-0}" ] || { echo "FAILED with $code"; tail -30 output; failed=$((failed + 1)); }
}

failed=0
typed /host/README.md /host/devices/*/bringup.md | grep -v -e --video -e --render -e --tensorboard -e 'edgedst tune' |
    cat -n | sort -u -k2 | sort -n | cut -f2- >all
grep -v robot all >commands
grep robot all >>commands
while read -r command; do
    case $command in
        *robot.py*--init-from\ RUN*) run "edgedst train --env robot.py --init-from $(newest) --steps 150 --no-progress" ;;
        *"train --env robot.py"*) run "$command --steps 150 --no-progress" ;;
        *"check robot.py"*) run "$command --yes --seconds 5" ;;
        *--resume\ RUN*) run "edgedst train --resume $(newest) --steps 560 --no-progress" ;;
        edgedst\ train*) run "$command --steps 540 --start-steps 500 --eval-every 540 --eval-episodes 1 --no-progress" ;;
        *"import model.zip"*) run "edgedst export model.onnx && edgedst import model.onnx --env HalfCheetah-v4 --sparsity 0.9 --run-dir imported" ;;
        edgedst\ watch*) run "edgedst watch --text" ;;
        edgedst\ profile) run "$command --seconds 2 --repeats 1 --hidden 32,32" ;;
        *"study run"*) run "timeout --preserve-status -s INT 60 $command --jobs 1" 130 ;; # ended by Ctrl-C, as a reader may
        edgedst\ evaluate*.onnx*) run "edgedst evaluate actor.onnx --episodes 2" ;;
        edgedst\ evaluate*) run "$command --episodes 2" ;;
        *) run "$command" ;;
    esac
done <commands
echo "$(wc -l <commands) commands, $failed failed"
[ $failed = 0 ]
