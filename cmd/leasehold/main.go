// Command leasehold keeps a virtual IP on exactly one healthy host, for as long
// as that host holds a lease in etcd.
//
// This package owns the configuration file, the commands and the wiring. What is
// decided, and how it is done, belongs to internal/node and the leaves.
package main

import (
	"context"
	"os"
)

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
