# Programs that are joined by pipes, and what becomes of them when one ends early.
seq_to() { i=1; while [ $i -le "$1" ]; do echo $i; i=$((i + 1)); done; }

seq_to 10 | sed -n '2,4p;$p' | tr '\n' ' '; echo
seq_to 100 | awk '$1 % 7 == 0 { sum += $1; n++ } END { print n, sum, sum / n }'
printf 'pear\napple\nfig\napple\nfig\napple\n' | sort | uniq -c | sort -rn | awk '{ print $2 "=" $1 }'
printf 'a:1:x\nb:2:y\nc:3:z\n' | cut -d: -f1,3 | tr a-z A-Z
printf 'one two three\nfour five\n' | xargs -n 2 echo with
printf '%s\n' a b c | xargs -I{} echo '<{}>'

# The status of a pipeline is that of its last program.
true | false; echo "true | false: $?"
false | true; echo "false | true: $?"
! false | true; echo "! false | true: $?"

# The writer without an end is ended by its reader.
yes | head -n 3 | wc -l | tr -d ' '
(while :; do echo endless || exit; done) 2>/dev/null | sed 2q

# Each part of a pipeline is a process of its own, the last one as well.
x=outside; echo inside | read -r x; echo "$x"
echo inside | { read -r x; echo "$x"; }

# Both streams through one pipe, in the order they were written.
{ echo out; echo err >&2; echo out again; } 2>&1 | sed 's/^/| /'

# A copy of what goes through, twice.
seq_to 3 | tee first second | paste -s -d+ - ; cat first second | wc -l | tr -d ' '

# More than any pipe holds.
seq_to 20000 | tee long | tail -n 1; wc -c <long | tr -d ' '
dd if=/dev/zero bs=1024 count=2048 2>/dev/null | tr '\0' x | dd bs=7 2>/dev/null | wc -c | tr -d ' '
seq_to 2000 | sort -r | sort -n | cmp - - && echo equal
md5sum <long
