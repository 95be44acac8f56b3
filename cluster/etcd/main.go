// etcd, as its release is built: Debian's is too old for today's API server (its watches end in errors that real clusters of today do not show).
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
