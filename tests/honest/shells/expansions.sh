# Parameters, words and file names.
path=/usr/local/lib/archive.tar.gz
echo "${path##*/} ${path%/*} ${path#*/} ${path%%.*} ${path%.gz} ${path##*.}"
echo "${#path} ${path:+set} ${none:-default} ${none-unset} ${empty=}<${empty:-empty}> ${made:=assigned} $made"
(: "${none:?must be set}") 2>/dev/null || echo "refused"
pattern='a*'; word=aab; echo "${word#$pattern} ${word##$pattern} ${word#"$pattern"}"

# Words are split, unless they are quoted.
count() { echo "$#:$(printf ' <%s>' "$@")"; }
words='a b  c'; count $words; count "$words"; count $words"$words"
set -- 'one two' three ''; count $@; count "$@"; count "$*"; count $*
IFS=:; colons=a:b::c; count $colons; count "$*"; unset IFS
IFS=; count $words; unset IFS
empty=; count $empty; count "$empty"; count a$empty"$empty"
set -- 1 2 3 4 5 6 7 8 9 ten eleven; echo "${10} ${11} $10 $#"; shift 3; echo "$1 $#"
set --; count "$@"; count "x$@y"

# Quotes within quotes.
echo 'single "double" $none' "double 'single' \$none \\ \"" back\ slash\'
echo "a${none:+"quoted $none"}b" "$(echo "inner \"quotes\"")" "tab	here"
echo a'b'"c"d\e "$( echo ')' )" "${none:-"}"}"

# File names.
mkdir -p tree/sub .hidden; cd tree || exit
: >a1; : >a2; : >b1; : >.dot; : >'with space'; : >'star*'; : >sub/deep; : >'[odd]'
echo *; echo a*; echo ?1; echo [ab]1; echo [!a]1; echo .d*; echo */*; echo no*match
echo "a*" 'a*' a\*; echo star\**; echo "with"*; echo \[odd\]; for f in *1; do echo "file $f"; done
x='a*'; echo $x "$x"; set -f; echo a*; set +f
echo sub/../a1 ./b1 ~+ 2>/dev/null | sed 's#/.*/tree#TREE#' | cut -d' ' -f1,2
HOME=/somewhere; echo ~ ~/x "~"
cd .. || exit

# Patterns of a case.
for word in apple Banana 42 -x x.txt '' 'a b' '*'; do
    case $word in
        [a-z]*.txt) echo "text: $word" ;;
        [0-9] | [0-9][0-9]) echo "number: $word" ;;
        -*) echo "option: $word" ;;
        '') echo "empty" ;;
        '*') echo "a star" ;;
        *' '*) echo "with a space: $word" ;;
        [[:upper:]]*) echo "capital: $word" ;;
        *) echo "else: $word" ;;
    esac
done

# Lists from expansions.
list=; for i in c a b; do list="$list${list:+,}$i"; done; echo "$list"
reverse=; for i in 1 2 3 4; do reverse="$i${reverse:+ $reverse}"; done; echo "$reverse"
rest=$list; while [ -n "$rest" ]; do item=${rest%%,*}; rest=${rest#"$item"}; rest=${rest#,}; printf '(%s)' "$item"; done; echo
string=hello; while [ -n "$string" ]; do tail=${string#?}; printf '%s.' "${string%"$tail"}"; string=$tail; done; echo
