// Command dizuo is the command line of Dizuo; as kubectl-dizuo on the PATH it is also `kubectl dizuo`.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/dizuo/dizuo/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(cli.Main(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
