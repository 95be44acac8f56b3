file=$1 sure=$2 inline=$3 most=$4 message=${5:-/dev/termination-log}
report() {
  trap '' TERM INT
  kill -KILL $! 2>/dev/null
  if [ ! -s "$file" ] && [ -n "$KPO_RESULT_ABSENT" ]; then
    sum=$(printf %s "$KPO_RESULT_ABSENT" | sha256sum)
    { echo "kpo-result/1 inline ${#KPO_RESULT_ABSENT} ${sum%% *}" && printf %s "$KPO_RESULT_ABSENT"; } >"$message"
    exit 0
  fi
  if [ ! -e "$file" ]; then
    echo 'kpo-result/1 missing' >"$message"
    exit 0
  fi
  if ! size=$(wc -c <"$file") || ! sum=$(sha256sum <"$file"); then
    echo 'kpo-result/1 unreadable' >"$message"
    exit 0
  fi
  size=$((size)) sum=${sum%% *}
  if [ "$size" -gt "$most" ]; then
    echo "kpo-result/1 too-large $size" >"$message"
    exit 0
  fi
  if [ "$size" -gt "$sure" ]; then
    echo "kpo-result/1 begin $size $sum"
    base64 <"$file"
    echo 'kpo-result/1 end'
  fi
  if [ "$size" -gt "$inline" ]; then
    echo "kpo-result/1 log $size $sum" >"$message"
    # A runtime may drop what it has not copied when its container ends (seen: containerd 1.6, the last 28 KiB).
    sleep 1
  else
    { echo "kpo-result/1 inline $size $sum" && cat "$file"; } >"$message"
  fi
  exit 0
}
trap report TERM INT
echo 'kpo-result/1 waiting' >"$message"
while :; do
  sleep 3600 >/dev/null 2>&1 &
  wait $!
done
