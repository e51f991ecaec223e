# What a subshell takes over, and what it keeps to itself.
x=1; (x=2; echo "inside $x"); echo "outside $x"
mkdir -p a/b; (cd a/b && pwd -P | sed 's#.*/a#a#'); [ -d a ] && echo "still where a is"
(umask 077; : >private); : >public
ls -l private public | awk '{ print substr($1, 1, 10) }'
(set -- one two; echo $#); echo $#
(exit 42); echo "exit $?"
f() { echo "f outside"; }; (f() { echo "f inside"; }; f); f
(unset x; echo "${x-unset}"); echo "$x"

# Substitutions within substitutions, and the newlines at their ends.
echo "$(echo "$(echo "$(echo deep)er")st")"
text=$(printf 'a\n\nb\n\n\n'); echo "<$text>"
echo "$(printf '%s|' $(for i in 1 2 3; do echo "$i $i"; done))"
status=$(exit 3); echo "status of a substitution: $?"
out=$(echo to stdout; echo to stderr >&2) 2>/dev/null; echo "$out"
out=$( { echo one; echo two >&2; } 2>&1); echo "$out" | tr '\n' ','; echo
lines=$(i=0; while [ $i -lt 5000 ]; do echo "$i"; i=$((i + 1)); done); echo "${#lines}"

# Groups are no subshells.
{ y=changed; }; echo "$y"
y=before; { y=after; } >/dev/null; echo "$y"

# Functions: recursion, locals, results.
fib() { if [ "$1" -lt 2 ]; then echo "$1"; else echo $(($(fib $(($1 - 1))) + $(fib $(($1 - 2))))); fi; }
fib 10
factorial() { if [ "$1" -le 1 ]; then result=1; else factorial $(($1 - 1)); result=$((result * $1)); fi; }
factorial 15; echo "$result"
scope() { local x=local; inner; echo "$x"; }
inner() { x="$x, changed within"; }
x=global; scope; echo "$x"
early() { for i in 1 2 3; do [ $i = 2 ] && return $i; done; }
early; echo "returned $?"
hanoi() { [ "$1" -eq 0 ] && return; hanoi $(($1 - 1)) "$2" "$4" "$3"; moves=$((moves + 1)); hanoi $(($1 - 1)) "$4" "$3" "$2"; }
moves=0; hanoi 8 a b c; echo "$moves moves"

# Other programs in between.
export EXPORTED=seen HIDDEN=seen; unset HIDDEN
sh -c 'echo "${EXPORTED-not} ${HIDDEN-not} $0 $1 $#"' zero first second
ONCE=here sh -c 'echo "$ONCE"'; echo "${ONCE-gone}"
env -i PATH="$PATH" sh -c 'echo "${EXPORTED-nothing is left}"'
(exec sh -c 'echo "in place of the subshell"'; echo "never here")
no_such_program 2>/dev/null; echo "not found: $?"
: >plain; ./plain 2>/dev/null; echo "not executable: $?"
printf '#!/bin/sh\necho "a script: $0 $*"\n' >script; chmod +x script; ./script with arguments
eval 'z=$((1 + 1)); echo "eval $z"'
printf 'sourced=yes\nreturn 4\n' >lib.sh; . ./lib.sh; echo "sourced $sourced, $?"
