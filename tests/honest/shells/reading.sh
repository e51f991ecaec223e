# Reading line by line, and where descriptors lead.
printf 'one two three\n  four  \n\\\\back\\\\slash\nlast without end' >input
while read -r first rest; do printf '<%s><%s>\n' "$first" "$rest"; done <input; echo "<$first>"
while IFS= read -r line || [ -n "$line" ]; do printf '[%s]\n' "$line"; done <input
printf 'a\\\nb\n' | { read joined; echo "$joined"; }
printf 'root:x:0:0:root:/root\nnobody:x:65534::nobody:/none\n' |
    while IFS=: read -r name _ uid _ _ home; do echo "$name is $uid at $home"; done
printf 'a,b,,c\n' | { IFS=, read -r a b c d; echo "$a|$b|$c|$d"; }

# Two files side by side, each by a descriptor of its own.
printf '%s\n' 1 2 3 >left; printf '%s\n' a b c >right
while read -r l <&3 && read -r r <&4; do echo "$l$r"; done 3<left 4<right
exec 3<left; read -r one <&3; read -r two <&3; exec 3<&-; echo "$one $two"
(read -r gone <&3) 2>/dev/null || echo "closed"

# Redirections are done from left to right.
{ { echo out; echo err >&2; } 2>&1 >only-out; } | sed 's/^/through the pipe: /'; cat only-out
{ echo out; echo err >&2; } >both 2>&1; cat both
{ { echo out; echo err >&2; } 3>&1 1>&2 2>&3 3>&- | sed "s,^,swapped: ,"; } 2>/dev/null
exec 5>log; echo "first" >&5; echo "second" >&5; exec 5>&-; cat log
echo more >>log; wc -l <log | tr -d ' '
exec 6<>log; read -r line <&6; echo "over it" >&6; exec 6>&-; cat log
exec 7>&1 >saved; echo "to the file"; exec >&7 7>&-; echo "to stdout again"; cat saved
set -C; (echo no >log) 2>/dev/null || echo "not overwritten"; echo yes >|log; set +C; cat log
(cat <nowhere) 2>/dev/null || echo "nothing to read"
(echo x >/dev/full) 2>/dev/null || echo "full"
echo gone >/dev/null; wc -c </dev/null | tr -d ' '

# The input is read no further than asked for.
printf '1\n2\n3\n4\n' >numbers
{ read -r a; read -r b; echo "$a $b"; cat; } <numbers
while read -r n; do [ "$n" = 2 ] && continue; [ "$n" = 4 ] && break; echo "n=$n"; done <numbers
n=0; while read -r _; do n=$((n + 1)); done <<END
$(cat numbers numbers)
END
echo "$n lines"
until read -r line && [ "$line" = 3 ]; do echo "not $line"; done <numbers
dd if=numbers bs=2 skip=1 count=2 2>/dev/null
printf 'x%.0s' 1 2 3 4 5 | head -c 3; echo
