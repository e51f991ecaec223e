# Work in the background, without a terminal.
set -m 2>/dev/null
case $- in *m*) echo "job control" ;; *) echo "no terminal, no job control" ;; esac
set +m
(: >/dev/tty) 2>/dev/null && echo "a terminal" || echo "no terminal"

# Many at once, each with a result of its own.
for n in 1 2 3 4 5 6 7 8; do
    (i=0; sum=0; while [ $i -lt 2000 ]; do i=$((i + 1)); sum=$((sum + i * n)); done; echo "$sum" >"job.$n"; exit "$n") &
    eval "pid_$n=$!"
done
for n in 1 2 3 4 5 6 7 8; do
    eval "wait \$pid_$n"; echo "job $n: exit $?, result $(cat "job.$n")"
done
wait; echo "nothing left to wait for: $?"
wait 999999 2>/dev/null; echo "no child of ours: $?"

# Handing over through fifos: a producer, two workers, a collector.
mkfifo odd even done
exec 3<>odd 4<>even 5<>done
worker() { while read -r n && [ "$n" != end ]; do echo $((n * n)) >&5; done; echo "over" >&5; }
worker <&3 & worker <&4 &
n=0; while [ $n -lt 40 ]; do echo $((n + 1)) >&3; echo $((n + 2)) >&4; n=$((n + 2)); done
echo end >&3; echo end >&4
sum=0 overs=0
while [ $overs -lt 2 ]; do
    read -r answer <&5
    case $answer in over) overs=$((overs + 1)) ;; *) sum=$((sum + answer)) ;; esac
done
wait
echo "squares: $sum"
exec 3<&- 4<&- 5<&-

# Whoever ends first does not matter to whoever waits.
sleep 30 & slow=$!
(exit 5) & fast=$!
wait $fast; echo "fast: $?"
kill -9 $slow
wait $slow 2>/dev/null; echo "slow: $?"

# A child outlives its parent, and writes on.
mkfifo late
(sh -c '(echo "from the orphan" >late) &')
cat late

# Standard input of what runs behind is nothing.
cat & wait $!; echo "cat behind: $?"

# A chain of a hundred and twenty processes one after another, and twenty at once.
n=0; while [ $n -lt 120 ]; do sh -c 'exit 0' || echo failed; n=$((n + 1)); done; echo "$n in a row"
n=0; while [ $n -lt 20 ]; do sleep 0.2 & n=$((n + 1)); done; wait; echo "$n at once"
timeout 0.2 sleep 30; echo "timeout: $(($? == 124 || $? == 143))"
