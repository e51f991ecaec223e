# printf and echo, byte by byte.
printf '%d %i %5d|%-5d|%05d|%+d\n' 42 -42 42 42 42 42
printf '%s|%10s|%-10s|%.3s|%10.2s|\n' text right left truncated cut
printf '%x %X %#x %o %#o %u\n' 255 255 255 8 8 7
printf '%c%c%c\n' abc def ghi
printf '%e %.2f %g\n' 12345.678 2.345678 0.0001
printf '%b|%s\n' 'tab\there\101' 'no\tescape'
printf '%%|%s|%s|\n' only
printf '%s-%s\n' 1 2 3 4 5
printf 'fixed\n' ignored
printf '%*d|%-*d|\n' 6 42 6 42
printf '\101\102\n\x' 2>/dev/null | head -n 1
printf '%d %d %d\n' 0x10 010 "'A"
printf '%d\n' nonsense 2>/dev/null; echo "status $?"
printf '%s\n' 'a b' "c'd" 'e"f' '\g' '$h' '*'
printf '\0001\0002' | od -An -tx1 | tr -s ' '
printf 'a\0b\0' | tr '\0' ' '; echo
printf '%s' 'no newline'; echo
echo plain words '   spaces   ' "	tab"
echo -n 'without the end'; echo '.'
echo; echo "$(printf 'x%.0s' 1 2 3 4 5 6 7 8)"
printf '%s %s\n' 'käse' '日本' | wc -c | tr -d ' '

# A table.
printf '%-8s|%6s|%6s\n' name number share
printf '%s %d %d\n' apples 12 40 pears 7 23 figs 11 37 |
    while read -r name number share; do printf '%-8s|%6d|%5d%%\n' "$name" "$number" "$share"; done
printf '%0.s-' 1 2 3 4 5 6 7 8 9 10; echo
printf '\033[1mbold\033[0m\r\n' | od -An -c | tr -s ' '
