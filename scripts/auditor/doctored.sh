# shellcheck shell=bash
# Outputs of a clean run with one thing changed in each copy: what the auditor must notice, and by which name. Sourced
# by mutants.sh.
#
# The mutants are defects that somebody could make in the program. This is about the auditor's own eyes: for each thing
# that it compares, a copy in which just that is wrong. Invariant: a change that changes nothing is a mistake, and a
# copy counts as noticed only where the auditor finds the kinds of violation given and no others. Start at
# `make_doctored`; the table is DOCTORED.

# name # file # what sed (whole file, first match) makes of it # the kinds of violation
DOCTORED='
letter-other-column # letters # s/"column":"price"/"column":"ts"/ # wrong dead letter
letter-without-column # letters # s/,"column":"price"// # wrong dead letter
letter-needless-column # letters # s/"reason":"late"/&,"column":"ts"/ # wrong dead letter
letter-other-reason # letters # s/"reason":"late"/"reason":"syntax"/ # wrong dead letter
letter-other-topic # letters # s/"topic":"/&x/ # wrong dead letter
letter-offset-as-text # letters # s/"offset":([0-9]+)/"offset":"\1"/ # wrong dead letter
letter-other-payload # letters # s/"payload":"/& / # wrong dead letter
letter-without-payload # letters # s/,"payload":"not json"// # wrong dead letter
letter-payload-omitted # letters # s/"payload":"not json"/"payload_omitted":"8 bytes"/ # wrong dead letter
letter-missing # letters # s/\{[^\n]*\n// # wrong dead letter
letter-twice # letters # s/\{[^\n]*\n/&&/ # wrong dead letter
result-as-text # out # s/"total_revenue_int":([0-9]+)/"total_revenue_int":"\1"/ # wrong form
result-as-fraction # out # s/"total_revenue_int":([0-9]+)/"total_revenue_int":\1.0/ # changed window, wrong form
result-other # out # s/"total_revenue_int":([0-9]+)/"total_revenue_int":1\1/ # changed window
key-as-number # out # s/"store":"[^"]*"/"store":7/ # lost window, unexpected window, wrong form
needless-field # out # s/"store":/"shop":"s","store":/ # wrong form
row-missing # out # s/\{[^\n]*\n(\{[^\n]*\n)/\1/ # lost window
row-twice # out # s/\{[^\n]*\n/&&/ # duplicate window
file-cut # out # s/\}\n$/}/ # torn batch
count-filtered # boundaries # s/"filtered": 0/"filtered": 1/ # wrong count
count-duplicates # boundaries # s/"duplicates": 0/"duplicates": 1/ # wrong count
count-lost # boundaries # s/"lost": 0/"lost": 1/ # wrong count
count-inexact-sums # boundaries # s/"inexact_sums": 0/"inexact_sums": 1/ # wrong count
count-nulled # boundaries # s/"nulled": 0/"nulled": 1/ # wrong count
count-missing # boundaries # s/"lost": 0,// # wrong count
reason-missing # boundaries # s/"syntax": [1-9][0-9]*,// # wrong count
reason-unknown # boundaries # s/"syntax": [1-9][0-9]*,/&"bad_luck": 1,/ # wrong count
reason-other # boundaries # s/"syntax": ([1-9][0-9]*)/"syntax": 0\n,"too_deep": \1/ # wrong count
total-late # boundaries # s/("totals": \{[^}]*"late": )[0-9]+/\10/ # wrong count
total-reason # boundaries # s/("totals": \{.*"syntax": )[0-9]+/\10/ # wrong count
watermark-other # boundaries # s/("batch": 3,.*"watermark": "2025-09-02T[0-9:]*)/\1.5/ # wrong watermark
printed-again # console # s/-{43}\nBatch: 4\n[^B]*\n\n/&&/ # duplicate batch
newest-printed-again # console # s/-{43}\nBatch: [0-9]+\n[^B]*$/&&/ # duplicate batch
printed-late # console # s/(-{43}\nBatch: 4\n[^B]*\n\n)(-{43}\nBatch: 5\n[^B]*\n\n)/\2\1/ # non-monotonic batch
not-printed # console # s/-{43}\nBatch: 4\n[^B]*\n\n// # lost, lost window, non-monotonic batch
progress-missing # progress # s/[^\n]*"batchId":4,[^\n]*\n// # wrong progress
progress-twice # progress # s/[^\n]*"batchId":4,[^\n]*\n/&&/ # wrong progress
progress-newest-twice # progress # s/[^\n]*\n$/&&/ # wrong progress
progress-back # progress # s/([^\n]*"batchId":4,[^\n]*\n)([^\n]*\n)/\2\1/ # non-monotonic batch
progress-other-batch # progress # s/"batchId":4,/"batchId":"4",/ # wrong progress
progress-rows-in # progress # s/"numInputRows":[1-9]/&0/ # wrong progress
progress-source-rows # progress # s/("sources".*"numInputRows":)[1-9]/\19/ # wrong progress
progress-rows-as-text # progress # s/"numInputRows":([0-9]+)/"numInputRows":"\1"/ # wrong progress
progress-rows-out # progress # s/"numOutputRows":[1-9]/&0/ # wrong progress
progress-late # progress # s/"lateRows":[1-9]/&0/ # wrong progress
progress-malformed # progress # s/"malformedRows":[1-9]/&0/ # wrong progress
progress-filtered # progress # s/"filteredRows":0/"filteredRows":1/ # wrong progress
progress-nulled # progress # s/"nulledResults":0/"nulledResults":1/ # wrong progress
progress-inexact # progress # s/"inexactSums":0/"inexactSums":1/ # wrong progress
progress-lost # progress # s/"lostOffsets":0/"lostOffsets":1/ # wrong progress
progress-watermark # progress # s/"watermark":"2025/"watermark":"2026/ # wrong progress
progress-no-watermark # progress # s/,"watermark":"[^"]*"// # wrong progress
progress-newest-time # progress # s/"max":"2025/"max":"2024/ # wrong progress
progress-oldest-time # progress # s/"min":"([0-9]{4}-[0-9]{2})-../"min":"\1-30/ # wrong progress
progress-end # progress # s/"endOffset":\{("[^"]*"):\{"0":/&1/ # offset gap
progress-begin # progress # s/"startOffset":\{("[^"]*"):\{"0":/&1/ # offset gap
progress-no-begin # progress # s/"startOffset":\{("[^"]*"):\{"0":[0-9]+,/"startOffset":{\1:{/ # offset gap
progress-digest # progress # s/"digest":"/&0/ # rollback
progress-other-query # progress # s/"id":"/&0/ # rollback
'

doctored_rows() { sed '/^$/d' <<<"$DOCTORED"; }

# Copies of the clean run in directory $1, each with its one change, and with the auditor's lines.
make_doctored() {
    local source=$1 name file script kinds at target
    while IFS='#' read -r name file script kinds; do
        # The spaces around the marks are for people.
        read -r name <<<"$name"
        read -r file <<<"$file"
        read -r script <<<"$script"
        at=$HOME_DIR/doctored-$name
        mkdir "$at"
        cp -a "$source"/{out,letters,console,progress,boundaries,audit} "$at"
        for target in $(doctored_targets "$at/$file"); do
            sed -E -z -i "$script" "$target"
            if ! cmp -s "$target" "$source${target#"$at"}"; then break; fi
        done
        ! cmp -s "$target" "$source${target#"$at"}" || die "the change $name changes nothing"
        sed -i "s:$source:$at:g; s:$(basename "$source")\t:doctored-$name\t:" "$at/audit"
    done < <(doctored_rows)
}

# The files among which one is to be changed.
doctored_targets() {
    if [ -d "$1" ]; then printf '%s\n' "$1"/batch-*; else printf '%s\n' "$1"; fi
}

# Says what was noticed of each; fails unless all were, by the right names.
report_doctored() {
    local name kinds words found ok=0
    NOTICED=0 DOCTORED_COUNT=0
    printf '\n%-26s %s\n' 'doctored outputs' 'noticed as'
    while IFS='#' read -r name _ _ kinds; do
        read -r name <<<"$name"
        read -r kinds <<<"$kinds"
        found=$(found "doctored-$name")
        words=$found
        DOCTORED_COUNT=$((DOCTORED_COUNT + 1))
        if [ "$found" = "$kinds" ]; then
            NOTICED=$((NOTICED + 1))
        else
            words="NOT NOTICED as $kinds, but: ${found:-nothing}"
            ok=1
        fi
        printf '%-26s %s\n' "$name" "$words"
    done < <(doctored_rows)
    printf '\n%s of %s doctored outputs noticed\n' "$NOTICED" "$DOCTORED_COUNT"
    return "$ok"
}
