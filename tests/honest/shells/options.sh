# getopts, as a program of some size uses it.
parse() {
    OPTIND=1 verbose=0 output=none
    while getopts 'vo:h' option; do
        case $option in
            v) verbose=$((verbose + 1)) ;;
            o) output=$OPTARG ;;
            h) echo "help"; return 0 ;;
            *) echo "usage"; return 2 ;;
        esac
    done
    shift $((OPTIND - 1))
    echo "verbose=$verbose output=$output rest=$# [$*]"
}
parse; parse -v; parse -vvv a b; parse -o file x; parse -ofile -v -- -v; parse -vo file; parse a -v
parse -h; parse -x 2>/dev/null; echo "status $?"; parse -o 2>/dev/null; echo "status $?"

quiet() {
    OPTIND=1
    while getopts ':ab:' option; do
        case $option in
            a) echo "a" ;;
            b) echo "b=$OPTARG" ;;
            :) echo "-$OPTARG wants an argument" ;;
            \?) echo "-$OPTARG is unknown" ;;
        esac
    done
    echo "next is $OPTIND"
}
quiet -a -b value; quiet -b; quiet -z; quiet -ab; quiet -a- x; quiet

# A small program with subcommands, long options and a table of settings.
settings=
put() { settings="$settings$1=$2
"; }
get() { printf '%s' "$settings" | sed -n "s/^$1=//p" | tail -n 1; }
main() {
    while [ $# -gt 0 ]; do
        case $1 in
            --*=*) name=${1%%=*}; put "${name#--}" "${1#*=}" ;;
            --no-*) put "${1#--no-}" false ;;
            --) shift; break ;;
            --*) put "${1#--}" true ;;
            *) break ;;
        esac
        shift
    done
    command=${1:-help}; [ $# -gt 0 ] && shift
    case $command in
        add) total=0; for n; do total=$((total + n)); done; echo "$total" ;;
        join) separator=$(get separator); joined=; for n; do joined="$joined${joined:+$separator}$n"; done; echo "$joined" ;;
        show) for name in color level; do echo "$name: $(get "$name")"; done ;;
        *) echo "add | join | show" ;;
    esac
}
main add 1 2 39; main --separator=+ join a b c; main --color --level=3 show; main --no-color -- show; main
main --separator=', ' join 'x y' z
