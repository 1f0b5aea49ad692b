// A current etcd, as an ordinary dependency: what the benchmarks of the registry compare with.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() {
	etcdmain.Main(os.Args)
}
