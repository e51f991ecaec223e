# Signals: caught, ignored, inherited, and what they leave as a status.
trap 'echo "end with $?"' EXIT

trap 'echo got USR1' USR1
kill -USR1 $$
kill -USR1 $$
echo "two were caught"

# A subshell begins with the defaults, except for what is ignored.
trap '' TERM
sh_status() { echo "status $1"; }
(kill -TERM "$(exec sh -c 'echo $PPID')"; echo "TERM ignored in a subshell")
kill -TERM $$; echo "TERM ignored here"
trap - TERM

for signal in HUP INT KILL PIPE ALRM TERM USR2; do
    # The shell tells of some deaths on stderr.
    { sh -c "kill -$signal \$\$; echo survived"; } 2>/dev/null
    echo "$signal: $(($? - 128))"
done

# What the trap sees, and that the interrupted one goes on.
count=0
trap 'count=$((count + 1))' USR2
while [ $count -lt 5 ]; do kill -USR2 $$; done
echo "counted $count"

# A wait is interrupted by a signal that is caught, and says so. One that comes before the wait is
# caught there and interrupts nothing, so there is another after it.
trap 'woken=yes' ALRM
(while kill -ALRM $$; do sleep 0.1; done) &
waker=$!
wait $waker; status=$?
[ $status -gt 128 ] && echo "the wait was interrupted"
echo "woken: $woken"
trap '' ALRM
kill $waker; wait $waker 2>/dev/null; echo "then the waker: $(($? - 128))"

# Traps within functions and subshells.
inner() { (trap 'echo "subshell ends"' EXIT; exit 3); echo "it ended with $?"; }
inner
(trap 'echo "by a signal, with a last word"; exit 9' TERM; kill -TERM "$(exec sh -c 'echo $PPID')"; echo "never here")
echo "status $?"

# Nobody there.
sleep 0 & gone=$!; wait $gone
kill -0 $gone 2>/dev/null || echo "nobody there"
kill -0 $$ && echo "somebody here"

trap - EXIT
(
    set -e
    trap 'echo "set -e ends it, with $?"' EXIT
    true && false || echo "a condition does not"
    (exit 7)
    echo "never here"
)
echo "status $?"
