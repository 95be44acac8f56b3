trap 'kill -KILL $! 2>/dev/null; exit 0' TERM INT
while [ ! -e "$1" ]; do
  sleep 1 >/dev/null 2>&1 &
  wait $!
done
