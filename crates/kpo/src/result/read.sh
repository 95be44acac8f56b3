file=$1 most=$2
if [ ! -s "$file" ] && [ -n "$KPO_RESULT_ABSENT" ]; then
  sum=$(printf %s "$KPO_RESULT_ABSENT" | sha256sum)
  echo "kpo-result/1 inline ${#KPO_RESULT_ABSENT} ${sum%% *}"
  printf %s "$KPO_RESULT_ABSENT"
  exit 0
fi
if [ ! -e "$file" ]; then
  echo 'kpo-result/1 missing'
  exit 0
fi
if ! size=$(wc -c <"$file") || ! sum=$(sha256sum <"$file"); then
  echo 'kpo-result/1 unreadable'
  exit 0
fi
size=$((size)) sum=${sum%% *}
if [ "$size" -gt "$most" ]; then
  echo "kpo-result/1 too-large $size"
  exit 0
fi
echo "kpo-result/1 inline $size $sum"
cat "$file"
